"""`actionrec predict` as a command line."""

import json
import shutil
import tempfile
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from actionrec.commands.predict import arguments
from actionrec.evaluation import scores
from actionrec.evaluation.scores import Scores
from actionrec.prediction import feeds, pipeline
from actionrec.system.files import sha256
from tests.conftest import noise_video, raise_error
from tests.prediction.conftest import ACTIONS, loaded, pictures
from tests.storage import mp4

CPU = ("accelerator=cpu", "precision=32-true")


@pytest.fixture
def own_run(light_run, tmp_path):
    return shutil.copytree(light_run, tmp_path / "run")


def test_the_command_line_takes_paths_as_they_are_typed():
    odd = "clips/#20_it's (1)!.avi"
    assert arguments(["runs/a=1/x", f"source={odd}", "window=true", "top=3", "-c", "job"]) == [
        "checkpoint='runs/a=1/x'",
        "source='clips/#20_it\\'s (1)!.avi'",
        "window.use=true",
        "top=3",
        "-c",
        "job",
    ]
    assert arguments(["--cfg", "job", "x.ckpt", "-p", "window"]) == [
        *("--cfg", "job", "checkpoint='x.ckpt'", "-p", "window"),
    ]
    assert arguments(["checkpoint=x.ckpt", "source=[a,b]", "out=null"]) == [
        "checkpoint='x.ckpt'",
        "source=[a,b]",
        "out=null",
    ]


@pytest.mark.parametrize("named", ["run", "checkpoint"])
def test_a_run_or_its_checkpoint_predicts_a_folder(run, light_run, tmp_path, named):
    network = light_run if named == "run" else light_run / "checkpoints" / "best.ckpt"
    videos = [noise_video(tmp_path / "videos" / name, 6) for name in ("#2 (it's).avi", "b.avi")]
    outcome = run("predict", str(network), f"source={tmp_path / 'videos'}", "format=json", "top=3", *CPU)
    assert outcome.status == 0, outcome.err
    found = json.loads(outcome.out)
    assert [each["file"] for each in found] == [str(video) for video in videos]
    for each in found:
        assert {row["action"] for row in each["top"]} == set(ACTIONS)
        assert sum(row["probability"] for row in each["top"]) == pytest.approx(1)
        assert each["action"] == each["top"][0]["action"]
        assert each["duration"] == pytest.approx(0.24)


@pytest.mark.parametrize(("name", "begins"), [("a.json", "["), ("a.csv", "file,start"), ("a.txt", "| file")])
def test_the_suffix_of_the_file_chooses_the_format(run, light_run, tmp_path, name, begins):
    video, out = noise_video(tmp_path / "a (1).avi", 6), tmp_path / "new" / name
    outcome = run("predict", str(light_run), f"source={video}", f"out={out}", *CPU)
    assert outcome.status == 0, outcome.err
    assert outcome.out == ""
    assert out.read_text().startswith(begins)
    assert "clap" in out.read_text()


def test_a_long_video_becomes_segments(run, light_run, tmp_path):
    video = noise_video(tmp_path / "a.avi", 60)
    window = ["window=true", "window.seconds=1", "window.hop=0.5", "reject=off"]
    outcome = run("predict", str(light_run), f"source={video}", "format=json", *window, *CPU)
    assert outcome.status == 0, outcome.err
    [found] = json.loads(outcome.out)
    assert found["segments"][0]["start"] == 0.0
    assert found["segments"][-1]["end"] == pytest.approx(found["duration"]) == pytest.approx(2.4)
    never = run("predict", str(light_run), f"source={video}", "format=json", *window, "window.enter=1", *CPU)
    assert json.loads(never.out)[0]["segments"] == []


