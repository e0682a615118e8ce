"""The additions of docs/extending.md from outside of the package: files in a folder, trained and measured."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from actionrec.networks import fusions
from actionrec.settings.checks import check
from actionrec.settings.untrusted import check_hyper_parameters
from actionrec.storage.flow import read_fields
from actionrec.system.errors import ActionRecError
from tests.conftest import QUICK, noise_video

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/extending.md"
BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACES = ("--config-dir", "myconf", "paths=mine")
ONE_STEP = (*QUICK[:-1], "data.batch_size=4", "trainer.limit_train_batches=1")
RUN = Path("outputs/mine/gestures_history/split1-seed0")
STEM = "ann_nod_1"


@pytest.fixture
def outside(tmp_path, monkeypatch) -> Iterator[Path]:
    """The current folder: the page's files, and clips of gestures in their layout."""
    for name, content in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    people = ("ann", "bob", "cem", "dot", "eve", "fay", "gus")
    names = [f"{person}_{gesture}_1" for person in people for gesture in ("nod", "point")]
    for seed, name in enumerate(names):
        noise_video(tmp_path / "data/gestures" / f"{name}.avi", 9, seed)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "mypack"]:
        del sys.modules[name]


@pytest.mark.ci
def test_a_data_set_and_a_stream_are_trained_and_evaluated(run, outside, monkeypatch):
    monkeypatch.syspath_prepend(str(outside))
    given = (*PLACES, "experiment=gestures_history")
    assert run("train", *given, *ONE_STEP).status == 0
    metrics = json.loads((RUN / "metrics.json").read_text())
    assert 0 <= metrics["test/acc"] <= 1
    scores = np.load(RUN / "scores.npz")
    assert sorted(scores["names"]) == ["ann_nod_1", "ann_point_1", "bob_nod_1", "bob_point_1"]  # the testers'
    weights = torch.load(RUN / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert weights["network.backbone.network.conv1.0.weight"].shape[1] == 1  # the channels of a motion history

    refused = run("evaluate", *given, "views.segments=2")
    assert refused.status == 1
    assert "_target_=mypack.motion_history.MotionHistory: no file may name this here" in refused.err
    assert run("evaluate", *given, "views.segments=2", "trust=[mypack]").status == 0
    [measured] = (RUN / "measurements").glob("2x1-*/metrics.json")
    assert json.loads(measured.read_text())["test/n"] == 4

    # A run is trained again from its folder, where its settings name the classes.
    again = ("--config-dir", "myconf", f"run_again={RUN}", "tag=again")
    assert "no file may name this here" in run("train", *again).err
    assert run("train", *again, "trust=[mypack]").status == 0
    found = json.loads((RUN.with_name("split1-seed0-again") / "metrics.json").read_text())
    assert found["test/loss"] == metrics["test/loss"]


def test_a_data_set_is_counted_where_it_lies(run, outside, monkeypatch):
    monkeypatch.syspath_prepend(str(outside))
    outcome = run("prepare", *PLACES, "dataset=gestures")
    assert outcome.out == "gestures: 14 clips of 2 actions: 8 train, 2 val, 4 test\n"


@pytest.mark.ci
def test_an_estimator_extracts_flow(run, outside, monkeypatch):
    monkeypatch.syspath_prepend(str(outside))
    words = ("flow=panning", "dataset=gestures", "data.actions=all", "workers=1")
    outcome = run("extract_flow", *PLACES, *words)
    assert outcome.status == 0, outcome.err
    [path] = Path("outputs/mine/flow/panning/nod").glob(f"{STEM}.zip")
    fields = read_fields(path, range(8))
    assert fields.shape == (8, 2, 48, 64)
    assert np.abs(np.diff(fields.astype(int), axis=-1)).max() <= 1  # one displacement a frame, but for JPEG
    outcome = run("extract_flow", *PLACES, *words, "flow.algorithm=mypack.panning.tilting")
    assert outcome.status == 1
    assert "flow.algorithm=mypack.panning.tilting cannot be imported" in outcome.err


def test_settings_of_ones_own_streams_and_data_sets_have_no_limits_of_ours(compose_config):
    own = "{_target_: mypack.Seen, stride: 0.5, params: [1]}"
    data = ("~dataset", "+dataset={_target_: mypack.Set, name: mine, seed: -1, protocol: odd}")
    check(compose_config("train", "experiment=frame", f"+data.seen={own}", *data))
    with pytest.raises(ActionRecError, match=r"data\.seen\.stride=0\.5: use a whole number"):
        check(compose_config("train", "experiment=frame", f"+data.seen={own.replace('mypack', 'actionrec.streams')}"))


@pytest.mark.parametrize("fusion", [{"_target_": "mypack.gated.Gated"}, {"_target_": "os.system"}, {"hidden": 4}])
def test_no_checkpoint_names_a_fusion_that_is_not_trusted(fusion):
    with pytest.raises(ActionRecError, match=r"x\.ckpt: hyper_parameters\.fusion\._target_"):
        check_hyper_parameters({"fusion": fusion}, Path("x.ckpt"), ["other"])


def test_what_is_no_fusion_is_one_line():
    with pytest.raises(ActionRecError, match=r"model\.fusion=.*: derive its class from actionrec\.networks\.fusions"):
        fusions.create({"_target_": "builtins.slice"}, {}, 2)


@pytest.mark.ci
def test_the_chain_of_the_page_ends_in_fusions_and_a_report(outside):
    """As command lines: a process that knows the package by PYTHONPATH alone."""
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (outside, ROOT)))}
    for verb, *words in (
        ("chain", "chain=gestures", *ONE_STEP, "fuse=true"),
        ("evaluate", "experiment=gestures_history", "views.crops=3"),
        ("report",),
    ):
        command = [sys.executable, "-m", "actionrec", verb, *PLACES, *words, "trust=[mypack]"]
        done = subprocess.run(command, env=place, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "no gallery" not in done.stderr
    run = Path("outputs/mine/gestures_both/split1-seed0")
    best = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
    assert best["hyper_parameters"]["fusion"] == {"_target_": "mypack.gated.Gated"}
    assert best["state_dict"]["network.fusion.gates"].shape == (2, 2)
    page = Path("outputs/mine/report/index.html").read_text(encoding="utf-8")
    assert "motion history" in page
    assert 'id="gallery"' in page
