"""Install a data set atomically: find its files in folders, archives or downloads, count them, and fill its folders."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from actionrec.datasets import stanford40 as stanford40_lists
from actionrec.datasets.archives import find, new_folder, opened, require_vacant
from actionrec.datasets.download import Sources, fetched
from actionrec.datasets.records import Release
from actionrec.system.errors import ActionRecError

STANFORD40 = {"train": 4_000, "test": 5_532}  # files in each official list


def collect(
    target: Path, pattern: str, folders: Callable[[], list[Path]], parents: Container[str] | None = None
) -> dict[str, Path]:
    """Files by their path within `target`: the files of `target`, or if it has none, matching files below `folders`.

    Args:
        target: final folder of the files.
        pattern: pattern of paths within `target`; files below `folders` may be nested deeper.
        folders: returns the folders to search; called only if `target` has no files.
        parents: allowed names of the folders of the files; None allows all names.

    Raises:
        ActionRecError: no file is found, two different files have one name, or `target` holds other files.
    """
    if own := {path.relative_to(target).as_posix(): path for path in target.glob(pattern)}:
        return own
    require_vacant(target)  # fail before hours of downloading and unpacking
    files: dict[str, Path] = {}
    for path in find(folders(), pattern.split("/")[-1]):
        if parents is None or path.parent.name in parents:
            other = files.setdefault("/".join(path.parts[-1 - pattern.count("/") :]), path)
            if other.stat().st_size != path.stat().st_size:
                raise ActionRecError(f"{other} and {path} are two different files of one name; give only one of them")
    if not files:
        raise ActionRecError(
            f"the sources have no files for {target / pattern}; give a folder or an archive that holds them"
        )
    return files


def place(files: Mapping[str, Path], target: Path) -> None:
    """Create the folder `target` from `files`, by their path within it: hard links if possible, otherwise copies.

    If `files` are the files of `target`, nothing is done.
    """
    if all(path == target / name for name, path in files.items()):
        return
    try:
        with new_folder(target) as folder:
            for name, source in files.items():
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(source.resolve(), path)
                except OSError:  # the source is on another file system, or hard links are not supported
                    shutil.copyfile(source, path)
    except OSError as error:
        raise ActionRecError(f"cannot fill {target}: {error.strerror} ({error.filename})") from error


class Found(NamedTuple):
    """The files of a data set compared with its lists."""

    files: int
    actions: dict[str, int]  # number of files of each action
    lists: dict[str, tuple[int, int]]  # number of files named by each list, and number of these on disk
    missing: tuple[str, ...]  # listed files that are not on disk
    unlisted: tuple[str, ...]  # files on disk in no list


def count(names: Iterable[str], lists: Mapping[str, Collection[str]], action_of: Callable[[str], str]) -> Found:
    """Compare the files on disk with the files that the lists name."""
    on_disk, listed = set(names), set().union(*lists.values())
    return Found(
        len(on_disk),
        dict(sorted(Counter(map(action_of, on_disk)).items())),
        {key: (len(set(named)), len(on_disk.intersection(named))) for key, named in sorted(lists.items())},
        missing=tuple(sorted(listed - on_disk)),
        unlisted=tuple(sorted(on_disk - listed)),
    )


def require_complete(found: Found, official: Mapping[str, int], target: Path) -> None:
    """Raise unless the lists name the official numbers of files, and all listed files are on disk."""
    for key, number in official.items():
        listed, _ = found.lists.get(key, (0, 0))
        if listed != number:
            raise ActionRecError(
                f"lists for {target}: {key} names {listed:,} files, officially {number:,}; get the official lists, or"
                " accept these lists with expect_complete=false"
            )
    if found.missing:
        raise ActionRecError(
            f"{target}: {len(found.missing):,} listed files are missing ({few(found.missing)}), {found.files:,} are"
            " present; give a complete source and a new folder, or install an incomplete set with expect_complete=false"
        )


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names, and the number of further names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def stanford40(sources: Sources, target: Path, downloads: Path, *, expect_complete: bool = True) -> Found:
    """Install Stanford40: fill `target` with `JPEGImages/*.jpg` and `ImageSplits/*.txt` unless it has them, and count.

    Args:
        sources: folders and archives that hold, at any depth, folders of these two names or the two official archives;
            not read if `target` is complete.
        target: the final folder.
        downloads: see `fetched`.
        expect_complete: whether an incomplete data set is an error, in which case nothing is installed.
    """
    inner = {"Stanford40_JPEGImages": "*.jpg", "Stanford40_ImageSplits": "*.txt"}
    with opened(target, target / "JPEGImages", target / "ImageSplits") as folders_of:
        folders = cache(lambda: folders_of(fetched(sources, downloads), inner))
        images = collect(target / "JPEGImages", "*.jpg", folders, {"JPEGImages"})
        lists = collect(target / "ImageSplits", "*.txt", folders, {"ImageSplits"})
        if absent := [f"{part}.txt" for part in STANFORD40 if f"{part}.txt" not in lists]:
            raise ActionRecError(f"{target}/ImageSplits lacks {absent[0]}; get the official lists")
        listed = {part: stanford40_lists.read_list(lists[f"{part}.txt"]) for part in STANFORD40}
        found = count(images, listed, stanford40_lists.action_of)
        if expect_complete:
            require_complete(found, STANFORD40, target)
        place(images, target / "JPEGImages")
        place(lists, target / "ImageSplits")
    return found


def clips(
    release: Release, videos: Sources, splits: Sources, target_videos: Path, target_splits: Path, downloads: Path,
    *, expect_complete: bool = True,
) -> Found:  # fmt: skip
    """Install a data set of clips: fill `target_videos` with `<action>/*.avi` and `target_splits` with the lists.

    Args:
        release: description of the published data set.
        videos: folders and archives that hold, at any depth, folders or archives of clips named after an action of the
            lists, as the official `hmdb51_org.rar` does.
        splits: folders and archives that hold the lists at any depth.
        target_videos, target_splits: the final folders.
        downloads: see `fetched`.
        expect_complete: see `stanford40`.

    Returns:
        The files of the data set; the names are `<action>/<file name>`.
    """
    with opened(target_videos, target_splits) as folders_of:
        inner = dict.fromkeys(release.list_archives, release.lists[0])
        sources = cache(lambda: folders_of(fetched(splits, downloads), inner))
        lists: dict[str, Path] = {}
        for pattern in release.lists:
            lists |= collect(target_splits, pattern, sources)
        listed = release.read(lists)
        actions = {name.partition("/")[0] for names in listed.values() for name in names}
        archives = dict.fromkeys((*release.archives, *actions), "*.avi")
        found_clips = collect(
            target_videos, "*/*.avi", lambda: folders_of(fetched(videos, downloads), archives), actions
        )
        found = count(found_clips, listed, lambda name: name.partition("/")[0])
        if expect_complete:
            require_complete(found, release.official, target_videos)
        place(found_clips, target_videos)  # before the lists, whose folder may be inside `target_videos`
        place(lists, target_splits)
    return found
