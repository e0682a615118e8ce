"""Forged checkpoints and run folders run nothing, leak nothing, and end in one line."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

from actionrec.evaluation import metrics, scores
from actionrec.evaluation.scores import Scores
from actionrec.modules.checkpoint import Lineage
from actionrec.train import create_data, create_module
from tests.conftest import QUICK

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
        "package": {"_target_": "actionrec.files.os.mkdir", "path": str(marker)},
        "own": {"_target_": "actionrec.files.write_text", "path": path, "text": "x"},
        "method": {"_target_": "hydra.utils.get_method", "path": "os.mkdir"},
        "partial": {"_target_": "os.mkdir", "_partial_": True, "path": str(marker)},
        "again": {"_target_": "hydra.utils.instantiate", "config": {"_target_": "os.mkdir", "path": str(marker)}},
        "listed": {"_target_": "builtins.list", "_args_": [[{"_target_": "os.mkdir", "path": str(marker)}]]},
        "exec": {"_target_": "builtins.exec", "_args_": [f"import os; os.mkdir({str(marker)!r})"]},
    }


BOMBS = [
    "hub",
    "torch",
    "numpy",
    "joblib",
    "pathlib",
    "os",
    "dotted",
    "package",
    "own",
    "method",
    "partial",
    "again",
    "listed",
    "exec",
]


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
        module = create_module(config, data, ())
        split = None if stage == "stanford40_frame" else 1
        trained_on = data.names("train")
        said = Lineage("FrameModule", stage, "demo", split, 0, list(data.actions), BACKBONE, data.inputs, trained_on)
        run = outputs / "demo" / stage / "split1-seed0"
        (run / "checkpoints").mkdir(parents=True)
        content = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), "lineage": said.plain()}
        torch.save({**content, "epoch": 0}, run / "checkpoints" / "best.ckpt")
        (run / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
        names, labels = data.names("test"), torch.tensor([sample["label"] for sample in data.datasets["test"]])
        logits = torch.randn(len(names), 12, generator=torch.Generator().manual_seed(0))
        found = Scores(names, logits, labels, data.actions, [data.groups()[name] for name in names])
        scores.save(found, run / "scores.npz")
        (run / "metrics.json").write_text(json.dumps(metrics.measure(found, "test") | metrics.intervals(found, "test")))
    return outputs / "demo"


@pytest.fixture
def demo(honest, paths) -> Path:
    """A copy of it where `paths` says that outputs are."""
    outputs = Path(next(path for path in paths if path.startswith("paths.outputs=")).partition("=")[2])
    shutil.copytree(honest, outputs / "demo")
    return outputs / "demo"


@pytest.fixture
def content(honest) -> dict[str, Any]:
    """The checkpoint of stills, to be changed."""
    return torch.load(honest / "stanford40_frame/split1-seed0/checkpoints/best.ckpt", weights_only=True)


def put(tree: dict[str, Any], place: str, value: Any) -> None:
    *above, last = place.split(".")
    for key in above:
        tree = tree[int(key)] if isinstance(tree, list) else tree.setdefault(key, {})
    tree[int(last) if isinstance(tree, list) else last] = value  # type: ignore[call-overload]


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
def test_evaluate_of_a_forged_checkpoint_runs_nothing(content, tmp_path, paths, run, bomb, marker, place):
    put(content, place, bomb("hub"))
    torch.save(content, tmp_path / "x.ckpt")
    given = [f"checkpoint={tmp_path / 'x.ckpt'}", f"output={tmp_path / 'o'}"]
    refused(run("evaluate", "experiment=stanford40_frame", *paths, *QUICK, *given), marker, "x.ckpt")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("name", BOMBS)
def test_no_target_of_a_checkpoint_is_made(content, tmp_path, paths, run, bomb, marker, name):
    put(content, "lineage.inputs.size", bomb(name))
    torch.save(content, tmp_path / "x.ckpt")
    given = [f"checkpoint={tmp_path / 'x.ckpt'}", f"output={tmp_path / 'o'}"]
    refused(
        run("evaluate", "experiment=stanford40_frame", *paths, *QUICK, *given), marker, "x.ckpt: lineage.inputs.size"
    )


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
    content, tmp_path, paths, run, marker, monkeypatch, place, value
):
    monkeypatch.setenv("ACTIONREC_SECRET", SECRET)
    put(content, place, value)
    torch.save(content, tmp_path / "x.ckpt")
    given = [f"checkpoint={tmp_path / 'x.ckpt'}", f"output={tmp_path / 'o'}"]
    refused(run("evaluate", "experiment=stanford40_frame", *paths, *QUICK, *given), marker, f"x.ckpt: {place}")


@pytest.mark.parametrize("place", PLACES)
def test_training_from_a_forged_checkpoint_runs_nothing(content, tmp_path, paths, run, bomb, marker, place):
    put(content, place, bomb("torch"))
    torch.save(content, tmp_path / "x.ckpt")
    given = [f"init_from={tmp_path / 'x.ckpt'}", f"run_dir={tmp_path / 'r'}"]
    refused(run("train", "experiment=hmdb51_frame", *paths, *QUICK, *given), marker, "x.ckpt")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    "place", ["data.strict", "data.size", "data.actions", "data.flow.params.x", "data.crops", "data"]
)
@pytest.mark.parametrize("name", ["hub", "pathlib", "partial"])
def test_report_of_a_strangers_run_runs_nothing(demo, paths, run, bomb, marker, place, name):
    config = demo / "hmdb51_frame/split1-seed0/config.yaml"
    settings = yaml.safe_load(config.read_text())
    put(settings, place, bomb(name))
    config.write_text(yaml.safe_dump(settings))
    outcome = run("report", *paths, "gallery=1")
    assert outcome.status == 0, outcome.err
    assert not marker.exists()
    [line] = [line for line in (demo / "report/missing.csv").read_text().splitlines() if line.startswith("gallery,")]
    assert "config.yaml" in line


def test_report_of_an_honest_run_has_its_gallery(demo, paths, run):
    outcome = run("report", *paths, "gallery=1")
    assert outcome.status == 0, outcome.err
    assert "gallery" not in (demo / "report/missing.csv").read_text()
    assert not (demo / "report/damaged.csv").exists()


def test_report_writes_no_frames_where_a_file_says(demo, paths, run, tmp_path):
    config = demo / "hmdb51_frame/split1-seed0/config.yaml"
    settings = yaml.safe_load(config.read_text())
    settings["data"]["frame_folder"] = str(tmp_path / "elsewhere")
    config.write_text(yaml.safe_dump(settings))
    assert run("report", *paths, "gallery=1").status == 0
    assert "gallery" not in (demo / "report/missing.csv").read_text()
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("place", ["stage_note", "data.size", "optimizer.lr"])
def test_report_leaks_no_environment(demo, paths, run, monkeypatch, place):
    monkeypatch.setenv("ACTIONREC_SECRET", SECRET)
    config = demo / "hmdb51_frame/split1-seed0/config.yaml"
    settings = yaml.safe_load(config.read_text())
    put(settings, place, "${oc.env:ACTIONREC_SECRET}")
    config.write_text(yaml.safe_dump(settings))
    outcome = run("report", *paths, "gallery=1")
    assert outcome.status == 0, outcome.err
    assert "is an interpolation" in (demo / "report/damaged.csv").read_text()
    assert SECRET not in outcome.out + outcome.err
    for file in (demo / "report").iterdir():
        assert SECRET.encode() not in file.read_bytes()


def test_report_of_a_forged_checkpoint_runs_nothing_and_goes_on(demo, paths, run, bomb, marker):
    best = demo / "hmdb51_frame/split1-seed0/checkpoints/best.ckpt"
    content = torch.load(best, weights_only=True)
    put(content, "lineage.inputs.size", bomb("hub"))
    torch.save(content, best)
    outcome = run("report", *paths, "gallery=1")
    assert outcome.status == 0, outcome.err
    assert not marker.exists()
    assert "lineage.inputs.size" in (demo / "report/damaged.csv").read_text()
