"""Annotated copies of predicted videos and images: a second pass over the file, see `prediction.drawing`."""

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from actionrec.flow.estimators import create
from actionrec.flow.visualize import SHOWN_PART, flow_colours, magnitude_colours
from actionrec.prediction import sources
from actionrec.prediction.drawing import Bar, Caption, Inset, annotated, colour_of
from actionrec.prediction.output import NONE, Course
from actionrec.storage.video import iter_grabbed, probe, read_image, resize_short_side
from actionrec.streams import Modality
from actionrec.streams.flow import Flow
from actionrec.system.errors import ActionRecError
from actionrec.system.files import atomic_path

# MPEG-4 is written in 1 ms a frame at 480×360. Browsers play VP8 and no MPEG-4; the wheels of OpenCV have no H.264.
CODECS = {".mp4": "mp4v", ".webm": "VP80"}
NEXT = 2  # number of further actions that a whole clip's caption names
ENOUGH = 360  # pixels; the flow of larger frames is estimated at this short side, as the inset is small
_RATES = (1.0, 120.0)  # frames a second that are written; other rates of containers are mistakes


class Frame(NamedTuple):
    """A frame (H, W, 3) uint8 RGB at `time` in seconds."""

    time: float
    picture: np.ndarray


def targets(place: str, paths: Sequence[Path]) -> dict[Path, Path]:
    """The annotated file of each file: `place` itself if it has the suffix of a video or an image, else in that folder.

    In a folder, the files keep their folders below the folder that all have in common. Videos become MP4, and images
    PNG.

    Raises:
        ActionRecError: `place` is one file and there are several, its suffix does not fit, or it is a predicted file.
    """
    target = Path(place)
    if target.suffix.lower() in (*CODECS, *sources.IMAGE_SUFFIXES) and not target.is_dir():
        if len(paths) > 1:
            raise ActionRecError(f"annotate={place} is one file for {len(paths)} sources; name a folder")
        found = dict.fromkeys(paths, target)
    else:
        if target.exists() and not target.is_dir():
            raise ActionRecError(f"annotate={place}: use a folder, or a file that ends with {' or '.join(CODECS)}")
        found = dict(zip(paths, _in_folder(target, paths), strict=True))
    for path, own in found.items():
        if sources.is_image(path) != sources.is_image(own):
            kind = (
                "an image; use a name that ends with .png" if sources.is_image(path) else "a video; use .mp4 or .webm"
            )
            raise ActionRecError(f"annotate={place}: {path} is {kind}")
        if own.resolve() == path.resolve():
            raise ActionRecError(f"annotate={place} would replace the source {path}; name another file or folder")
    return found


