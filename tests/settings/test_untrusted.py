"""Forged checkpoints and run folders run nothing, leak nothing, and end in one line."""

import copy
import importlib
import inspect
import itertools
import json
import os
import pickle
import pkgutil
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.utils import get_object
from lightning import Callback, LightningDataModule, LightningModule
from omegaconf import DictConfig, OmegaConf, open_dict

from actionrec import datasets, streams
from actionrec.datasets.base import DataSet
from actionrec.evaluation import metrics, scores
from actionrec.evaluation.scores import Scores
from actionrec.experiment import saved
from actionrec.experiment.build import create_data, create_module
from actionrec.modules.checkpoint import Lineage, load_module, read
from actionrec.runs import manifest
from actionrec.settings import untrusted
from actionrec.settings.composition import CONF
from actionrec.settings.untrusted import allowed
from actionrec.system.errors import ActionRecError
from tests.conftest import QUICK

LIGHTNING = "lightning.pytorch.callbacks"
SECRET = "a-password-of-the-environment"
BACKBONE = {"name": "shufflenet_v2_x0_5", "weights": None, "stem": "inflate"}
ADAM = {"_target_": "torch.optim.Adam", "lr": 1e-3, "betas": [0.9, 0.999], "fused": True}
FLOW = {"algorithm": "dis", "params": {"preset": "fast", "finest_scale": 1}, "bound": 20.0, "short_side": None}
STACK = {"fields": 4, "stride": 1, "representation": "xy", "flow": FLOW}


class Bomb:
    """Runs code where it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def bombs(folder: Path, marker: Path) -> dict[str, dict[str, Any]]:
    """Mappings of which Hydra makes a folder `marker`, or would, was it asked to."""
    folder.mkdir(exist_ok=True)
    (folder / "hubconf.py").write_text(f"import os\nos.makedirs({str(marker)!r}, exist_ok=True)\ndef m(): return 64\n")
    pickled = folder / "bomb.pickle"
    pickled.write_bytes(pickle.dumps(Bomb(marker)))
    torch.save(Bomb(marker), folder / "bomb.pt")
    np.save(folder / "bomb.npy", np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    path = {"_target_": "pathlib.Path", "_args_": [str(marker)]}
    return {
        "hub": {"_target_": "torch.hub.load", "repo_or_dir": str(folder), "model": "m", "source": "local"},
        "torch": {"_target_": "torch.load", "f": str(folder / "bomb.pt"), "weights_only": False},
        "numpy": {"_target_": "numpy.load", "file": str(folder / "bomb.npy"), "allow_pickle": True},
        "joblib": {"_target_": "joblib.load", "filename": str(pickled)},
        "pathlib": {"_target_": "pathlib.Path.mkdir", "_args_": [path]},
        "os": {"_target_": "os.mkdir", "path": str(marker)},
        "dotted": {"_target_": "torch.optim.adam.torch.hub.os.mkdir", "path": str(marker)},
        "package": {"_target_": "actionrec.system.files.os.mkdir", "path": str(marker)},
        "own": {"_target_": "actionrec.system.files.write_text", "path": path, "text": "x"},
        "method": {"_target_": "hydra.utils.get_method", "path": "os.mkdir"},
        "partial": {"_target_": "os.mkdir", "_partial_": True, "path": str(marker)},
        "again": {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.mkdir", "path": str(marker)}},
        "listed": {"_target_": "builtins.list", "_args_": [[{"_target_": "os.mkdir", "path": str(marker)}]]},
        "exec": {"_target_": "builtins.exec", "_args_": [f"import os; os.mkdir({str(marker)!r})"]},
    }


BOMBS = ("hub", "torch", "numpy", "joblib", "pathlib", "os", "dotted", "package", "own", "method", "partial")
BOMBS += ("again", "listed", "exec")


@pytest.fixture
def marker(tmp_path) -> Path:
    """A folder that is there once something has run."""
    return tmp_path / "marker"


@pytest.fixture
def bomb(tmp_path, marker) -> Callable[[str], dict[str, Any]]:
    return lambda name: bombs(tmp_path / "evil", marker)[name]


@pytest.fixture(scope="module")
def honest(demo_root, tmp_path_factory, compose_config) -> Path:
    """`outputs/demo` with an untrained run of stills and one of clips: whole, but for TensorBoard's files."""
    outputs = tmp_path_factory.mktemp("honest") / "outputs"
    for stage in ("stanford40_frame", "hmdb51_frame"):
        places = [f"paths.root={demo_root}", f"paths.outputs={outputs}"]
        config = compose_config("train", f"experiment={stage}", *places, *QUICK, "init_from=null")
        data = create_data(config)
        module = create_module(config, data, {})
        split = None if stage == "stanford40_frame" else 1
        trained_on = data.names("train")
        said = Lineage("FrameModule", stage, "demo", split, 0, list(data.actions), BACKBONE, data.inputs, trained_on)
        run = outputs / "demo" / stage / "split1-seed0"
        (run / "checkpoints").mkdir(parents=True)
        content = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), "lineage": said.plain()}
        torch.save({**content, "epoch": 0, "pytorch-lightning_version": "2.6.6"}, run / "checkpoints" / "best.ckpt")
        (run / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
        names, labels = data.names("test"), torch.tensor([sample["label"] for sample in data.datasets["test"]])
        logits = torch.randn(len(names), 12, generator=torch.Generator().manual_seed(0))
        found = Scores(names, logits, labels, data.actions, [data.groups()[name] for name in names])
        scores.save(found, run / "scores.npz")
        (run / "metrics.json").write_text(json.dumps(metrics.measure(found, "test") | metrics.intervals(found, "test")))
    return outputs / "demo"


@pytest.fixture
def places(demo_root, demo_frames, tmp_path) -> list[str]:
    """Overrides that read the demo set, without its flow, and write below the test's own folder."""
    return [f"paths.root={demo_root}", f"paths.frames={demo_frames}", f"paths.outputs={tmp_path / 'outputs'}"]


@pytest.fixture
def demo(honest, tmp_path) -> Path:
    """A copy of it where `places` says that outputs are."""
    shutil.copytree(honest, tmp_path / "outputs" / "demo")
    return tmp_path / "outputs" / "demo"


def edit(path: Path, place: str, value: Any) -> None:
    """Change a setting of a run's configuration."""
    settings = yaml.safe_load(path.read_text())
    put(settings, place, value)
    path.write_text(yaml.safe_dump(settings))


@pytest.fixture
def content(honest) -> dict[str, Any]:
    """The checkpoint of stills, to be changed."""
    return torch.load(honest / "stanford40_frame/split1-seed0/checkpoints/best.ckpt", weights_only=True)


def put(tree: dict[str, Any], place: str, value: Any) -> None:
    *above, last = place.split(".")
    for key in above:
        tree = tree[int(key)] if isinstance(tree, list) else tree.setdefault(key, {})
    tree[int(last) if isinstance(tree, list) else last] = value  # type: ignore[call-overload]


def changed_copy(tree: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    """A tree with another value at a place; tensors are shared."""
    copied = copy.deepcopy({key: part for key, part in tree.items() if key != "state_dict"})
    put(copied, place, value)
    return {**copied, "state_dict": tree["state_dict"]}


def refused(outcome, marker: Path, *says: str) -> None:
    """A command line ended with status 1 and one line, and ran and leaked nothing."""
    assert not marker.exists()
    assert outcome.status == 1
    lines = [line for line in outcome.err.strip().splitlines() if not line.startswith("[")]  # the log's
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("error: ")
    assert "weights_only" not in lines[0]
    assert SECRET not in outcome.out + outcome.err
    for text in says:
        assert text in lines[0]


# ------------------------------------------------------------------------------------------------- command lines

PLACES = (
    "lineage.inputs.size",
    "lineage.inputs.cache",
    "lineage.inputs.flow",
    "lineage.inputs.flow.params.preset",
    "lineage.actions",
    "lineage.actions.0",
    "lineage.parents.parent.inputs.size",
    "hyper_parameters.optimizer",
    "hyper_parameters.scheduler",
    "hyper_parameters.backbone",
    "hyper_parameters.backbone.weights",
    "hyper_parameters.inputs.size",
)


@pytest.mark.parametrize("place", PLACES)
def test_a_forged_checkpoint_is_not_read(content, tmp_path, bomb, marker, place):
    for name in BOMBS:
        torch.save({**changed_copy(content, place, bomb(name)), "state_dict": {}}, tmp_path / "x.ckpt")
        with pytest.raises(ActionRecError, match=r"x\.ckpt: (lineage|hyper_parameters)\.[^\n]*$"):
            read(tmp_path / "x.ckpt")
    assert not marker.exists()


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("lineage.inputs.size", "hub"),
        ("lineage.actions", "pathlib"),
        ("lineage.inputs.flow.params.preset", "torch"),
        ("hyper_parameters.optimizer", "method"),
    ],
)
def test_evaluate_of_a_forged_checkpoint_runs_nothing(content, tmp_path, places, run, bomb, marker, place, name):
    torch.save(changed_copy(content, place, bomb(name)), tmp_path / "x.ckpt")
    given = [f"checkpoint={tmp_path / 'x.ckpt'}", f"output={tmp_path / 'o'}"]
    refused(run("evaluate", "experiment=stanford40_frame", *places, *QUICK, *given), marker, f"x.ckpt: {place}")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("lineage.actions", ["${oc.env:ACTIONREC_SECRET}", "b"]),
        ("lineage.stage", "${oc.env:ACTIONREC_SECRET}"),
        ("lineage.inputs.position", "${oc.env:ACTIONREC_SECRET}"),
        ("lineage.inputs.size", "${oc.decode:${oc.env:ACTIONREC_SECRET}}"),
    ],
)
def test_interpolations_of_a_checkpoint_are_not_resolved(
    content, tmp_path, places, run, marker, monkeypatch, place, value
):
    monkeypatch.setenv("ACTIONREC_SECRET", SECRET)
    put(content, place, value)
    torch.save(content, tmp_path / "x.ckpt")
    given = [f"checkpoint={tmp_path / 'x.ckpt'}", f"output={tmp_path / 'o'}"]
    refused(run("evaluate", "experiment=stanford40_frame", *places, *QUICK, *given), marker, f"x.ckpt: {place}")


