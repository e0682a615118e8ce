"""The command lines: the whole chain on a tiny demo set, and every bad input in one line."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actionrec.commands import train
from actionrec.evaluation import scores
from actionrec.evaluation.gate import Gate
from actionrec.evaluation.metrics import measure
from actionrec.modules import FlowModule, FrameModule, TwoStreamModule
from actionrec.modules.checkpoint import read
from actionrec.runs import measurements
from actionrec.system.files import sha256
from tests.conftest import QUICK, TABLES, TAGS, metrics_of, noise_video, numbers
from tests.export.conftest import export_by_torchscript
from tests.reporting.browser import check_layout, opened

STAGES = {
    "stanford40_frame": FrameModule,
    "hmdb51_frame": FrameModule,
    "hmdb51_flow": FlowModule,
    "hmdb51_two_stream": TwoStreamModule,
}


@pytest.fixture(scope="module")
def chain(demo_root, demo_flow, tmp_path_factory) -> Path:
    """The four stages, the first by a process of its own; returns `outputs/demo`."""
    outputs = tmp_path_factory.mktemp("chain") / "outputs"
    places = [f"paths.root={demo_root}", f"paths.flow={demo_flow}", f"paths.outputs={outputs}"]
    for stage in STAGES:
        # The chain has the pictures, too.
        arguments = [f"experiment={stage}", *places, *(each for each in QUICK if each != "~callbacks.validation")]
        if stage == "stanford40_frame":
            command = [sys.executable, "-m", "actionrec", "train", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300)
            assert done.returncode == 0, done.stderr
            assert "Traceback" not in done.stderr
        else:  # loading the libraries takes longer than training
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["train", *arguments])
                train.main()
    return outputs / "demo"


def run_of(chain: Path, stage: str) -> Path:
    return chain / stage / "split1-seed0"


def copy_of(chain: Path, stage: str, outputs: Path) -> Path:
    target = outputs / "demo" / stage / "split1-seed0"
    shutil.copytree(run_of(chain, stage), target)
    return target


@pytest.mark.parametrize(("stage", "module"), STAGES.items())
def test_a_stage_leaves_a_whole_run(chain, stage, module):
    run = run_of(chain, stage)
    assert {path.name for path in run.iterdir()} == {
        "checkpoints",
        "config.yaml",
        "log.txt",
        "manifest.json",
        "measurement.json",
        "metrics.json",
        "scores.npz",
        "scores_val.npz",
        "tensorboard",
    }
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    metrics = json.loads((run / "metrics.json").read_text())
    assert TAGS | TABLES | {"parameters", "fit_seconds", "epochs"} == set(metrics)
    found = scores.load(run / "scores.npz")
    assert measure(found, "test")["test/acc"] == pytest.approx(metrics["test/acc"])
    assert metrics["test/acc_low"] <= metrics["test/acc"] <= metrics["test/acc_high"]
    assert len(found.names) == len(set(found.names)) == {"stanford40_frame": 24}.get(stage, 36)

    loaded = module.load_from_checkpoint(run / "checkpoints" / "best.ckpt", map_location="cpu", weights_only=True)
    assert loaded.actions == found.actions
    for name in ("best", "last"):
        torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def test_lineage_names_every_ancestor_by_hash(chain):
    lineage = {stage: read(run_of(chain, stage) / "checkpoints" / "best.ckpt")["lineage"] for stage in STAGES}
    best = {stage: sha256(run_of(chain, stage) / "checkpoints" / "best.ckpt") for stage in STAGES}
    parents = lineage["hmdb51_two_stream"]["parents"]
    assert parents["frame"]["sha256"] == best["hmdb51_frame"]
    assert parents["flow"]["sha256"] == best["hmdb51_flow"]
    assert parents["frame"]["parents"]["parent"]["sha256"] == best["stanford40_frame"]
    assert lineage["stanford40_frame"]["split"] is None
    assert lineage["hmdb51_flow"]["split"] == 1
    assert lineage["hmdb51_flow"]["inputs"]["streams"]["flow"]["params"] == {"preset": "fast", "finest_scale": 1}
    trained_on = set(lineage["hmdb51_two_stream"]["trained_on"])
    assert trained_on >= set(lineage["hmdb51_frame"]["trained_on"]) > set(lineage["stanford40_frame"]["trained_on"])
    assert not trained_on & set(scores.load(run_of(chain, "hmdb51_two_stream") / "scores.npz").names)


@pytest.mark.parametrize("stage", STAGES)
def test_tensorboard_has_the_metrics_and_the_hyper_parameters(chain, stage):
    run = run_of(chain, stage)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    metrics = json.loads((run / "metrics.json").read_text())
    groups = {tag.partition("/")[0] for tag in events.Tags()["scalars"]}
    assert groups == {"train", "val", "val_acc", "test", "lr", "speed"}
    assert set(events.Tags()["scalars"]) >= TAGS
    for tag in ("test/acc", "test/loss", "val/acc"):
        assert events.Scalars(tag)[-1].value == pytest.approx(metrics[tag], abs=1e-5)
    for tag in ("train/loss", "val/loss", "val_acc/wave", "speed/samples_per_second"):  # the curves share their steps
        assert events.Scalars(tag)[0].step == events.Scalars("val/acc")[0].step
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert {"config/text_summary", "lineage/text_summary"} <= set(events.Tags()["tensors"])


@pytest.mark.parametrize("stage", STAGES)
def test_tensorboard_shows_the_validation_of_the_best_epoch(chain, stage):
    """The only one, so that the curves' first points and the projector are of the same answers."""
    run = run_of(chain, stage)
    events = EventAccumulator(str(run / "tensorboard")).Reload()
    roles = {"hmdb51_flow": {"flow"}, "hmdb51_two_stream": {"frame", "flow"}}.get(stage, {"frame"})
    pictures = {
        "train/batch",
        "val/confusion",
        "val/wrong",
        "val/grad_cam",
        *(f"weights/{role}_stem" for role in roles),
    }
    assert set(events.Tags()["images"]) == pictures
    found = scores.load(run / "scores_val.npz")
    table = (run / "tensorboard/projector/samples.tsv").read_text().splitlines()
    rows = {row[-1]: row for row in (line.split("\t") for line in table[1:])}
    assert len(rows) == len(table) - 1
    actions = dict(zip(found.names, (found.actions[label] for label in found.labels), strict=True))
    assert {name: row[0] for name, row in rows.items()} == actions
    right = sum(row[2] == "right" for row in rows.values()) / len(rows)
    assert events.Scalars("val/acc")[0].value == pytest.approx(right)
    shown = {tag.partition("/")[2] for tag in events.Tags()["scalars"] if tag.startswith("val_acc/")}
    assert shown == set(actions.values())
    for action in shown:
        recall = [row[2] == "right" for row in rows.values() if row[0] == action]
        assert events.Scalars(f"val_acc/{action}")[0].value == pytest.approx(sum(recall) / len(recall))