def test_failures_are_listed_after_the_predictions_of_the_others(run, light_run, tmp_path):
    noise_video(tmp_path / "videos" / "b.avi", 6)
    (tmp_path / "videos" / "a.mp4").write_text("no video")
    (tmp_path / "videos" / "c.mp4").touch()
    outcome = run("predict", str(light_run), f"source={tmp_path / 'videos'}", *CPU)
    assert outcome.status == 1
    assert "b.avi" in outcome.out
    assert "a.mp4" not in outcome.out
    *_, first, second, last = outcome.err.strip().splitlines()
    assert "a.mp4" in first
    assert "c.mp4 is empty" in second
    assert last.startswith("error: 2 of 3 files failed")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say which network"),
        (["{run}"], "name the input: source="),
        (["{run}", "source=gone.mp4"], "gone.mp4: no such file"),
        (["{run}/checkpoints", "source=a.mp4"], "name the folder of a finished run"),
        (["gone.ckpt", "source=a.mp4"], "no such checkpoint"),
        (["{here}/text.ckpt", "source=a.mp4"], "not a checkpoint"),
        (["{run}", "source={run}"], "has no videos or images"),
        (["{run}", "source=a.mp4", "out={here}"], "is a folder; name a file"),
        (["{here}/newer.ckpt", "source=a.mp4"], "lineage.licence: this version has no such key"),
        (["{here}/other.ckpt", "source=a.mp4"], "not a checkpoint of actionrec"),
        (["{run}", "source={here}/sound.mp4"], "cannot decode the video"),
        (["{run}", "source=a.mp4", "annotate=true"], "annotate=true: use null, or a path"),
        (["{run}", "source=a.mp4", "top=0"], "top=0: use"),
        (["{run}", "source=a.mp4", "format=xml"], "format=xml: use"),
        (["{run}", "source=a.mp4", "reject=maybe"], "reject=maybe: use"),
        (["{run}", "source=a.mp4", "window.hop=0"], "window.hop=0: use"),
        (["{run}", "source=a.mp4", "window.enter=0.5", "window.leave=0.6"], "window.leave=0.6: use at most"),
        (["{run}", "source=a.mp4", "accelerator=abacus"], "accelerator=abacus"),
        (["{run}", "source=a.mp4", "precision=3"], "precision=3"),
        (["{run}", "calibrate=true"], "is not a scores file"),
        (["{run}/checkpoints/best.ckpt", "source=a.mp4", "views.crops=4"], "views.crops=4: use"),
    ],
)
def test_bad_input_is_one_line(run, light_run, tmp_path, words, said):
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    state = torch.load(light_run / "checkpoints" / "best.ckpt", weights_only=True)
    torch.save({**state, "lineage": {**state["lineage"], "licence": "free"}}, tmp_path / "newer.ckpt")
    torch.save({"state_dict": state["state_dict"]}, tmp_path / "other.ckpt")
    with wave.open(str(tmp_path / "sound.mp4"), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(8000))
    outcome = run("predict", *(word.format(run=light_run, here=tmp_path) for word in words))
    assert outcome.status == 1
    *_, line = outcome.err.strip().splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert "Traceback" not in outcome.err


def test_a_run_of_all_samples_has_none_to_be_calibrated_by(run, light_run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(light_run, copy)
    (copy / "config.yaml").write_text("data: {fold: all}\n")
    outcome = run("predict", str(copy), "calibrate=true")
    assert outcome.status == 1
    assert "trained on the validation samples, too (data.fold=all)" in outcome.err
    (copy / "config.yaml").write_text("data: {fold: 0}\n")
    assert "scores_val.npz is not a scores file" in run("predict", str(copy), "calibrate=true").err


@pytest.mark.parametrize("key", ["out", "annotate"])
def test_a_place_that_cannot_be_written_is_an_error_before_the_prediction(run, light_run, tmp_path, monkeypatch, key):
    video, file = noise_video(tmp_path / "a.avi", 6), tmp_path / "file"
    file.touch()
    monkeypatch.setattr(pipeline, "predict", raise_error(AssertionError))
    outcome = run("predict", str(light_run), f"source={video}", f"{key}={file}/new/b.mp4", *CPU)
    assert outcome.status == 1
    *_, line = outcome.err.strip().splitlines()
    assert line.startswith(f"error: {key}={file}/new/b.mp4 cannot be written (Not a directory)")

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refused)
    outcome = run("predict", str(light_run), f"source={video}", f"{key}={tmp_path}/new/b.mp4", *CPU)
    assert "cannot be written (Permission denied); name another place" in outcome.err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("rotation", ["upright", "rotated"])
def test_a_portrait_video_is_upright(run, light_run, tmp_path, monkeypatch, rotation):
    """A telephone stores landscape pictures and the angle to turn them by."""
    frames = pictures(12, height=48, width=96)
    seen = []
    if rotation == "upright":
        frames = [np.ascontiguousarray(np.rot90(frame, -1)) for frame in frames]
    video = mp4.write(tmp_path / "portrait.mp4", frames)
    if rotation == "rotated":
        mp4.change(video, b"tkhd", mp4.rotated)
    decode = feeds.Decoded.__init__
    monkeypatch.setattr(feeds.Decoded, "__init__", lambda self, bgr: (seen.append(bgr.shape), decode(self, bgr))[1])
    outcome = run("predict", str(light_run), f"source={video}", "format=json", *CPU)
    assert outcome.status == 0, outcome.err
    assert set(seen) == {(96, 48, 3)}


