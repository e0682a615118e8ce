"""UCF101 (Soomro et al., CRCV-TR-12-01, 2012): `<Action>/v_<Action>_g<source>_c<clip>.avi` and three splits."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actionrec.datasets.actions import class_list
from actionrec.datasets.base import ClipSet
from actionrec.datasets.records import (
    Clip,
    Release,
    Splits,
    check_name,
    is_clip,
    official_numbers,
    read_lines,
    require_clips,
    require_folder,
    splits_in,
)
from actionrec.datasets.splitting import official_parts
from actionrec.system.errors import ActionRecError

_NUMBERS = {1: (9_537, 3_783), 2: (9_586, 3_734), 3: (9_624, 3_696)}  # number of training and test clips by split


def source_of(file_name: str, action: str) -> str:
    """The source video of a clip: its action and its `g` number, which is unique within an action only."""
    found = re.search(r"_(g\d+)_c\d+\.", file_name)
    return f"{action}_{found[1]}" if found else Path(file_name).stem


def read_classes(path: Path) -> dict[str, str]:
    """Label by action, from the lines `<label> <action>` of `classInd.txt`."""
    labels: dict[str, str] = {}
    for where, text in read_lines(path):
        label, _, action = text.strip().partition(" ")
        if not label.isdigit() or not action or action in labels:
            raise ActionRecError(f"{where}: cannot read the line {text[:80]!r}; each must be '<label> <action>', once")
        labels[check_name(action, where)] = label
    return labels


def read_list(path: Path, labels: Mapping[str, str]) -> dict[str, str]:
    """Actions by file name, from the lines `<action>/<file name> [<label>]` of a list; test lists have no label.

    Args:
        path: the list.
        labels: see `read_classes`.

    Raises:
        ActionRecError: a line has another form, or its action or label is not in `labels`.
    """
    actions: dict[str, str] = {}
    for where, text in read_lines(path):
        place, _, label = text.strip().partition(" ")
        action, _, name = place.partition("/")
        if not name or action not in labels or label.strip() not in ("", labels[action]):
            raise ActionRecError(
                f"{where}: cannot read the line {text[:80]!r}; each must be '<action>/<file name> [<label>]' with a"
                " label and an action of classInd.txt"
            )
        actions[check_name(name, where)] = action
    return actions


def listed_clips(lists: Mapping[str, Path]) -> dict[str, set[str]]:
    """Names `<action>/<file name>` of clips, by `split <k>, <train|test>`; see `Release.read`."""
    if "classInd.txt" not in lists:
        raise ActionRecError("the lists lack classInd.txt; get the official ones, ucfTrainTestlist")
    labels = read_classes(lists["classInd.txt"])
    return {
        f"split {int(found[2])}, {found[1]}": {f"{action}/{name}" for name, action in read_list(path, labels).items()}
        for list_name, path in lists.items()
        if (found := re.fullmatch(r"(train|test)list(\d\d)\.txt", list_name))
    }


@dataclass(frozen=True)
class UCF101(ClipSet):
    """UCF101, whose actions keep their names (`ApplyEyeMakeup`).

    Args:
        name: name of the data set.
        videos: folder of `<action>/*.avi`, or the parent of the archive's folder `UCF-101`.
        splits: folder of `classInd.txt`, `trainlist0<k>.txt` and `testlist0<k>.txt`, or the parent of the archive's
            folder `ucfTrainTestlist`.
        split: 1, 2 or 3.
    """

    name: str
    videos: Path
    splits: Path
    split: int

    release: ClassVar[Release] = Release(
        archives=("UCF101",),
        list_archives=("UCF101TrainTestSplits-RecognitionTask",),
        lists=("trainlist0[123].txt", "testlist0[123].txt", "classInd.txt"),
        read=listed_clips,
        official=official_numbers(_NUMBERS),
        addresses=("https://www.crcv.ucf.edu/data/UCF101/UCF101.rar",),
        list_addresses=("https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip",),
    )

    def __post_init__(self) -> None:
        for field, inner in (("videos", "UCF-101"), ("splits", "ucfTrainTestlist")):
            folder = Path(getattr(self, field))
            object.__setattr__(self, field, folder / inner if (folder / inner).is_dir() else folder)

    def index(self, actions: str | Sequence[str], strict: bool = True) -> tuple[tuple[str, ...], Splits]:
        """See `DataSet.index`."""
        labels, chosen = self._classes(actions)
        if self.split not in _NUMBERS:
            raise ActionRecError(f"split={self.split}: there is no split {self.split} of UCF101; use 1, 2 or 3")
        train, test = (
            [
                Clip(self.videos / action / name, action, source_of(name, action))
                for name, action in read_list(self.splits / f"{part}list{self.split:02}.txt", labels).items()
                if action in chosen
            ]
            for part in ("train", "test")
        )
        return official_parts(train, test, chosen, self.split, self.videos, strict)

    def lists(self) -> list[Path]:
        """See `DataSet.lists`."""
        return sorted(self.splits.glob(f"*list{self.split:02}.txt"))

    def official_splits(self) -> list[int]:
        """See `DataSet.official_splits`."""
        return splits_in(self.splits, r"^trainlist(\d\d)\.txt$")

    def clips(self, actions: str | Sequence[str]) -> list[Clip]:
        """See `ClipSet.clips`."""
        _, chosen = self._classes(actions)
        found = [
            Clip(path, action, source_of(path.name, action))
            for action in chosen
            for path in sorted((self.videos / action).glob("*"))
            if is_clip(path)
        ]
        return require_clips(found, chosen, self.videos, "dataset.videos")

    def _classes(self, actions: str | Sequence[str]) -> tuple[dict[str, str], tuple[str, ...]]:
        require_folder(self.videos, "dataset.videos")
        require_folder(self.splits, "dataset.splits")
        labels = read_classes(self.splits / "classInd.txt")
        return labels, class_list(actions, labels, str(self.splits))
