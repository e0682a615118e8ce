"""Decoded pictures in memory, for data sets that fit into it.

The main process decodes the pictures, and the loader processes that it forks share them. The cache is process-wide, so
that the jobs of a multirun reuse the pictures that an earlier job decoded.
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


Pictures = Sequence[np.ndarray] | np.ndarray  # pictures (H, W, …), or one array (N, H, W, …)


class Source(NamedTuple):
    """Pictures of one file: `read(path, keys)` decodes one picture per key.

    A key is a frame or field number. The key of a still is the minimum short side, in pixels, at which the file may be
    decoded.
    """

    path: Path
    keys: Sequence[int]
    read: Callable[[Path, Sequence[int]], Pictures]


_CHECK_EVERY = 64  # files decoded between two checks of the memory
_pictures: dict[tuple[Path, int], np.ndarray] = {}  # by file and key
_stamps: dict[Path, tuple[int, int]] = {}  # size and modification time of each cached file


def fill(sources: Iterable[Source]) -> None:
    """Make the cache hold the pictures of these sources and no others.

    Cached pictures of unchanged files are not decoded again.

    Raises:
        ActionRecError: the pictures do not fit into the free memory, or cannot be decoded.
    """
    wanted = list(sources)
    entries = {(source.path, key) for source in wanted for key in source.keys}
    stamps = {source.path: stamp(source.path) for source in wanted}
    for path, key in list(_pictures):
        if (path, key) not in entries or _stamps[path] != stamps[path]:
            del _pictures[path, key]
    _stamps.clear()
    _stamps.update(stamps)
    missing = [source for source in wanted if any((source.path, key) not in _pictures for key in source.keys)]
    if not missing:
        return
    pictures = sum(len(source.keys) for source in missing)
    free, size, done = free_memory(), 0, 0
    # Threads, since OpenCV releases the GIL while it decodes, and forks share memory of this process only.
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(missing), _CHECK_EVERY):
            for decoded in pool.map(_decode, missing[start : start + _CHECK_EVERY]):
                _pictures.update(decoded)
                size += sum(picture.nbytes for picture in decoded.values())
                done += len(decoded)
            if size / done * pictures > free:
                _pictures.clear()
                raise ActionRecError(
                    f"data.cache=ram needs about {size / done * pictures / 1e9:.1f} GB, and {free / 1e9:.1f} GB are "
                    "free; use data.cache=null"
                )
    log.info("data.cache=ram: %d pictures of %d files, %.2f GB", pictures, len(missing), size / 1e9)


def read(source: Source) -> Pictures:
    """The pictures of a source, from the cache or else from the file; callers must not write to the arrays."""
    if _pictures:
        cached = [_pictures.get((source.path, key)) for key in source.keys]
        if all(picture is not None for picture in cached):
            return cast("list[np.ndarray]", cached)
    return source.read(source.path, source.keys)


def _decode(source: Source) -> dict[tuple[Path, int], np.ndarray]:
    pictures = source.read(source.path, source.keys)
    for picture in pictures:
        picture.flags.writeable = False
    return {(source.path, key): picture for key, picture in zip(source.keys, pictures, strict=True)}
