"""Stanford 40 Actions (Yao et al., ICCV 2011): stills in `JPEGImages/`, lists in `ImageSplits/`."""

from collections.abc import Sequence
from pathlib import Path

from sklearn.model_selection import train_test_split

from actionrec.actions import canonical, class_list
from actionrec.datasets.records import Splits, Still, present, require_filled, require_folder
from actionrec.errors import ActionRecError

VAL_FRACTION = 0.2


def action_of(file_name: str) -> str:
    """Canonical action of an image: `riding_a_bike_012.jpg` → `ride_bike`."""
    return canonical(file_name.rpartition("_")[0])


def read_list(path: Path) -> list[str]:
    """File names of a list, in its order; line ends may be LF or CRLF."""
    try:
        return path.read_text(encoding="utf-8").split()
    except FileNotFoundError:
        raise ActionRecError(
            f"{path} is missing; paths.stanford40 must hold ImageSplits/train.txt and test.txt"
        ) from None


def actions_in(root: Path) -> tuple[str, ...]:
    """Canonical names of the actions that the lists name."""
    return tuple(sorted({action_of(name) for part in ("train", "test") for name in read_list(_list(root, part))}))


def index(
    root: Path, actions: str | Sequence[str], protocol: str = "official", strict: bool = True
) -> tuple[tuple[str, ...], Splits]:
    """The class list and the stills of its actions.

    Args:
        root: holds `JPEGImages/` and `ImageSplits/`.
        actions: see `actions.class_list`.
        protocol: `official` keeps the published lists (100 training images an action). `pooled` pools both and draws
            90/10 anew, which is what the reference project reports on; it is not comparable with the literature.
            Either way 20 % of the training part, stratified by action, become the validation part; the draws are
            fixed, so that runs of different seeds are measured on the same images.
        strict: whether a listed file that is not on disk is an error, or left out.
    """
    require_folder(root, "paths.stanford40")
    chosen = class_list(actions, actions_in(root), f"{root.name}/ImageSplits")
    train, test = (
        [
            Still(root / "JPEGImages" / name, action_of(name))
            for name in read_list(_list(root, part))
            if action_of(name) in chosen
        ]
        for part in ("train", "test")
    )
    train, test = (present(part, "images", root / "JPEGImages", strict) for part in (train, test))
    if protocol == "pooled":
        train, test = _draw(train + test, 0.1, seed=0)
    elif protocol != "official":
        raise ActionRecError(f"data.protocol={protocol}: use official or pooled")
    train, val = _draw(train, VAL_FRACTION, seed=42)
    return chosen, require_filled(Splits(train, val, test), chosen, "images")


def _list(root: Path, part: str) -> Path:
    return root / "ImageSplits" / f"{part}.txt"


def _draw(stills: list[Still], fraction: float, seed: int) -> tuple[list[Still], list[Still]]:
    if len(stills) < 2:
        return stills, []
    try:
        kept, drawn = train_test_split(
            stills, test_size=fraction, random_state=seed, stratify=[still.action for still in stills]
        )
    except ValueError as error:  # fewer images than actions
        raise ActionRecError(
            f"{len(stills)} images are too few to draw {fraction:.0%} of each action: {error}"
        ) from None
    return kept, drawn
