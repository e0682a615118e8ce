"""Chains, of stages whose training is a file or two; one whole chain is trained in test_the_same_scores."""

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from actionrec.commands.chain import arguments, quoted
from actionrec.experiment import chain, extraction, training
from actionrec.experiment.plan import wanted
from actionrec.flow import extract
from actionrec.runs import manifest
from actionrec.runs.folder import run_folder
from actionrec.settings.chain import load
from actionrec.system import locks
from actionrec.system.errors import ActionRecError
from actionrec.system.files import write_json
from tests.conftest import QUICK

STAGES = [*load().stages]


@pytest.fixture
def trained(monkeypatch):
    """The configurations of the trainings, which are not run."""
    found, number = [], itertools.count()

    def train(config, wanted=None):
        found.append(config)
        if config.seed == 13 and config.stage == "hmdb51_flow":
            raise ActionRecError("the loss is not finite")
        folder = run_folder(config)
        (folder.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        folder.best.write_text(f"{next(number)}")
        (wanted or manifest.create(config)).write(folder.path)
        write_json(folder.path / "metrics.json", {"val/acc": 0.5, "test/acc": 0.25})

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(chain, "prepare", lambda config, prepared: None)
    return found


@pytest.fixture
def tried(monkeypatch, trained):
    """The stages that pass a few batches, in place of that."""
    train, found = training.train, []

    def train_or_try(config, wanted=None):
        found.append(config.stage) if config.trainer.get("fast_dev_run") else train(config, wanted)

    monkeypatch.setattr(training, "train", train_or_try)
    return found


@pytest.fixture
def call(run, trained, tmp_path):
    """Train a chain; the trained stages, and the outcome of the command."""

    def train_chain(*words):
        trained.clear()
        outcome = run("chain", f"paths.outputs={tmp_path}", *words)
        return [config.stage for config in trained], outcome

    return train_chain


def test_what_is_missing_is_trained_in_order_and_what_is_finished_is_not(call, trained, tmp_path):
    stages, outcome = call("split=2", "data.size=112")
    assert stages == STAGES
    assert outcome.status == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[:4] for line in lines] == [[stage, "trained", "test/acc", "0.250"] for stage in STAGES]
    assert trained[0].run_dir == str(tmp_path / "demo/stanford40_frame/split1-seed0")
    assert trained[-1].run_dir == str(tmp_path / "demo/hmdb51_two_stream/split2-seed0")
    assert all(config.data.size == 112 for config in trained)
    assert manifest.read(Path(trained[-1].run_dir)).choices["experiment"] == "hmdb51_two_stream"
    stages, outcome = call("split=2", "data.size=112")
    assert stages == []
    assert outcome.out.count("done before") == 4
    stages, _ = call("split=3", "data.size=112", "upto=hmdb51_frame")  # the stills' network serves all splits
    assert stages == ["hmdb51_frame"]


def test_the_manifest_of_a_stage_is_made_for_the_plan_and_under_the_lock_alone(call, monkeypatch):
    create, made = manifest.create, []
    monkeypatch.setattr(manifest, "create", lambda config: made.append(config.stage) or create(config))
    call("upto=hmdb51_frame")
    assert made == [*STAGES[:2], *STAGES[:2]]


@pytest.mark.ci
def test_a_chain_goes_up_to_a_stage_or_a_variant(call, trained, tmp_path):
    assert call("upto=hmdb51_frame")[0] == STAGES[:2]
    assert call("upto=hmdb51_flow")[0] == ["hmdb51_flow"]
    assert call("upto=hmdb51_two_stream_conv", "tag=short")[0] == STAGES
    assert trained[-1].model.fusion == "conv"
    assert trained[-1].run_dir == str(tmp_path / "demo/hmdb51_two_stream_conv/split1-seed0-short")
    variants = [f"hmdb51_two_stream_{each}" for each in ("conv", "product", "gated", "refit", "bagged")]
    stages, outcome = call("upto=fusion")
    assert stages == []
    assert outcome.err.strip().endswith(f"error: upto=fusion: use one of {', '.join([*STAGES, *variants])}")
    assert wanted(load(), None, variants=True) == [*STAGES, *variants]


