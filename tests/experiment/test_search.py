import json
import subprocess
import sys

import pytest

from actionrec.experiment import search
from actionrec.runs import manifest
from actionrec.system.errors import DivergedError
from tests.conftest import QUICK, raise_error

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


@pytest.mark.ci
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


@pytest.mark.ci
def test_another_search_has_another_place(run, arguments, taught):
    assert run("search", *arguments, "search.trials=2").status == 0
    for other in (["data.size=96"], ["search.space=[{key: optimizer.lr, values: [0.1]}]"]):
        outcome = run("search", *arguments, "search.trials=2", *other)
        assert outcome.status == 1
        assert "holds another search" in outcome.err
        assert "search.name=" in outcome.err
    assert len(taught) == 2
    assert run("search", *arguments, "search.trials=2", "callbacks.best.monitor=val/loss").status == 1
    other = run("search", *arguments, "search.trials=2", "objective=val/map")
    assert "holds another search (objective: val/map, was val/acc)" in other.err


def test_a_search_for_a_loss_finds_the_lowest(run, arguments, taught, tmp_path):
    outcome = run("search", *arguments, "search.trials=2", "objective=val/loss")
    assert outcome.status == 0, outcome.err
    found = json.loads((tmp_path / "outputs/demo/search/stanford40_frame/search.json").read_text())
    assert found["best"]["val/loss"] == min(row["val/loss"] for row in found["rows"])
    assert found["best"]["optimizer.lr"] == max(rate for rate, _ in taught)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (f"[{RATE}]", "(search.space: data.augmentation not in it, was values none, strong)"),
        (
            f"[{RATE}, {{key: data.augmentation, values: [none]}}]",
            "(search.space: data.augmentation values none, was values none, strong)",
        ),
        (
            "[{key: optimizer.lr, low: 1e-4, high: 1e-2}, {key: data.augmentation, values: [none, strong]}]",
            "(search.space: optimizer.lr 0.0001 to 0.01, was 0.0001 to 0.01 log)",
        ),
        (
            f"{SPACE.partition('=')[2][:-1]}, {{key: optimizer.weight_decay, values: [0.1]}}]",
            "(search.space: optimizer.weight_decay values 0.1, was not in it)",
        ),
    ],
)
def test_another_space_has_another_place(run, arguments, taught, space, said):
    assert run("search", *arguments, "search.trials=1").status == 0
    outcome = run("search", *arguments, "search.trials=2", f"search.space={space}")
    assert outcome.status == 1
    assert said in outcome.err
    assert len(taught) == 1


def test_integers_are_another_space_than_floats(run, arguments, taught):
    space = "search.space=[{key: optimizer.lr, low: 1, high: 2%s}]"
    assert run("search", *arguments, "search.trials=1", space % "").status == 0
    assert run("search", *arguments, "search.trials=2", space % ".0").status == 1
    assert len(taught) == 1


def test_the_order_of_the_space_and_the_number_of_trials_do_not_matter(run, arguments, taught):
    assert run("search", *arguments, "search.trials=1").status == 0
    turned = "search.space=[{values: [none, strong], key: data.augmentation}, %s]"
    other = turned % RATE.replace("low: 1e-4", "low: 0.0001")
    outcome = run("search", *arguments, "search.trials=2", other, "overwrite=true", "trainer.log_every_n_steps=7")
    assert outcome.status == 0, outcome.err
    assert len(taught) == 2


@pytest.mark.ci
def test_a_search_of_before_it_had_a_manifest_is_known_by_its_runs(run, arguments, taught, tmp_path, monkeypatch):
    def train(config, parts):
        found = taught_train(config, parts)
        manifest.create(config).write(search.Path(config.run_dir))
        return found

    taught_train = search.train
    monkeypatch.setattr(search, "train", train)
    folder = tmp_path / "outputs/demo/search/stanford40_frame"
    assert run("search", *arguments, "search.trials=1").status == 0
    (folder / "manifest.json").unlink()
    refused = run("search", *arguments, "search.trials=2", "data.size=96")
    assert refused.status == 1
    assert "holds another search (data.size: 96, was 64)" in refused.err
    assert (
        "search.space: optimizer.lr" in run("search", *arguments, "search.space=[{key: optimizer.lr, values: [1]}]").err
    )
    assert run("search", *arguments, "search.trials=2").status == 0
    assert (folder / "manifest.json").is_file()
    (folder / "manifest.json").write_text("rubbish")
    refused = run("search", *arguments, "search.trials=2")
    assert refused.status == 1
    assert "search.name=" in refused.err
    assert len(refused.err.strip().splitlines()) == 1