@pytest.mark.parametrize("stage", STAGES)
def test_evaluate_finds_what_training_found(chain, tmp_path, paths, run, stage):
    copy = copy_of(chain, stage, tmp_path / "outputs")
    before = numbers(copy / "metrics.json")
    outcome = run("evaluate", f"experiment={stage}", *paths)  # the settings are the run's own
    assert outcome.status == 0, outcome.err
    assert numbers(copy / "metrics.json") == pytest.approx(before, abs=1e-4)
    assert ["test/acc", f"{before['test/acc']:.4f}"] in [line.split() for line in outcome.out.splitlines()]


@pytest.mark.ci
def test_another_protocol_has_a_record_of_its_own(chain, tmp_path, paths, run):
    """Of a run that was measured at three instants, and again at one."""
    copy = copy_of(chain, "hmdb51_frame", tmp_path / "outputs")
    parent = ["init_from=null", "tag=three", "views.segments=3"]
    assert run("train", "experiment=hmdb51_frame", *paths, *QUICK, *parent).status == 0
    three = copy.with_name("split1-seed0-three")
    kept, record = numbers(three / "metrics.json"), (three / "measurement.json").read_bytes()
    named = [*paths, "experiment=hmdb51_frame", f"checkpoint={three / 'checkpoints/best.ckpt'}"]
    assert run("evaluate", *named).status == 0
    assert (three / "measurement.json").read_bytes() == record
    assert numbers(three / "metrics.json") == pytest.approx(kept, abs=1e-4)
    before = (three / "metrics.json").read_bytes()
    outcome = run("evaluate", *named, "views.segments=1", "parts=[test]")
    assert outcome.status == 0, outcome.err
    assert (three / "metrics.json").read_bytes() == before
    [record] = (three / "measurements").iterdir()
    assert record.name == f"1x1-middle-{measurements.read(three)['test']['precision']}"
    assert measurements.read(record)["test"]["segments"] == 1
    assert measurements.read(record)["test"]["checkpoint"] == sha256(three / "checkpoints/best.ckpt")
    found = scores.load(record / "scores.npz")
    assert found.protocol == measurements.read(record)["test"]
    assert measure(found, "test")["test/acc"] == pytest.approx(numbers(record / "metrics.json")["test/acc"])
    copy_of(chain, "hmdb51_flow", tmp_path / "outputs")
    for each in (three, tmp_path / "outputs/demo/hmdb51_flow/split1-seed0"):
        shutil.copy(each / "scores_val.npz", each / "scores_train.npz")
    refused = run("fuse", *paths, f"runs.frame={three}")
    assert "scores of frame were measured with segments 3, scores of flow with 1" in refused.err


