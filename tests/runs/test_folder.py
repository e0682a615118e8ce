import json
import re
from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from actionrec.runs import manifest
from actionrec.runs.folder import RunFolder, job_name, run_folder
from actionrec.runs.manifest import Manifest
from actionrec.system.errors import ActionRecError

WANTED = Manifest(
    {"stage": "hmdb51_flow", "optimizer.lr": 1e-3, "data.size": 64},
    {"recipe": "strong"},
    "a" * 64,
    {"parent": "b" * 64},
)


@pytest.fixture
def run(tmp_path):
    return RunFolder(tmp_path / "demo" / "hmdb51_flow" / "split1-seed0")


def write(run, text: str) -> None:
    (run.partial / "checkpoints").mkdir(exist_ok=True)
    for name in ("checkpoints/last.ckpt", "checkpoints/best.ckpt", "metrics.json"):
        (run.partial / name).write_text(text)
    if not (run.partial / "manifest.json").exists():
        WANTED.write(run.partial)


def test_a_run_appears_when_it_is_finished(run):
    run.start(False)
    assert run.resume_from(False) is None
    write(run, "first")
    assert not run.path.exists()
    assert not run.finished
    run.finish()
    assert run.finished
    assert [entry.name for entry in run.path.parent.iterdir()] == ["split1-seed0"]


def test_an_interrupted_second_run_keeps_the_first(run):
    run.start(False)
    write(run, "first")
    run.finish()
    run.start(False)
    WANTED.write(run.partial)
    (run.partial / "half").write_text("…")
    assert run.finished
    assert (run.path / "metrics.json").read_text() == "first"
    run.start(False)
    assert not (run.partial / "half").exists()
    write(run, "second")
    run.finish()
    assert (run.path / "metrics.json").read_text() == "second"
    assert [entry.name for entry in run.path.parent.iterdir()] == ["split1-seed0"]


def test_a_finish_that_was_killed_between_its_steps_loses_nothing(run):
    run.start(False)
    write(run, "first")
    run.finish()
    run.path.rename(run.path.with_name("split1-seed0.replaced"))
    run.start(False)
    assert (run.path / "metrics.json").read_text() == "first"
    write(run, "second")
    run.finish()
    assert (run.path / "metrics.json").read_text() == "second"
    assert [entry.name for entry in run.path.parent.iterdir()] == ["split1-seed0"]


def test_resume_goes_on_with_the_interrupted_run_then_with_the_finished(run):
    with pytest.raises(ActionRecError, match=r"resume: there is no .*last\.ckpt"):
        run.start(True)
    run.start(False)
    write(run, "half")
    run.start(True)
    assert run.resume_from(True).read_text() == "half"
    run.finish()
    run.start(True)
    assert run.resume_from(True).read_text() == "half"
    assert run.finished  # the finished one stays until the new one is
    run.start(str(run.best))
    assert run.resume_from(str(run.best)) == run.best
    with pytest.raises(ActionRecError, match=r"there is no nowhere\.ckpt"):
        run.start("nowhere.ckpt")


@pytest.mark.parametrize(
    ("overrides", "varying", "name"),
    [
        (
            ["experiment=a", "paths=real", "paths.name=x", "seed=1", "optimizer.lr=1e-4"],
            ["seed", "optimizer.lr"],
            "optimizer.lr-1e-4_seed-1",
        ),
        (["experiment=a", "seed=1"], ["experiment"], "experiment-a"),
        (
            ["+data.actions=[clap,wave]", "backbone=resnet18", "seed=0"],
            ["data.actions", "backbone"],
            "backbone-resnet18_data.actions-clap,wave-",
        ),
        (["init_from=/a/b c.ckpt"], ["init_from"], "init_from-a-b-c.ckpt"),
        (["seed=0"], [], "default"),
    ],
)
def test_jobs_are_called_by_what_varies_in_stable_and_safe_names(overrides, varying, name):
    assert job_name(overrides, varying) == name
    assert job_name(overrides[::-1], varying) == name
    assert job_name(overrides, varying, "mine") == f"{name}-mine"
    assert not set(name) & set("=/ []")


def test_long_job_names_stay_apart_and_fit_a_file_system():
    actions = "data.actions=[" + ",".join(f"action{i}" for i in range(50)) + "]"
    varying = ["data.actions", "seed"]
    first, second = job_name([actions, "seed=0"], varying), job_name([actions, "seed=1"], varying)
    assert first != second
    assert len(first) <= 200


def finished(run, manifest: Manifest | None) -> None:
    run.start(False)
    write(run, "{}")
    (run.partial / "manifest.json").unlink()
    if manifest:
        manifest.write(run.partial)
    else:
        (run.partial / "config.yaml").write_text("stage: hmdb51_flow\n")
    run.finish()


