import json

import pytest

from actionrec import search
from tests.conftest import QUICK

RATE = "{key: optimizer.lr, low: 1e-4, high: 1e-2, log: true}"
SPACE = f"search.space=[{RATE}, {{key: data.augmentation, values: [none, strong]}}]"


@pytest.fixture
def arguments(paths):
    return ["experiment=stanford40_frame", *paths, *QUICK, SPACE]


@pytest.fixture
def taught(monkeypatch):
    """Training as a function of the learning rate, which can be interrupted."""
    tried = []

    def train(config):
        tried.append((config.optimizer.lr, config.data.augmentation))
        if len(tried) == 3:
            raise KeyboardInterrupt
        folder = search.Path(config.run_dir)
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"test/acc": 0.25}))
        return 1 - config.optimizer.lr

    monkeypatch.setattr(search, "train", train)
    return tried


def test_a_search_goes_on_where_it_was_interrupted(run, arguments, taught, tmp_path):
    assert run("search", *arguments, "search.trials=6").status == 130
    outcome = run("search", *arguments, "search.trials=6")
    assert outcome.status == 0, outcome.err
    assert len(taught) == 7
    assert taught[2] == taught[3]  # what was interrupted, again
    assert len(set(taught)) == 6
    assert all(1e-4 <= rate <= 1e-2 and augmentation in ("none", "strong") for rate, augmentation in taught)
    folder = tmp_path / "outputs/demo/search/stanford40_frame"
    found = json.loads((folder / "search.json").read_text())
    assert found["trials"] == 6
    assert found["best"]["optimizer.lr"] == min(rate for rate, _ in taught)
    assert max(found["importances"], key=found["importances"].get) == "optimizer.lr"
    # The test is said of what validation chose, and of nothing else.
    assert ["test/acc" in row for row in found["rows"]] == [True] + [False] * 5
    assert outcome.out.count("0.250") == 1
    for name in ("history.png", "importances.png", "search.md"):
        assert (folder / name).stat().st_size > 0
    assert run("search", *arguments, "search.trials=6").out == outcome.out
    assert len(taught) == 7


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("[{key: optimizer.rate, values: [1]}]", "search.space names 'optimizer.rate', which is no setting"),
        ("[{low: 1, high: 2}]", "search.space names ''"),
        ("[{key: optimizer.lr, low: 1}]", "say of optimizer.lr either low and high, or values"),
    ],
)
def test_a_space_of_no_setting_is_refused(run, arguments, space, message):
    outcome = run("search", *arguments, f"search.space={space}")
    assert outcome.status == 1
    assert message in outcome.err


@pytest.mark.slow
def test_trials_are_runs(run, arguments, tmp_path):
    outcome = run("search", *arguments, "search.trials=1")
    assert outcome.status == 0, outcome.err
    trial = tmp_path / "outputs/demo/search/stanford40_frame/trial000"
    assert (trial / "checkpoints" / "best.ckpt").is_file()
    rate = json.loads((trial.parent / "search.json").read_text())["best"]["optimizer.lr"]
    assert f"lr: {rate}" in (trial / "config.yaml").read_text()
