import json
import subprocess
import sys

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

    def train(config, parts):
        assert parts == ("val",)
        tried.append((config.optimizer.lr, config.data.augmentation))
        if len(tried) == 3:
            raise KeyboardInterrupt
        folder = search.Path(config.run_dir)
        folder.mkdir()
        (folder / "metrics.json").write_text('{"val/acc": 0}')
        return 1 - config.optimizer.lr

    monkeypatch.setattr(search, "train", train)
    monkeypatch.setattr(search, "remeasure", lambda config: {"test/acc": 0.25 + config.optimizer.lr})
    return tried


def test_a_search_goes_on_where_it_was_interrupted(run, arguments, taught, tmp_path):
    assert run("search", *arguments, "search.trials=10").status == 130
    outcome = run("search", *arguments, "search.trials=10")
    assert outcome.status == 0, outcome.err
    assert len(taught) == 11
    assert taught[2] == taught[3]  # what was interrupted, again
    assert len(set(taught)) == 10
    assert all(1e-4 <= rate <= 1e-2 and augmentation in ("none", "strong") for rate, augmentation in taught)
    folder = tmp_path / "outputs/demo/search/stanford40_frame"
    found = json.loads((folder / "search.json").read_text())
    assert found["trials"] == 10
    assert found["best"]["optimizer.lr"] == min(rate for rate, _ in taught)
    assert found["importances"]["optimizer.lr"] > 0.8  # it alone decides
    assert [row.get("test/acc") for row in found["rows"]] == [0.25 + found["best"]["optimizer.lr"]] + [None] * 9
    for name in ("history.png", "importances.png", "search.md"):
        assert (folder / name).stat().st_size > 0
    assert run("search", *arguments, "search.trials=10").out == outcome.out
    assert len(taught) == 11


def test_another_search_has_another_place(run, arguments, taught):
    assert run("search", *arguments, "search.trials=2").status == 0
    for other in (["data.size=96"], ["search.space=[{key: optimizer.lr, values: [0.1]}]"]):
        outcome = run("search", *arguments, "search.trials=2", *other)
        assert outcome.status == 1
        assert "holds another search" in outcome.err
        assert "search.name=" in outcome.err
    assert len(taught) == 2
    assert run("search", *arguments, "search.trials=2", "callbacks.best.monitor=val/loss").status == 1


def test_what_is_no_storage_of_a_search_and_one_that_is_in_use_are_one_line(run, arguments, taught, tmp_path):
    folder = tmp_path / "outputs/demo/search/stanford40_frame"
    folder.mkdir(parents=True)
    (folder / "study.db").write_text("rubbish")
    outcome = run("search", *arguments)
    assert outcome.status == 1
    assert "study.db: not the storage of a search" in outcome.err
    assert (folder / "study.db").read_text() == "rubbish"
    hold = "import sys, time; from pathlib import Path; from actionrec.locks import only_writer\n"
    hold += "with only_writer(Path(sys.argv[1]), 'the search in'): print('held', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold, str(folder)], stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        busy = run("search", *arguments)
        other.kill()
    assert busy.status == 1
    assert "the search in" in busy.err
    assert f"process {other.pid}" in busy.err


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
def test_trials_are_runs_of_which_the_chosen_one_is_tested(run, arguments, tmp_path):
    outcome = run("search", *arguments, "search.trials=2")
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "outputs/demo/search/stanford40_frame"
    best = json.loads((folder / "search.json").read_text())["best"]
    for number in (0, 1):
        trial = folder / f"trial{number:03d}"
        assert (trial / "checkpoints" / "best.ckpt").is_file()
        metrics = json.loads((trial / "metrics.json").read_text())
        assert metrics.get("test/acc") == (best["test/acc"] if number == best["trial"] else None)
    assert f"lr: {best['optimizer.lr']}" in (folder / f"trial{best['trial']:03d}/config.yaml").read_text()