@pytest.mark.ci
@pytest.mark.parametrize(
    ("stage", "singles"),
    [
        ("jhmdb_two_stream", ["jhmdb_frame", "jhmdb_flow"]),
        ("jhmdb_three_streams", ["jhmdb_frame", "jhmdb_flow", "jhmdb_rgb_difference"]),
    ],
)
def test_a_variant_starts_from_the_parents_of_its_stage_whatever_the_experiment_is_called(
    call, trained, tmp_path, stage, singles
):
    stages, outcome = call("chain=jhmdb_three_streams", f"upto={stage}_bagged")
    assert outcome.status == 0, outcome.err
    assert stages == [*singles, *(each for each in singles for _ in range(4)), stage]
    assert trained[-1].init_from == {
        each.removeprefix("jhmdb_"): str(tmp_path / f"demo/{each}/split1-seed0/checkpoints/best.ckpt")
        for each in singles
    }
    assert trained[-1].run_dir == str(tmp_path / f"demo/{stage}_bagged/split1-seed0")


@pytest.mark.ci
def test_a_gate_is_fitted_after_the_other_folds_of_its_parents(call, trained, tmp_path):
    words = ["upto=hmdb51_two_stream_gated", "split=2", "data.size=112"]
    stages, outcome = call(*words)
    assert outcome.status == 0, outcome.err
    assert stages == [*STAGES[:3], *["hmdb51_frame"] * 4, *["hmdb51_flow"] * 4, "hmdb51_two_stream"]
    assert [config.data.get("fold", 0) for config in trained] == [0, 0, 0, 1, 2, 3, 4, 1, 2, 3, 4, 0]
    fold, gate = trained[3], trained[-1]
    assert fold.run_dir == str(tmp_path / "demo/hmdb51_frame/folds/split2-seed0-fold1")
    assert fold.init_from == trained[1].init_from
    assert fold.callbacks.best is fold.callbacks.early_stopping is None  # the clips held out choose nothing
    assert trained[1].callbacks.best
    assert gate.run_dir == str(tmp_path / "demo/hmdb51_two_stream_gated/split2-seed0")
    assert len(manifest.read(Path(gate.run_dir)).parents) == 2 + 8
    assert call(*words)[0] == []
    (tmp_path / "demo/hmdb51_flow/folds/split2-seed0-fold3/checkpoints/best.ckpt").write_text("another")
    assert call(*words)[0] == ["hmdb51_two_stream"]
    refit = ["upto=hmdb51_two_stream_refit", *words[1:]]
    assert call(*refit)[0] == ["hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream"]
    assert [config.data.get("fold", 0) for config in trained] == ["all", "all", 0]
    assert trained[0].run_dir == str(tmp_path / "demo/hmdb51_frame/folds/split2-seed0-all")
    assert trained[0].callbacks.best is trained[0].callbacks.early_stopping is None
    assert trained[-1].run_dir == str(tmp_path / "demo/hmdb51_two_stream_refit/split2-seed0")
    assert len(manifest.read(Path(trained[-1].run_dir)).parents) == 2 + 8 + 2
    (tmp_path / "demo/hmdb51_flow/folds/split2-seed0-all/checkpoints/best.ckpt").write_text("another")
    assert call(*refit)[0] == ["hmdb51_two_stream"]
    assert call(*words)[0] == []


def test_a_chain_of_other_stages_is_a_file(call, trained):
    stages, outcome = call("chain=no_stills")
    assert outcome.status == 0, outcome.err
    assert stages == [*load("no_stills").stages]
    assert trained[0].init_from is None
    assert "hmdb51_frame_imagenet/" in trained[-1].init_from.frame