@pytest.mark.ci
def test_a_measurement_is_of_all_the_runs_samples_or_kept_apart(chain, demo_root, tmp_path, paths, run):
    copy = copy_of(chain, "stanford40_frame", tmp_path / "outputs")
    before = numbers(copy / "metrics.json")
    few = run("evaluate", "experiment=stanford40_frame", *paths, "+trainer.limit_test_batches=1", "trainer=cpu")
    assert few.status == 0, few.err
    assert len(scores.load(copy / "scores.npz").names) == 24
    assert numbers(copy / "metrics.json") == pytest.approx(before, abs=1e-4)
    other = tmp_path / "data"
    shutil.copytree(demo_root, other)
    listed = other / "Stanford40/ImageSplits/test.txt"
    names = listed.read_text().splitlines()
    (other / "Stanford40/JPEGImages" / names[0]).unlink()
    fewer = [f"paths.root={other}", "data.strict=false"]
    refused = run("evaluate", "experiment=stanford40_frame", *paths, *fewer)
    assert refused.status == 1
    assert "the test samples are not those" in refused.err
    assert run("evaluate", "experiment=stanford40_frame", *paths, *fewer, f"output={tmp_path / 'o'}").status == 0
    (tmp_path / "o/measurement.json").unlink()
    unknown = run("evaluate", "experiment=stanford40_frame", *paths, f"output={tmp_path / 'o'}")
    assert "results without measurement.json" in unknown.err
    assert "stills have no segments" in run("evaluate", "experiment=stanford40_frame", *paths, "views.segments=3").err
    (copy / "metrics.json").write_text("{")
    assert "metrics.json: not what was written there" in run("evaluate", "experiment=stanford40_frame", *paths).err


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.size=96"], "data.size=96: "),
        (["flow=farneback"], "flow="),
        (["optimizer.lr=1"], "optimizer.lr=1: "),
        (["recipe=strong"], "was trained with recipe=reference"),
        (["data.position=first"], "data.position=first: "),
        (["parts=test"], "[val,test]"),
    ],
)
def test_evaluate_refuses_what_it_cannot_change(chain, paths, run, overrides, said):
    best = run_of(chain, "hmdb51_flow") / "checkpoints/best.ckpt"
    outcome = run("evaluate", "experiment=hmdb51_flow", *paths, f"checkpoint={best}", *overrides)
    assert outcome.status == 1
    assert said in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.ci
def test_a_run_is_trained_again_from_its_folder(chain, tmp_path, run):
    """All it takes is in the run: no experiment, no recipe, no places but the new one."""
    run_dir = run_of(chain, "hmdb51_flow")
    before = json.loads((run_dir / "manifest.json").read_text())
    again = [f"run_again={run_dir}", "tag=again", f"run_dir={tmp_path / 'again'}"]
    outcome = run("train", *again)
    assert outcome.status == 0, outcome.err
    assert "run_again:" not in outcome.err  # nothing differs
    assert "| test | 36 |" in outcome.err
    same = run("train", f"run_again={run_dir}")
    assert f"{run_dir} is finished with these settings, skipped" in same.err
    other = run("train", f"run_again={run_dir}", "optimizer.lr=0.5", "trainer.max_epochs=2")
    assert "holds another run (optimizer.lr: 0.5, was 0.001; trainer.max_epochs: 2, was 1)" in other.err
    after = json.loads((tmp_path / "again/manifest.json").read_text())
    assert after["settings_sha256"] == before["settings_sha256"]
    assert (after["lists"], after["parents"]) == (before["lists"], before["parents"])
    first, second = (numbers(each / "metrics.json") for each in (run_dir, tmp_path / "again"))
    assert {**first, "fit_seconds": 0} == pytest.approx({**second, "fit_seconds": 0}, abs=1e-6)
    assert "is finished with these settings" in run("train", *again).err
    assert "epoch 1/1" in (tmp_path / "again/log.txt").read_text()


@pytest.mark.ci
def test_nothing_is_mixed_where_recipes_change(chain, tmp_path, paths, run):
    """A chain of one recipe, then a stage of another: it has the first one's place."""
    copy = copy_of(chain, "stanford40_frame", tmp_path / "outputs")
    command = ["experiment=stanford40_frame", *paths, *(each for each in QUICK if each != "~callbacks.validation")]
    before = (copy / "metrics.json").read_bytes()
    same = run("train", *command, f"paths.frames={tmp_path}")
    assert same.status == 0, same.err
    assert "is finished with these settings, skipped" in same.err
    refused = run("train", *command, "recipe=strong")
    assert refused.status == 1
    assert "holds another run (recipe: strong, was reference" in refused.err
    assert (copy / "metrics.json").read_bytes() == before
    assert run("train", *command, "recipe=strong", "tag=strong", "trainer.max_epochs=1").status == 0
    assert (copy.with_name("split1-seed0-strong") / "metrics.json").is_file()
    parent = run("train", "experiment=hmdb51_frame", *paths, *QUICK, "parent_tag=strong")
    assert parent.status == 0, parent.err
    lineage = read(tmp_path / "outputs/demo/hmdb51_frame/split1-seed0/checkpoints/best.ckpt")["lineage"]
    assert lineage["parents"]["parent"]["path"].endswith("split1-seed0-strong/checkpoints/best.ckpt")
    stale = run("train", "experiment=hmdb51_frame", *paths, *QUICK)
    assert "parent parent: checkpoint" in stale.err
    assert run("train", *command, "recipe=strong", "trainer.max_epochs=1", "overwrite=true").status == 0
    assert (copy / "metrics.json").read_bytes() != before


