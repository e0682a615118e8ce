"""HMDB51 (Kuehne et al., ICCV 2011): `<action>/*.avi` and three official splits, and any set in its layout."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from sklearn.model_selection import StratifiedGroupKFold

from actionrec.datasets.actions import class_list
from actionrec.datasets.records import (
    Clip,
    Splits,
    check_name,
    present,
    read_lines,
    require_filled,
    require_folder,
    shared_sources,
)
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)

TRAIN, TEST = "1", "2"  # a split file's tags; 0 is "not used in this split"
VAL_FOLDS = 5  # one fold of five is validation: 20 % of the training clips
_LIST_SUFFIX = "_test_split{}.txt"


def source_of(file_name: str, action: str) -> str:
    """The source video a clip was cut from: its name up to the last `_<action>_`."""
    source, found, _ = file_name.rpartition(f"_{action}_")
    return source if found else Path(file_name).stem


def actions_in(splits: Path, split: int) -> tuple[str, ...]:
    """Actions that have a list for this split.

    Raises:
        ActionRecError: there are lists, but of other splits.
    """
    named: dict[str, set[str]] = {}
    for path in splits.glob("*_test_split*.txt"):
        action, _, number = path.stem.rpartition("_test_split")
        if action and not path.name.startswith("."):  # as in `._clap_test_split1.txt`, which macOS adds
            named.setdefault(number, set()).add(action)
    if named and str(split) not in named:
        raise ActionRecError(f"split={split}: there is no split {split} in {splits}, but {', '.join(sorted(named))}")
    return tuple(sorted(named.get(str(split), ())))


def read_list(path: Path) -> dict[str, str]:
    """Tags (`0` unused, `1` train, `2` test) by file name; a name that comes twice with one tag counts once.

    Raises:
        ActionRecError: a line is not `<file name> <0|1|2>`, or a name has two tags.
    """
    tags: dict[str, str] = {}
    doubled = []
    for where, text in read_lines(path):
        name, _, tag = text.strip().rpartition(" ")
        name = name.strip()
        if tag not in ("0", TRAIN, TEST) or not name:
            raise ActionRecError(f"{where}: cannot read the line {text[:80]!r}; each must be '<file name> <0|1|2>'")
        if name in tags:
            if tags[name] != tag:
                raise ActionRecError(
                    f"{where}: {name} has the tag {tag}, and {tags[name]} above; a clip is on one side"
                )
            doubled.append(name)
        tags[check_name(name, where)] = tag
    if doubled:
        log.warning("%s names %d clips twice (first: %s); each counts once", path, len(doubled), doubled[0])
    return tags


def index(
    videos: Path, splits: Path, split: int, actions: str | Sequence[str], strict: bool = True
) -> tuple[tuple[str, ...], Splits]:
    """The class list and the clips of its actions in one official split.

    Args:
        videos: holds `<action>/*.avi`.
        splits: holds `<action>_test_split<k>.txt`.
        split: 1, 2 or 3.
        actions: see `actions.class_list`.
        strict: whether a listed clip that is not on disk is an error, or left out.

    A fifth of the training clips become the validation part (`carve_validation`). The draw is fixed, so that runs of
    different seeds are measured on the same clips.
    """
    require_folder(videos, "paths.hmdb51")
    require_folder(splits, "paths.hmdb51_splits")
    chosen = class_list(actions, actions_in(splits, split), f"split {split} in {splits}")
    tagged = [
        (Clip(videos / action / name, action, source_of(name, action)), tag)
        for action in chosen
        for name, tag in read_list(splits / (action + _LIST_SUFFIX.format(split))).items()
    ]
    train = present((clip for clip, tag in tagged if tag == TRAIN), f"training clips of split {split}", videos, strict)
    test = present((clip for clip, tag in tagged if tag == TEST), f"test clips of split {split}", videos, strict)
    if shared := shared_sources(train, test):
        log.warning("split %d itself has clips of %d source videos in both train and test", split, len(shared))
    if leaks := sorted({clip[1:] for clip in train} & {clip[1:] for clip in test}):  # which the official lists avoid
        action, source = leaks[0]
        log.warning(
            "split %d has %d source videos with clips of one action in both train and test (first: %s of %s), by which "
            "the accuracy on the test is too high; give each source video to one side",
            *(split, len(leaks), source, action),
        )
    train, val = carve_validation(train)
    return chosen, require_filled(Splits(train, val, test), chosen, "clips")


def carve_validation(clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Training and validation clips: about 80/20 in every action, no source video on both sides.

    Of five stratified folds by source video the one whose shares of the actions come nearest to a fifth is taken,
    since one long source can fill a fold.
    """
    labels = [clip.action for clip in clips]
    groups = [clip.group for clip in clips]
    if len(set(groups)) < VAL_FOLDS:
        raise ActionRecError(
            f"{len(clips)} training clips come from {len(set(groups))} source videos, too few to hold a fifth out for "
            "validation; add clips of other videos"
        )
    folds = [
        drawn
        for _, drawn in StratifiedGroupKFold(VAL_FOLDS, shuffle=True, random_state=42).split(clips, labels, groups)
    ]
    sizes = Counter(labels)

    def imbalance(fold: Iterable[int]) -> float:
        drawn = Counter(labels[i] for i in fold)
        return sum(abs(drawn[action] / size - 1 / VAL_FOLDS) for action, size in sizes.items())

    drawn = set(min(folds, key=imbalance))
    return [clip for i, clip in enumerate(clips) if i not in drawn], [clips[i] for i in sorted(drawn)]


def clips_on_disk(videos: Path, actions: Sequence[str]) -> list[Clip]:
    """Every clip of the actions that is on disk, whatever the splits say of it."""
    return [
        Clip(path, action, source_of(path.name, action))
        for action in actions
        for path in sorted((videos / action).glob("*.avi"))
    ]