def annotate(
    path: Path,
    course: Course,
    actions: Sequence[str],
    modalities: Mapping[str, Modality],
    target: Path,
    tick: Callable[[], None] = lambda: None,
    looks: Iterator[Sequence[Inset]] | None = None,
) -> None:
    """Write a copy of a video or an image with the predicted action, its probability, and the optical flow.

    A video keeps its duration: at a varying rate, frames are repeated or left out, since the copy has a constant rate.

    Args:
        path: the predicted file.
        course: the prediction.
        actions: names of the labels.
        modalities: of the network's streams; the flow is shown if one of them is flow, computed as for the network.
        target: the file to write, see `targets`.
        tick: called for each frame that is decoded.
        looks: pictures to show for each part of the course, see `looks.Looks.of`; None shows none.

    Raises:
        ActionRecError: the file cannot be decoded, or the copy cannot be written.
    """
    if sources.is_image(path):
        picture = annotated(
            read_image(path), caption(course, actions, 0.0), 0.0, None, next(looks, ()) if looks else ()
        )
        with atomic_path(target) as temporary:
            if not cv2.imwrite(str(temporary), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
                raise ActionRecError(f"cannot write the image {target}; use a name that ends with .png")
        return
    rate = probe(path).rate
    rate = rate if _RATES[0] <= rate <= _RATES[1] else 25.0
    flow = next((each for each in modalities.values() if isinstance(each, Flow)), None)
    with atomic_path(target) as temporary:
        write(temporary, _annotated(path, course, actions, flow, tick, looks), rate, target)


def caption(course: Course, actions: Sequence[str], time: float) -> Caption:
    """The caption at a time of a video."""
    parts, segments = course.parts, course.segments
    row = course.probabilities[_part_at(course, time)]
    if segments is None:
        label = None if course.rejected else int(row.argmax())
    else:
        label = next((each.label for each in segments if each.start <= time < each.end), None)
    order = [each for each in np.argsort(-row, kind="stable").tolist() if each != label][:NEXT]
    shown = float(row.max() if label is None else row[label])
    others = ", ".join(f"{actions[each]} {row[each]:.2f}" for each in order)
    title = NONE if label is None else actions[label]
    if segments is None:
        return Caption(title, shown, colour_of(label), f"next: {others}" if others else "")
    duration = parts[-1].end
    bars = tuple(Bar(each.start / duration, each.end / duration, colour_of(each.label)) for each in segments)
    return Caption(title, shown, colour_of(label), f"{time:.1f} of {duration:.1f} s   next: {others}", bars)


def _part_at(course: Course, time: float) -> int:
    return max(bisect_right(course.parts, time, key=lambda part: part.start) - 1, 0)


def write(path: Path, frames: Iterator[Frame], rate: float, named: Path) -> None:
    """Write frames as a video of a constant rate, each frame for as long as the times say.

    Args:
        path: the file, of which the suffix chooses the codec.
        frames: in the order of time.
        rate: frames a second.
        named: the file in messages.

    Raises:
        ActionRecError: OpenCV cannot write the video.
    """
    first = next(frames)
    height, width = first.picture.shape[:2]
    code = cv2.VideoWriter_fourcc(*CODECS[path.suffix.lower()])
    writer = cv2.VideoWriter(str(path), code, rate, (width, height))
    if not writer.isOpened():
        raise ActionRecError(f"cannot write a video to {named}; use a name that ends with {' or '.join(CODECS)}")
    try:
        written, before = 0, first.picture
        for frame in chain([first], frames):
            wanted = int(frame.time * rate + 0.5)  # number of frames before this one
            for _ in range(written, wanted):
                writer.write(before)
                written += 1
            before = cv2.cvtColor(frame.picture, cv2.COLOR_RGB2BGR)
            if before.shape != (height, width, 3):  # OpenCV would leave the frame out without a word
                before = cv2.resize(before, (width, height))
        writer.write(before)
    finally:
        writer.release()
    if not path.stat().st_size:
        raise ActionRecError(f"cannot write a video to {named}; see whether the disk is full")


def _annotated(
    path: Path,
    course: Course,
    actions: Sequence[str],
    flow: Flow | None,
    tick: Callable[[], None],
    looks: Iterator[Sequence[Inset]] | None,
) -> Iterator[Frame]:
    colours = _Colours(flow) if flow else None
    duration = max(course.parts[-1].end, 1e-9)
    part: int = -1
    look: Sequence[Inset] = ()
    for grabbed in iter_grabbed(path):
        tick()
        while looks and part < _part_at(course, grabbed.time):
            part, look = part + 1, next(looks, ())
        picture = cv2.cvtColor(grabbed.image(), cv2.COLOR_BGR2RGB)
        inset = colours.see(picture) if colours else None
        text = caption(course, actions, grabbed.time)
        yield Frame(grabbed.time, annotated(picture, text, grabbed.time / duration, inset, look))


class _Colours:
    """The flow from each frame to the next one as colours, by the estimator of the network."""

    def __init__(self, flow: Flow):
        self.flow, self.estimator = flow, create(flow.stored.algorithm, flow.stored.params)
        self._before: np.ndarray | None = None

    def see(self, picture: np.ndarray) -> np.ndarray:
        """The flow from the frame before to this frame (H, W, 3) uint8 RGB; no motion for the first frame."""
        stored = self.flow.stored
        frame = picture if self.estimator.colour else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        side = stored.short_side or min(frame.shape[:2])  # of the fields that the network sees
        frame = resize_short_side(frame, min(side, ENOUGH))
        before, self._before = self._before, frame
        if before is None or before.shape != frame.shape:
            field = np.zeros((*frame.shape[:2], 2), np.float32)
        else:
            [field] = self.estimator.fields([before, frame])
            field = field * max(side / ENOUGH, 1.0)  # in pixels of the network's fields, for the scale of the colours
        colour = magnitude_colours if self.flow.representation == "magnitude" else flow_colours
        return colour(field, stored.bound * SHOWN_PART)


def _in_folder(folder: Path, paths: Sequence[Path]) -> list[Path]:
    whole = [path.resolve() for path in paths]
    common = Path(os.path.commonpath([path.parent for path in whole]))
    wanted = [path.parent.relative_to(common) / path.stem for path in whole]
    often = Counter(wanted)
    names = [each.with_name(path.name) if often[each] > 1 else each for each, path in zip(wanted, whole, strict=True)]
    suffixes = [".png" if sources.is_image(path) else ".mp4" for path in paths]
    return [folder / each.parent / f"{each.name}{suffix}" for each, suffix in zip(names, suffixes, strict=True)]