def test_a_varying_rate_has_the_segments_of_its_times(run, light_run, tmp_path):
    video = mp4.write(tmp_path / "telephone.mp4", pictures(50))
    mp4.change(video, b"stts", mp4.durations((25, 1), (25, 3)))
    words = ["window=true", "window.seconds=1", "window.hop=0.5", "window.enter=0", "format=json"]
    outcome = run("predict", str(light_run), f"source={video}", *words, *CPU)
    assert outcome.status == 0, outcome.err
    [found] = json.loads(outcome.out)
    assert found["duration"] == pytest.approx(4.0)
    assert found["segments"][-1]["end"] == pytest.approx(4.0)


@pytest.mark.parametrize(("height", "width"), [(2160, 3840), (241, 321), (2, 640), (640, 2)])
def test_videos_of_any_size_have_an_answer(run, light_run, tmp_path, height, width):
    code = cv2.VideoWriter_fourcc(*"FFV1")  # which takes odd sizes
    writer = cv2.VideoWriter(str(tmp_path / "a.mkv"), code, 25, (width, height))
    for level in range(3):
        writer.write(np.full((height, width, 3), 80 * level, np.uint8))
    writer.release()
    outcome = run("predict", str(light_run), f"source={tmp_path / 'a.mkv'}", "format=json", *CPU)
    assert outcome.status == 0, outcome.err
    [found] = json.loads(outcome.out)
    assert found["action"] in ACTIONS


def test_a_video_of_one_frame_is_one_line_for_a_network_of_flow(run, tmp_path, checkpoint_of):
    checkpoint, out = checkpoint_of("experiment=flow"), tmp_path / "out.json"
    video = noise_video(tmp_path / "a.avi", 1)
    outcome = run("predict", str(checkpoint), f"source={video}", f"out={out}", *CPU)
    assert outcome.status == 1
    *_, line = outcome.err.strip().splitlines()
    assert line.startswith(f"error: {video} is too short: ")
    assert not out.exists()


def test_views_and_precision_are_those_of_the_run_unless_given(own_run, compose_config):
    record = {"test": {"segments": 3, "crops": 5, "position": "middle", "precision": "64-true"}}
    (own_run / "measurement.json").write_text(json.dumps(record))
    found = loaded(compose_config("predict", f"checkpoint={own_run}", "accelerator=cpu"))
    assert (len(found.reader.fractions), len(found.reader.views)) == (3, 5)
    batch = {"frame": torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)}
    exact = found.network(batch)
    given = ["views.segments=2", "views.crops=1", "precision=bf16-mixed"]
    other = loaded(compose_config("predict", f"checkpoint={own_run}", "accelerator=cpu", *given))
    assert (len(other.reader.fractions), len(other.reader.views)) == (2, 1)
    assert not torch.equal(exact, other.network(batch))
    torch.testing.assert_close(exact, other.network(batch), atol=0.1, rtol=0.1)


def test_a_record_that_makes_no_sense_is_left_aside(own_run, compose_config):
    record = {"test": {"segments": "many", "crops": None, "precision": "32-true"}}
    (own_run / "measurement.json").write_text(json.dumps(record))
    found = loaded(compose_config("predict", f"checkpoint={own_run}", "accelerator=cpu"))
    assert (len(found.reader.fractions), len(found.reader.views)) == (1, 1)