def test_training_from_a_forged_checkpoint_runs_nothing(content, tmp_path, places, run, bomb, marker):
    torch.save(changed_copy(content, "lineage.inputs.size", bomb("torch")), tmp_path / "x.ckpt")
    given = [f"init_from={tmp_path / 'x.ckpt'}", f"run_dir={tmp_path / 'r'}"]
    refused(run("train", "experiment=hmdb51_frame", *places, *QUICK, *given), marker, "x.ckpt: lineage.inputs.size")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(("place", "name"), [("data.strict", "hub"), ("data.actions", "pathlib"), ("data", "partial")])
def test_report_of_a_strangers_run_runs_nothing(demo, places, run, bomb, marker, place, name):
    edit(demo / "hmdb51_frame/split1-seed0/config.yaml", place, bomb(name))
    outcome = run("report", *places, "gallery=1")
    assert outcome.status == 0, outcome.err
    assert not marker.exists()
    [line] = [line for line in (demo / "report/missing.csv").read_text().splitlines() if line.startswith("gallery,")]
    assert "config.yaml: data" in line


def test_report_of_an_honest_run_has_its_gallery_and_writes_no_frames_where_a_file_says(demo, places, run, tmp_path):
    edit(demo / "hmdb51_frame/split1-seed0/config.yaml", "data.frame.folder", str(tmp_path / "elsewhere"))
    outcome = run("report", *places, "gallery=1")
    assert outcome.status == 0, outcome.err
    assert "gallery" not in (demo / "report/missing.csv").read_text()
    assert not (demo / "report/damaged.csv").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_report_leaks_no_environment(demo, places, run, monkeypatch):
    monkeypatch.setenv("ACTIONREC_SECRET", SECRET)
    for stage, place in (("stanford40_frame", "stage_note"), ("hmdb51_frame", "data.root")):
        edit(demo / stage / "split1-seed0/config.yaml", place, "${oc.env:ACTIONREC_SECRET}")
    outcome = run("report", *places, "gallery=1")
    assert outcome.status == 0, outcome.err
    assert (demo / "report/damaged.csv").read_text().count("is an interpolation") == 2
    assert SECRET not in outcome.out + outcome.err
    for file in (demo / "report").iterdir():
        assert SECRET.encode() not in file.read_bytes()


def test_report_of_a_forged_checkpoint_runs_nothing_and_goes_on(demo, places, run, bomb, marker):
    best = demo / "hmdb51_frame/split1-seed0/checkpoints/best.ckpt"
    content = torch.load(best, weights_only=True)
    put(content, "lineage.inputs.size", bomb("hub"))
    torch.save(content, best)
    outcome = run("report", *places, "gallery=1")
    assert outcome.status == 0, outcome.err
    assert not marker.exists()
    assert "lineage.inputs.size" in (demo / "report/damaged.csv").read_text()


def test_fuse_of_a_forged_checkpoint_runs_nothing(demo, places, run, bomb, marker, tmp_path):
    runs = [demo / stage / "split1-seed0" for stage in ("stanford40_frame", "hmdb51_frame")]
    for each in runs:
        for name in ("scores_val.npz", "scores_train.npz"):
            shutil.copy(each / "scores.npz", each / name)
    content = torch.load(runs[1] / "checkpoints/best.ckpt", weights_only=True)
    put(content, "lineage.inputs", bomb("hub"))
    torch.save(content, runs[1] / "checkpoints/best.ckpt")
    given = [f"runs.frame={runs[0]}", f"runs.flow={runs[1]}", f"output={tmp_path / 'o'}"]
    refused(run("fuse", *places, *given), marker, "best.ckpt: lineage.inputs")


SEARCH = ["search.trials=1", "search.space=[{key: optimizer.lr, low: 1e-4, high: 1e-3}]"]