def test_fusions_of_the_chains_scores(chain, tmp_path, paths, run):
    for stage in ("hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream"):
        copy_of(chain, stage, tmp_path / "outputs")
    assert "frame, flow: no training scores" in run("fuse", *paths).err
    for stage in ("hmdb51_frame", "hmdb51_flow"):
        written = run("evaluate", f"experiment={stage}", *paths, *QUICK, "parts=[train]")
        assert written.status == 0, written.err
    conv = tmp_path / "outputs/demo/hmdb51_two_stream_conv/split1-seed0"
    trained = run("train", "experiment=hmdb51_two_stream", *paths, *QUICK, "model.fusion=conv", f"run_dir={conv}")
    assert trained.status == 0, trained.err
    outcome = run("fuse", *paths, f"+trained.none={tmp_path / 'nothing'}")
    assert outcome.status == 0, outcome.err
    assert "nothing is not trained" in outcome.err
    rows = json.loads((tmp_path / "outputs/demo/fusion/split1-seed0/fusion.json").read_text())
    fusions = ["average", "weighted", "max", "product", "linear layer", "linear SVM"]
    networks = ["frame", "flow", *fusions, "trained", "trained_conv"]
    assert [row["network"] for row in rows] == networks
    assert sum("p" not in row for row in rows) == 1  # the better stream has nothing to be compared with
    for row, stage in zip(
        (rows[0], rows[1], rows[-2]), ("hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream"), strict=True
    ):
        metrics = json.loads((run_of(chain, stage) / "metrics.json").read_text())
        assert row["test/acc"] == pytest.approx(metrics["test/acc"])
    assert "n = 36 clips of " in outcome.out
    assert {row.get("against") for row in rows} in ({None, "frame"}, {None, "flow"})
    wrong = run("fuse", *paths, f"runs.flow={tmp_path / 'outputs/demo/hmdb51_frame/split1-seed1'}")
    assert wrong.status == 1


