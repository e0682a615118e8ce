"""Fill the folders of a data set from whatever holds its files, and count them: all or nothing."""

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


def gather(
    target: Path, pattern: str, folders: Callable[[], list[Path]], parents: Container[str] | None = None
) -> dict[str, Path]:
    """Files by their path within `target`: its own, or, if it has none, those below `folders` that belong there.

    Args:
        pattern: of the paths within it; those elsewhere may be nested deeper.
        folders: called only if it is needed.
        parents: the names that folders which hold the files may have.
    """
    if own := {path.relative_to(target).as_posix(): path for path in target.glob(pattern)}:
        return own
    require_vacant(target)  # before what may be hours of fetching and unpacking
    files: dict[str, Path] = {}
    for path in find(folders(), pattern.split("/")[-1]):
        if parents is None or path.parent.name in parents:
            other = files.setdefault("/".join(path.parts[-1 - pattern.count("/") :]), path)
            if other.stat().st_size != path.stat().st_size:
                raise ActionRecError(f"{other} and {path} are two different files of one name; give only one of them")
    if not files:
        raise ActionRecError(f"nothing for {target / pattern} in the sources; give a folder or an archive that has it")
    return files


def place(files: Mapping[str, Path], target: Path) -> None:
    """Make the new folder `target` of `files`, given by their path within it: hard links where possible, else copies.

    Nothing is done if they are the files of `target` already.
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
                except OSError:  # another file system, or one without hard links
                    shutil.copyfile(source, path)
    except OSError as error:
        raise ActionRecError(f"cannot fill {target}: {error.strerror} ({error.filename})") from error


class Found(NamedTuple):
    """The files of a data set, held against its lists."""

    files: int
    actions: dict[str, int]  # files of each action
    lists: dict[str, tuple[int, int]]  # files that each list names, and how many of them are there
    missing: tuple[str, ...]  # listed and not there
    unlisted: tuple[str, ...]  # there and in no list


def count(names: Iterable[str], lists: Mapping[str, Collection[str]], action_of: Callable[[str], str]) -> Found:
    """Hold the files that are there against those that the lists name."""
    there, listed = set(names), set().union(*lists.values())
    return Found(
        len(there),
        dict(sorted(Counter(map(action_of, there)).items())),
        {key: (len(set(named)), len(there.intersection(named))) for key, named in sorted(lists.items())},
        missing=tuple(sorted(listed - there)),
        unlisted=tuple(sorted(there - listed)),
    )


def require_complete(found: Found, official: Mapping[str, int], target: Path) -> None:
    """Raise unless the lists name as many files as the official ones, and all of those are there."""
    for key, number in official.items():
        listed, _ = found.lists.get(key, (0, 0))
        if listed != number:
            raise ActionRecError(
                f"lists for {target}: {key} names {listed:,} files, officially {number:,}; get the official lists, or"
                " take these with expect_complete=false"
            )
    if found.missing:
        raise ActionRecError(
            f"{target}: {len(found.missing):,} listed files are missing ({few(found.missing)}), {found.files:,} are"
            " there; give a complete source and a new folder, or take what is there with expect_complete=false"
        )


def few(names: Sequence[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def stanford40(sources: Sources, target: Path, downloads: Path, *, expect_complete: bool = True) -> Found:
    """Fill `target` with `JPEGImages/*.jpg` and `ImageSplits/*.txt`, unless they are there already, and count them.

    Args:
        sources: hold, together and at any depth, folders of these two names; a folder may hold the two official
            archives in their place. Not looked at if there is nothing to fill.
        target: the final folder.
        downloads: see `fetched`.
        expect_complete: whether less than the official data set is an error; nothing is placed then.
    """
    inner = {"Stanford40_JPEGImages": "*.jpg", "Stanford40_ImageSplits": "*.txt"}
    with opened(target, target / "JPEGImages", target / "ImageSplits") as folders_of:
        folders = cache(lambda: folders_of(fetched(sources, downloads), inner))
        images = gather(target / "JPEGImages", "*.jpg", folders, {"JPEGImages"})
        lists = gather(target / "ImageSplits", "*.txt", folders, {"ImageSplits"})
        if absent := [f"{part}.txt" for part in STANFORD40 if f"{part}.txt" not in lists]:
            raise ActionRecError(f"{target}/ImageSplits needs {absent[0]}, which is not there; get the official lists")
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
    """Fill `target_videos` with `<action>/*.avi` and `target_splits` with the lists of them, and count the clips.

    Args:
        release: of the data set.
        videos: hold, at any depth, folders of clips or archives of clips that bear the name of an action of the
            lists, as the official `hmdb51_org.rar` does; see `stanford40` for the rest.
        splits: hold the lists at any depth.

    Names in what is returned are `<action>/<file name>`.
    """
    with opened(target_videos, target_splits) as folders_of:
        inner = dict.fromkeys(release.list_archives, release.lists[0])
        sources = cache(lambda: folders_of(fetched(splits, downloads), inner))
        lists: dict[str, Path] = {}
        for pattern in release.lists:
            lists |= gather(target_splits, pattern, sources)
        listed = release.read(lists)
        actions = {name.partition("/")[0] for names in listed.values() for name in names}
        archives = dict.fromkeys((*release.archives, *actions), "*.avi")
        found_clips = gather(
            target_videos, "*/*.avi", lambda: folders_of(fetched(videos, downloads), archives), actions
        )
        found = count(found_clips, listed, lambda name: name.partition("/")[0])
        if expect_complete:
            require_complete(found, release.official, target_videos)
        place(found_clips, target_videos)  # first, in case the lists are to lie inside
        place(lists, target_splits)
    return found
