"""Runs of one stage by its command line: interrupted, swept, side by side, on several devices."""

import gc
import json
import shutil
import subprocess
import sys

import cv2
import numpy as np
import psutil
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actionrec.callbacks import LogEpochLine
from actionrec.evaluation import scores
from actionrec.modules.base import ActionModule
from actionrec.modules.checkpoint import read
from tests.conftest import QUICK, TAGS, metrics_of


@pytest.mark.ci
def test_an_interrupted_run_goes_on_if_its_settings_are_the_same(tmp_path, paths, run, monkeypatch, capsys):
    overrides = ["experiment=stanford40_frame", *paths, *QUICK, "trainer.max_epochs=2", "resume=auto", "recipe=strong"]
    with monkeypatch.context() as power:
        power.setattr(LogEpochLine, "on_train_epoch_start", raise_in_second_epoch)
        with pytest.raises(RuntimeError, match="power"):
            run("train", *overrides)
    assert "epoch 1/2" in capsys.readouterr().err
    partial = tmp_path / "outputs/demo/stanford40_frame/split1-seed0.partial"
    assert read(partial / "checkpoints/last.ckpt")["epoch"] == 0
    outcome = run("train", *overrides)
    assert "resumes " in outcome.err
    assert "epoch 1/2" not in outcome.err
    assert "epoch 2/2" in outcome.err
    resumed = metrics_of(tmp_path / "outputs", "stanford40_frame")
    shutil.move(partial.with_name("split1-seed0"), partial.with_name("resumed"))
    undisturbed = run("train", *overrides, "resume=false")
    assert undisturbed.status == 0
    assert metrics_of(tmp_path / "outputs", "stanford40_frame") == resumed
    shutil.move(partial.with_name("split1-seed0"), partial)
    other = [*overrides, "seed=0", "optimizer.lr=0.002"]
    refused = run("train", *other)
    assert refused.status == 1
    assert "holds an interrupted run (optimizer.lr: 0.002, was 0.0005)" in refused.err
    afresh = run("train", *other, "overwrite=true")
    assert "resumes " not in afresh.err
    assert "epoch 1/2" in afresh.err


def raise_in_second_epoch(callback, trainer, module):
    if trainer.current_epoch:
        raise RuntimeError("power")


@pytest.mark.parametrize(
    ("words", "told"), [(["stage=mine"], True), (["stage=mine", "init_from=null"], False), ([], False)]
)
def test_a_stage_that_is_none_of_the_chain_says_that_it_has_no_parent(paths, run, words, told):
    outcome = run("train", "experiment=stanford40_frame", *paths, *QUICK, *words, "trainer.limit_train_batches=2")
    assert outcome.status == 0, outcome.err
    line = "mine is no stage of chain=two_stream, so it has no parent; init_from=<checkpoint> names one"
    assert (line in outcome.err) == told
    assert ("no stage of" in outcome.err) == told


@pytest.mark.parametrize("setting", ["best.monitor=val/loss", "early_stopping.patience=3"])
def test_a_setting_of_a_callback_that_the_recipe_leaves_out_says_how_to_have_it(run, setting):
    outcome = run("train", "experiment=stanford40_frame", "recipe=best", f"callbacks.{setting}")
    assert outcome.status == 1
    key = setting.partition("=")[0]
    line = f"callbacks.{key}: callbacks=last_epoch, as of recipe=best, leaves that callback out; add callbacks=default"
    assert outcome.err.splitlines() == [f"error: {line}"]


@pytest.mark.ci
@pytest.mark.parametrize("stage", ["hmdb51_frame", "hmdb51_two_stream"])
@pytest.mark.parametrize("asked", ["debug=fast", "trainer.fast_dev_run=true"])
def test_a_stage_is_tried_out_before_its_parents_and_leaves_nothing(tmp_path, paths, run, stage, asked):
    outcome = run("train", f"experiment={stage}", *paths, *QUICK, asked)
    assert outcome.status == 0, outcome.err
    assert "init_from: " in outcome.err
    assert "no run is written" in outcome.err
    assert [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()] == []


def test_a_training_does_without_callbacks_loggers_and_schedules(tmp_path, paths, run):
    overrides = [each for each in QUICK if each != "~callbacks.validation"]
    without = ["callbacks=null", "logger=null", "scheduler=null", "recipe=null", "trainer.gradient_clip_val=1"]
    outcome = run("train", "experiment=stanford40_frame", *paths, *overrides, *without)
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "outputs/demo/stanford40_frame/split1-seed0"
    assert not (folder / "tensorboard").exists()
    assert set(json.loads((folder / "metrics.json").read_text())) > TAGS - {"train/loss", "train/acc"}