def test_a_chain_of_all_clips_has_no_validation(call, trained, monkeypatch):
    train = training.train

    def without_validation(config, wanted=None):
        train(config, wanted)
        write_json(Path(config.run_dir) / "metrics.json", {"test/acc": 0.25})

    monkeypatch.setattr(training, "train", without_validation)
    of_all = ["data.fold=all", "callbacks.best=null", "callbacks.early_stopping=null"]
    stages, outcome = call("upto=hmdb51_flow", *of_all, "report=true")
    assert (stages, outcome.status) == (["hmdb51_flow"], 0), outcome.err
    assert "report/index.html" in outcome.out
    stages, outcome = call("upto=hmdb51_two_stream_gated", *of_all)
    assert (stages, outcome.status) == ([], 1)  # before the first stage is trained
    assert "hmdb51_two_stream_gated: data.fold=all leaves no samples for validation" in outcome.err


@pytest.mark.ci
def test_stills_clips_and_each_stage_may_have_settings_of_their_own(call, trained):
    of_one = "chain.stages.hmdb51_flow.overrides=['data.size=96']"
    words = ["data.size=112", of_one, "--stills", "data.actions=[clap,wave]", "--clips", "data.actions=[run]"]
    words += ["trainer.gradient_clip_val=1"]  # which conf/trainer lacks
    assert call(*words)[1].status == 0
    assert [config.trainer.get("gradient_clip_val") for config in trained] == [None, 1, 1, 1]
    assert [config.data.size for config in trained] == [112, 112, 96, 112]
    assert [list(config.data.actions) for config in trained] == [["clap", "wave"], ["run"], ["run"], ["run"]]


@pytest.mark.ci
def test_a_tag_is_that_of_the_parents_too(call, trained):
    call("tag=a", "upto=hmdb51_frame")
    assert {config.parent_tag for config in trained} == {"a"}
    call("tag=b", "parent_tag=a", "upto=hmdb51_flow")
    assert trained[0].parent_tag == "a"


@pytest.mark.ci
def test_another_run_in_a_stages_place_is_refused_before_anything_is_trained(call):
    call("upto=hmdb51_flow")
    stages, outcome = call("data.size=112")
    assert stages == []  # not even the stages before it
    [line] = outcome.err.strip().splitlines()
    assert line.startswith("error: hmdb51_flow: ")
    assert "data.size: 112, was 224" in line
    assert call("data.size=112", "overwrite=true", "upto=hmdb51_flow")[0] == ["hmdb51_flow"]


@pytest.mark.ci
def test_what_started_from_a_stage_that_is_trained_anew_is_trained_anew(call, tmp_path):
    call("upto=hmdb51_frame")
    (tmp_path / "demo/stanford40_frame/split1-seed0/checkpoints/best.ckpt").write_text("another")
    _, told = call("dry_run=true", "upto=hmdb51_frame")
    assert "hmdb51_frame      stale (parent parent: checkpoint" in told.out
    assert call("upto=hmdb51_frame")[0] == ["hmdb51_frame"]


@pytest.mark.ci
def test_a_dry_run_says_what_would_be_trained_and_why_and_trains_nothing(call, tmp_path):
    stages, outcome = call("dry_run=true")
    assert stages == []
    assert not any(tmp_path.iterdir())
    assert outcome.out.splitlines()[:2] == [
        "stanford40_frame   missing",
        "hmdb51_frame       missing (stanford40_frame is trained first)",
    ]
    call("upto=hmdb51_frame")
    _, outcome = call("dry_run=true", "data.size=112", "upto=hmdb51_frame")
    first, second, *_ = outcome.out.splitlines()
    assert first == "stanford40_frame  stale (data.size: 112, was 224); needs overwrite=true"
    assert second.startswith("hmdb51_frame      stale (data.size: 112, was 224; stanford40_frame is trained first)")


@pytest.mark.ci
def test_a_chain_is_tried_out_whatever_lies_there_and_leaves_no_run(call, tried, tmp_path):
    call("upto=hmdb51_frame")
    there = {path for path in tmp_path.rglob("*") if path.is_file()}
    _, outcome = call("debug=fast", "data.size=112", "fuse=true", "report=true")
    assert outcome.status == 0, outcome.err
    assert tried == [*STAGES, *["hmdb51_two_stream"] * 5]  # with the variants
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == there


