"""Stanford 40 Actions (Yao et al., ICCV 2011): stills in `JPEGImages/`, lists in `ImageSplits/`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actionrec.datasets.actions import canonical, class_list
from actionrec.datasets.base import StillSet
from actionrec.datasets.records import (
    Splits,
    Still,
    check_name,
    present,
    read_lines,
    require_filled,
    require_folder,
)
from actionrec.system.errors import ActionRecError

VAL_FRACTION = 0.2
log = logging.getLogger(__name__)


def action_of(file_name: str) -> str:
    """Canonical action of an image: `riding_a_bike_012.jpg` → `ride_bike`."""
    return canonical(file_name.rpartition("_")[0])


def read_list(path: Path) -> list[str]:
    """File names of a list, one per line, in its order; a repeated name counts once."""
    if not path.exists():
        raise ActionRecError(f"{path} is missing; paths.stanford40 must hold ImageSplits/train.txt and test.txt")
    lines = [(where, text.strip()) for where, text in read_lines(path)]
    for where, name in lines:
        if not action_of(check_name(name, where)):
            raise ActionRecError(f"{where}: cannot read the line {name[:80]!r}; each must be '<action>_<number>.jpg'")
    names = list(dict.fromkeys(name for _, name in lines))
    if twice := len(lines) - len(names):
        log.warning("%s names %d images twice; each image counts once", path, twice)
    return names


def index(
    root: Path, actions: str | Sequence[str], protocol: str = "official", strict: bool = True
) -> tuple[tuple[str, ...], Splits]:
    """The class list and the stills of its actions.

    Args:
        root: folder of `JPEGImages/` and `ImageSplits/`.
        actions: see `actions.class_list`.
        protocol: `official` keeps the published lists (100 training images per action). `pooled` is the reference
            project's protocol: it pools both lists and draws 90/10; results are not comparable with the literature.
            In both protocols 20 % of the training part, stratified by action, becomes the validation part. The draws
            do not depend on the run's seed, so that runs of different seeds use the same images.
        strict: whether a listed file that is missing on disk is an error; otherwise it is left out.
    """
    lists, chosen = _read_lists(root, actions)
    train, test = (
        [Still(root / "JPEGImages" / name, action_of(name)) for name in names if action_of(name) in chosen]
        for names in lists.values()
    )
    _check_sides(train, test, root)
    train, test = (present(part, "images", root / "JPEGImages", strict) for part in (train, test))
    if protocol == "pooled":
        train, test = _draw(train + test, 0.1, seed=0)
    elif protocol != "official":
        raise ActionRecError(f"dataset.protocol={protocol}: use official or pooled")
    train, val = _draw(train, VAL_FRACTION, seed=42)
    return chosen, require_filled(Splits(train, val, test), chosen, "images")


def _read_lists(root: Path, actions: str | Sequence[str]) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """File names by list, and the class list."""
    require_folder(root, "paths.stanford40")
    lists = {part: read_list(root / "ImageSplits" / f"{part}.txt") for part in ("train", "test")}
    known = {action_of(name) for names in lists.values() for name in names}
    return lists, class_list(actions, known, f"{root.name}/ImageSplits")


def _check_sides(train: list[Still], test: list[Still], root: Path) -> None:
    """Raise unless every image is in one list only and stems are unique, since scores are stored by stem."""
    listed = {
        part: {still.path.stem: still.path.name for still in stills}
        for part, stills in (("train", train), ("test", test))
    }
    if shared := sorted(listed["train"].keys() & listed["test"].keys()):
        raise ActionRecError(
            f"{root}/ImageSplits: {len(shared)} images are in both train.txt and test.txt (first: "
            f"{listed['test'][shared[0]]}); take them out of one list"
        )
    for still in train + test:
        other = listed["train" if still.path.stem in listed["train"] else "test"][still.path.stem]
        if other != still.path.name:
            raise ActionRecError(f"{root}/ImageSplits: {still.path.name} and {other} have one stem; rename one of them")


def _draw(stills: list[Still], fraction: float, seed: int) -> tuple[list[Still], list[Still]]:
    from sklearn.model_selection import train_test_split

    if len(stills) < 2:
        return stills, []
    try:
        kept, drawn = train_test_split(
            stills, test_size=fraction, random_state=seed, stratify=[still.action for still in stills]
        )
    except ValueError as error:  # there are fewer images than actions
        raise ActionRecError(
            f"{len(stills)} images are too few to draw {fraction:.0%} of each action: {error}"
        ) from None
    return kept, drawn


@dataclass(frozen=True)
class Stanford40(StillSet):
    """Stanford 40 Actions; see `index`."""

    name: str
    root: Path
    protocol: str = "official"

    addresses: ClassVar[tuple[str, ...]] = (
        "http://vision.stanford.edu/Datasets/Stanford40_JPEGImages.zip",
        "http://vision.stanford.edu/Datasets/Stanford40_ImageSplits.zip",
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root))  # Hydra passes strings

    def index(self, actions: str | Sequence[str], strict: bool = True) -> tuple[tuple[str, ...], Splits]:
        """See `DataSet.index`."""
        return index(self.root, actions, self.protocol, strict)

    def lists(self) -> list[Path]:
        """See `DataSet.lists`."""
        return sorted((self.root / "ImageSplits").glob("*.txt"))

    def stills(self, actions: str | Sequence[str]) -> list[Still]:
        """See `StillSet.stills`."""
        lists, chosen = _read_lists(self.root, actions)
        listed = (Still(self.root / "JPEGImages" / name, action_of(name)) for names in lists.values() for name in names)
        found = [still for still in listed if still.action in chosen and still.path.is_file()]
        if not found:
            raise ActionRecError(
                f"no images of {', '.join(chosen)} in {self.root}/JPEGImages; check paths.stanford40 and data.actions"
            )
        return found
