"""J-HMDB (Jhuang et al., ICCV 2013): 928 clips of 21 actions of HMDB51, trimmed to the action, with three splits."""

from dataclasses import dataclass
from typing import ClassVar

from actionrec.datasets.hmdb51 import HMDB51, RELEASE
from actionrec.datasets.records import Release, official_numbers

_NUMBERS = {1: (660, 268), 2: (658, 270), 3: (663, 265)}  # number of training and test clips by split


@dataclass(frozen=True)
class JHMDB(HMDB51):
    """J-HMDB, in the layout of HMDB51; see `HMDB51`."""

    places: ClassVar[tuple[str, str]] = ("dataset.videos", "dataset.splits")
    release: ClassVar[Release] = RELEASE._replace(
        archives=("JHMDB_video",),
        list_archives=("splits",),
        official=official_numbers(_NUMBERS),
        addresses=("http://files.is.tue.mpg.de/jhmdb/JHMDB_video.zip",),
        list_addresses=("http://files.is.tue.mpg.de/jhmdb/splits.zip",),
    )
