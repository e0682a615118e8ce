"""`actionrec predict <run> source=<camera or stream>`: segments are printed as they end."""

import logging
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TextIO

import numpy as np
import torch

from actionrec.datamodules.base import collate
from actionrec.prediction import output
from actionrec.prediction.calibration import Calibration
from actionrec.prediction.live import Begun, Complete, Ended, Event, Watch
from actionrec.prediction.output import Segmentation, odd
from actionrec.prediction.pipeline import Network, Windowing, averaged
from actionrec.prediction.reading import Reader
from actionrec.prediction.windows import Ongoing, Segment
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)


class Watcher:
    """Predicts the windows of a camera or a network stream, and gives their segments.

    Args:
        reader, network, calibration: of the checkpoint.
        windowing, segmentation: how the stream becomes windows, and windows segments.
        batch_size: samples that the network takes at once.

    Attributes:
        windows: number of windows that were predicted.
        current: see `windows.Ongoing`.
    """

    def __init__(
        self,
        reader: Reader,
        network: Network,
        calibration: Calibration,
        windowing: Windowing,
        segmentation: Segmentation,
        batch_size: int,
    ):
        self.reader, self.network, self.calibration = reader, network, calibration
        self.windowing, self.segmentation, self.batch_size = windowing, segmentation, batch_size
        self.windows = 0
        self._begin(0.0)

    @property
    def current(self) -> tuple[int | None, float]:
        return self._ongoing.current

    def take(self, event: Event) -> list[Segment]:
        """The segments that end with an event of `live.Watch`."""
        if isinstance(event, Begun):
            self._begin(event.offset)
            return []
        if isinstance(event, Complete):
            return self._placed(self._ongoing.push(event.window, self._probabilities(event)))
        if isinstance(event, Ended) and event.length:
            self._until = event.length.duration
        return self.finish()

    def finish(self) -> list[Segment]:
        """The segments that have not ended at the last window."""
        return self._placed(self._ongoing.finish(self._until))

    def _begin(self, offset: float) -> None:
        seconds, hop = self.windowing.seconds, self.windowing.hop
        self._ongoing = Ongoing(seconds, hop, odd(self.segmentation.smooth / hop), *self.segmentation[1:])
        self._offset, self._until = offset, 0.0
        self.reader.forget_all()

    def _probabilities(self, event: Complete) -> np.ndarray:
        samples = [sample.inputs for job in event.jobs for sample in self.reader.samples(job)]
        batches = [samples[start : start + self.batch_size] for start in range(0, len(samples), self.batch_size)]
        logits = torch.cat([self.network(collate(batch)) for batch in batches])
        self.windows += 1
        self._until = event.window * self.windowing.hop + self.windowing.seconds
        return self.calibration.probabilities(averaged(torch.zeros(len(logits)), logits))[0]

    def _placed(self, segments: Sequence[Segment]) -> list[Segment]:
        offset = self._offset
        return [each._replace(start=each.start + offset, end=each.end + offset) for each in segments]


def watch(source: Watch, watcher: Watcher, actions: Sequence[str], form: str, out: str | None) -> None:
    """Predict a camera or a network stream until it is over or SIGINT comes, and print each segment when it ends.

    Args:
        source: the stream.
        watcher: predicts it.
        actions: names of the labels.
        form: one of `output.FORMATS`.
        out: file for the segments, which grows line by line; None prints them.

    Raises:
        ActionRecError: the stream was too short for a window.
    """
    began, stopped = time.time(), False
    if out:
        Path(out).parent.mkdir(parents=True, exist_ok=True)

    def show(segments: Sequence[Segment], file: TextIO) -> None:
        for segment in segments:
            print(output.live_line(source.address, segment, actions, form, began), file=file, flush=True)

    def status(width: int) -> str:
        label, probability = watcher.current
        action = output.NONE if label is None else actions[label]
        facts = [source.address, f"{source.seconds:.1f} s", f"{action} {probability:.2f}", *_losses(source)]
        return "  ".join(facts)[:width]

    with Path(out).open("w", encoding="utf-8") if out else nullcontext(sys.stdout) as file, terminal.showing(status):
        if head := output.live_head(actions, form):
            print(head, file=file, flush=True)
        try:
            with source:
                for event in source.events():
                    show(watcher.take(event), file)
        except KeyboardInterrupt:  # the usual end of watching a camera
            stopped = True
        finally:
            show(watcher.finish(), file)
    log.info("%s", ", ".join([f"{source.seconds:.1f} s", f"{watcher.windows} windows", *_losses(source)]))
    if not watcher.windows and not stopped:
        seconds = watcher.windowing.seconds
        raise ActionRecError(
            f"source={source.address} ended after {source.seconds:.1f} s; lower window.seconds={seconds:g}"
        )


def _losses(source: Watch) -> list[str]:
    found = {"windows left out": source.dropped, "reconnections": source.reconnections}
    return [f"{name}: {number}" for name, number in found.items() if number]
