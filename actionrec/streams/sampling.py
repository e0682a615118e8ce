"""Temporal sampling: the instants of a clip, and the flow fields of a stack around an instant."""

from collections.abc import Sequence

from actionrec.system.errors import ActionRecError

# Position `random` draws from these instants, which are evenly spread over the clip.
RANDOM_FRACTIONS = tuple((instant + 0.5) / 32 for instant in range(32))
POSITIONS = {"first": 0.0, "quarter": 0.25, "middle": 0.5, "three_quarter": 0.75, "last": 1.0}
RANDOM = "random"


def eval_fractions(position: str, segments: int) -> list[float]:
    """Instants of a clip in evaluation, as fractions of the clip.

    One segment gives the instant `position`, or the middle for `random`, which is for training. Several segments give
    the middles of equal parts of the clip (TSN: Wang et al., ECCV 2016).

    Raises:
        ActionRecError: the position is unknown, or there is no segment.
    """
    if position not in POSITIONS and position != RANDOM:
        raise ActionRecError(f"data.position={position}: use one of {', '.join([*POSITIONS, RANDOM])}")
    if segments < 1:
        raise ActionRecError(f"views.segments={segments}: use at least 1")
    if segments == 1:
        return [POSITIONS.get(position, POSITIONS["middle"])]
    return [(segment + 0.5) / segments for segment in range(segments)]


def stack_indices(instant: int, n_fields: int, fields: int, stride: int) -> Sequence[int]:
    """Indices of `fields` fields, `stride` apart, around the frame `instant`; shifted to stay inside the clip.

    Raises:
        ValueError: the clip has too few fields.
    """
    span = (fields - 1) * stride + 1
    if span > n_fields:
        raise ValueError(f"the clip has {n_fields} flow fields, the stack spans {span}")
    start = min(max(instant - span // 2, 0), n_fields - span)
    return range(start, start + span, stride)
