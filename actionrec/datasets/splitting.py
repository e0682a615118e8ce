"""Parts of a data set: official splits, and drawn splits that keep all clips of a source video in one part."""

import logging
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from actionrec.datasets.records import Clip, Splits, present, require_filled, require_names, shared_sources
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)

VAL_FOLDS = 5  # one fold of five is for validation: 20 % of the training clips
SHARE = 0.2  # fraction of an action's clips in a drawn part


def official_parts(
    train: Sequence[Clip], test: Sequence[Clip], actions: tuple[str, ...], split: int, videos: Path, strict: bool
) -> tuple[tuple[str, ...], Splits]:
    """The class list and the parts of an official split; a fifth of the training clips becomes the validation part.

    The validation part does not depend on the run's seed, so that runs of different seeds use the same clips.

    Raises:
        ActionRecError: see `present`, `require_names` and `require_filled`.
    """
    train = present(train, f"training clips of split {split}", videos, strict)
    test = present(test, f"test clips of split {split}", videos, strict)
    require_names([*train, *test])
    if shared := shared_sources(train, test):
        log.warning("the lists of split %d put clips of %d source videos into train and test", split, len(shared))
    sides = [{(clip.action, clip.group) for clip in side} for side in (train, test)]
    if leaks := sorted(sides[0] & sides[1]):  # the official lists have none
        action, source = leaks[0]
        log.warning(
            "split %d has %d source videos with clips of one action in both train and test (first: %s of %s), so the "
            "test accuracy is too high (leakage); put all clips of a source video into one part",
            *(split, len(leaks), source, action),
        )
    train, val = carve_validation(train)
    return actions, require_filled(Splits(train, val, test), actions, "clips")


def carve_validation(clips: list[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Training and validation clips: about 80/20 in every action, and no source video in both parts.

    The validation part is one of five stratified folds by source video: the fold whose fraction of each action is
    nearest to a fifth, since one long source video can fill a fold. If every action has fewer clips than there are
    folds, see `draw_sources`.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # 16 MB, which predict does without

    labels = [clip.action for clip in clips]
    groups = [clip.group for clip in clips]
    if len(set(groups)) < VAL_FOLDS:
        raise ActionRecError(
            f"{len(clips)} training clips come from {len(set(groups))} source videos, too few to hold a fifth out for "
            "validation; add clips of other videos"
        )
    sizes = Counter(labels)
    if max(sizes.values()) < VAL_FOLDS:  # of which no stratified folds can be made
        held = draw_sources(clips, seed=42, left=1)
        return [clip for clip in clips if clip.group not in held], [clip for clip in clips if clip.group in held]
    folds = [
        drawn
        for _, drawn in StratifiedGroupKFold(VAL_FOLDS, shuffle=True, random_state=42).split(clips, labels, groups)
    ]

    def imbalance(fold: Iterable[int]) -> float:
        drawn = Counter(labels[i] for i in fold)
        return sum(abs(drawn[action] / size - 1 / VAL_FOLDS) for action, size in sizes.items())

    drawn = set(min(folds, key=imbalance))
    return [clip for i, clip in enumerate(clips) if i not in drawn], [clips[i] for i in sorted(drawn)]


def refold(train: Sequence[Any], val: Sequence[Any], fold: int | str) -> tuple[list[Any], list[Any]]:
    """Training and validation clips with another validation part: one of four folds of the training clips.

    The folds are stratified, with all clips of a source video in one fold. With the validation part that there is, as
    fold 0, every clip is in one of `VAL_FOLDS` validation parts: networks of all folds together give scores of every
    clip by a network that was not trained on its source video.

    Args:
        train, val: the parts of fold 0.
        fold: from 1 to `VAL_FOLDS` − 1; or `all`, of clips or stills, for which all are for training.

    Raises:
        ActionRecError: there is no such fold, or there are too few clips or source videos.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    if isinstance(fold, str):
        return [*train, *val], []
    folds = VAL_FOLDS - 1
    if fold not in range(1, VAL_FOLDS):
        raise ActionRecError(f"data.fold={fold}: use 0 for the data set's own validation part, or 1 to {folds}")
    labels, groups = [clip.action for clip in train], [clip.group for clip in train]
    if len(set(groups)) < folds or max(Counter(labels).values()) < folds:
        raise ActionRecError(
            f"{len(train)} training clips of {len(set(groups))} source videos cannot be divided into {folds} folds; "
            "use data.fold=0, and fusions other than model.fusion=gated"
        )
    with warnings.catch_warnings():  # of actions with fewer clips than folds
        warnings.simplefilter("ignore", UserWarning)
        drawn = list(StratifiedGroupKFold(folds, shuffle=True, random_state=42).split(train, labels, groups))
    kept, held = drawn[fold - 1]
    return [*(train[row] for row in kept), *val], [train[row] for row in held]


def draw_sources(clips: Sequence[Clip], seed: int, left: int) -> set[str]:
    """Draw source videos that together have about a fifth of the clips of every action, at least one clip per action.

    Source videos are drawn one by one, since in small data sets folds would miss an action.

    Args:
        clips: the clips of all source videos.
        seed: seed of the order in which source videos are tried.
        left: minimum number of source videos of each action that are not drawn.
    """
    sizes: dict[str, Counter[str]] = defaultdict(Counter)  # number of clips by action and source video
    for clip in clips:
        sizes[clip.action][clip.group] += 1
    order = np.random.default_rng(seed).permutation(sorted({clip.group for clip in clips})).tolist()
    drawn: set[str] = set()

    def may_go(group: str) -> bool:
        return all(len(groups.keys() - drawn) > left for groups in sizes.values() if group in groups)

    for action in sorted(sizes, key=lambda action: (len(sizes[action]), action)):  # fewest source videos first
        groups = sizes[action]
        wanted = SHARE * groups.total()
        have = sum(groups[group] for group in drawn & groups.keys())
        for group in (group for group in order if group in groups and group not in drawn):
            if have + groups[group] / 2 <= wanted and may_go(
                group
            ):  # drawing the group brings `have` nearer to `wanted`
                drawn.add(group)
                have += groups[group]
        free = [group for group in order if group in groups and group not in drawn and may_go(group)]
        if not have and free:
            drawn.add(min(free, key=lambda group: groups[group]))
    return drawn