@pytest.mark.ci
def test_a_gated_chain_trains_its_folds_and_is_evaluated_as_any_other(chain, tmp_path, paths, run):
    for stage in STAGES:
        copy_of(chain, stage, tmp_path / "outputs")
    quick = [each for each in QUICK if each != "~callbacks.validation"]
    outcome = run("chain", *paths, *quick, "upto=hmdb51_two_stream_gated")
    assert outcome.status == 0, outcome.err
    assert [line.split()[-4] for line in outcome.out.splitlines()][:3] == ["before"] * 3
    folds = sorted(tmp_path.glob("outputs/demo/hmdb51_flow/folds/*"))
    held_out = [name for fold in folds for name in scores.load(fold / "scores_val.npz").names]
    trained_on = read(run_of(chain, "hmdb51_flow") / "checkpoints/best.ckpt")["lineage"]["trained_on"]
    assert sorted(held_out) == sorted(trained_on)
    run_folder = tmp_path / "outputs/demo/hmdb51_two_stream_gated/split1-seed0"
    gate = json.loads((run_folder / "gate.json").read_text())
    assert gate["clips"] == len(held_out) + len(scores.load(run_of(chain, "hmdb51_flow") / "scores_val.npz").names)
    metrics = json.loads((run_folder / "metrics.json").read_text())
    measured = [f"checkpoint={run_folder}/checkpoints/best.ckpt", "parts=[test]", f"output={tmp_path / 'again'}"]
    again = run("evaluate", "experiment=hmdb51_two_stream", *paths, *quick, *measured)
    assert again.status == 0, again.err
    assert f"test/loss          {metrics['test/loss']:.4f}" in again.out
    refit = run("chain", *paths, *quick, "upto=hmdb51_two_stream_refit")
    assert refit.status == 0, refit.err
    assert [line.split()[-4] for line in refit.out.splitlines()].count("before") == 3 + 8
    refit_folder = tmp_path / "outputs/demo/hmdb51_two_stream_refit/split1-seed0"
    assert torch.equal(  # the networks of all clips were trained on these clips, so they do not answer
        *(scores.load(folder / "scores_val.npz").logits for folder in (run_folder, refit_folder))
    )
    alone = []
    for name in gate["streams"]:
        [of_all] = tmp_path.glob(f"outputs/demo/hmdb51_{name}/folds/*-all")
        assert not (of_all / "scores_val.npz").exists()
        known = set(read(of_all / "checkpoints/best.ckpt")["lineage"]["trained_on"])
        assert known >= {*held_out, *scores.load(run_folder / "scores_val.npz").names}
        alone.append(scores.load(of_all / "scores.npz").logits.log_softmax(1).numpy())
    expected = Gate(tuple(gate["weights"]), tuple(gate["temperatures"]), gate["mixes"]).combine(np.stack(alone))
    found = scores.load(refit_folder / "scores.npz").logits.log_softmax(1)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-4)
    measured = [f"checkpoint={refit_folder}/checkpoints/best.ckpt", f"output={tmp_path / 'refit again'}"]
    refused = run("evaluate", "experiment=hmdb51_two_stream", *paths, *quick, *measured)
    assert refused.status == 1
    assert refused.err.splitlines()[-1].endswith("use parts=[test]")
    again = run("evaluate", "experiment=hmdb51_two_stream", *paths, *quick, *measured, "parts=[test]")
    assert again.status == 0, again.err
    assert torch.equal(
        scores.load(tmp_path / "refit again/scores.npz").logits, scores.load(refit_folder / "scores.npz").logits
    )
    bagged = run("chain", *paths, *quick, "upto=hmdb51_two_stream_bagged")
    assert bagged.status == 0, bagged.err
    assert [line.split()[-4] for line in bagged.out.splitlines()][:-1] == ["before"] * 11, bagged.out
    bagged_folder = tmp_path / "outputs/demo/hmdb51_two_stream_bagged/split1-seed0"
    assert torch.equal(  # the networks of other folds were trained on these clips, so they do not answer
        *(scores.load(folder / "scores_val.npz").logits for folder in (run_folder, bagged_folder))
    )
    streams = []
    for name in gate["streams"]:
        others = sorted((tmp_path / f"outputs/demo/hmdb51_{name}/folds").glob("*-fold*"))
        found = [scores.load(folder / "scores.npz") for folder in (run_of(chain, f"hmdb51_{name}"), *others)]
        assert len(found) == 5
        streams.append(torch.stack([each.logits.softmax(1) for each in found]).mean(0).log().numpy())
    expected = Gate(tuple(gate["weights"]), tuple(gate["temperatures"]), gate["mixes"]).combine(np.stack(streams))
    found = scores.load(bagged_folder / "scores.npz").logits.log_softmax(1)
    torch.testing.assert_close(found, torch.from_numpy(expected).float(), rtol=1e-3, atol=1e-4)
    known = set(read(bagged_folder / "checkpoints/best.ckpt")["lineage"]["trained_on"])
    assert set(scores.load(bagged_folder / "scores_val.npz").names) <= known
    assert not set(scores.load(bagged_folder / "scores.npz").names) & known
    measured = [f"checkpoint={bagged_folder}/checkpoints/best.ckpt", f"output={tmp_path / 'bagged again'}"]
    again = run("evaluate", "experiment=hmdb51_two_stream", *paths, *quick, *measured)
    assert again.status == 0, again.err
    found = scores.load(tmp_path / "bagged again/scores_val.npz")
    assert torch.equal(found.logits, scores.load(run_folder / "scores_val.npz").logits)
    with pytest.MonkeyPatch.context() as patch:
        export_by_torchscript(patch)
        assert run("export", str(bagged_folder)).status == 0
    measured = [f"checkpoint={bagged_folder}/checkpoints/best.onnx", f"output={tmp_path / 'exported'}"]
    of_file = run("evaluate", "experiment=hmdb51_two_stream", *paths, *quick, *measured, "parts=[test]")
    assert of_file.status == 0, of_file.err
    exported = scores.load(tmp_path / "exported/scores.npz")
    of_run = scores.load(bagged_folder / "scores.npz").logits
    torch.testing.assert_close(exported.logits, of_run, rtol=1e-3, atol=1e-4)
    # The file's networks answer together, also those that were trained on the validation clips.
    refused = run("evaluate", "experiment=hmdb51_two_stream", *paths, *quick, *measured, "parts=[val]")
    assert refused.status == 1
    assert "best.onnx was trained on" in refused.err.splitlines()[-1]
    if gate["chosen"].endswith(" alone"):
        single = scores.load(run_of(chain, f"hmdb51_{gate['single']}") / "scores.npz")
        found = scores.load(run_folder / "scores.npz")
        assert torch.equal(single.logits.argmax(1), found.logits.argmax(1))


@pytest.mark.ci
def test_evaluate_averages_instants_and_crops(chain, tmp_path, paths, run):
    copy_of(chain, "hmdb51_two_stream", tmp_path / "outputs")
    many = ["views.segments=2", "views.crops=3", f"output={tmp_path / 'many'}", "parts=[test]"]
    outcome = run("evaluate", "experiment=hmdb51_two_stream", *paths, *QUICK, *many)
    assert outcome.status == 0, outcome.err
    assert len(scores.load(tmp_path / "many/scores.npz").names) == 36
    assert not (tmp_path / "many/scores_val.npz").exists()


