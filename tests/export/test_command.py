"""`actionrec export` as a command line, and the use of its files by predict and evaluate."""

import json
import shutil
import sys

import pytest
import torch

from actionrec.evaluation import scores
from actionrec.export import run as exporting
from actionrec.export import samples
from actionrec.export.comparison import Comparison
from actionrec.modules import exported
from actionrec.prediction import calibration
from actionrec.prediction.calibration import Calibration
from actionrec.system.files import sha256
from tests.conftest import QUICK, noise_video
from tests.export.conftest import BOTH, export_by_torchscript, made, save

CPU = ("accelerator=cpu", "precision=32-true")


def saved_run(folder):
    """A run of a gate that uses the flow alone, with a calibration."""
    module = made(BOTH, fusion="gated")
    module.network.fusion.weights.copy_(torch.tensor([0.0, 1.0]))
    run = save(module, folder)
    best = run / "checkpoints" / "best.ckpt"
    calibration.save(Calibration(3.0, 0.2, "fit", 40, 0.05, sha256(best)), best.with_name(calibration.FILE))
    (run / "measurement.json").write_text(json.dumps({"test": {"segments": 2, "crops": 1, "precision": "32-true"}}))
    return run


@pytest.fixture
def own_run(tmp_path):
    return saved_run(tmp_path)


@pytest.fixture(scope="module")
def exported_run(tmp_path_factory, compose_config):
    folder = saved_run(tmp_path_factory.mktemp("exported"))
    with pytest.MonkeyPatch.context() as patch:
        export_by_torchscript(patch)
        exporting.export(compose_config("export", f"checkpoint={folder}"))
    return folder


@pytest.fixture
def files(exported_run, tmp_path):
    """A run, and its exported file."""
    copied = shutil.copytree(exported_run, tmp_path / "run")
    return copied, copied / "checkpoints" / "best.onnx"


def test_without_the_runs_data_random_samples_are_compared(own_run, run, fast_exporter):
    outcome = run("export", str(own_run))
    assert outcome.status == 0, outcome.err
    assert "the data of the run cannot be read: there is no" in outcome.err
    assert "comparing on 20 random samples, which are no pictures" in outcome.err
    first, *_, path, card = outcome.out.splitlines()
    assert first.startswith("The logits of the network, exported with torchscript, differ from PyTorch's by at most")
    assert path == str(own_run / "checkpoints" / "best.onnx")
    assert card == f"{path}.md"


def test_predict_takes_the_file_as_it_takes_the_checkpoint(files, run, tmp_path):
    videos = noise_video(tmp_path / "videos" / "a.avi", 12).parent
    noise_video(videos / "b.avi", 9, seed=1)
    by_torch, by_onnx = (
        run("predict", str(each), f"source={videos}", "format=json", "top=3", *words)
        for each, words in zip(files, (CPU, ("accelerator=cpu",)), strict=True)
    )
    assert by_onnx.status == 0, by_onnx.err
    assert "reject=auto: below 0.200 it is none of these; temperature 3.000 from" in by_onnx.err
    for ours, theirs in zip(json.loads(by_onnx.out), json.loads(by_torch.out), strict=True):
        assert ours["file"] == theirs["file"]
        assert ours["action"] == theirs["action"]
        found = {row["action"]: row["probability"] for row in ours["top"]}
        assert found == pytest.approx({row["action"]: row["probability"] for row in theirs["top"]}, abs=1e-4)


def test_the_card_says_what_the_files_say(files, run):
    folder, path = files
    card = path.with_name("best.onnx.md").read_text()
    assert f"| sha256 | {sha256(path)} |" in card
    assert f"| checkpoint, sha256 | {sha256(folder / 'checkpoints' / 'best.ckpt')} |" in card
    assert "logits are divided by 3.000; the threshold of an answer is 0.200 (40 samples)" in card
    assert "The fusion gives no weight to frame, which the file leaves out." in card
    assert "2 instants by 1 crop" in card
    assert "No test figures are known" in card
    assert "| stream, flow | Flow: algorithm dis" in card
    assert "/home/me" not in card
    assert exported.load(path).description.views == {"segments": 2, "crops": 1}


def test_a_card_of_a_run_has_its_test_figures_and_nothing_that_marks_up(run, tmp_path):
    module = made()
    module.lineage["stage"] = "<b>[x](y)|"
    folder = save(module, tmp_path)
    rows = [{"action": name, "n": 10, "recall": recall} for name, recall in (("clap", 0.9), ("run", 0.1))]
    numbers = {"test/acc": 0.5, "test/acc_low": 0.25, "test/acc_high": 0.75, "test/n": 20, "test/sources": 4}
    (folder / "metrics.json").write_text(json.dumps({**numbers, "val/acc": 0.5, "test/per_action": rows}))
    outcome = run("export", str(folder), "format=card")
    assert outcome.status == 0, outcome.err
    card = (folder / "checkpoints" / "best.ckpt.md").read_text()
    assert outcome.out.strip() == str(folder / "checkpoints" / "best.ckpt.md")
    assert card.startswith("# \\<b\\>\\[x\\](y)\\|: 3 actions from frame")
    assert "| top-1 | 0.500 [0.250, 0.750] |" in card
    assert "20 test samples of 4 source videos" in card
    assert "lowest recall on the test part: run 0.10 of 10, clap 0.90 of 10" in card
    assert "4 source videos are few" in card
    assert "## Export" not in card