@pytest.mark.ci
def test_a_training_takes_what_torch_and_lightning_have(tmp_path, paths, run):
    """An optimiser and a schedule of torch, averaged weights, two loggers, and the mean average precision."""
    chosen = [
        "optimizer={_target_: torch.optim.RMSprop, lr: 1e-4}",
        "scheduler={_target_: torch.optim.lr_scheduler.ReduceLROnPlateau, patience: 1, monitor: val/map}",
        *("callbacks=[default,ema]", "logger=many", "objective=val/map", "trainer.precision=bf16-mixed"),
        *("model.batch_norm=partial", "model.head_lr_factor=10", "model.decay_norms=false", "debug=profile"),
    ]
    outcome = run("train", "experiment=stanford40_frame", *paths, *QUICK, *chosen)
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "outputs/demo/stanford40_frame/split1-seed0-debug-profile"
    assert "val/map" in (folder / "csv/metrics.csv").read_text().splitlines()[0]
    assert "fit" in (folder / "profile/fit-profile.txt").read_text()
    scalars = EventAccumulator(str(folder / "tensorboard")).Reload().Tags()["scalars"]
    assert {"lr/backbone", "lr/backbone_no_decay", "lr/head", "lr/head_no_decay"} <= set(scalars)
    last = f"resume={folder / 'checkpoints/last.ckpt'}"
    refused = run(
        "train", "experiment=stanford40_frame", *paths, *QUICK, *chosen, last, "tag=a", "model.decay_norms=true"
    )
    assert "has 4 parameter groups, this training has 2" in refused.err


@pytest.mark.ci
def test_a_sweep_skips_what_is_finished(tmp_path, paths, run):
    sweep = ["experiment=stanford40_frame", *paths, *QUICK, "sweep=learning_rate", "seed=0"]
    outcome = run("train", *sweep)
    assert outcome.status == 0, outcome.err
    assert [line.split("|")[1].strip() for line in outcome.out.splitlines()[:4:3]] == ["optimizer.lr", "0.001"]
    jobs = sorted((tmp_path / "outputs/demo/sweeps/learning_rate").glob("*/metrics.json"))
    assert len(jobs) == 2
    assert all("=" not in str(path) for path in jobs)
    times = [path.stat().st_mtime_ns for path in jobs]
    jobs[0].unlink()
    assert run("train", *sweep).status == 0
    assert jobs[0].exists()
    assert jobs[1].stat().st_mtime_ns == times[1]
    study = json.loads((jobs[0].parents[1] / "study.json").read_text())
    assert [(row["optimizer.lr"], row["runs"], row["n"]) for row in study["rows"]] == [
        ("0.0001", 1, 24),
        ("0.001", 1, 24),
    ]
    means = sorted(json.loads(job.read_text())["test/acc"] for job in jobs)
    assert sorted(row["test/acc"] for row in study["rows"]) == means


@pytest.mark.ci
def test_jobs_of_a_multirun_leave_nothing_to_each_other(paths, run, tmp_path):
    """The second job gives the same run as alone, and no loader process or picture outlives the jobs."""
    stage, outputs = "stanford40_frame", tmp_path / "outputs"
    command = [f"experiment={stage}", *paths, *QUICK, "recipe=strong", "data.num_workers=1", "data.cache=ram"]
    command += ["trainer.max_epochs=1"]
    assert run("train", *command, "seed=1").status == 0
    alone = json.loads((outputs / f"demo/{stage}/split1-seed1/metrics.json").read_text())
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    gc.collect()
    modules = sum(isinstance(thing, ActionModule) for thing in gc.get_objects())
    assert run("train", *command, "seed=0,1", "sweep.name=both", "--multirun").status == 0
    assert sum(isinstance(thing, ActionModule) for thing in gc.get_objects()) == modules
    [second] = (outputs / "demo/sweeps/both").glob("*seed-1*/metrics.json")
    after = json.loads(second.read_text())
    assert {**after, "fit_seconds": 0} == {**alone, "fit_seconds": 0}
    assert [path.name for path in sorted((outputs / "demo/sweeps/both").glob("seed-*"))] == ["seed-0", "seed-1"]
    events = list(second.parent.glob("tensorboard/events.out.*"))
    assert len(events) == len(list((outputs / f"demo/{stage}/split1-seed1/tensorboard").glob("events.out.*")))
    gc.collect()
    assert {child.pid for child in psutil.Process().children(recursive=True)} <= before


