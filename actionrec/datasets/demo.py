"""A generated data set in the layout of the real ones: learned in minutes, and only by looks and motion together.

Every item is drawn from its own random stream, seeded by the set's seed and the item's name, so that the bytes do not
depend on the number of processes. What acts is in `demo_people`, and what makes that hard in `demo_scenes`.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator
from tqdm import tqdm

from actionrec.datasets.actions import stanford40_name
from actionrec.datasets.archives import only_preparation, workspace
from actionrec.datasets.demo_people import ACTIONS
from actionrec.datasets.demo_scenes import Tags, draw_person, draw_scene, draw_tags, pictures
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores
from actionrec.system.parallel import advance, run_jobs

SETTINGS_FILE = "demo.json"  # written last; a folder that has it may be replaced
FORMAT = 1  # to be raised with every change of what is drawn or written

_STILL_SIZE = (200, 150)
_FPS = 30
_STILLS_AT_ONCE = 20  # by one process; about as long as a source takes
_MOST_CLIPS = 4  # of a source

# As hard as HMDB51's names; the number makes a source's unique.
_TITLES = (
    "#{0}_Parade_(HQ)",
    "[old]_reel_{0}_!",
    "Bob's_&_Mum's_tape_{0}",
    "me@school;_part_{0}+1",
    "~Fête à Zürich~{0}",
    "How_to_{1}_at_home_{0}",
)


@dataclass(frozen=True)
class Settings:
    """Counts are (train, test) of an action; sizes are (width, height) in pixels."""

    seed: int
    stills_per_action: tuple[int, int]
    clips_per_action: tuple[int, int]
    frames: tuple[int, int]  # of the shortest and the longest clip
    size: tuple[int, int]  # of clips


class _Job(NamedTuple):
    """Files that one process writes, one after the other."""

    name: str  # of no other job
    files: int
    write: Callable[[], None]


def generate(
    root: Path,
    seed: int = 0,
    *,
    stills_per_action: Sequence[int] = (60, 20),
    clips_per_action: Sequence[int] = (50, 20),
    frames: Sequence[int] = (14, 20),
    size: Sequence[int] = (160, 120),
    workers: int | None = None,
) -> None:
    """Write the set of all shared actions under `root`, whole or not at all.

    Args:
        root: nothing is done if it holds a set of the same settings; a set of other settings is replaced, unless there
            are files within that it has not written.
        seed: two seeds share no picture.
        stills_per_action: in the train and the test list.
        clips_per_action: tagged as train and as test in each split; a few more are unused.
        frames: of the shortest and the longest clip.
        size: width and height of the clips, even numbers of pixels.
        workers: processes; one for each core unless given.

    Raises:
        ActionRecError: `root` holds something else, another process fills it, or OpenCV cannot write the videos.
    """
    pairs = [(int(low), int(high)) for low, high in (stills_per_action, clips_per_action, frames, size)]
    settings = Settings(seed, *pairs)
    text = json.dumps({"format": FORMAT, **asdict(settings)}) + "\n"
    mark = root / SETTINGS_FILE
    if mark.is_file() and mark.read_text(encoding="utf-8") == text:
        return
    if root.exists() and not mark.is_file() and (root.is_file() or any(root.iterdir())):
        raise ActionRecError(f"{root} is no generated data set (it has no {SETTINGS_FILE}); choose another folder")
    root = root.resolve()  # what a link leads to is filled, and the link stays
    with only_preparation(root), workspace(root) as temporary:
        if mark.is_file() and mark.read_text(encoding="utf-8") == text:
            return  # another process has just done it
        if foreign := next(_foreign(root), None):
            raise ActionRecError(
                f"{root} holds {foreign}, which is not generated; move it away, or choose another folder"
            )
        new = temporary / "new"
        _run([*_clips(new, settings), *_stills(new / "Stanford40", settings)], workers or usable_cores())
        (new / SETTINGS_FILE).write_text(text, encoding="utf-8")
        if root.exists():
            root.rename(temporary / "old")
        new.rename(root)


def _foreign(root: Path) -> Iterator[Path]:
    """Files in a generated set that its own lists do not name, as paths within it."""
    known, splits = {root / SETTINGS_FILE}, root / "hmdb51_splits"
    for path in (root / "Stanford40" / "ImageSplits").glob("*.txt"):
        if path.stem.rpartition("_")[2] in ("train", "test"):
            known |= {path, *(root / "Stanford40" / "JPEGImages" / name for name in _listed(path))}
    for path in splits.glob("*_test_split[123].txt"):
        videos = root / "hmdb51" / path.name.rpartition("_test_split")[0]
        known |= {path, *(videos / line.strip().rpartition(" ")[0] for line in _listed(path))}
    for path in sorted(root.rglob("*")):
        if path not in known and (path.is_symlink() or not path.is_dir()):
            yield path.relative_to(root)


def _listed(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _run(jobs: Sequence[_Job], workers: int) -> None:
    named = {job.name: (job.write,) for job in jobs}
    files = sum(job.files for job in jobs)
    interval = 0.2 if sys.stderr.isatty() else 2  # seconds; a log need not have more
    # Without `miniters`, tqdm waits for as many files as before, and is silent for long where files begin to take more.
    with tqdm(desc="drawing", unit="file", total=files, mininterval=interval, miniters=1, smoothing=0) as bar:
        for _, error in run_jobs(partial.__call__, named, workers, lambda done: bar.update(done - bar.n)):
            if error:
                raise error


def _random(seed: int, name: str) -> Generator:
    return np.random.default_rng([seed, *name.encode()])


def _stills(folder: Path, settings: Settings) -> Iterator[_Job]:
    """Write Stanford40's lists; yield what writes the images."""
    images, lists = folder / "JPEGImages", folder / "ImageSplits"
    images.mkdir(parents=True)
    lists.mkdir()
    everything: dict[str, list[str]] = {"train": [], "test": []}
    for action in sorted(ACTIONS, key=stanford40_name):
        prefix, n_train = stanford40_name(action), settings.stills_per_action[0]
        numbers = _random(settings.seed, prefix).permutation(sum(settings.stills_per_action)) + 1
        names = [f"{prefix}_{number:03d}.jpg" for number in numbers]
        for part, chosen in (("train", names[:n_train]), ("test", names[n_train:])):
            _write_list(lists / f"{prefix}_{part}.txt", chosen, "\r\n")
            everything[part] += chosen
        for start in range(0, len(names), _STILLS_AT_ONCE):
            some = [images / name for name in names[start : start + _STILLS_AT_ONCE]]
            yield _Job(some[0].name, len(some), partial(_write_stills, some, action, settings.seed))
    for part, names in everything.items():
        _write_list(lists / f"{part}.txt", names, "\r\n")