def test_evaluate_of_another_checkpoint_leaves_the_run_alone(chain, tmp_path, paths, run):
    copy = copy_of(chain, "hmdb51_flow", tmp_path / "outputs")
    before = (copy / "metrics.json").read_bytes()
    last = [f"checkpoint={copy / 'checkpoints/last.ckpt'}", "views.segments=3"]
    refused = run("evaluate", "experiment=hmdb51_flow", *paths, *QUICK, *last)
    assert refused.status == 1
    assert "output=<folder>" in refused.err
    outcome = run("evaluate", "experiment=hmdb51_flow", *paths, *QUICK, *last, f"output={tmp_path / 'last'}")
    assert outcome.status == 0, outcome.err
    assert set(json.loads((tmp_path / "last/metrics.json").read_text())) == (TAGS | TABLES) - {
        "train/loss",
        "train/acc",
    }
    assert len(scores.load(tmp_path / "last/scores.npz").names) == 36
    assert (copy / "metrics.json").read_bytes() == before


def test_report_prints_a_row_a_stage_and_shows_clips(chain, demo_root, run):
    outcome = run("report", f"paths.outputs={chain.parent}", "gallery=2")
    assert outcome.status == 0, outcome.err
    *lines, nothing, page = outcome.out.strip().splitlines()
    assert [line.split("|")[1].strip() for line in lines] == ["stage", lines[1].split("|")[1].strip(), *STAGES]
    assert (nothing, page) == ("", str(chain / "report" / "index.html"))
    assert not (chain / "report" / "damaged.csv").exists()
    missing = (chain / "report" / "missing.csv").read_text()
    assert "gallery" not in missing
    with opened(Path(page), 1280) as shown:
        check_layout(shown, 1280)
        captions = shown.locator("#gallery article").last.locator("figcaption").all_inner_texts()
        assert captions == ["frame", "flow", "Grad-CAM, frame", "Grad-CAM, flow"]
        answers = shown.locator("#gallery article").last.locator("dt").all_inner_texts()
        assert answers == ["hmdb51_frame", "hmdb51_flow", "hmdb51_two_stream"]
        assert shown.locator("#curves img").count() == len(STAGES)
        assert shown.locator("svg.chain text.label").all_text_contents() == ["same file"] * 3


@pytest.mark.ci
def test_report_shows_clips_of_a_single_stream_and_says_when_the_data_went(chain, tmp_path, paths, run, demo_root):
    copy_of(chain, "hmdb51_flow", tmp_path / "outputs")
    assert run("report", *paths, "gallery=1").status == 0
    report = tmp_path / "outputs/demo/report"
    assert "Grad-CAM, flow" in (report / "index.html").read_text()
    config = tmp_path / "outputs/demo/hmdb51_flow/split1-seed0/config.yaml"
    config.write_text(config.read_text().replace(str(demo_root), str(tmp_path / "gone")))
    assert run("report", *paths, "gallery=1").status == 0
    [line] = [line for line in (report / "missing.csv").read_text().splitlines() if line.startswith("gallery,")]
    assert "not a folder" in line
    assert (report / "runs.csv").is_file()


@pytest.mark.ci
def test_resume_trains_on_and_keeps_what_there_was(chain, tmp_path, paths, run):
    copy = copy_of(chain, "stanford40_frame", tmp_path / "outputs")
    overrides = ["experiment=stanford40_frame", *paths, *QUICK, "trainer.max_epochs=2", "resume=true"]
    assert run("train", *overrides).status == 0
    for refused, said in (
        (["scheduler=onecycle", "trainer.max_epochs=3", "overwrite=true", "resume=false"], ""),
        (
            ["scheduler=onecycle", "trainer.max_epochs=4"],
            "made for 3 epochs and cannot stretch to trainer.max_epochs=4",
        ),
    ):
        outcome = run("train", *overrides, *refused, f"run_dir={tmp_path / 'cycle'}")
        assert outcome.status == bool(said), outcome.err
        assert said in outcome.err
        assert "Traceback" not in outcome.err
    partial = copy.with_name("split1-seed0.partial")
    shutil.copytree(copy, partial)
    before = {path: path.read_bytes() for path in partial.rglob("*") if path.is_file()}
    flow = run_of(chain, "hmdb51_flow") / "checkpoints"
    for given, said in (
        (f"resume={copy / 'checkpoints/best.ckpt'}", "holds weights but no training state"),
        (f"resume={flow / 'last.ckpt'}", "is of stage hmdb51_flow"),
        (f"resume={tmp_path / 'nowhere.ckpt'}", "there is no"),
    ):
        outcome = run("train", *overrides, given, "overwrite=true", "trainer.max_epochs=4")
        assert outcome.status == 1
        assert said in outcome.err
        assert {path: path.read_bytes() for path in partial.rglob("*") if path.is_file()} == before
    shutil.rmtree(partial)
    narrow = [*overrides, "backbone.name=shufflenet_v2_x1_0", f"run_dir={tmp_path / 'wide'}"]
    outcome = run("train", *narrow, f"resume={copy / 'checkpoints/last.ckpt'}")
    assert "is of another network" in outcome.err
    assert json.loads((copy / "metrics.json").read_text())["epochs"] == 2
    assert read(copy / "checkpoints" / "last.ckpt")["epoch"] == 1
    assert not copy.with_name("split1-seed0.partial").exists()


