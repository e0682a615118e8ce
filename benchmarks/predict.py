"""`python -m benchmarks.predict`: frames a second from a long video to its segments, against its parts measured apart.

Figures go to `outputs/benchmarks/predict.json`.
"""

import argparse
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import torch

from actionrec.datamodules.base import collate
from actionrec.datasets.records import Clip
from actionrec.modules import create
from actionrec.prediction import pipeline
from actionrec.prediction.feeds import ENDLESS, Decoded, FlowFeed
from actionrec.prediction.loading import create_network
from actionrec.prediction.pipeline import Network, Windowing
from actionrec.prediction.reading import Reader, Sample
from actionrec.settings.composition import plain
from actionrec.storage.video import iter_frames, iter_grabbed
from actionrec.system.hardware import fast_precision, usable_cores
from benchmarks.common import clips_under, composed, fresh, main, median, seconds

RATE = 25.0  # frames a second of the video
MINUTES = 1.0
SIZE = 224
BATCH = 32
ROUNDS = 3
FRAME = {"_target_": "actionrec.streams.Frame"}
STREAMS = {  # beside the frame
    "dis_ultrafast": lambda: {"flow": _flow("dis_ultrafast")},
    "dis_balanced": lambda: {"flow": _flow("dis_balanced")},
    "rgb_difference": lambda: {"rgb_difference": {"_target_": "actionrec.streams.RGBDifference"}},
}


def measure(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Two streams with ResNet-18: whole and parts take turns, and each ratio is the median of several rounds.

    `of the slowest` is the rate of the whole against that of its slowest part. `of all cores` is the rate of the whole
    against the rate of the parts one after the other: 1 if no core ever waits, more if parts alone leave cores idle.
    """
    figures: dict[str, float] = {}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        video = joined(clips_under(options.data / "hmdb51_clips"), Path(folder) / "long.mp4", MINUTES)
        for name in STREAMS:
            found = fresh(rates, video, name)
            rows.append({"second stream": name, **found})
            figures |= {
                f"{key.replace(' ', '_')}/{name}": value for key, value in found.items() if key.startswith("of")
            }
    return figures, rows


def joined(clips: Sequence[Clip], path: Path, minutes: float) -> Path:
    """Write clips one after the other, at 320×240, until the video has that length."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (320, 240))
    left = int(60 * minutes * RATE)
    for clip in cycle(clips):
        for frame in iter_frames(clip.path):
            writer.write(cv2.cvtColor(cv2.resize(frame, (320, 240)), cv2.COLOR_RGB2BGR))
            left -= 1
            if not left:
                writer.release()
                return path
    raise AssertionError("unreachable")


def rates(video: Path, name: str) -> dict[str, Any]:
    """Frames of the video a second: of each part alone, of the whole, and their ratios."""
    inputs = {"size": SIZE, "position": "middle", "streams": {"frame": FRAME, **STREAMS[name]()}}
    reader, network = Reader(inputs, 1, 1), random_network(inputs)
    parts = parts_of(video, reader, network)
    frames = sum(1 for _ in iter_grabbed(video))
    taken: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for part, work in parts.items():
            taken.setdefault(part, []).append(seconds(work))
    apart = [part for part in parts if part != "whole"]
    whole = taken["whole"]
    slowest = [max(times) / all_of for *times, all_of in zip(*(taken[part] for part in apart), whole, strict=True)]
    in_turn = [sum(times) / all_of for *times, all_of in zip(*(taken[part] for part in apart), whole, strict=True)]
    found = {part: median([frames / each for each in times]) for part, times in taken.items()}
    return {
        **{f"{part} frames/s": found.get(part, "–") for part in ("decode", "flow", "network", "whole")},
        "of the slowest": median(slowest),
        "of all cores": median(in_turn),
        "times real time": median([frames / RATE / each for each in whole]),
    }


def parts_of(video: Path, reader: Reader, network: Network) -> dict[str, Callable[[], Any]]:
    """What predicting a video takes: each part alone, with its inputs in memory, and the whole."""
    windowing = Windowing(use=True)
    samples = [each for each in reader.windows(video, windowing.seconds, windowing.hop) if isinstance(each, Sample)]
    batches = [samples[start : start + BATCH] for start in range(0, len(samples), BATCH)]
    found: dict[str, Callable[[], Any]] = {
        "decode": lambda: sum(each.image().size for each in iter_grabbed(video)),
        "network": lambda: [network(collate([each.inputs for each in batch])) for batch in batches],
        "whole": lambda: list(pipeline.predict([video], reader, network, windowing, BATCH)),
    }
    for feed in reader.feeds.values():
        if isinstance(feed, FlowFeed):
            found = {"flow": partial(_estimate, feed, _frames_of(video, feed, windowing)), **found}
    return found


def _frames_of(video: Path, feed: FlowFeed, windowing: Windowing) -> dict[int, dict[int, Decoded]]:
    """The frames that the middle of each window needs, by the index of the middle frame."""
    frames = dict(enumerate(Decoded(each.image()) for each in iter_grabbed(video)))
    middles = [int((number * windowing.hop + windowing.seconds / 2) * RATE) for number in range(len(frames))]
    needed = {middle: feed.frames(middle, ENDLESS) for middle in middles}
    inside = {middle: indices for middle, indices in needed.items() if indices[-1] < len(frames)}
    return {middle: {index: frames[index] for index in indices} for middle, indices in inside.items()}


def _estimate(feed: FlowFeed, frames: dict[int, dict[int, Decoded]]) -> None:
    feed.forget(ENDLESS)
    for middle, held in frames.items():
        feed.pictures(middle, ENDLESS, held)
        feed.forget(middle)


def _flow(name: str) -> dict[str, Any]:
    """Settings of a stream of flow with the estimator of `conf/flow/<name>.yaml`."""
    flow = plain(composed("train", f"flow={name}").flow)
    kept = {key: flow[key] for key in ("algorithm", "params", "bound", "short_side")}
    return {"_target_": "actionrec.streams.Flow", **kept}


def random_network(inputs: dict[str, Any]) -> Network:
    """Two ResNet-18s with random weights."""
    torch.set_num_threads(usable_cores())
    backbone = {"backbone": {"name": "resnet18", "weights": None}}
    streams = dict.fromkeys(inputs["streams"], backbone)
    module = create(inputs, actions=("a", "b"), optimizer={"_target_": "torch.optim.Adam"}, **streams)
    return create_network(module, "cpu", fast_precision("cpu"))


if __name__ == "__main__":
    main("benchmarks.predict", {"speed": measure}, unasked=[])