def _clips(folder: Path, settings: Settings) -> Iterator[_Job]:
    """Write HMDB51's split files; yield what writes the clips."""
    splits = folder / "hmdb51_splits"
    splits.mkdir(parents=True)
    for position, action in enumerate(sorted(ACTIONS)):
        videos = folder / "hmdb51" / action
        videos.mkdir(parents=True)
        sources = _sources(action, position, settings)
        for fold in range(3):
            sides = _tags([len(clips) for clips in sources.values()], settings.clips_per_action, fold)
            tagged = zip((name for clips in sources.values() for name in clips), sides, strict=True)
            lines = [f"{name} {tag} " for name, tag in sorted(tagged)]
            _write_list(splits / f"{action}_test_split{fold + 1}.txt", lines, "\n")
        for source, clips in sources.items():
            yield _Job(
                f"{action}/{source}", len(clips), partial(_write_source, videos, action, source, clips, settings)
            )


def _write_list(path: Path, lines: Sequence[str], end: str) -> None:
    path.write_bytes("".join(line + end for line in lines).encode())


def _sources(action: str, position: int, settings: Settings) -> dict[str, dict[str, Tags]]:
    """Tags of the clips of each source, by file name."""
    sources: dict[str, dict[str, Tags]] = {}
    # Spare clips, one fewer than a source has, since a side may have to take a whole source for a single clip.
    while len(sources) < 3 or sum(map(len, sources.values())) < sum(settings.clips_per_action) + _MOST_CLIPS - 1:
        title, number = _TITLES[(position + len(sources)) % len(_TITLES)], 100 * position + len(sources)
        source, clips = title.format(number, action), {}
        rng = _random(settings.seed, source)
        for index in range(rng.integers(2, _MOST_CLIPS + 1)):
            tags = draw_tags(rng)
            clips[f"{source}_{action}_{tags.body}_{tags.camera}_np1_{tags.view}_{tags.quality}_{index}.avi"] = tags
        sources[source] = clips
    return sources


def _tags(sizes: Sequence[int], wanted: tuple[int, int], fold: int) -> list[int]:
    """Tag of every clip, source by source of these sizes: 1 train, 2 test, 0 beyond the wanted (train, test) numbers.

    The test sources of a fold follow each other, from a third further on in each fold.
    """
    testing: set[int] = set()
    while sum(sizes[source] for source in testing) < wanted[1]:
        testing.add((fold * len(sizes) // 3 + len(testing)) % len(sizes))
    left = {1: wanted[0], 2: wanted[1]}
    tags = []
    for source, size in enumerate(sizes):
        side = 2 if source in testing else 1
        used = min(size, left[side])
        left[side] -= used
        tags += [side] * used + [0] * (size - used)
    return tags


def _write_stills(paths: Sequence[Path], action: str, seed: int) -> None:
    for path in paths:
        rng = _random(seed, path.name)
        scene, person, tags = draw_scene(rng, _STILL_SIZE), draw_person(rng), draw_tags(rng)
        (picture,) = pictures(action, scene, person, tags, 1, rng)
        if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 90]):
            raise ActionRecError(f"OpenCV cannot write {path}")
        advance()


def _write_source(folder: Path, action: str, name: str, clips: dict[str, Tags], settings: Settings) -> None:
    shared = _random(settings.seed, f"{name}_{action}")
    scene, person = draw_scene(shared, settings.size), draw_person(shared)
    for clip, tags in clips.items():
        rng = _random(settings.seed, clip)
        count = int(rng.integers(settings.frames[0], settings.frames[1] + 1))
        writer = cv2.VideoWriter(str(folder / clip), cv2.VideoWriter.fourcc(*"XVID"), _FPS, settings.size)
        if not writer.isOpened():
            raise ActionRecError(f"OpenCV cannot write {folder / clip}; its build has no MPEG-4 encoder")
        for picture in pictures(action, scene, person, tags, count, rng):
            writer.write(picture)
        writer.release()
        advance()
