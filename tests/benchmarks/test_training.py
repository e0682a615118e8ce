import copy
import sys
import time
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from omegaconf import OmegaConf

from actionrec.datasets import stanford40
from actionrec.modules import FrameModule
from actionrec.runs.manifest import settings_of
from actionrec.streams import Frame
from actionrec.system.errors import ActionRecError
from benchmarks.common import fresh, main, megabytes, run_verb
from benchmarks.data import small_pictures, write_stills
from benchmarks.training import time_to_accuracy
from benchmarks.training.__main__ import PARTS
from benchmarks.training.stages import bare_step, compose_stage
from benchmarks.training.time_to_accuracy import Clock

# In which the stages that are measured may differ from those that users train: in their data, and no download.
ALLOWED = {"data.actions", *(f"model.{stream}.backbone.weights" for stream in ("frame", "flow"))}


def test_the_bare_step_is_the_modules_own(compose_config):
    """The limit that stages are held against must not do less than they do."""
    torch.manual_seed(0)
    backbone = {"name": "resnet18", "weights": None, "stem": "inflate"}
    optimizer = {"_target_": "torch.optim.SGD", "lr": 0.1}
    inputs = {"size": 32, "streams": {"frame": Frame().settings()}}
    frame = {"backbone": backbone}
    module = FrameModule(["clap", "wave"], inputs, optimizer, label_smoothing=0.1, frame=frame).train()
    batch = {"frame": torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8), "label": torch.tensor([0, 1, 0, 1])}
    before = {name: value.clone() for name, value in module.network.named_parameters()}

    network = copy.deepcopy(module.network)
    bare_step(module, network, batch, "32-true")()
    optimizer = module.configure_optimizers()
    module._trainer = type("Trainer", (), {"is_last_batch": False})()
    module.training_step(batch, 0).backward()
    optimizer.step()
    bare = dict(network.named_parameters())
    for name, value in module.network.named_parameters():
        assert not torch.equal(value, before[name])
        assert torch.allclose(value, bare[name], atol=1e-6)


@pytest.mark.parametrize("stage", ["frame", "flow", "two_stream"])
def test_stages_are_those_that_users_train(stage, tmp_path, compose_config):
    config = compose_stage(tmp_path, stage)
    places = [f"paths.{name}={config.paths[name]}" for name in ("name", "stanford40", "hmdb51", "hmdb51_splits")]
    users = compose_config("train", f"experiment={config.stage}", "recipe=strong", "paths=real", *places)
    ours, theirs = settings_of(config), settings_of(users)
    assert {key for key in {*ours, *theirs} if ours.get(key) != theirs.get(key)} <= ALLOWED
    assert config.recipe.position == "random"
    assert (config.data.size, config.data.augmentation, config.trainer.precision) == (224, "strong", "auto")
    assert config.backbone.name == "resnet18"


def test_generated_sets_are_indexed(tmp_path):
    write_stills(tmp_path, 40, small_pictures(3))
    actions, splits = stanford40.index(tmp_path / "stanford40", "all")
    assert actions == ("clap", "run")
    assert [len(part) for part in splits] == [30, 8, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
@pytest.mark.ci
def test_memory_grows_by_what_is_held():
    assert 150 < fresh(_growth) < 250


def _growth() -> float:
    before = megabytes()
    held = np.ones(25_000_000)
    return megabytes() - before + 0 * held[0]


@pytest.mark.ci
def test_a_killed_benchmark_leaves_no_process(tmp_path):
    begun = tmp_path / "begun"
    asleep = f"open({str(begun)!r}, 'w').close() or __import__('time').sleep(100)"
    words = f"from benchmarks.common import fresh; fresh(eval, {asleep!r})"
    benchmark = psutil.Popen([sys.executable, "-c", words])
    try:
        while not begun.exists():
            assert benchmark.poll() is None
            time.sleep(0.05)
        children = benchmark.children(recursive=True)
    finally:
        benchmark.kill()
    benchmark.wait()
    gone, left = psutil.wait_procs(children, timeout=20)
    for each in left:
        each.kill()
    assert gone
    assert not left


def test_the_clock_takes_the_curve_and_stops_at_the_mark():
    clock = Clock(0.5)
    trainer = SimpleNamespace(should_stop=False, callback_metrics={})
    clock.setup(trainer, None, "fit")
    for accuracy in (0.2, 0.5):
        assert not trainer.should_stop
        trainer.callback_metrics["val/acc"] = torch.tensor(accuracy)
        clock.on_validation_end(trainer, None)
    assert trainer.should_stop
    assert clock.curve.accuracy == [pytest.approx(0.2), 0.5]
    first, second = clock.curve.seconds
    assert 0 < first < second
    assert [clock.curve.until(mark) for mark in (0.1, 0.5, 0.6)] == [(first, True), (second, True), (second, False)]


def test_the_recipes_are_timed_on_the_same_data(compose_config, tmp_path):
    for words in (time_to_accuracy.stills(tmp_path), ["experiment=flow", *time_to_accuracy.flow(tmp_path)]):
        best, strong = (compose_config("train", f"recipe={recipe}", *words) for recipe in ("best", "strong"))
        for key in (
            "dataset",
            "data.actions",
            "data.batch_size",
            "data.size",
            "backbone",
            "trainer.max_epochs",
            "split",
        ):
            assert OmegaConf.select(best, key) == OmegaConf.select(strong, key)


def test_a_benchmark_runs_the_verbs_that_there_are(capfd):
    run_verb("extract_flow", ["--help"])
    assert "extraction is powered by Hydra" in capfd.readouterr().out
    with pytest.raises(ActionRecError, match=r"^actionrec flow failed"):
        run_verb("flow", [])


def test_an_unknown_part_is_named(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmarks.training", "speed"])
    with pytest.raises(SystemExit) as stopped:
        main("benchmarks.training", PARTS, unasked=["accuracy"])
    assert stopped.value.code == 2
    assert "speed is no part; use stages, plain, tricks, depthwise, loader" in capsys.readouterr().err