@pytest.mark.parametrize(
    ("place", "name"),
    [("data.strict", "hub"), ("trainer.callbacks", "partial"), ("data", "hub")],
)
def test_search_over_a_strangers_trial_runs_nothing(demo, places, run, bomb, marker, tmp_path, place, name):
    optuna = pytest.importorskip("optuna")
    folder = tmp_path / "s"
    shutil.copytree(demo / "stanford40_frame/split1-seed0", folder / "trial000")
    (folder / "trial000/metrics.json").write_text('{"val/acc": 0.5}')
    edit(folder / "trial000/config.yaml", place, bomb(name))
    study = optuna.create_study(study_name="lr", storage=f"sqlite:///{folder / 'study.db'}", direction="maximize")
    spread = {"optimizer.lr": optuna.distributions.FloatDistribution(1e-4, 1e-3)}
    study.add_trial(optuna.trial.create_trial(params={"optimizer.lr": 5e-4}, distributions=spread, value=0.5))
    given = [*SEARCH, f"run_dir={folder}", "search.name=lr"]
    refused(run("search", "experiment=stanford40_frame", *places, *QUICK, *given), marker, "config.yaml")
    assert "test/acc" not in (folder / "trial000/metrics.json").read_text()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("trainer", {"e._target_": "torch.load", "e.f": "bomb.pt", "e.weights_only": False}),
        ("trainer", {"e[_target_]": "torch.load", "e[f]": "bomb.pt"}),
        ("flow", {"params.e._target_": "numpy.savetxt"}),
        ("data.size", {"_target_": "torch.hub.load"}),
        ("optimizer._target_", "os.mkdir"),
        ("callbacks.best._target_", "os.mkdir"),
        ("data.frame.folder", "${oc.env:ACTIONREC_SECRET}"),
        ("model._target_", "torch.hub.load"),
        ("data", "text"),
    ],
)
def test_training_a_strangers_run_again_or_measuring_it_runs_nothing(
    demo, places, run, bomb, marker, tmp_path, place, value
):
    bomb("os")  # writes the files
    folder = demo / "hmdb51_frame/split1-seed0"
    if isinstance(value, dict):
        value = {key: str(tmp_path / "evil" / each) if each == "bomb.pt" else each for key, each in value.items()}
    edit(folder / "config.yaml", place, value)
    (folder / "manifest.json").unlink(missing_ok=True)
    refused(run("train", f"run_again={folder}", *places, *QUICK, "tag=again"), marker, "config.yaml")
    best = f"checkpoint={folder / 'checkpoints/best.ckpt'}"
    refused(run("evaluate", "experiment=hmdb51_frame", *places, "trainer=cpu", best), marker, "config.yaml")


def test_a_file_names_neither_a_compiler_nor_a_place_to_write(demo, places, run, tmp_path, marker):
    """What of it would, is left out; all else is the run's."""
    folder = demo / "stanford40_frame/split1-seed0"
    script = tmp_path / "compiler.sh"
    script.write_text(f"#!/bin/sh\nmkdir {marker}\n")
    script.chmod(0o755)
    edit(
        folder / "config.yaml", "compile", {"options": {"cpp.cxx": [str(script)]}, "backend": "evil", "dynamic": False}
    )
    edit(folder / "config.yaml", "paths.outputs", str(tmp_path / "victim"))
    edit(folder / "config.yaml", "run_dir", str(tmp_path / "victim/run"))
    (folder / "manifest.json").unlink(missing_ok=True)
    with initialized(f"run_again={folder}", *places) as config:
        restored = saved.for_training(config, folder, [])
    assert restored.compile == {"dynamic": False}
    assert restored.paths.outputs == str(tmp_path / "outputs")
    assert restored.run_dir == str(tmp_path / "outputs/demo/stanford40_frame/split1-seed0")
    whole = (folder / "config.yaml").read_text()
    for place in ("trainer", "callbacks", "paths"):
        (folder / "config.yaml").write_text(whole)
        edit(folder / "config.yaml", place, "text")
        with initialized(f"run_again={folder}", *places) as config, pytest.raises(ActionRecError, match=place):
            saved.for_training(config, folder, [])
    clips = demo / "hmdb51_frame/split1-seed0"
    edit(clips / "config.yaml", "data.frame.folder", str(tmp_path / "victim/frames"))
    edit(clips / "config.yaml", "paths.frames", str(tmp_path / "victim/frames"))
    with initialized("experiment=hmdb51_frame", *places) as config:
        saved.for_measurement(config, clips, [])
        assert "victim" not in OmegaConf.to_yaml(config, resolve=True)


def test_a_file_does_not_say_where_a_split_is_drawn(demo, places, tmp_path):
    clips = demo / "hmdb51_frame/split1-seed0"
    section = {
        "_target_": "actionrec.datasets.folder.Folder",
        "name": "folder",
        "videos": "mine",
        "csv": None,
        "seed": 0,
    }
    edit(clips / "config.yaml", "data.dataset", {**section, "split_file": str(tmp_path / "victim.csv")})
    with initialized("experiment=hmdb51_frame", *places) as config:
        saved.for_measurement(config, clips, [])
        assert config.data.dataset.split_file == str(tmp_path / "outputs/demo/split-seed0.csv")
        assert set(config.dataset) == {*section, "split_file"}
    with initialized(f"run_again={clips}", *places) as config:
        (clips / "manifest.json").unlink(missing_ok=True)
        edit(clips / "config.yaml", "paths.outputs", str(tmp_path / "victim"))
        assert "victim" not in OmegaConf.to_yaml(saved.for_training(config, clips, []), resolve=True)


def test_check_data_refuses_what_no_data_module_takes(honest):
    path = honest / "hmdb51_frame/split1-seed0/config.yaml"
    data = untrusted.read_config(path)["data"]
    for place, value, named in (
        ("dataset._target_", "actionrec.datasets.demo.generate", "data.dataset._target_"),
        ("dataset.videos", 5, "data.dataset.videos"),
        ("dataset", None, "data.dataset"),
        ("frame._target_", "os.mkdir", "data.frame._target_"),
        ("frame.folder", {"a": {"b": 1}}, "data.frame.folder"),
        ("position", 5, "data.position"),
        ("more", 5, "data.more"),
    ):
        wrong = json.loads(json.dumps(data))
        put(wrong, place, value)
        with pytest.raises(ActionRecError, match=re.escape(named)):
            untrusted.check_data(wrong, path)


