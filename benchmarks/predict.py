"""`python -m benchmarks.predict`: frames a second from a long video to its segments, against its parts measured apart.

`python -m benchmarks.predict memory`: peak memory of predicting a video of two hours. Figures go to
`outputs/benchmarks/predict.json`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import psutil
import torch

from actionrec.datamodules.base import collate
from actionrec.datasets.records import Clip
from actionrec.modules import create
from actionrec.modules.base import ActionModule
from actionrec.modules.checkpoint import Lineage
from actionrec.prediction import pipeline
from actionrec.prediction.feeds import ENDLESS, Decoded, FlowFeed
from actionrec.prediction.loading import create_network
from actionrec.prediction.pipeline import Network, Windowing
from actionrec.prediction.reading import Reader, Sample
from actionrec.settings.composition import plain
from actionrec.storage.video import iter_frames, iter_grabbed
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import fast_precision, usable_cores
from benchmarks.common import clips_under, composed, fresh, main, median, seconds

RATE = 25.0  # frames a second of the video
MINUTES = 1.0
LENGTHS = (2.0, 120.0)  # minutes of the videos whose memory is measured
SIZE = 224
BATCH = 16  # as in conf/predict.yaml
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


def memory(options: argparse.Namespace) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Peak resident memory of `actionrec predict` by length of the video, against that of its imports alone."""
    figures: dict[str, float] = {}
    rows = []
    # Without the end of the interpreter, which reads further pages of the libraries.
    imports = peak([sys.executable, "-c", "import os, time, actionrec.prediction.run; time.sleep(1); os._exit(0)"])
    with tempfile.TemporaryDirectory() as folder:
        for minutes in LENGTHS:
            video = joined(clips_under(options.data / "hmdb51_clips"), Path(folder) / f"{minutes:g}.mp4", minutes)
            for name in ("dis_ultrafast", "rgb_difference"):
                network = checkpoint(Path(folder) / f"{name}.ckpt", inputs_of(name))
                words = [f"source={video}", f"out={folder}/{name}.json", "accelerator=cpu"]
                whole = peak([sys.executable, "-m", "actionrec", "predict", str(network), *words])
                rows.append(
                    {
                        "second stream": name,
                        "minutes": minutes,
                        "peak MB": whole,
                        "imports MB": imports,
                        "above MB": whole - imports,
                    }
                )
                figures |= {f"peak_mb/{name}/{minutes:g}": whole}
            video.unlink()
    return figures, rows


def peak(command: Sequence[str]) -> float:
    """Peak resident memory of a command in MB, with the pages of libraries.

    Raises:
        ActionRecError: the command failed, or this is not Linux.
    """
    if not psutil.LINUX:
        raise ActionRecError("memory is measured on Linux only; name the other parts")
    process, found = subprocess.Popen(command), 0
    place, own = Path(f"/proc/{process.pid}"), Path("/proc/self/cmdline").read_bytes()
    while process.poll() is None:
        if (place / "cmdline").read_bytes() != own:  # before exec, the memory is that of this process
            found = max(found, *_high_water(place), 0)
        time.sleep(0.02)
    if process.returncode:
        raise ActionRecError(f"{' '.join(command[2:4])} failed; what it said is above")
    return found * 1024 / 1e6


def _high_water(process: Path) -> list[int]:
    """The peak resident memory in KiB so far; empty for a process that has just ended."""
    lines = (process / "status").read_text().splitlines()
    return [int(line.split()[1]) for line in lines if line.startswith("VmHWM:")]


def checkpoint(path: Path, inputs: dict[str, Any]) -> Path:
    """Write the checkpoint of a network with random weights."""
    module = random_module(inputs)
    backbones = {name: module.hparams[name]["backbone"] for name in module.streams}
    lineage = Lineage(type(module).__name__, "benchmark", "none", 1, 0, list(module.actions), backbones, inputs, [])
    state = {"state_dict": module.state_dict(), "hyper_parameters": dict(module.hparams), "lineage": lineage.plain()}
    torch.save(state, path)
    return path


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
    inputs = inputs_of(name)
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


def inputs_of(name: str) -> dict[str, Any]:
    """The inputs of a network of frames and a second stream."""
    return {"size": SIZE, "position": "middle", "streams": {"frame": FRAME, **STREAMS[name]()}}


def random_module(inputs: dict[str, Any]) -> ActionModule:
    """A ResNet-18 with random weights for each stream."""
    backbone = {"backbone": {"name": "resnet18", "weights": None}}
    streams = dict.fromkeys(inputs["streams"], backbone)
    return create(inputs, actions=("a", "b"), optimizer={"_target_": "torch.optim.Adam"}, **streams)


def random_network(inputs: dict[str, Any]) -> Network:
    """`random_module` as predict computes it."""
    torch.set_num_threads(usable_cores())
    return create_network(random_module(inputs), "cpu", fast_precision("cpu"))


if __name__ == "__main__":
    main("benchmarks.predict", {"speed": measure, "memory": memory}, unasked=["memory"])