def test_a_refused_file_leaves_an_earlier_one_as_it_was(files, run, monkeypatch, fast_exporter):
    folder, path = files
    before, names = path.read_bytes(), sorted(each.name for each in path.parent.iterdir())
    monkeypatch.setattr("actionrec.export.run.compare", lambda *_: Comparison(1.0, 2.0))
    outcome = run("export", str(folder))
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("error: the exported network is refused (torchscript: its logits")
    assert path.read_bytes() == before
    assert sorted(each.name for each in path.parent.iterdir()) == names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{run}", "format=table"], "format=table: use onnx or card"),
        (["{run}", "precision=int4"], "precision=int4: use float32 or int8"),
        (["{run}", "precision=int8"], "name the folder of a run whose data are there"),
        (["{run}", "out=a.ckpt"], "name a file with the suffix .onnx"),
        (["{run}", "out={run}"], "is a folder; name a file"),
        (["{run}", "tolerance=0"], "tolerance=0: use"),
        (["{run}", "source=gone.mp4"], "gone.mp4: no such file"),
        (["a.onnx"], "is exported already"),
        (["gone.ckpt"], "no such checkpoint"),
    ],
)
def test_bad_input_is_one_line(own_run, run, words, said):
    outcome = run("export", *(word.format(run=own_run) for word in words))
    assert outcome.status == 1
    assert said in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert not list(own_run.rglob("*.onnx"))


def test_without_the_extra_there_is_one_line(files, run, monkeypatch, tmp_path):
    folder, path = files
    for package in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, package, None)
    video = noise_video(tmp_path / "a.avi", 9)
    for words in (["export", str(folder)], ["predict", str(path), f"source={video}"]):
        assert "pip install 'actionrec[export]'" in run(*words).err.splitlines()[-1]
    assert run("export", str(folder), "format=card").status == 0


@pytest.mark.parametrize("words", [["accelerator=gpu"], ["precision=bf16-mixed"], ["format=onnx"], ["calibrate=true"]])
def test_predict_refuses_what_an_exported_file_cannot_do(files, run, words):
    outcome = run("predict", str(files[1]), "source=a.mp4", *words)
    assert outcome.status == 1
    assert outcome.err.splitlines()[-1].startswith("error: ")


@pytest.mark.ci
def test_videos_of_the_user_are_compared(own_run, run, tmp_path, fast_exporter):
    video, out = noise_video(tmp_path / "a (1).avi", 12), tmp_path / "new" / "b.onnx"
    outcome = run("export", str(own_run / "checkpoints" / "best.ckpt"), f"source={video}", f"out={out}")
    assert outcome.status == 0, outcome.err
    assert "(2 samples of source)" in outcome.out  # two instants
    assert out.is_file()
    assert out.with_name("b.onnx.md").is_file()


@pytest.mark.ci
def test_int8_comes_from_training_clips_and_is_measured_beside_float(run, paths, tmp_path, fast_exporter, monkeypatch):
    run_dir = tmp_path / "outputs" / "demo" / "frame" / "split1-seed0"
    stage = ["experiment=frame", "data.actions=[clap,wave]", f"run_dir={run_dir}", "init_from=null"]
    assert run("train", *paths, *QUICK, *stage).status == 0
    read, spread_of = [], samples.spread

    def spread(dataset, number):
        read.append({clip.name for clip in dataset.clips})
        return spread_of(dataset, 8)

    monkeypatch.setattr(samples, "spread", spread)
    outcome = run("export", str(run_dir), "precision=int8")
    assert outcome.status == 0, outcome.err
    measured = run("evaluate", *paths, *QUICK, *stage, f"checkpoint={run_dir / 'checkpoints' / 'best-int8.onnx'}")
    assert measured.status == 0, measured.err

    elsewhere = shutil.copy(run_dir / "checkpoints" / "best-int8.onnx", tmp_path)
    assert "name a folder for the metrics" in run("evaluate", *paths, *stage, f"checkpoint={elsewhere}").err

    header, _, *rows = [line.strip("| ").split("|") for line in outcome.out.splitlines() if line.startswith("|")]
    assert [each.strip() for each in header][:4] == ["network", "top-1, validation", "n", "MB"]
    sizes = {row[0].strip(): float(row[3]) for row in rows}
    assert sizes["ONNX int8"] < 0.5 * sizes["ONNX float32"]
    [further] = (run_dir / "measurements").iterdir()
    assert further.name.endswith("-onnx-int8")
    int8, float32 = scores.load(further / "scores_val.npz"), scores.load(run_dir / "scores_val.npz")
    assert int8.names == float32.names
    assert int8.protocol["checkpoint"] == float32.protocol["checkpoint"]
    assert not torch.equal(int8.logits, float32.logits)
    top = next(row for row in rows if row[0].strip() == "ONNX int8")[1]
    right = (int8.logits.argmax(1) == int8.labels).double().mean()
    assert top.strip().startswith(f"{right:.3f} [")
    compared, calibrated = read
    assert compared == set(int8.names)
    assert calibrated
    assert not calibrated & {*int8.names, *scores.load(run_dir / "scores.npz").names}