@contextmanager
def initialized(*overrides: str) -> Iterator[DictConfig]:
    """A configuration as a task gets it from Hydra's command line."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        whole = compose("train", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(whole)
        try:
            with open_dict(whole):
                del whole["hydra"]
            yield whole
        finally:
            HydraConfig.instance().cfg = None


@pytest.mark.parametrize("kept", ["best", "last"])
def test_a_run_that_is_trained_again_keeps_the_epoch_that_it_kept(kept, honest, places, tmp_path):
    """Whatever its recipe, whose callbacks may have changed since, says today."""
    folder = tmp_path / "copy/split1-seed0"
    shutil.copytree(honest / "stanford40_frame/split1-seed0", folder)
    then = manifest.read(folder)
    assert then
    replace(then, choices={"recipe": "best"}).write(folder)
    for name in ("best", "early_stopping") if kept == "last" else ():
        edit(folder / "config.yaml", f"callbacks.{name}", None)
    if kept == "best":
        edit(folder / "config.yaml", "callbacks.best.monitor", "val/loss")
    with initialized(f"run_again={folder}", *places) as config:
        again = saved.for_training(config, folder, []).callbacks
    if kept == "best":
        assert (again.best.monitor, again.early_stopping.monitor) == ("val/loss", "val/acc")
    else:
        assert not {"best", "early_stopping"} & {*again}
    with initialized(f"run_again={folder}", "callbacks=last_epoch", *places) as config:
        again = saved.for_training(config, folder, []).callbacks
    assert not again.get("best")
    assert not again.get("early_stopping")


@pytest.mark.ci
def test_a_run_that_is_trained_again_keeps_its_callbacks_and_its_recipe(honest, places, run, tmp_path):
    folder = tmp_path / "copy/split1-seed0"
    shutil.copytree(honest / "stanford40_frame/split1-seed0", folder)
    (folder / "manifest.json").unlink(missing_ok=True)
    for given in ("recipe=strong", "experiment=hmdb51_flow"):
        outcome = run("train", f"run_again={folder}", *places, given)
        assert outcome.status == 1
        assert "fixes experiment and recipe; leave" in outcome.err
    assert "actionrec train alone" in run("evaluate", f"run_again={folder}", "experiment=stanford40_frame").err
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    del settings["callbacks"]["early_stopping"], settings["callbacks"]["best"]
    settings["callbacks"]["origin"]["_target_"] = "actionrec.callbacks.Origin"  # its name in earlier versions
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    with initialized(f"run_again={folder}", *places) as config:
        assert not {"early_stopping", "best"} & {*saved.for_training(config, folder, []).callbacks}
    for name in ("BackboneFinetuning", "BatchSizeFinder", "LearningRateFinder"):
        more = {**settings["callbacks"], "more": {"_target_": f"{LIGHTNING}.{name}"}}
        (folder / "config.yaml").write_text(yaml.safe_dump({**settings, "callbacks": more}))
        again = initialized(f"run_again={folder}", *places)
        with again as config, pytest.raises(ActionRecError, match=r"had further callbacks \(more\)"):
            saved.for_training(config, folder, [])
    settings["callbacks"]["ema"] = {"_target_": f"{LIGHTNING}.EMAWeightAveraging"}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    outcome = run("train", f"run_again={folder}", *places)
    assert outcome.status == 1
    assert "ema" in outcome.err


# ---------------------------------------------------------------------------------------- pickles that run something


def pickled(path: Path, marker: Path, legacy: bool) -> Path:
    content = {"state_dict": {}, "hyper_parameters": {}, "lineage": Bomb(marker)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("key", ["init_from", "checkpoint"])
def test_a_pickle_in_a_checkpoint_does_not_run(tmp_path, places, run, marker, legacy, key):
    path = pickled(tmp_path / "x.ckpt", marker, legacy)
    verb, stage = ("train", "hmdb51_frame") if key == "init_from" else ("evaluate", "stanford40_frame")
    given = [f"{key}={path}", f"{'run_dir' if verb == 'train' else 'output'}={tmp_path / 'o'}"]
    refused(run(verb, f"experiment={stage}", *places, *QUICK, *given), marker, f"{key}={path}: not a checkpoint")


@pytest.mark.parametrize("change", ["pickle", "hyper_parameters", "weights"])
def test_resuming_a_forged_checkpoint_runs_nothing(content, tmp_path, places, run, bomb, marker, change):
    path = tmp_path / "x.ckpt"
    if change == "pickle":
        pickled(path, marker, legacy=False)
    else:
        put(content, "hyper_parameters.optimizer" if change == "hyper_parameters" else "state_dict", bomb("os"))
        torch.save(content, path)
    given = [f"resume={path}", f"run_dir={tmp_path / 'r'}"]
    refused(run("train", "experiment=stanford40_frame", *places, *QUICK, *given), marker, "x.ckpt")


def test_a_pickle_in_a_backbones_weights_does_not_run(tmp_path, places, run, marker):
    torch.save(Bomb(marker), tmp_path / "w.pt")
    given = [*QUICK, f"backbone.weights={tmp_path / 'w.pt'}", f"run_dir={tmp_path / 'r'}"]
    refused(run("train", "experiment=stanford40_frame", *places, *given), marker, "backbone.weights=")


def test_a_pickle_in_the_weights_of_raft_does_not_run(tmp_path, marker):
    from actionrec.flow import raft

    torch.save(Bomb(marker), tmp_path / "w.pt")
    with pytest.raises(ActionRecError, match=r"flow\.params\.weights=.*not a state dict") as error:
        raft.create_raft("raft_small", str(tmp_path / "w.pt"), 1)
    assert "weights_only" not in str(error.value)
    assert not marker.exists()


def test_a_pickle_in_scores_does_not_run(tmp_path, marker):
    np.savez(tmp_path / "scores.npz", **dict.fromkeys(("names", "logits", "labels", "actions", "groups"), Bomb(marker)))
    with pytest.raises(ActionRecError, match="not a scores file"):
        scores.load(tmp_path / "scores.npz")
    assert not marker.exists()


# ------------------------------------------------------------------------------------------------ targets of a file

RUN = {
    "work_dir": "/out/run.partial",
    "data": {"_target_": "actionrec.datamodules.Stanford40FrameDataModule", "size": 64, "actions": ["a", "b"]},
    "model": {"_target_": "actionrec.modules.FrameModule", "optimizer": ADAM, "scheduler": {}},
    "optimizer": ADAM,
    "scheduler": {"_target_": "actionrec.modules.schedules.onecycle", "pct_start": 0.3},
    "callbacks": {
        "best": {
            "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
            "dirpath": "/out/run.partial/checkpoints",
            "filename": "best",
        },
        "origin": {"_target_": "actionrec.callbacks.LogLineage", "config": "/out/run.partial/config.yaml"},
    },
    "logger": {
        "_target_": "actionrec.callbacks.tensorboard.TensorBoard",
        "save_dir": "/out/run.partial",
        "name": "",
        "version": 1,
    },
    "trainer": {
        "_target_": "actionrec.system.hardware.create_trainer",
        "default_root_dir": "/out/run.partial",
        "devices": 1,
    },
}


def changed(place: str, value: Any) -> dict[str, Any]:
    config = json.loads(json.dumps(RUN))
    put(config, place, value)
    return config


def test_what_conf_makes_may_be_said(honest):
    untrusted.check_targets(RUN, Path("config.yaml"))
    for place, target in (
        ("optimizer._target_", "torch.optim.adamw.AdamW"),
        ("model.optimizer._target_", "torch.optim.SGD"),
        ("scheduler._target_", "torch.optim.lr_scheduler.StepLR"),
        ("scheduler._target_", "actionrec.modules.schedules.cyclic"),
        ("logger._convert_", "all"),
        ("data._recursive_", False),
    ):
        untrusted.check_targets(changed(place, target), Path("config.yaml"))
    for run in honest.glob("*/split1-seed0"):
        config = untrusted.read_config(run / "config.yaml")
        untrusted.check_targets(config, run / "config.yaml")
        data = untrusted.check_data(config["data"], run / "config.yaml")
        assert data["_target_"] == "actionrec.datamodules.create"
        assert data["size"] == 64


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize(
    "place", ["data.size", "callbacks.more", "data", "optimizer.betas", "note", "trainer.plugins", "model.frozen"]
)
def test_no_bomb_is_let_through(bomb, marker, name, place):
    for value in (bomb(name), [bomb(name)]):
        if place != "data" or isinstance(value, dict):
            with pytest.raises(ActionRecError, match=rf"^config\.yaml: {place}[^\n]*$"):
                untrusted.check_targets(changed(place, value), Path("config.yaml"))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        # A target at the place of another, of a package that it only imports, or dressed up.
        ("data._target_", "actionrec.modules.FrameModule"),
        ("optimizer._target_", "torch.optim.lr_scheduler.StepLR"),
        ("optimizer._target_", "torch.optim.Adam.__init__"),
        ("optimizer._target_", "torch.optim.adam.os.system"),
        ("optimizer._target_", "torch.optim.adam.cast"),
        ("optimizer._target_", " torch.optim.Adam"),
        ("optimizer._target_", "torch.optim.Adam\n"),
        ("optimizer._target_", ["torch.optim.Adam"]),
        ("optimizer._target_", {"_target_": "torch.optim.Adam"}),
        ("optimizer._target_", None),
        ("scheduler._target_", "actionrec.modules.schedules.OneCycleLR"),
        ("scheduler.schedulers", [{"_target_": "torch.optim.lr_scheduler.StepLR"}]),
        ("callbacks.more", {"_target_": "lightning.pytorch.callbacks.LambdaCallback"}),
        ("callbacks.more", {"_target_": f"{LIGHTNING}.BackboneFinetuning", "lambda_func": {"_target_": "os.system"}}),
        ("callbacks.best.deep", {"_target_": "actionrec.callbacks.LogThroughput"}),
        ("_target_", "torch.optim.Adam"),
        # Hydra's other keys.
        ("data._args_", ["x"]),
        ("data._partial_", True),
        ("data._partial_", False),
        ("data._convert_", "exec"),
        ("data._recursive_", "yes"),
        ("data._mode_", 1),
        # Places outside of the run's own.
        ("callbacks.best.dirpath", "/home/someone"),
        ("callbacks.best.dirpath", "/out/run.partial/../../home"),
        ("callbacks.best.dirpath", "checkpoints"),
        ("callbacks.best.filename", "/home/someone/x"),
        ("callbacks.best.filename", "../x"),
        ("callbacks.origin.config", "/home/someone/.ssh/id_rsa"),
        ("logger.save_dir", "/"),
        ("logger.version", "../../x"),
        ("trainer.default_root_dir", "/home"),
        ("work_dir", "/elsewhere"),
        # No plain data.
        ("data.size", "${oc.env:HOME}"),
        ("data.size", {1: 2}),
        ("data.size", {1, 2}),
    ],
)
def test_what_a_file_may_not_say(place, value):
    config = json.loads(json.dumps(RUN))
    put(config, place, value)
    with pytest.raises(ActionRecError, match=r"^config\.yaml: [^\n]+$"):
        untrusted.check_targets(config, Path("config.yaml"))


def test_a_trusted_module_may_be_named_and_what_it_imports_may_not(tmp_path, monkeypatch):
    package = tmp_path / "mylab_of_this_test"
    package.mkdir()
    (package / "__init__.py").write_text("import os\nfrom os import mkdir\n")
    (package / "optim.py").write_text("class Lion: ...\ndef warm(): ...\nvalue = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = changed("optimizer._target_", f"{package.name}.optim.Lion")
    with pytest.raises(ActionRecError, match=r"optimizer\._target_=mylab_of_this_test.* trust="):
        untrusted.check_targets(said, Path("config.yaml"))
    for trust in ([package.name], [f"{package.name}.optim"]):
        untrusted.check_targets(said, Path("config.yaml"), trust)
        untrusted.check_hyper_parameters({"optimizer": said["optimizer"]}, Path("x.ckpt"), trust)
    for target in ("os.system", "mkdir", "optim.value", "optim.nothing", "optim", "optim.Lion.__init__.__globals__"):
        said = changed("optimizer._target_", f"{package.name}.{target}")
        with pytest.raises(ActionRecError, match=r"^config\.yaml: [^\n]+$"):
            untrusted.check_targets(said, Path("config.yaml"), [package.name])
    said = changed("optimizer._target_", f"{package.name}_too.optim.Lion")
    with pytest.raises(ActionRecError, match=r"config\.yaml"):
        untrusted.check_targets(said, Path("config.yaml"), [package.name])


# ------------------------------------------------------------------------------------------- a run's configuration


def test_a_configuration_is_read_as_omegaconf_reads_it(tmp_path):
    content = OmegaConf.create(
        {"lr": 1e-4, "small": "1e-4", "a": [1, None, True, 2.5, "yes"], "b": {"c": "x: y", "d": "ü #1", "e": {}}}
    )
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(content))
    assert untrusted.read_config(tmp_path / "config.yaml") == OmegaConf.to_container(content)
    (tmp_path / "config.yaml").write_text("lr: 1e-4\n")
    assert untrusted.read_config(tmp_path / "config.yaml") == {"lr": 1e-4}


LAUGHS = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9) or 1}]\n" if i else "a0: &a0 [1]\n" for i in range(30))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"# nothing\n",
        b"text",
        b"[1, 2]",
        b"a: [",
        b"a: {b: 1, b: 2}\na: 3",
        b"a: ${oc.env:HOME}",
        b"a: {b: ['x${a}y']}",
        b'a: "${a}"',
        b"${oc.env:HOME}: 1",
        b"a: ${",
        b"1: 2",
        b"? [1, 2]\n: 3",
        b"a: !!python/object/apply:os.mkdir [x]",
        b"a: !!binary aGk=",
        b"a: !own x",
        b"a: !!int '3'",
        LAUGHS.encode(),
        b"a: &a {b: *a}",
        b"a: " + b"[" * 100_000,
        b"a: " + b"{b: " * 1000,
        b"- " * 5000,
        b"a: " + b"x" * (1 << 19),
        b"a: " + b"9" * 5000,
        b"\xff\xfea\x00:\x00",
        b"a: \xff",
        b"a: \x00",
        b"a: 1\n---\nb: 2",
        bytes(1000),
    ],
    ids=itertools.count(),
)
def test_what_is_no_configuration_gets_one_line(tmp_path, content):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ActionRecError, match=r"config\.yaml: [^\n]+$") as error:
        untrusted.read_config(path)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device"])
def test_what_is_no_file_is_not_read(tmp_path, kind):
    path = tmp_path / "config.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    for read_file in (untrusted.read_config, untrusted.read_overrides):
        with pytest.raises(ActionRecError, match=r"there is no .*config\.yaml"):
            read_file(path)


def test_overrides_are_read_as_they_were_typed(tmp_path):
    path = tmp_path / "overrides.yaml"
    typed = ["optimizer.lr=1e-3", "seed=1", "paths.root=${oc.env:HOME}"]
    path.write_text(OmegaConf.to_yaml(OmegaConf.create(typed), resolve=False))
    assert untrusted.read_overrides(path) == typed
    for content in ("a: 1", "[1]", "[a, [b]]", "- &a x\n- *a", "[", ""):
        path.write_text(content)
        with pytest.raises(ActionRecError, match=r"overrides\.yaml: [^\n]+$"):
            untrusted.read_overrides(path)


# --------------------------------------------------------------------------------- descriptions inside a checkpoint


def whole_lineage() -> dict[str, Any]:
    """With all keys, and a grandparent."""

    def made(model: str, parents: dict[str, Any]) -> dict[str, Any]:
        backbone = {**BACKBONE, "mean": [0.5] * 3, "std": [0.5] * 3, "image_size": 224}
        backbone = {"frame": backbone, "flow": {**BACKBONE, "weights": "/w.pth"}} if parents else backbone
        inputs = {"size": 64, "position": "middle", **STACK}
        said = Lineage(model, "a_stage", "demo", 1, 0, ["a", "b"], backbone, inputs, ["#1 (ü) ${x}"], parents)
        return {
            **said.plain(),
            "versions": {"torch": "2.14.1"},
            "normalisation": {"frame": {"mean": [1], "std": [2.5]}},
        }

    def as_parent(lineage: dict[str, Any]) -> dict[str, Any]:
        return {
            "path": "o ${x}/best.ckpt",
            "sha256": "0" * 64,
            **{k: v for k, v in lineage.items() if k != "trained_on"},
        }

    flow = as_parent(made("FlowModule", {}))
    frame = as_parent({**made("FrameModule", {"parent": flow}), "backbone": BACKBONE})
    return made("TwoStreamModule", {"frame": frame, "flow": flow})


def test_streams_of_any_name_pass():
    seen = {"frame": {"_target_": "actionrec.streams.Frame"}, "slow": {"_target_": "actionrec.streams.Flow", **FLOW}}
    inputs = {"size": 64, "position": "middle", "streams": seen}
    lineage = {**whole_lineage(), "inputs": inputs, "backbone": {"frame": BACKBONE, "slow": BACKBONE}}
    assert untrusted.check_lineage(lineage, Path("x.ckpt")) == lineage
    settings = {"frame": {"backbone": BACKBONE}, "slow": {"backbone": BACKBONE}, "frozen": ["slow"]}
    hparams = {"inputs": inputs, "optimizer": ADAM, **settings}
    untrusted.check_hyper_parameters(hparams, Path("x.ckpt"))
    for place, value in (
        ("inputs.streams.slow._target_", "os.mkdir"),
        ("inputs.streams.slow._target_", "actionrec.streams.create"),
        ("inputs.streams.slow._target_", "actionrec.streams.base.Modality"),
        ("inputs.streams.slow._partial_", True),
        ("inputs.streams.slow.folder", "/etc"),
        ("inputs.streams.slow.fields", 10**7),
        ("inputs.streams.slow.size", 10**4),
        ("inputs.streams.slow.size", "112"),
        ("inputs.streams.slow.params", {"x": {"_target_": "os.mkdir"}}),
        ("inputs.streams._target_", {}),
        ("inputs.streams.slow", None),
        ("inputs.streams", []),
        ("slow.backbone.weights", "/x/y.pth"),
        ("slow.more", 1),
        ("slow", {}),
        ("fast", {"backbone": BACKBONE}),
        ("frozen", ["fast"]),
    ):
        forged = copy.deepcopy(hparams)
        put(forged, place, value)
        with pytest.raises(ActionRecError, match=r"^x\.ckpt: hyper_parameters[^\n]*$"):
            untrusted.check_hyper_parameters(forged, Path("x.ckpt"))
    with pytest.raises(ActionRecError, match=r"backbone has other streams than lineage\.inputs"):
        untrusted.check_lineage({**lineage, "backbone": {"fast": BACKBONE}}, Path("x.ckpt"))


@pytest.mark.parametrize("name", ["\x1b[2J", "x" * 5000, 5, ("a", "b")])
def test_names_of_streams_do_not_reach_the_terminal(name):
    """Not even in the message for another setting that is wrong."""
    frame = {"_target_": "actionrec.streams.Frame"}
    hparams = {"frozen": ["other"], "inputs": {"size": 64, "streams": {name: frame}}}
    with pytest.raises(ActionRecError, match=r"^x\.ckpt: hyper_parameters[^\n]*$") as error:
        untrusted.check_hyper_parameters(hparams, Path("x.ckpt"))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 400


def test_a_network_without_streams_gets_one_line():
    with pytest.raises(ActionRecError, match=r"frozen\[0\]=frame: must be a stream of the network"):
        untrusted.check_hyper_parameters({"inputs": {"streams": {}}, "frozen": ["frame"]}, Path("x.ckpt"))


def test_a_whole_lineage_passes_and_what_older_ones_lack_is_empty():
    whole = whole_lineage()
    assert untrusted.check_lineage(whole, Path("x.ckpt")) == whole
    older = {key: value for key, value in whole.items() if key not in ("parents", "versions", "normalisation")}
    assert untrusted.check_lineage(older, Path("x.ckpt")) == {**older, "parents": {}, "versions": {}}


class Text(str):
    """A string that is more than one."""


WRONG = [
    ("model", "ActionModule"),
    ("model", "TwoStream"),
    ("model", ["FrameModule"]),
    ("stage", "a\nb"),
    ("stage", "\x1b[2J"),
    ("stage", "x" * 201),
    ("stage", Text("a")),
    ("stage", 1),
    ("data", None),
    ("split", "1"),
    ("split", True),
    ("split", -1),
    ("split", 1.0),
    ("seed", -1),
    ("seed", 2**32),
    ("seed", None),
    ("actions", "ab"),
    ("actions", ["a"]),
    ("actions", ["a", "a"]),
    ("actions", ["a", 1]),
    ("actions", ["a", ["b"]]),
    ("actions", {"a": 1, "b": 2}),
    ("actions", ["a", "${b}"]),
    ("actions", ["a", "???"]),
    ("actions", ["a", "\ud800"]),
    ("backbone", None),
    ("backbone.frame.name", "../x"),
    ("backbone.frame.name", "hf-hub:someone/model"),
    ("backbone.frame.name", "timm:hf-hub:someone/model"),
    ("backbone.frame.weights", 1),
    ("backbone.frame.mean", [float("nan")]),
    ("backbone.frame.mean", []),
    ("backbone.frame.mean", "0.5"),
    ("backbone.frame.image_size", 10**9),
    ("backbone.frame.cache_dir", "/x"),
    ("backbone.third", BACKBONE),
    ("inputs", []),
    ("inputs.size", "64"),
    ("inputs.size", 64.0),
    ("inputs.size", 0),
    ("inputs.size", 10**9),
    ("inputs.size", 10**600),
    ("inputs.size", float("nan")),
    ("inputs.cache", "ram"),
    ("inputs.strict", False),
    ("inputs._target_", "os.mkdir"),
    ("inputs.position", None),
    ("inputs.fields", 10**7),
    ("inputs.stride", 0),
    ("inputs.representation", 2),
    ("inputs.flow", "dis"),
    ("inputs.flow.bound", "20"),
    ("inputs.flow.bound", float("inf")),
    ("inputs.flow.bound", -1),
    ("inputs.flow.short_side", 3),
    ("inputs.flow.algorithm", {"_target_": "os.mkdir"}),
    ("inputs.flow.params", ["preset"]),
    ("inputs.flow.params.x", {"y": 1}),
    ("inputs.flow.params.x", [[1]]),
    ("inputs.flow.params.x", 10**400),
    ("inputs.flow.params.x", "${oc.env:HOME}"),
    ("inputs.flow.params._target_", "os.mkdir"),
    ("inputs.flow.more", 1),
    ("trained_on", "ab"),
    ("trained_on", [1]),
    ("trained_on", ["a\nb"]),
    ("trained_on", None),
    ("parents", []),
    ("parents.flow", None),
    ("parents.flow.sha256", "x"),
    ("parents.flow.path", 1),
    ("parents.flow.trained_on", ["a"]),
    ("parents.frame.parents.parent.inputs.size", {"_target_": "os.mkdir"}),
    ("parents._target_", {}),
    ("versions", {"torch": 2}),
    ("versions", {1: "2"}),
    ("normalisation.flow", {"mean": [1.0]}),
    ("normalisation.flow", {"mean": [1.0], "std": "x"}),
    ("more", 1),
    ("", 1),
]


@pytest.mark.parametrize(("place", "value"), WRONG)
def test_a_forged_lineage_gets_one_line(place, value):
    lineage = whole_lineage()
    put(lineage, place, value)
    with pytest.raises(ActionRecError, match=r"^x\.ckpt: lineage[^\n]*$") as error:
        untrusted.check_lineage(lineage, Path("x.ckpt"))
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


@pytest.mark.parametrize("lineage", [None, [], "x", 1, {}, {1: 2}])
def test_what_is_no_lineage_gets_one_line(lineage):
    with pytest.raises(ActionRecError, match=r"^x\.ckpt: lineage[^\n]*$"):
        untrusted.check_lineage(lineage, Path("x.ckpt"))


@pytest.mark.parametrize("key", ["model", "stage", "data", "split", "seed", "actions", "backbone", "inputs"])
def test_a_lineage_that_lacks_a_key_gets_one_line(key):
    lineage = whole_lineage()
    del lineage[key]
    with pytest.raises(ActionRecError, match=rf"x\.ckpt: lineage\.{key} is missing"):
        untrusted.check_lineage(lineage, Path("x.ckpt"))


def test_a_lineage_without_end_is_refused():
    lineage = whole_lineage()
    lineage["parents"]["flow"]["parents"]["flow"] = lineage["parents"]["flow"]
    with pytest.raises(ActionRecError, match=r"has more than \d+ generations"):
        untrusted.check_lineage(lineage, Path("x.ckpt"))
    laughs: list[Any] = ["a", "b"]
    for _ in range(60):
        laughs = [laughs, laughs]
    with pytest.raises(ActionRecError, match=r"actions\[0\]=<list>"):
        untrusted.check_lineage({**whole_lineage(), "actions": laughs}, Path("x.ckpt"))


HPARAMS = {
    "frame_backbone": BACKBONE,
    "flow_backbone": BACKBONE,
    "actions": ["a", "b"],
    "inputs": {"size": 64, **STACK},
    "optimizer": ADAM,
    "scheduler": {"_target_": "actionrec.modules.schedules.cyclic", "base": 0.01, "epochs_per_cycle": 1},
    "label_smoothing": 0.1,
    "dropout": 0,
    "decay_norms": False,
    "head_lr_factor": 10.0,
    "backbone_lr_factor": 1,
    "batch_norm": "partial",
    "fixed_layers": 0.5,
    "head_epochs": 2,
    "mixup": 0.2,
    "class_weights": [0.5, 2.5],
    "fusion": "concat",
    "frozen": ("frame",),
}


def test_hyper_parameters_of_our_modules_pass():
    untrusted.check_hyper_parameters(HPARAMS, Path("x.ckpt"))
    for scheduler in (None, {}):
        untrusted.check_hyper_parameters({**HPARAMS, "scheduler": scheduler}, Path("x.ckpt"))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("_instantiator", "lightning.pytorch.cli.instantiate_module"),
        ("_class_path", "os.system"),
        ("more", 1),
        ("optimizer", {}),
        ("optimizer", None),
        ("optimizer", "torch.optim.Adam"),
        ("optimizer._target_", "os.system"),
        ("optimizer._target_", "torch.optim.adam.torch.hub.load"),
        ("optimizer._partial_", True),
        ("optimizer._args_", [[]]),
        ("optimizer.params", {"_target_": "os.mkdir"}),
        ("optimizer.betas", [{"_target_": "os.mkdir"}]),
        ("optimizer.lr", "${oc.env:HOME}"),
        ("scheduler._target_", "torch.optim.Adam"),
        ("scheduler._target_", "builtins.eval"),
        ("frame_backbone.weights", "/x/y.pth"),
        ("frame_backbone.weights", "IMAGENET1K_V1"),
        ("frame_backbone.in_channels", 3),
        ("frame_backbone._target_", "os.mkdir"),
        ("flow_backbone", "resnet18"),
        ("inputs.flow.params.weights", {"_target_": "os.mkdir"}),
        ("label_smoothing", 2),
        ("decay_norms", "no"),
        ("head_lr_factor", float("inf")),
        ("batch_norm", "half"),
        ("fixed_layers", 1.5),
        ("head_epochs", -1),
        ("mixup", "0.2"),
        ("class_weights", "balanced"),
        ("class_weights", [1, -1]),
        ("label_smoothing", float("nan")),
        ("dropout", "0.1"),
        ("dropout", True),
        ("frozen", "frame"),
        ("frozen", ["other"]),
        ("fusion", ["concat"]),
        ("actions", ["a"]),
    ],
)
def test_forged_hyper_parameters_get_one_line(place, value):
    hparams = json.loads(json.dumps(HPARAMS))
    put(hparams, place, value)
    with pytest.raises(ActionRecError, match=r"^x\.ckpt: hyper_parameters[^\n]*$"):
        untrusted.check_hyper_parameters(hparams, Path("x.ckpt"))


# ------------------------------------------------------------------------------------------------ a checkpoint's file


def test_a_module_is_loaded_as_lightning_loads_it(honest):
    path = honest / "stanford40_frame/split1-seed0/checkpoints/best.ckpt"
    ours = load_module(path, read(path))
    theirs = type(ours).load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert ours.hparams == theirs.hparams
    assert ours.lineage == {**theirs.lineage}
    assert ours.training == theirs.training
    for (name, value), (other, expected) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(value, expected)
        assert value.stride() == expected.stride()


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        ("state_dict", [1], "not tensors by name"),
        ("state_dict", {1: torch.zeros(1)}, "not tensors by name"),
        ("state_dict", {"a": 1}, "not plain tensors"),
        ("state_dict", {"a": {"b": torch.zeros(1)}}, "not plain tensors"),
        ("state_dict", {"a": torch.zeros(1).expand(10**12)}, "larger than the file"),
        ("state_dict", {"a": torch.zeros(1, dtype=torch.int8).expand(10**6, 10**6)}, "larger than the file"),
        ("state_dict", {"a": torch.empty(10**9, device="meta")}, "not plain tensors"),
        ("epoch", "1", "the checkpoint's epoch is not a number"),
        ("epoch", True, "the checkpoint's epoch is not a number"),
        ("lineage", [1], "lineage=<list>"),
        ("hyper_parameters", None, "hyper_parameters=None"),
    ],
)
def test_a_checkpoint_of_other_types_gets_one_line(content, tmp_path, place, value, says):
    put(content, place, value)
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ActionRecError, match=rf"x\.ckpt: [^\n]*{says}[^\n]*$"):
        read(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("state_dict", {}),
        ("state_dict", {"network.head.weight": torch.zeros(3)}),
        ("hyper_parameters", {}),
        ("hyper_parameters.fusion", "concat"),
        ("hyper_parameters.frame.backbone.name", "no_such_network"),
        ("hyper_parameters.frame.backbone.stem", "other"),
        ("hyper_parameters.frame.backbone", {"name": "resnet18"}),
        ("hyper_parameters.inputs.streams.frame", {"_target_": "actionrec.streams.Flow", "algorithm": "dis"}),
        ("hyper_parameters.inputs.streams.frame", {"_target_": "actionrec.streams.Flow"}),
        ("hyper_parameters.actions", ["a", "b"]),
        ("lineage.model", "TwoStreamModule"),
        ("lineage.model", "FlowModule"),
    ],
)
def test_a_checkpoint_of_no_network_gets_one_line(content, tmp_path, place, value):
    put(content, place, value)
    torch.save(content, tmp_path / "x.ckpt")
    with pytest.raises(ActionRecError, match=r"x\.ckpt: its (settings|weights) [^\n]*$") as error:
        load_module(tmp_path / "x.ckpt", read(tmp_path / "x.ckpt"))
    assert len(str(error.value)) < 400


def repacked(
    source: Path, target: Path, change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED
) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", method) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def nested(depth: int) -> bytes:
    """A pickle of lists in lists."""
    return b"\x80\x02" + b"]" * depth + b"a" * (depth - 1) + b"."


@pytest.mark.parametrize(
    "change",
    [
        lambda name, data: nested(100_000) if name.endswith("data.pkl") else data,
        lambda name, data: data[: len(data) // 2] if name.endswith("data.pkl") else data,
        lambda name, data: data[: len(data) // 2] if "/data/" in name else data,
        lambda name, data: b"" if name.endswith("data.pkl") else data,
        lambda name, data: b"\x80\x02cos\nsystem\nX\x01\x00\x00\x00x\x85R." if name.endswith("data.pkl") else data,
        lambda name, data: b"\x80\x02cbuiltins\nexec\nX\x01\x00\x00\x00x\x85R." if name.endswith("data.pkl") else data,
    ],
)
def test_a_checkpoint_whose_pickle_is_no_pickle_gets_one_line(honest, tmp_path, change):
    path = repacked(honest / "stanford40_frame/split1-seed0/checkpoints/best.ckpt", tmp_path / "x.ckpt", change)
    with pytest.raises(ActionRecError, match=r"x\.ckpt: not a checkpoint [^\n]*$") as error:
        read(path)
    assert "weights_only" not in str(error.value)


def test_a_checkpoint_that_is_larger_than_it_looks_is_not_read(honest, tmp_path):
    def puffed(name: str, data: bytes) -> bytes:
        return data + bytes(1 << 26) if name.endswith("/data/0") else data

    best = honest / "stanford40_frame/split1-seed0/checkpoints/best.ckpt"
    path = repacked(best, tmp_path / "x.ckpt", puffed, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 25
    with pytest.raises(ActionRecError, match=r"x\.ckpt: not a checkpoint \(it is compressed"):
        read(path)


def test_weights_that_torch_would_read_as_zeros_are_refused(honest, tmp_path):
    """One flipped bit of a zip's directory makes a folder of an entry, of which torch's reader gives nothing."""
    path = tmp_path / "x.ckpt"
    whole = (honest / "stanford40_frame/split1-seed0/checkpoints/best.ckpt").read_bytes()
    entry = whole.index(b"PK\x01\x02", whole.rindex(b"/data/0") - 60)
    data = bytearray(whole)
    data[entry + 38] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ActionRecError, match=r"x\.ckpt: not a checkpoint \(it has folders"):
        read(path)


def test_weights_of_which_a_bit_has_flipped_are_refused(honest, tmp_path):
    """torch's reader does not compare the checksums."""
    path = tmp_path / "x.ckpt"
    data = bytearray((honest / "stanford40_frame/split1-seed0/checkpoints/best.ckpt").read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    torch.load(path, weights_only=True)
    with pytest.raises(ActionRecError, match=r"x\.ckpt: not a checkpoint \(.*(have changed|is damaged)"):
        read(path)


# --------------------------------------------------------------------------------------------------- allow-lists


def test_every_option_of_conf_may_stand_in_a_file():
    for group in ("optimizer", "scheduler", "logger", "callbacks"):
        options = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in (CONF / group).glob("*.yaml")]
        targets = [option["_target_"] for option in options if option and "_target_" in option]
        nested = [each for option in options if option for each in option.values() if isinstance(each, dict)]
        targets += [each["_target_"] for each in nested if "_target_" in each]
        assert targets
        place = "callbacks.one" if group == "callbacks" else group
        assert not set(targets) - allowed.at(place)