class TestReject:
    @pytest.fixture
    def calibrated(self, own_run, run):
        checkpoint = sha256(own_run / "checkpoints" / "best.ckpt")
        logits = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
        found = Scores(
            [f"c{n}" for n in range(40)], logits, logits.argmax(1), ACTIONS, ["g"] * 40, {"checkpoint": checkpoint}
        )
        scores.save(found, own_run / scores.FILES["val"])
        outcome = run("predict", str(own_run), "calibrate=true", "rate=0")
        assert outcome.status == 0, outcome.err
        assert "from 40 validation samples" in outcome.out
        return own_run

    def test_false_alarms_on_background_choose_the_threshold(self, run, calibrated, tmp_path):
        for number in range(4):
            noise_video(tmp_path / "street" / f"{number}.avi", 6 + 50 * (number == 3), seed=number)
        (tmp_path / "street" / "broken.mp4").write_text("no video")
        words = [f"background={tmp_path / 'street'}", "window.clip_seconds=1", "window.seconds=0.5"]
        path = calibrated / "checkpoints" / "calibration.json"
        for most in (0, 1e6):
            outcome = run("predict", str(calibrated), "calibrate=true", f"false_alarms={most}", *words, *CPU)
            assert outcome.status == 0, outcome.err
            assert "broken.mp4" in outcome.err
            made = json.loads(path.read_text())
            assert made["hours"] == pytest.approx((3 * 6 + 56) / 25 / 3600)
            assert made["false_alarms"] <= most
            assert f"{made['false_alarms']:.1f} false alarms an hour on background" in outcome.out
        assert made["false_alarms"] >= 4 / made["hours"]
        assert "temperature" in self.actions(run, calibrated, tmp_path)[1]

    def test_without_background_the_false_alarms_are_not_known(self, run, calibrated):
        outcome = run("predict", str(calibrated), "calibrate=true")
        assert "the false alarms an hour are not known: name videos" in outcome.out
        assert json.loads((calibrated / "checkpoints" / "calibration.json").read_text())["false_alarms"] is None

    def test_background_without_a_video_is_one_line(self, run, calibrated, tmp_path):
        (tmp_path / "street").mkdir()
        outcome = run("predict", str(calibrated), "calibrate=true", f"background={tmp_path / 'street'}")
        assert (outcome.status, "has no videos" in outcome.err) == (1, True)
        (tmp_path / "street" / "broken.mp4").write_text("no video")
        outcome = run("predict", str(calibrated), "calibrate=true", f"background={tmp_path / 'street'}", *CPU)
        assert "none of the 1 background videos can be predicted" in outcome.err

    def actions(self, run, network, tmp_path, *words):
        video = noise_video(tmp_path / "a.avi", 6)
        outcome = run("predict", str(network), f"source={video}", "format=json", *words, *CPU)
        assert outcome.status == 0, outcome.err
        [found] = json.loads(outcome.out)
        return found["action"], outcome.err

    def test_auto_says_that_there_is_no_calibration(self, run, light_run, tmp_path):
        action, log = self.actions(run, light_run, tmp_path)
        assert action in ACTIONS
        assert "has no calibration" in log

    def test_auto_takes_the_calibration_of_the_run(self, run, calibrated, tmp_path):
        made = json.loads((calibrated / "checkpoints" / "calibration.json").read_text())
        assert made["n"] == 40
        assert made["threshold"] > 1 / 3
        made["threshold"] = 1.0
        (calibrated / "checkpoints" / "calibration.json").write_text(json.dumps(made))
        action, log = self.actions(run, calibrated, tmp_path)
        assert action is None
        assert "below 1.000 it is none of these" in log

    def test_a_threshold_of_the_command_line_and_off(self, run, calibrated, tmp_path):
        assert self.actions(run, calibrated, tmp_path, "reject=1.0")[0] is None
        assert self.actions(run, calibrated, tmp_path, "reject=0.01")[0] in ACTIONS
        assert self.actions(run, calibrated, tmp_path, "reject=off")[0] in ACTIONS

    def test_a_calibration_of_other_weights_is_refused(self, run, calibrated):
        state = torch.load(calibrated / "checkpoints" / "best.ckpt", weights_only=True)
        state["epoch"] = 7
        torch.save(state, calibrated / "checkpoints" / "best.ckpt")
        assert "is of another checkpoint" in run("predict", str(calibrated), "source=a.mp4", *CPU).err
        assert "are of other weights" in run("predict", str(calibrated), "calibrate=true").err


def test_annotated_copies_lie_beside_the_predictions(run, light_run, tmp_path):
    videos = [noise_video(tmp_path / "videos" / name, 6) for name in ("#2 (it's).avi", "b.avi")]
    outcome = run("predict", str(light_run), f"source={tmp_path / 'videos'}", f"annotate={tmp_path / 'a (1)'}", *CPU)
    assert outcome.status == 0, outcome.err
    assert sorted(path.stem for path in (tmp_path / "a (1)").iterdir()) == sorted(path.stem for path in videos)
    assert "b.avi" in outcome.out


def test_after_an_interruption_what_was_done_is_printed(run, light_run, tmp_path, monkeypatch):
    for name in ("a.avi", "b.avi"):
        noise_video(tmp_path / "videos" / name, 6)
    predict = pipeline.predict

    def interrupted(*arguments):
        yield next(iter(predict(*arguments)))
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "predict", interrupted)
    outcome = run("predict", str(light_run), f"source={tmp_path / 'videos'}", "format=json", *CPU)
    assert outcome.status == 130
    assert [Path(each["file"]).name for each in json.loads(outcome.out)] == ["a.avi"]
    assert "stopped after 1 of 2 files" in outcome.err
