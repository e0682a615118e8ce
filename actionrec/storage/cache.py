"""Decoded pictures in memory, for sets that fit.

The process that starts the loaders decodes them, and its forks share them. They are of the process rather than of a
data module, so that the jobs of a multirun decode only what the job before did not.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from actionrec.system.errors import ActionRecError
from actionrec.system.files import stamp
from actionrec.system.hardware import free_memory, usable_cores

log = logging.getLogger(__name__)


Pictures = Sequence[np.ndarray] | np.ndarray  # (H, W, …) each, or all of them stacked


class Source(NamedTuple):
    """Pictures of one file: `read(path, numbers)` decodes them."""

    path: Path
    numbers: Sequence[int]
    read: Callable[[Path, Sequence[int]], Pictures]


_AT_ONCE = 64  # files decoded between two looks at the memory
_pictures: dict[tuple[Path, int], np.ndarray] = {}
_stamps: dict[Path, tuple[int, int]] = {}  # of the files that they are of


def fill(sources: Iterable[Source]) -> None:
    """Keep exactly the pictures of those sources; what is kept already of unchanged files is not decoded again.

    Raises:
        ActionRecError: they do not fit into the memory that is free, or cannot be decoded.
    """
    wanted = list(sources)
    keys = {(source.path, number) for source in wanted for number in source.numbers}
    stamps = {source.path: stamp(source.path) for source in wanted}
    for key in [key for key in _pictures if key not in keys or _stamps[key[0]] != stamps[key[0]]]:
        del _pictures[key]
    _stamps.clear()
    _stamps.update(stamps)
    missing = [source for source in wanted if any((source.path, number) not in _pictures for number in source.numbers)]
    if not missing:
        return
    pictures = sum(len(source.numbers) for source in missing)
    free, size, done = free_memory(), 0, 0
    # Threads, since OpenCV decodes without holding Python's lock, and only what this process holds is shared by forks.
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(missing), _AT_ONCE):
            for decoded in pool.map(_decode, missing[start : start + _AT_ONCE]):
                _pictures.update(decoded)
                size += sum(picture.nbytes for picture in decoded.values())
                done += len(decoded)
            if size / done * pictures > free:
                _pictures.clear()
                raise ActionRecError(
                    f"data.cache=ram needs about {size / done * pictures / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                    "free; leave data.cache out"
                )
    log.info("data.cache=ram: %d pictures of %d files, %.2f GB", pictures, len(missing), size / 1e9)


def read(source: Source) -> Pictures:
    """The pictures of a source, from memory where they are kept; not to be written to."""
    if _pictures:
        kept = [_pictures.get((source.path, number)) for number in source.numbers]
        if all(picture is not None for picture in kept):
            return cast("list[np.ndarray]", kept)
    return source.read(source.path, source.numbers)


def _decode(source: Source) -> dict[tuple[Path, int], np.ndarray]:
    pictures = source.read(source.path, source.numbers)
    for picture in pictures:
        picture.flags.writeable = False
    return {(source.path, number): picture for number, picture in zip(source.numbers, pictures, strict=True)}
