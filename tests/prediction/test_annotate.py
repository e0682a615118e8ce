"""Annotated copies of videos and images."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from actionrec.prediction import annotate
from actionrec.prediction.annotate import Frame, targets
from actionrec.prediction.drawing import Caption, annotated, canvas_size, colour_of
from actionrec.prediction.output import NONE, Course
from actionrec.prediction.windows import Segment, Window
from actionrec.storage.video import iter_frames, iter_grabbed, probe
from actionrec.streams import create_all
from tests.conftest import attempt, noise_video
from tests.prediction.conftest import ACTIONS, FLOW, FRAME
from tests.storage import mp4

CAPTION = Caption("clap", 0.5, (255, 0, 0), "next: run 0.25")
WHOLE = Course(np.array([[0.7, 0.1, 0.2]]), [Window(0.0, 0.4)], False, None)
PARTS = [Window(0.0, 0.2), Window(0.2, 0.4)]
CUT = Course(np.array([[0.7, 0.1, 0.2], [0.3, 0.4, 0.3]]), PARTS, False, [Segment(0.0, 0.2, 0, 0.7)])


def frame_of(height, width, level=200):
    return np.full((height, width, 3), level, np.uint8)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (333, 187), (48, 64), (2160, 3840), (16, 900)])
@pytest.mark.parametrize("flow", [None, (40, 60), (60, 20)])
def test_a_panel_hides_nothing_of_the_frame(height, width, flow):
    inset = None if flow is None else np.full((*flow, 3), (250, 0, 250), np.uint8)
    found = annotated(frame_of(height, width), CAPTION, 0.0, inset)
    tall, _ = canvas_size(height, width)
    assert (found[:tall] == 200).all()
    assert found.shape[0] > tall
    assert (found.shape[0] % 2, found.shape[1] % 2) == (0, 0)
    assert (found[tall:] == (250, 0, 250)).all(axis=2).any() == (flow is not None)


def test_small_frames_are_enlarged_and_large_ones_reduced():
    assert canvas_size(240, 320) == (360, 480)
    assert canvas_size(2160, 3840) == (1080, 1920)
    assert canvas_size(720, 1280) == (720, 1280)


def test_the_bar_is_as_long_as_the_probability():
    def coloured(probability):
        found = annotated(frame_of(240, 320), CAPTION._replace(probability=probability), 0.0, None)
        return (found == CAPTION.colour).all(axis=2).any(axis=0).sum()

    assert coloured(0.0) == 0
    assert coloured(0.5) == pytest.approx(coloured(1.0) / 2, abs=1)


def test_a_long_name_keeps_to_its_room():
    short = annotated(frame_of(240, 320), CAPTION, 0.0, None)
    long = annotated(frame_of(240, 320), CAPTION._replace(title="лазание_по_скале_" * 20), 0.0, None)
    assert (long[:, -45:] == short[:, -45:]).all()  # the percentage is not covered
    assert (long != short).any()


def test_the_caption_of_a_clip_and_of_a_rejected_one():
    found = annotate.caption(WHOLE, ACTIONS, 0.3)
    assert found == Caption("clap", 0.7, colour_of(0), "next: wave 0.20, run 0.10")
    rejected = annotate.caption(WHOLE._replace(rejected=True), ACTIONS, 0.3)
    assert (rejected.title, rejected.colour) == (NONE, colour_of(None))
    assert rejected.detail.startswith("next: clap 0.70")


def test_the_caption_follows_the_segments():
    inside, outside = (annotate.caption(CUT, ACTIONS, time) for time in (0.1, 0.3))
    assert (inside.title, inside.probability) == ("clap", 0.7)
    assert (outside.title, outside.probability) == (NONE, 0.4)
    assert inside.bars == outside.bars == ((0.0, 0.5, colour_of(0)),)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm"])
@pytest.mark.parametrize("streams", [{"frame": FRAME}, {"frame": FRAME, "flow": FLOW}])
def test_a_copy_has_the_frames_and_the_duration_of_the_video(tmp_path, name, streams):
    video, ticks = noise_video(tmp_path / "v.avi", 10), []
    modalities = create_all({"streams": streams})
    annotate.annotate(video, CUT, ACTIONS, modalities, tmp_path / "new" / name, lambda: ticks.append(1))
    frames = list(iter_frames(tmp_path / "new" / name))
    assert len(frames) == len(ticks) == 10
    assert probe(tmp_path / "new" / name).rate == pytest.approx(25)
    first = next(iter(iter_frames(video)))
    tall, _ = canvas_size(*first.shape[:2])
    shown = cv2.resize(frames[0][:tall], first.shape[1::-1]).astype(int)
    assert np.abs(shown - first).mean() < 12
    assert [path.name for path in (tmp_path / "new").iterdir()] == [name]


def test_rotated_videos_are_upright(tmp_path):
    path = mp4.write(tmp_path / "a.mp4", [frame_of(48, 64, 10 * n) for n in range(6)])
    mp4.change(path, b"tkhd", mp4.rotated)
    annotate.annotate(path, WHOLE, ACTIONS, {}, tmp_path / "b.mp4")
    height, width = next(iter(iter_frames(tmp_path / "b.mp4"))).shape[:2]
    assert width == 480
    assert height > 640


def test_a_varying_rate_keeps_the_times(tmp_path):
    times = [0.0, 0.04, 0.2, 0.205, 0.24]  # at 25 frames a second the fourth frame has no room of its own
    frames = (Frame(time, frame_of(48, 64, 50 * number)) for number, time in enumerate(times))
    annotate.write(tmp_path / "a.mp4", frames, 25.0, tmp_path / "a.mp4")
    levels = [int(frame.mean()) for frame in iter_frames(tmp_path / "a.mp4")]
    assert levels == pytest.approx([0, 50, 50, 50, 50, 150, 200], abs=9)
    assert [grabbed.time for grabbed in iter_grabbed(tmp_path / "a.mp4")][-1] == pytest.approx(0.24)


def test_images_are_annotated(tmp_path):
    image = tmp_path / "a.jpg"
    cv2.imwrite(str(image), frame_of(240, 320))
    annotate.annotate(image, WHOLE, ACTIONS, {}, tmp_path / "b.png")
    assert cv2.imread(str(tmp_path / "b.png")).shape == (360 + 72, 480, 3)


def test_a_folder_keeps_names_apart():
    paths = [Path(each) for each in ("v/a.mp4", "v/x/a.mp4", "v/x/b.avi", "v/x/b.mp4", "v/c.jpg")]
    found = targets("out", paths)
    wanted = ["a.mp4", "x/a.mp4", "x/b.avi.mp4", "x/b.mp4.mp4", "c.png"]
    assert [str(found[path]) for path in paths] == [str(Path("out", each)) for each in wanted]
    assert targets("out", [Path("v/a.avi")]) == {Path("v/a.avi"): Path("out/a.mp4")}


@pytest.mark.parametrize(
    ("place", "names", "said"),
    [
        ("out.mp4", ["a.mp4", "b.mp4"], "one file for 2 sources"),
        ("out.mp4", ["a.jpg"], "is an image"),
        ("out.png", ["a.mp4"], "is a video"),
        ("a.mp4", ["./a.mp4"], "would replace the source"),
        (".", ["a.mp4"], "would replace the source"),
        ("pyproject.toml", ["a.mp4"], "use a folder, or a file"),
    ],
)
def test_places_that_do_not_fit(place, names, said):
    assert said in attempt(targets, place, [Path(name) for name in names])[1]


def test_a_file_that_cannot_be_drawn_leaves_nothing(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    said = attempt(annotate.annotate, tmp_path / "a.mp4", WHOLE, ACTIONS, {}, tmp_path / "b.mp4")[1]
    assert "cannot decode" in said
    assert not (tmp_path / "b.mp4").exists()
