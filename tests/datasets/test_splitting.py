from pathlib import Path

import pytest

from actionrec.datasets.records import Clip
from actionrec.datasets.splitting import VAL_FOLDS, carve_validation, draw_sources, refold
from actionrec.runs.folds import ALL, COUNT
from actionrec.system.errors import ActionRecError


def test_a_source_seen_in_two_actions_stays_on_one_side():
    clips = [Clip(Path(f"{a}{s}{n}"), a, f"s{s}") for a in ("clap", "wave") for s in range(10) for n in range(3)]
    train, val = carve_validation(clips)
    assert not {clip.group for clip in train} & {clip.group for clip in val}
    assert len(train) + len(val) == len(clips)


def test_every_clip_is_held_out_by_one_fold():
    clips = [Clip(Path(f"{a}{s}{n}"), a, f"{a}{s}") for a in ("clap", "wave") for s in range(10) for n in range(3)]
    train, val = carve_validation(clips)
    folds = [refold(train, val, fold) for fold in range(1, VAL_FOLDS)]
    for kept, held in folds:
        assert sorted(kept + held) == sorted(clips)
        assert not {clip.group for clip in kept} & {clip.group for clip in held}
        assert {clip.action for clip in held} == {"clap", "wave"}
    assert sorted(clip for _, held in folds for clip in held) == sorted(train)
    assert folds[0] == refold(train, val, 1)
    assert len(folds) == COUNT  # of the runs that a gate is fitted to
    kept, held = refold(train, val, ALL)
    assert (sorted(kept), held) == (sorted(clips), [])


@pytest.mark.parametrize(("fold", "sources", "said"), [(5, 9, "1 to 4"), (-1, 9, "1 to 4"), (1, 3, "4 folds")])
def test_folds_that_cannot_be_are_refused(fold, sources, said):
    clips = [Clip(Path(f"{s}{n}"), "clap", f"s{s}") for s in range(sources) for n in range(3)]
    with pytest.raises(ActionRecError, match=said):
        refold(clips, [], fold)


def test_too_few_sources_to_hold_out_are_refused():
    with pytest.raises(ActionRecError, match="4 source videos, too few"):
        carve_validation([Clip(Path(f"{s}{n}"), "clap", f"s{s}") for s in range(4) for n in range(9)])


def test_a_validation_part_is_carved_of_actions_with_fewer_clips_than_folds():
    clips = [Clip(Path(f"{a}{s}"), a, f"{a}{s}") for a in ("clap", "run", "wave") for s in range(4)]
    train, val = carve_validation(clips)
    assert sorted(clip.action for clip in val) == ["clap", "run", "wave"]
    assert sorted(train + val) == sorted(clips)


def test_a_draw_takes_about_a_fifth_of_every_action():
    clips = [
        Clip(Path(f"{a}{s}{n}"), a, f"{a}{s}") for a in ("clap", "wave") for s in range(30) for n in range(1 + s % 4)
    ]
    drawn = draw_sources(clips, seed=0, left=2)
    for action in ("clap", "wave"):
        sides = [clip.group in drawn for clip in clips if clip.action == action]
        assert 0.15 <= sum(sides) / len(sides) <= 0.25


def test_a_source_that_fills_an_action_is_not_drawn_while_others_are_there():
    clips = [Clip(Path(f"{s}{n}"), "clap", s) for s, size in (("long", 90), ("b", 2), ("c", 3)) for n in range(size)]
    assert all("long" not in draw_sources(clips, seed, left=1) for seed in range(5))


@pytest.mark.parametrize("left", [1, 2])
def test_a_draw_leaves_sources_of_people_who_do_everything(left):
    clips = [Clip(Path(f"{a}{s}"), a, f"p{s}") for a in ("clap", "run", "wave") for s in range(left + 1)]
    for seed in range(5):
        assert len(draw_sources(clips, seed, left)) == 1
        assert not draw_sources([clip for clip in clips if clip.group != "p0"], seed, left)