STREAMS = {path.stem for path in (CONF / "stream").glob("*.yaml")}


@pytest.mark.parametrize("dataset", ["folder", "hmdb51", "jhmdb", "ucf101"])
def test_a_run_of_every_data_set_and_stream_may_be_read_again(compose_config, tmp_path, dataset):
    chosen = [f"dataset={dataset}", "experiment=two_stream", f"stream=[{','.join(STREAMS)}]"]
    config = compose_config("train", *chosen, "init_from=null", "dataset.videos=mine")
    path = tmp_path / "config.yaml"
    path.write_text(OmegaConf.to_yaml(config, resolve=True))
    found = untrusted.read_config(path)
    untrusted.check_targets(found, path)
    assert set(untrusted.check_data(found["data"], path)) >= STREAMS


def test_allow_lists_hold_classes_of_their_kind_and_no_base_class():
    for names, kind in (
        (allowed.modules(), LightningModule),
        (allowed.data_modules(), LightningDataModule),
        (allowed.callbacks(), Callback),
        (allowed.modalities(), streams.Modality),
        (allowed.data_sets(), DataSet),
    ):
        made = [get_object(name) for name in names if not name.endswith(".create")]
        assert [each for each in made if not issubclass(each, kind) or inspect.isabstract(each)] == []
    assert allowed.modules() >= {"actionrec.modules.create", "actionrec.modules.FlowModule"}
    assert allowed.modalities() >= {f"actionrec.streams.{name}" for name in ("Clip", "DynamicImage", "RGBDifference")}
    assert {name for name in allowed.schedulers() if name.startswith("actionrec")} == {
        f"actionrec.modules.schedules.{name}" for name in ("cosine", "cyclic", "onecycle")
    }
    assert allowed.at("optimizer.deep") == allowed.at("") == set()


def test_data_sets_that_a_file_may_name_are_those_of_the_package():
    found = set()
    for module in pkgutil.iter_modules(datasets.__path__):
        for name, each in vars(importlib.import_module(f"actionrec.datasets.{module.name}")).items():
            if inspect.isclass(each) and issubclass(each, DataSet) and not inspect.isabstract(each):
                found.add(f"{each.__module__}.{name}")
    assert found == allowed.data_sets()