def test_frozen_streams_without_a_learned_fusion_are_kept_as_they_are(chain, tmp_path, paths, run):
    for stage in ("hmdb51_frame", "hmdb51_flow"):
        copy_of(chain, stage, tmp_path / "outputs")
    frozen = ["model.fusion=average", "model.frozen=[frame,flow]"]
    outcome = run("train", "experiment=hmdb51_two_stream", *paths, *QUICK, *frozen)
    assert outcome.status == 0, outcome.err
    metrics = json.loads((tmp_path / "outputs/demo/hmdb51_two_stream/split1-seed0/metrics.json").read_text())
    assert metrics["epochs"] == 0
    assert 0 <= metrics["test/acc"] <= 1


@pytest.mark.ci
@pytest.mark.parametrize("frozen", ["[frame]", "[frame,flow]"])
def test_cached_features_and_pictures_change_nothing(paths, run, tmp_path, frozen):
    stage, outputs = "hmdb51_two_stream", tmp_path / "outputs"
    settings = ["init_from=null", f"model.frozen={frozen}"]
    command = [f"experiment={stage}", *paths, *QUICK, *settings]
    assert run("train", *command).status == 0
    plain = metrics_of(outputs, stage)
    outcome = run("train", *command, "cache_features=true", "data.cache=ram", "overwrite=true")
    assert outcome.status == 0, outcome.err
    assert "computed once" in outcome.err
    assert metrics_of(outputs, stage) == pytest.approx(plain, abs=1e-3)


@pytest.mark.ci
def test_a_compiled_network_is_logged_and_kept_as_any_other(chain, paths, run, tmp_path):
    """Without the compiler itself, which takes a minute: the graph is captured and run as it is."""
    stage, outputs = "stanford40_frame", tmp_path / "outputs"
    command = [f"experiment={stage}", *paths, *QUICK]
    outcome = run("train", *command, "compile={backend: eager}")
    assert outcome.status == 0, outcome.err
    assert metrics_of(outputs, stage) == pytest.approx(metrics_of(chain.parent, stage), abs=0.02)
    best = [run_of(each, stage) / "checkpoints" / "best.ckpt" for each in (chain, outputs / "demo")]
    assert set(read(best[0])["state_dict"]) == set(read(best[1])["state_dict"])
    assert run("evaluate", *command).status == 0


