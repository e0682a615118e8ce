"""HMDB51 (Kuehne et al., ICCV 2011): `<action>/*.avi` and three official splits; also other data sets in its layout."""

import logging
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
    read_lines,
    require_clips,
    require_folder,
    splits_in,
)
from actionrec.datasets.splitting import official_parts
from actionrec.system.errors import ActionRecError

log = logging.getLogger(__name__)

TRAIN, TEST = "1", "2"  # a split file's tags; 0 is "not used in this split"
PLACES = ("paths.hmdb51", "paths.hmdb51_splits")  # keys of the settings of the two folders, for messages
_LIST_SUFFIX = "_test_split{}.txt"


def source_of(file_name: str, action: str) -> str:
    """The source video of a clip: the file name up to the last `_<action>_`."""
    source, found, _ = file_name.rpartition(f"_{action}_")
    return source if found else Path(file_name).stem


def actions_in(splits: Path, split: int) -> tuple[str, ...]:
    """Actions with a list for this split.

    Raises:
        ActionRecError: all lists are of other splits.
    """
    named: dict[str, set[str]] = {}
    for path in splits.glob("*_test_split*.txt"):
        action, _, number = path.stem.rpartition("_test_split")
        if action and not path.name.startswith("."):  # macOS adds files such as `._clap_test_split1.txt`
            named.setdefault(number, set()).add(action)
    if named and str(split) not in named:
        raise ActionRecError(f"split={split}: there is no split {split} in {splits}; use {', '.join(sorted(named))}")
    return tuple(sorted(named.get(str(split), ())))


def read_list(path: Path) -> dict[str, str]:
    """Tags (`0` unused, `1` train, `2` test) by file name; a repeated line counts once.

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
                    f"{where}: {name} has the tag {tag}, and {tags[name]} above; give each clip one tag"
                )
            doubled.append(name)
        tags[check_name(name, where)] = tag
    if doubled:
        log.warning("%s names %d clips twice (first: %s); each clip counts once", path, len(doubled), doubled[0])
    return tags


def index(
    videos: Path,
    splits: Path,
    split: int,
    actions: str | Sequence[str],
    strict: bool = True,
    places: tuple[str, str] = PLACES,
) -> tuple[tuple[str, ...], Splits]:
    """The class list and the clips of its actions in one official split; see `splitting.official_parts`.

    Args:
        videos: folder of `<action>/*.avi`.
        splits: folder of `<action>_test_split<k>.txt`.
        split: 1, 2 or 3.
        actions: see `actions.class_list`.
        strict: whether a listed clip that is missing on disk is an error; otherwise it is left out.
        places: keys of the settings of the two folders, for messages.
    """
    chosen = _class_list(videos, splits, split, actions, places)
    tagged = [
        (Clip(videos / action / name, action, source_of(name, action)), tag)
        for action in chosen
        for name, tag in read_list(splits / (action + _LIST_SUFFIX.format(split))).items()
    ]
    train, test = ([clip for clip, tag in tagged if tag == side] for side in (TRAIN, TEST))
    return official_parts(train, test, chosen, split, videos, strict)


def _class_list(
    videos: Path, splits: Path, split: int, actions: str | Sequence[str], places: tuple[str, str]
) -> tuple[str, ...]:
    for folder, key in zip((videos, splits), places, strict=True):
        require_folder(folder, key)
    return class_list(actions, actions_in(splits, split), f"split {split} in {splits}")


def clips_on_disk(videos: Path, actions: Sequence[str]) -> list[Clip]:
    """Every clip of the actions on disk, also clips that the splits do not use."""
    return [
        Clip(path, action, source_of(path.name, action))
        for action in actions
        for path in sorted((videos / action).glob("*"))
        if is_clip(path)
    ]


def tagged_clips(lists: Mapping[str, Path]) -> dict[str, set[str]]:
    """Names `<action>/<file name>` of clips, by `split <k>, <train|test|unused>`; see `Release.read`."""
    parts = {"0": "unused", TRAIN: "train", TEST: "test"}
    tagged: dict[str, set[str]] = {}
    for list_name, path in lists.items():
        action, _, split = list_name.removesuffix(".txt").rpartition("_test_split")
        for name, tag in read_list(path).items():
            tagged.setdefault(f"split {split}, {parts[tag]}", set()).add(f"{action}/{name}")
    return tagged


RELEASE = Release(
    archives=("hmdb51_org",),
    list_archives=("test_train_splits",),
    lists=("*_test_split[123].txt",),
    read=tagged_clips,
    official={
        f"split {split}, {part}": number
        for split in (1, 2, 3)
        for part, number in (("train", 3_570), ("test", 1_530), ("unused", 1_666))
    },
    # The official host, which has been out of reach for long.
    addresses=("http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/hmdb51_org.rar",),
    list_addresses=("http://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/test_train_splits.rar",),
)


@dataclass(frozen=True)
class HMDB51(ClipSet):
    """HMDB51, or a data set in its layout.

    Args:
        name: name of the data set.
        videos: folder of `<action>/*.avi`.
        splits: folder of `<action>_test_split<k>.txt`.
        split: 1, 2 or 3.
    """

    name: str
    videos: Path
    splits: Path
    split: int

    places: ClassVar[tuple[str, str]] = PLACES
    release: ClassVar[Release] = RELEASE

    def __post_init__(self) -> None:
        object.__setattr__(self, "videos", Path(self.videos))  # Hydra passes strings
        object.__setattr__(self, "splits", Path(self.splits))

    def index(self, actions: str | Sequence[str], strict: bool = True) -> tuple[tuple[str, ...], Splits]:
        """See `DataSet.index`."""
        return index(self.videos, self.splits, self.split, actions, strict, self.places)

    def lists(self) -> list[Path]:
        """See `DataSet.lists`."""
        return sorted(self.splits.glob("*" + _LIST_SUFFIX.format(self.split)))

    def official_splits(self) -> list[int]:
        """See `DataSet.official_splits`."""
        return splits_in(self.splits, r"_test_split([1-9]\d{0,3})\.txt$")

    def clips(self, actions: str | Sequence[str]) -> list[Clip]:
        """See `ClipSet.clips`."""
        chosen = _class_list(self.videos, self.splits, self.split, actions, self.places)
        return require_clips(clips_on_disk(self.videos, chosen), chosen, self.videos, self.places[0])