def test_a_run_is_finished_with_its_settings_lists_and_parents_alone(run):
    assert not run.is_same(WANTED, False)
    finished(run, WANTED)
    assert run.is_same(WANTED, False)
    assert run.is_same(WANTED, True)
    assert run.is_same(replace(WANTED, commit="other", versions={"torch": "3"}, overrides=["x=1"]), False)
    unknown = replace(WANTED, lists="", parents={"parent": None})  # the data and the parent are gone by now
    assert run.is_same(unknown, False)
    for other, said in (
        (replace(WANTED, settings={**WANTED.settings, "optimizer.lr": 1e-2}), "optimizer.lr: 0.01, was 0.001"),
        (replace(WANTED, settings={"stage": "hmdb51_flow", "optimizer.lr": 1e-3}), "data.size: not set, was 64"),
        (replace(WANTED, lists="c" * 64), "split lists: cccccccccc, were aaaaaaaaaa"),
        (replace(WANTED, parents={"parent": "d" * 64}), "parent parent: checkpoint dddddddddd, was bbbbbbbbbb"),
        (replace(WANTED, parents={}), "init_from: parent is gone"),
    ):
        with pytest.raises(ActionRecError, match=r"holds another run") as refused:
            run.is_same(other, False)
        assert said in str(refused.value)
        assert "tag=<name>" in str(refused.value)
        assert not run.is_same(other, True)
    with pytest.raises(ActionRecError, match=r"recipe: demo, was strong; optimizer.lr: 1, was 0.001"):
        run.is_same(replace(WANTED, settings={**WANTED.settings, "optimizer.lr": 1}, choices={"recipe": "demo"}), False)


def test_where_the_data_lie_makes_no_other_run():
    """Stages of stills of before knew no folder of frames, and the oldest runs have their places written out."""
    now = {"data.frame.folder": "<paths.frames>", "data.dataset.root": "<paths.stanford40>", "data.size": 64}
    then = {"data.dataset.root": "/data/Stanford40", "data.size": 64}
    lists = "a" * 64  # which say what the records are
    assert Manifest(now, lists=lists).differences(Manifest(then, lists=lists)) == []
    other = Manifest({**then, "data.size": 32}, lists=lists)
    assert Manifest(now, lists=lists).differences(other) == ["data.size: 64, was 32"]


def test_an_interrupted_run_of_other_settings_is_kept_until_told_otherwise(run):
    run.start(False)
    assert not run.goes_on(WANTED, False)  # nothing is lost without a checkpoint
    write(run, "half")
    WANTED.write(run.partial)
    assert run.goes_on(WANTED, False)
    other = replace(WANTED, settings={"optimizer.lr": 1.0})
    with pytest.raises(ActionRecError, match="holds an interrupted run"):
        run.goes_on(other, False)
    assert not run.goes_on(other, True)


def test_a_run_of_before_manifests_is_told_by_the_settings_that_its_configuration_has(run):
    finished(run, None)
    old = "stage: hmdb51_flow\noptimizer: {lr: 0.001}\nold: 1\npaths: {outputs: /a}\nrun_dir: /a/b\n"
    (run.path / "config.yaml").write_text(old)
    assert run.is_same(WANTED, False)
    (run.path / "config.yaml").write_text(old.replace("0.001", "0.1"))
    with pytest.raises(ActionRecError, match=r"optimizer.lr: 0.001, was 0.1"):
        run.is_same(WANTED, False)


@pytest.mark.parametrize("name", ["split1-seed0", "split1-seed0.partial", "split1-seed0.replaced"])
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_nothing_that_is_no_run_is_replaced(run, name, kind):
    place = run.path.with_name(name)
    place.parent.mkdir(parents=True)
    if kind == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("years")
    else:
        place.write_text("years")
    for action in (lambda: run.is_same(WANTED, True), lambda: run.start(False), lambda: run.start(True)):
        with pytest.raises(ActionRecError, match=r"that is no run|is a file"):
            action()
    assert "years" in ((place / "thesis.txt") if kind == "folder" else place).read_text()


@pytest.mark.parametrize(
    "files",
    [
        ["manifest.json", "log.txt", "index.html"],  # a page's
        ["config.yaml", "checkpoints/my.ckpt", "notes.md"],  # of another project on Lightning
        ["checkpoints/my.ckpt"],
    ],
)
def test_folders_that_look_like_a_run_are_not_taken_for_one(run, files):
    for name in files:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text("name: mine" if name.endswith("yaml") else "{}")
    for action in (lambda: run.is_same(WANTED, True), lambda: run.start(False)):
        with pytest.raises(ActionRecError, match="a folder that is no run"):
            action()
    assert {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()} == set(files)


def test_a_run_that_lost_its_metrics_is_still_a_run_of_its_settings(run):
    finished(run, WANTED)
    (run.path / "metrics.json").unlink()
    assert not run.is_same(WANTED, False)  # to be trained again
    with pytest.raises(ActionRecError, match="holds another run"):
        run.is_same(replace(WANTED, settings={**WANTED.settings, "data.size": 1}), False)


