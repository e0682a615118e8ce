"""Grad-CAM for annotated copies: where the streams look for the likeliest action, once for a clip or a window."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import torch

from actionrec.callbacks.pictures import sample_pictures
from actionrec.datamodules.base import collate
from actionrec.evaluation.gradcam import overlay, saliency
from actionrec.modules.base import ActionModule
from actionrec.prediction.drawing import Inset
from actionrec.prediction.output import Course
from actionrec.prediction.pipeline import Scored, Windowing
from actionrec.prediction.reading import Reader, Sample

AT_ONCE = 8  # windows whose maps are computed in one batch


class Looks:
    """Makes the pictures of a network's streams under their Grad-CAM.

    Args:
        module: the network, on its device.
        inputs: of the lineage, with the streams that the logits depend on.
        trust: see `feeds.create_feed`.
    """

    def __init__(self, module: ActionModule, inputs: Mapping[str, Any], trust: Sequence[str] = ()):
        self.module = module
        self.inputs = inputs
        # A reader of its own: the reader of the scores is already at work on the next file.
        self.reader = Reader(inputs, segments=1, crops=1, trust=trust)

    def of(
        self, scored: Scored, course: Course, windowing: Windowing, tick: Callable[[], None] = lambda: None
    ) -> Iterator[list[Inset]]:
        """The pictures for each row of a course, in the order of time; the file is read once more.

        A row's pictures are of the sample in the middle of the clip or window, and of the action that is the most
        probable one in the row. Only a few windows are held in memory.

        Args:
            scored: the file's scores.
            course: made of them.
            windowing: how the video was cut.
            tick: called for each frame that is decoded.
        """
        samples = iter(self._samples(scored, windowing, tick))
        while batch := list(islice(samples, AT_ONCE)):
            # The last windows may reach beyond the end of the video, and have no scores.
            if batch := [sample for sample in batch if sample.window < len(course.probabilities)]:
                yield from self._explained(batch, course)

    def _samples(self, scored: Scored, windowing: Windowing, tick: Callable[[], None]) -> Iterator[Sample]:
        if scored.length is None:
            yield from self.reader.image(scored.path)
        elif not scored.windowed:
            yield from self.reader.clip(scored.path, scored.length.frames, tick)
        else:
            for each in self.reader.windows(scored.path, windowing.seconds, windowing.hop, tick):
                if isinstance(each, Sample):
                    yield each

    def _explained(self, samples: Sequence[Sample], course: Course) -> Iterator[list[Inset]]:
        batch = collate([sample.inputs for sample in samples])
        device = next(self.module.parameters()).device
        likeliest = torch.from_numpy(course.probabilities.argmax(1)[[sample.window for sample in samples]])
        given = {name: batch[name].to(device) for name in self.inputs["streams"]}
        maps = saliency(self.module.network, given, likeliest.to(device))
        for number, sample in enumerate(samples):
            pictures = sample_pictures(sample.inputs, self.inputs)
            yield [
                Inset(f"Grad-CAM: {name}", overlay(picture, maps[name][number].numpy()))
                for name, picture in pictures.items()
                if name in maps
            ]