@pytest.mark.ci
def test_a_search_is_no_multirun(run, arguments, taught, tmp_path):
    for flag in ("--multirun", "-m"):
        outcome = run("search", *arguments, "seed=0,1", flag)
        assert outcome.status == 1
        [line] = outcome.err.strip().splitlines()
        assert line.startswith("error: a search cannot be a multirun, ")
        assert "one search after the other, each with search.name=" in line
    assert taught == []
    assert not (tmp_path / "outputs").exists()
    by_mode = run("search", *arguments, "seed=0,1", "hydra.mode=MULTIRUN")
    assert by_mode.status == 1
    assert "a search cannot be a multirun, " in by_mode.err
    assert taught == []


@pytest.fixture
def diverging(monkeypatch):
    """Training that diverges without augmentation, after it has written checkpoints."""
    tried = []

    def train(config, parts):
        tried.append((config.optimizer.lr, config.data.augmentation))
        folder = search.Path(config.run_dir)
        written = search.RunFolder(folder).partial
        (written / "checkpoints").mkdir(parents=True)
        if config.data.augmentation == "none":
            raise DivergedError("epoch 1, batch 2: the training loss is nan; lower optimizer.lr")
        written.rename(folder)
        return 1 - config.optimizer.lr

    monkeypatch.setattr(search, "train", train)
    monkeypatch.setattr(search, "_test", lambda *_: 0.5)
    return tried


@pytest.mark.ci
def test_trials_that_diverge_are_left_out_and_not_tried_again(run, arguments, diverging, tmp_path):
    outcome = run("search", *arguments, "search.trials=12")
    assert outcome.status == 0, outcome.err
    assert len(diverging) == len(set(diverging)) == 12
    good = [number for number, (_, augmentation) in enumerate(diverging) if augmentation == "strong"]
    assert 0 < len(good) < 12
    folder = tmp_path / "outputs/demo/search/stanford40_frame"
    found = json.loads((folder / "search.json").read_text())
    assert sorted(row["trial"] for row in found["rows"]) == good
    assert sorted(each.name for each in folder.glob("trial*")) == [f"trial{number:03d}" for number in good]
    assert outcome.err.count("diverged and is left out: epoch 1, batch 2: the training loss is nan") == 12 - len(good)
    assert run("search", *arguments, "search.trials=12").out == outcome.out
    assert len(diverging) == 12
    assert run("search", *arguments, "search.trials=13").status == 0
    assert len(diverging) == 13


@pytest.mark.ci
def test_a_search_of_which_all_trials_diverge_says_so_in_a_line(run, arguments, tmp_path):
    space = "search.space=[{key: optimizer.lr, values: [1e30]}]"
    for trials in (2, 2):
        outcome = run("search", *arguments, "optimizer=sgd", space, f"search.trials={trials}")
        assert outcome.status == 1
        [line] = (line for line in outcome.err.splitlines() if line.startswith("error: "))
        assert "all 2 trials diverged; " in line
        assert "Traceback" not in outcome.err
    folder = tmp_path / "outputs/demo/search/stanford40_frame"
    assert {each.name for each in folder.iterdir()} == {"study.db", "manifest.json"}


def test_what_is_no_storage_of_a_search_and_one_that_is_in_use_are_one_line(run, arguments, taught, tmp_path):
    folder = tmp_path / "outputs/demo/search/stanford40_frame"
    folder.mkdir(parents=True)
    (folder / "study.db").write_text("rubbish")
    outcome = run("search", *arguments)
    assert outcome.status == 1
    assert "study.db: not the storage of a search" in outcome.err
    assert (folder / "study.db").read_text() == "rubbish"
    hold = "import sys, time; from pathlib import Path; from actionrec.system.locks import only_writer\n"
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
        ("[{key: optimizer.lr, low: 1}]", "optimizer.lr needs either low and high, or values"),
    ],
)
def test_a_space_of_no_setting_is_refused(run, arguments, space, message):
    outcome = run("search", *arguments, f"search.space={space}")
    assert outcome.status == 1
    assert message in outcome.err


@pytest.mark.ci
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


@pytest.mark.ci
def test_a_search_goes_on_with_more_trials(run, arguments, tmp_path, monkeypatch):
    """Also where the best trial is one that an interrupted search of fewer trials has not measured on the test."""
    with monkeypatch.context() as interrupted:
        interrupted.setattr(search, "remeasure", raise_error(KeyboardInterrupt()))
        assert run("search", *arguments, "search.trials=1").status == 130
    kept = tmp_path / "outputs/demo/search/stanford40_frame"
    with monkeypatch.context() as worse:
        worse.setattr(search, "train", lambda config, parts: -1.0)
        outcome = run("search", *arguments, "search.trials=2")
    assert outcome.status == 0, outcome.err
    found = json.loads((kept / "search.json").read_text())
    assert found["best"]["trial"] == 0
    assert found["best"]["test/acc"] == json.loads((kept / "trial000/metrics.json").read_text())["test/acc"]
    assert outcome.out == (kept / "search.md").read_text()
