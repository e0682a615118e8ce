"""The data that benchmarks use: where the real sets are, as overrides, and stills made for a measurement."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def fights(data: Path) -> list[str]:
    """The stills and the fight clips below a folder."""
    folder = data / "fights_hmdb51_layout"
    return _clips("fights", data, folder / "videos", folder / "splits")


def silhouettes(data: Path) -> list[str]:
    """The stills and the silhouette clips below a folder."""
    return [*_clips("silhouettes", data, data / "hmdb51_silhouettes", data / "hmdb51_splits"), "data.strict=false"]


# The actions of the clips, which a stage of stills does not know.
FIGHT_ACTIONS = "data.actions=[fight,no_fight]"
SILHOUETTE_ACTIONS = "data.actions=[clap,jump,pour,run,shoot_bow,throw,wave]"


def _clips(name: str, data: Path, videos: Path, lists: Path) -> list[str]:
    stills = f"paths.stanford40={data / 'stanford40'}"
    return ["paths=real", f"paths.name={name}", stills, f"paths.hmdb51={videos}", f"paths.hmdb51_splits={lists}"]


def write_stills(root: Path, images: int, pictures: Sequence[np.ndarray]) -> None:
    """A set of two actions in Stanford40's layout under `stanford40/`: links to pictures; the last two test."""
    folder, lists = root / "stanford40" / "JPEGImages", root / "stanford40" / "ImageSplits"
    folder.mkdir(parents=True)
    lists.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"of_{number}.jpg"), picture)
    names = [f"{('applauding', 'running')[number % 2]}_{number:06d}.jpg" for number in range(images)]
    for number, name in enumerate(names):
        (folder / name).hardlink_to(folder / f"of_{number % len(pictures)}.jpg")
    (lists / "train.txt").write_text("\n".join(names[:-2]))
    (lists / "test.txt").write_text("\n".join(names[-2:]))


def small_pictures(count: int) -> list[np.ndarray]:
    """Smooth random pictures of 300 to 500 pixels a side."""
    rng = np.random.default_rng(0)
    sides = rng.integers(300, 500, (count, 2))
    coarse = rng.integers(0, 256, (count, 30, 40, 3), np.uint8)
    return [cv2.resize(each, (int(width), int(height))) for each, (height, width) in zip(coarse, sides, strict=True)]