@pytest.mark.ci
def test_an_error_names_its_stage_and_the_stages_before_it_stay(call, tmp_path):
    stages, outcome = call("seed=13")
    assert stages == STAGES[:3]
    assert outcome.status == 1
    assert outcome.err.strip().splitlines()[-1] == "error: hmdb51_flow: the loss is not finite"
    assert (tmp_path / "demo/hmdb51_frame/split1-seed13/metrics.json").is_file()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["experiment=hmdb51_flow"], "experiment applies to one stage; set it for one"),
        (["init_from.flow=a.ckpt"], "parents.flow applies to one stage"),
        (["run_dir=a"], "run_dir applies to one stage"),
        (["resume=a.ckpt"], "resume=a.ckpt is of one stage"),
        (["fuse=1"], "fuse=1: use"),
        (["clips=a"], "clips=a: use a list"),
        (["clips=['data.size=7']"], "hmdb51_frame: data.size=7: use"),
        (["chain.stages.hmdb51_flow.colour=red"], "chain.stages.hmdb51_flow.colour=red: use one such as"),
    ],
)
def test_what_a_chain_cannot_do_is_one_line(call, words, says):
    stages, outcome = call(*words)
    assert stages == []
    assert outcome.status == 1
    assert says in outcome.err.strip().splitlines()[-1]


def test_a_stage_that_another_process_trains_is_waited_for(call, tmp_path, monkeypatch):
    run = tmp_path / "demo/hmdb51_flow/split1-seed0"
    code = (
        f"from actionrec.system import locks; locks.acquire(locks.Path({str(run)!r}), ''); print(flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        said = []

        def end(text, *_):
            said.append(text)
            first.communicate(b"\n")

        monkeypatch.setattr(locks.log, "info", end)
        stages, _ = call("upto=hmdb51_flow")
    assert stages == ["hmdb51_flow"]
    assert said == ["waiting: %s"]


@pytest.mark.ci
def test_a_multirun_is_a_chain_a_job(call, tmp_path):
    stages, outcome = call("split=1,2", "upto=hmdb51_frame", "--multirun")
    assert outcome.status == 0, outcome.err
    assert stages == ["stanford40_frame", "hmdb51_frame", "hmdb51_frame"]
    assert {path.parent.name for path in (tmp_path / "demo/hmdb51_frame").glob("*/metrics.json")} == {
        "split1-seed0",
        "split2-seed0",
    }


@pytest.mark.parametrize("word", ["a=[b,'c d']", "a='it\\'s'", "\\", "a=\\", 'a="x\\\\"', "a='x\\\\'", "ä=${b}"])
def test_words_pass_hydras_grammar_as_they_are(word):
    parsed = OverridesParser.create().parse_override(f"clips={quoted([word, 'x=1'])}")
    assert parsed.value() == [word, "x=1"]
    assert arguments(["a=1", "--clips", word, "x=1", "--stills"]) == ["a=1", f"clips={quoted([word, 'x=1'])}"]


def test_flow_is_extracted_once_for_the_clips_of_each_stage(compose_config, tmp_path, monkeypatch):
    clips = []
    monkeypatch.setattr(extraction, "clips_of", lambda config: clips.append(list(config.data.actions)))
    monkeypatch.setattr(extract, "extract", lambda *_: None)
    monkeypatch.setattr(extraction, "conclude", lambda *_: None)
    prepared = set()
    for actions in ("[clap]", "[clap]", "[wave]"):
        words = ("experiment=hmdb51_flow", f"paths.outputs={tmp_path}", f"data.actions={actions}")
        chain.prepare(compose_config("train", *words), prepared)
    assert clips == [["clap"], ["wave"]]


@pytest.mark.ci
def test_a_stage_has_the_same_scores_in_a_chain_and_alone(paths, tmp_path, run):
    settings = [*QUICK, *paths, "data.actions=[clap,wave]", "data.augmentation=reference"]
    assert run("chain", *settings, "upto=hmdb51_frame").status == 0
    assert run("train", "experiment=hmdb51_frame", *settings, f"run_dir={tmp_path / 'alone'}").status == 0
    found = [tmp_path / "outputs/demo/hmdb51_frame/split1-seed0", tmp_path / "alone"]
    first, second = (np.load(folder / "scores.npz") for folder in found)
    np.testing.assert_array_equal(first["logits"], second["logits"])