class TestBadInput:
    """One line that names the thing and the mend, status 1, and nothing written."""

    @pytest.fixture
    def refused(self, run, paths, tmp_path):
        def refused(verb: str, *overrides: str, defaults=()) -> str:
            outcome = run(verb, *(defaults or [*paths, *QUICK]), *overrides)
            lines = outcome.err.strip().splitlines()
            errors = [line for line in lines if line.startswith("error: ")]
            assert outcome.status == 1, outcome.err
            assert len(errors) == 1, outcome.err
            assert "Traceback" not in outcome.err
            assert not list((tmp_path / "outputs").rglob("metrics.json"))
            return errors[0]

        return refused

    @pytest.mark.parametrize(
        ("overrides", "names"),
        [
            (["experiment=stanford40_frame", "paths.stanford40=nowhere"], ["paths.stanford40=nowhere", "not a folder"]),
            (["experiment=hmdb51_flow", "paths.hmdb51=nowhere"], ["paths.hmdb51=nowhere", "not a folder"]),
            (["experiment=hmdb51_flow", "split=4"], ["split 4"]),
            (["experiment=hmdb51_flow", "data.actions=[clap,wav]"], ["wav", "did you mean wave?"]),
            (
                ["experiment=hmdb51_flow", "data.flow.fields=40"],
                ["too short", "the stack spans 40", "data.flow.fields"],
            ),
            (["experiment=hmdb51_flow", "data.flow.representation=hsv"], ["data.flow.representation=hsv"]),
            (["experiment=hmdb51_flow", "data.augmentation=wild"], ["data.augmentation=wild", "strong"]),
            (["experiment=hmdb51_flow", "flow.bound=15"], ["bound=20", "bound=15"]),
            (["experiment=hmdb51_flow", "paths.flow=nowhere"], ["not extracted", "actionrec extract_flow"]),
            (["experiment=hmdb51_flow", "trainer.max_epoch=3"], ["trainer.max_epoch"]),
            (["experiment=hmdb51_flow", "trainer.precision=bf17"], ["bf17"]),
            (["experiment=hmdb52_flow"], ["hmdb52_flow", "hmdb51_flow"]),
            (["experiment=hmdb51_flow", "backbone.name=resnet17"], ["backbone.name=resnet17"]),
            (["experiment=hmdb51_frame"], ["init_from=", "no such checkpoint", "train that stage first"]),
            (["experiment=hmdb51_two_stream"], ["init_from.frame=", "no such checkpoint"]),
            (["experiment=hmdb51_flow", "views.crops=7"], ["views.crops=7", "1, 2, 3, 5, 10"]),
            (["experiment=hmdb51_flow", "resume=true"], ["resume: there is no", "train without resume"]),
            (["experiment=hmdb51_flow", "data.cache=disk"], ["data.cache=disk", "use ram or null"]),
            (["experiment=hmdb51_flow", "data.num_workers=many"], ["data.num_workers=many", "use auto"]),
            (["experiment=hmdb51_flow", "cache_features=true"], ["needs frozen streams", "model.frozen"]),
            (
                [
                    *("experiment=hmdb51_two_stream", "init_from=null", "model.frozen=[flow]", "cache_features=true"),
                    "recipe=strong",
                ],
                ["needs samples that stay the same", "data.augmentation=none"],
            ),
            (["experiment=hmdb51_flow", "compile={backend: fast}"], ["compile", "fast"]),
        ],
    )
    def test_settings(self, refused, overrides, names):
        line = refused("train", *overrides)
        for name in names:
            assert name in line

    @pytest.mark.parametrize("verb", ["train", "evaluate"])
    def test_no_experiment(self, refused, verb):
        line = refused(verb)
        assert "say which experiment: experiment=" in line
        assert "|hmdb51_flow|hmdb51_frame|" in line

    def test_a_parent_that_is_no_checkpoint(self, refused, tmp_path):
        (tmp_path / "junk.ckpt").write_bytes(b"junk")
        line = refused("train", "experiment=hmdb51_frame", f"init_from={tmp_path / 'junk.ckpt'}")
        assert "junk.ckpt: not a checkpoint" in line

    @pytest.mark.parametrize(
        ("stage", "parent", "overrides", "names"),
        [
            ("hmdb51_frame", "hmdb51_flow", [], ["takes 8 channels, this network 3"]),
            ("hmdb51_frame", "stanford40_frame", ["backbone.name=resnet34"], ["another backbone (shufflenet_v2_x0_5)"]),
            ("hmdb51_frame", "hmdb51_frame", ["split=2"], ["trained on split 1, this stage is split 2"]),
            ("hmdb51_frame", "hmdb51_two_stream", [], ["network of several streams (frame, flow)"]),
        ],
    )
    def test_a_parent_that_does_not_fit(self, refused, chain, stage, parent, overrides, names):
        best = run_of(chain, parent) / "checkpoints" / "best.ckpt"
        line = refused("train", f"experiment={stage}", f"init_from={best}", *overrides)
        for name in names:
            assert name in line

    def test_a_checkpoint_of_another_stage(self, refused, chain):
        best = run_of(chain, "hmdb51_flow") / "checkpoints" / "best.ckpt"
        assert "use experiment=hmdb51_flow" in refused("evaluate", "experiment=hmdb51_frame", f"checkpoint={best}")
        assert "trained on split 1" in refused("evaluate", "experiment=hmdb51_flow", f"checkpoint={best}", "split=2")

    def test_files_the_lists_name_and_the_disk_lacks(self, refused, demo_root, tmp_path):
        root = tmp_path / "data"
        shutil.copytree(demo_root, root)
        gone = next((root / "Stanford40" / "JPEGImages").glob("applauding_*.jpg"))
        gone.unlink()
        line = refused("train", "experiment=stanford40_frame", f"paths.root={root}")
        assert "1 of the" in line
        assert gone.name in line
        assert "data.strict=false" in line

    @pytest.mark.parametrize("workers", [0, 1])
    def test_an_unreadable_image(self, refused, demo_root, tmp_path, workers):
        root = tmp_path / "data"
        shutil.copytree(demo_root, root)
        for path in (root / "Stanford40" / "JPEGImages").glob("applauding_*.jpg"):
            path.write_bytes(b"no image")
        line = refused("train", "experiment=stanford40_frame", f"paths.root={root}", f"data.num_workers={workers}")
        assert "cannot read the image" in line
        assert "applauding_" in line

    def test_an_unreadable_and_a_short_video(self, refused, demo_root, tmp_path):
        root = tmp_path / "data"
        shutil.copytree(demo_root, root)
        first, second = sorted((root / "hmdb51" / "wave").glob("*.avi"))[:2]
        first.write_bytes(b"no video")
        noise_video(second, 1)
        store = tmp_path / "flow"
        places = [f"paths.root={root}", f"paths.flow={store}"]
        line = refused("extract_flow", *places, "data.actions=[wave,clap]", "workers=1")
        assert "2 of the" in line or "2 of " in line
        assert first.name in line or second.name in line
        assert not (store / "wave" / f"{first.stem}.zip").exists()
        assert (
            len(list(store.rglob("*.zip")))
            == sum(1 for a in ("wave", "clap") for _ in (root / "hmdb51" / a).iterdir()) - 2
        )

    def test_nothing_to_report(self, refused, tmp_path):
        places = [f"paths.outputs={tmp_path / 'outputs'}"]
        assert "make demo" in refused("report", defaults=places)