@pytest.mark.ci
def test_stages_and_options_by_pattern_are_swept_as_anything_else(tmp_path, paths, run):
    """Every job is trained, under a name of its varied settings, and the multirun ends in their table."""
    stages = run("train", "experiment=stanford40_frame,hmdb51_flow", *paths, *QUICK, "--multirun")
    assert stages.status == 0, stages.err
    assert [line.split("|")[1].strip() for line in stages.out.splitlines()[:4]] == [
        *("experiment", "----------------", "stanford40_frame", "hmdb51_flow"),
    ]
    folder = tmp_path / "outputs/demo/sweeps/stages"
    assert {path.parent.name for path in folder.glob("*/metrics.json")} == {
        *("experiment-stanford40_frame", "experiment-hmdb51_flow"),
    }
    command = ["--multirun", "experiment=stanford40_frame", *paths, *QUICK, "optimizer=glob(ad*)"]
    matching = run("train", *command)
    assert matching.status == 0, matching.err
    assert [line.split("|")[1].strip() for line in matching.out.splitlines()[2:4]] == ["adam", "adamw"]
    again = run("train", *command)
    assert again.err.count("is finished with these settings, skipped") == 2
    other = run("train", *command, "data.augmentation=reference")
    assert other.status == 1
    assert "holds another run (data.augmentation: reference, was none)" in other.err


@pytest.mark.ci
def test_two_processes_share_a_training(tmp_path, paths):
    """trainer=ddp on the CPU; the command starts itself again for the second process."""
    on_cpu = ["trainer=ddp", "trainer.accelerator=cpu"]
    with_pictures = [each for each in QUICK[1:] if each != "~callbacks.validation"]
    overrides = ["experiment=stanford40_frame", *paths, *with_pictures, *on_cpu]
    command = [sys.executable, "-m", "actionrec", "train", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "outputs/demo/stanford40_frame/split1-seed0"
    assert set(json.loads((run / "metrics.json").read_text())) > TAGS
    assert len(scores.load(run / "scores.npz").names) == 24
    assert not run.with_name("split1-seed0.partial").exists()
    images = EventAccumulator(str(run / "tensorboard")).Reload().Tags()["images"]
    assert set(images) == {"train/batch", "val/confusion", "val/wrong", "val/grad_cam", "weights/frame_stem"}
    whole = len(scores.load(run / "scores_val.npz").names)
    assert len((run / "tensorboard/projector/samples.tsv").read_text().splitlines()) == 1 + (whole + 1) // 2


def test_a_network_of_the_users_own_is_trained_and_measured(tmp_path, paths, run, monkeypatch):
    (tmp_path / "mine.py").write_text("from actionrec.modules import FrameModule\nclass Mine(FrameModule): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    outcome = run("train", "experiment=stanford40_frame", *paths, *QUICK, "model._target_=mine.Mine")
    assert outcome.status == 0, outcome.err
    assert set(json.loads((tmp_path / "outputs/demo/stanford40_frame/split1-seed0/metrics.json").read_text())) > TAGS


def test_pictures_of_other_sizes_and_kinds_are_read(tmp_path, demo_root, run, paths):
    """Gray and large images among the stills."""
    root = tmp_path / "data"
    shutil.copytree(demo_root, root)
    first, second = sorted((root / "Stanford40" / "JPEGImages").glob("running_*.jpg"))[:2]
    cv2.imwrite(str(first), np.full((600, 20), 99, np.uint8))
    cv2.imwrite(str(second), np.full((20, 600, 3), 99, np.uint8))
    outcome = run("train", "experiment=stanford40_frame", *paths, *QUICK, f"paths.root={root}", "data.strict=true")
    assert outcome.status == 0, outcome.err
    folder = tmp_path / "outputs/demo/stanford40_frame/split1-seed0"
    seen = [name for part in ("test", "val") for name in scores.load(folder / scores.FILES[part]).names]
    fitted = read(folder / "checkpoints/best.ckpt")["lineage"]["trained_on"]
    assert {first.stem, second.stem} <= {*seen, *fitted}