def test_going_on_for_more_epochs_takes_no_measurement_along(run):
    finished(run, WANTED)
    for name in ("scores_train.npz", "measurement.json"):
        (run.path / name).write_text("{}")
    (run.path / "measurements/1x1").mkdir(parents=True)
    run.start(True)
    assert {path.name for path in run.partial.iterdir()} == {"checkpoints", "manifest.json"}
    longer = replace(WANTED, settings={**WANTED.settings, "trainer.max_epochs": 9})
    assert run.is_same(longer, False, but=["trainer.max_epochs"])
    with pytest.raises(ActionRecError, match="holds another run"):
        run.is_same(longer, False)


def test_files_of_its_owner_outlive_a_run_that_is_replaced(run):
    finished(run, WANTED)
    (run.path / "notes.txt").write_text("mine")
    finished(run, WANTED)
    assert (run.path / "notes.txt").read_text() == "mine"


def test_what_a_training_goes_on_from_can_be_looked_at_before_anything_is_touched(run):
    finished(run, WANTED)
    assert run.source(True) == run.path / "checkpoints/last.ckpt"
    assert not run.partial.exists()
    run.path.rename(run.path.with_name("split1-seed0.replaced"))
    assert run.source(True).is_file()
    assert not run.path.exists()
    run.start(False)
    write(run, "half")
    assert run.source(True) == run.last
    with pytest.raises(ActionRecError, match=r"there is no nowhere\.ckpt"):
        run.source("nowhere.ckpt")
    assert run.source(False) is None
    assert run.last.read_text() == "half"


def test_a_link_to_a_run_is_followed(run, tmp_path, monkeypatch):
    monkeypatch.setattr("actionrec.runs.folder.in_multirun", lambda: False)
    finished(run, WANTED)
    link = tmp_path / "link"
    link.symlink_to(run.path, target_is_directory=True)
    found = run_folder(OmegaConf.create({"run_dir": str(link)}))
    finished(found, WANTED)
    assert link.is_symlink()
    assert found.path == run.path.resolve()
    other = RunFolder(tmp_path / "other")
    other.partial.symlink_to(run.path, target_is_directory=True)
    with pytest.raises(ActionRecError, match="that is no run"):
        other.start(False)
    assert run.finished


def test_a_manifest_says_of_what_code_and_command_a_run_is(run, compose_config, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["/somewhere/train.py", "experiment=stanford40_frame"])
    places = [f"paths.root={tmp_path}", f"paths.outputs={tmp_path}"]
    made = manifest.create(compose_config("train", "experiment=stanford40_frame", *places))
    assert made.command == ["train", "experiment=stanford40_frame"]
    assert {"python", "torch", "lightning", "hydra-core"} <= set(made.versions)
    assert made.commit is None or re.fullmatch(r"[0-9a-f]{40}\+?", made.commit)
    assert str(tmp_path) not in json.dumps(made.settings)
    run.start(False)
    made.write(run.partial)
    assert manifest.read(run.partial) == made
    elsewhere = manifest.create(compose_config("train", "experiment=stanford40_frame", "paths=real", "paths.name=demo"))
    assert elsewhere.differences(made) == []
    (run.partial / "manifest.json").write_text('{"settings": []}')
    with pytest.raises(ActionRecError, match=r"not a manifest"):
        manifest.read(run.partial)


def test_a_checkpoint_of_the_interrupted_run_is_not_thrown_away_to_go_on_from_it(run):
    run.start(False)
    write(run, "half")
    with pytest.raises(ActionRecError, match="resume=true"):
        run.start(str(run.last))
    assert run.last.read_text() == "half"


def test_a_run_of_before_streams_had_files_of_their_own_is_the_same_run(compose_config, tmp_path):
    config = compose_config("train", "experiment=hmdb51_flow", "model.dropout=0.5")
    today = manifest.create(config)
    before = {key: value for key, value in today.settings.items() if not re.match(r"data\.(dataset|flow)|model\.", key)}
    before |= {"data._target_": "actionrec.datamodules.HMDB51FlowDataModule", "data.split": 1}
    before |= {"data.videos": "<paths.hmdb51>", "data.splits": "<paths.hmdb51_splits>"}
    before |= {"data.frame_folder": "<paths.frames>", "data.flow_folder": "<paths.flow>"}
    before |= {
        f"data.flow.{key}": value for key, value in (("algorithm", "dis"), ("bound", 20.0), ("short_side", None))
    }
    before |= {"data.flow.params.preset": "fast", "data.flow.params.finest_scale": 1}
    before |= {"data.fields": None, "data.stride": 1, "data.representation": "xy"}
    before |= {"model._target_": "actionrec.modules.FlowModule", "model.label_smoothing": 0.0, "model.dropout": 0.5}
    before |= {f"model.backbone.{key}": config.backbone[key] for key in config.backbone}
    before["trainer._target_"] = "actionrec.hardware.create_trainer"
    Manifest(before).write(tmp_path)
    assert today.differences(manifest.read(tmp_path)) == []
    Manifest({**before, "data.fields": 2}).write(tmp_path)
    assert today.differences(manifest.read(tmp_path)) == ["data.flow.fields: null, was 2"]
