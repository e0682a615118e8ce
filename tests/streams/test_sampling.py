import pytest

from actionrec.storage.frames import frame_index
from actionrec.streams.sampling import POSITIONS, eval_fractions, stack_indices
from actionrec.system.errors import ActionRecError


@pytest.mark.parametrize("n_frames", [1, 2, 5, 40, 101])
def test_positions_reach_both_ends_and_stay_inside(n_frames):
    indices = [frame_index(fraction, n_frames) for fraction in POSITIONS.values()]
    assert indices[0] == 0
    assert indices[-1] == n_frames - 1
    assert indices == sorted(indices)


def test_the_middle_of_an_odd_clip_is_its_middle():
    assert frame_index(0.5, 5) == 2


def test_segments_spread_evenly():
    assert eval_fractions("middle", 1) == [0.5]
    assert eval_fractions("random", 1) == [0.5]
    assert eval_fractions("last", 4) == [0.125, 0.375, 0.625, 0.875]


@pytest.mark.parametrize(("position", "segments"), [("centre", 1), ("middle", 0)])
def test_bad_settings_are_refused(position, segments):
    with pytest.raises(ActionRecError, match=r"(data\.position|views\.segments)="):
        eval_fractions(position, segments)


@pytest.mark.parametrize("instant", range(11))
@pytest.mark.parametrize(("fields", "stride"), [(1, 1), (4, 1), (4, 2), (10, 1)])
def test_stacks_are_inside_and_hold_the_instant(instant, fields, stride):
    indices = stack_indices(instant, 10, fields, stride)
    assert len(indices) == fields
    assert indices[0] >= 0
    assert indices[-1] <= 9
    assert indices[0] <= instant <= indices[-1] + stride  # frame 10 is the end of field 9


def test_a_stack_is_centred_where_there_is_room():
    assert list(stack_indices(5, 10, 4, 1)) == [3, 4, 5, 6]  # frames 3 to 7, frame 5 in the middle
    assert list(stack_indices(0, 10, 4, 1)) == [0, 1, 2, 3]


def test_a_clip_too_short_is_refused():
    with pytest.raises(ValueError, match="has 3 flow fields, the stack spans 4"):
        stack_indices(0, 3, 4, 1)
