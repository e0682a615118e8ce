"""Metrics of segments with start and end: average precision at a temporal overlap, by ActivityNet's definition.

The definition is that of ActivityNet's evaluation of temporal localisation (Caba Heilbron et al., CVPR 2015).
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

OVERLAPS = (0.3, 0.5, 0.7)


class Instance(NamedTuple):
    """An action in a video, from `start` to `end` in seconds."""

    video: str
    start: float
    end: float
    action: str


class Detection(NamedTuple):
    """A predicted `Instance`, with a score by which detections are sorted."""

    video: str
    start: float
    end: float
    action: str
    score: float


def overlap(one: Instance | Detection, other: Instance | Detection) -> float:
    """Temporal intersection over union of two segments of one video, from 0 to 1."""
    shared = min(one.end, other.end) - max(one.start, other.start)
    union = max(one.end, other.end) - min(one.start, other.start)
    return max(shared, 0.0) / union if union > 0 else 0.0


def average_precision(detections: Sequence[Detection], instances: Sequence[Instance], least: float) -> float:
    """Average precision of one action's detections: the area below the interpolated precision over recall.

    Detections are taken by falling score, those of equal scores in their order. A detection is right if, among the
    instances of its video that no earlier detection has taken, the one with the largest overlap reaches `least`.

    Args:
        detections: of one action, of all videos.
        instances: of the same action, one or more.
        least: temporal overlap, from 0 to 1.
    """
    free: dict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        free[instance.video].append(instance)
    right = np.zeros(len(detections))
    for rank, detection in enumerate(sorted(detections, key=lambda each: -each.score)):
        near = free[detection.video]
        best = max(near, key=lambda each: overlap(detection, each), default=None)
        if best is not None and overlap(detection, best) >= least:
            near.remove(best)
            right[rank] = 1
    recall = np.concatenate([[0.0], np.cumsum(right) / len(instances)])
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # at that recall or a larger one
    return float((np.diff(recall) * highest).sum())


def average_precisions(
    detections: Sequence[Detection], instances: Sequence[Instance], overlaps: Sequence[float] = OVERLAPS
) -> dict[str, dict[float, float]]:
    """Average precision by action and overlap, of the actions that have instances."""
    found: dict[str, dict[float, float]] = {}
    for action in sorted({instance.action for instance in instances}):
        own = [each for each in detections if each.action == action]
        there = [each for each in instances if each.action == action]
        found[action] = {least: average_precision(own, there, least) for least in overlaps}
    return found


def mean_over_actions(precisions: dict[str, dict[float, float]]) -> dict[float, float]:
    """Mean average precision (mAP) by overlap, of the result of `average_precisions`."""
    overlaps = next(iter(precisions.values()), {})
    return {least: float(np.mean([each[least] for each in precisions.values()])) for least in overlaps}


def covered(detections: Sequence[Detection], instances: Sequence[Instance]) -> float:
    """Share of the instances' time in which a detection of the right action lies."""
    total = sum(each.end - each.start for each in instances)
    by_action: dict[tuple[str, str], list[Detection]] = defaultdict(list)
    for detection in detections:
        by_action[detection.video, detection.action].append(detection)
    hit = sum(
        max(min(each.end, other.end) - max(each.start, other.start), 0.0)
        for each in instances
        for other in by_action[each.video, each.action]
    )
    return hit / total if total else 0.0
