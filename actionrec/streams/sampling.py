"""At which instants a clip is seen, and which flow fields a sample takes there."""

from collections.abc import Sequence

from actionrec.system.errors import ActionRecError

# What `random` draws from: instants of training, evenly spread over the clip.
RANDOM_FRACTIONS = tuple((instant + 0.5) / 32 for instant in range(32))
POSITIONS = {"first": 0.0, "quarter": 0.25, "middle": 0.5, "three_quarter": 0.75, "last": 1.0}
RANDOM = "random"


def eval_fractions(position: str, segments: int) -> list[float]:
    """Instants, as fractions of a clip, at which it is seen in evaluation.

    One segment is seen at `position` (`random` is for training; evaluation then takes the middle), several at the
    middles of equal parts of the clip (Wang et al., TSN, ECCV 2016).
    """
    if position not in POSITIONS and position != RANDOM:
        raise ActionRecError(f"data.position={position}: use one of {', '.join([*POSITIONS, RANDOM])}")
    if segments < 1:
        raise ActionRecError(f"views.segments={segments}: use at least 1")
    if segments == 1:
        return [POSITIONS.get(position, POSITIONS["middle"])]
    return [(segment + 0.5) / segments for segment in range(segments)]


def stack_indices(instant: int, n_fields: int, fields: int, stride: int) -> Sequence[int]:
    """Indices of `fields` fields, `stride` apart, around the frame `instant`, moved inside the clip at its ends.

    Raises:
        ValueError: the clip has too few fields.
    """
    span = (fields - 1) * stride + 1
    if span > n_fields:
        raise ValueError(f"it has {n_fields} flow fields, the stack spans {span}")
    start = min(max(instant - span // 2, 0), n_fields - span)
    return range(start, start + span, stride)
