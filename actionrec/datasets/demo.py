"""A generated data set in the layouts of Stanford40 and HMDB51; networks learn it in minutes, and need both streams.

Every file has its own random generator, seeded by the data set's seed and the file's name, so that the bytes do not
depend on the number of processes. `demo_people` draws the people and their motions, `demo_scenes` the rest.
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

SETTINGS_FILE = "demo.json"  # written last; a folder with this file may be replaced
FORMAT = 1  # increase this number with every change of the drawn or written files

_STILL_SIZE = (200, 150)
_FPS = 30
_STILLS_PER_JOB = 20  # takes about as long as the clips of one source
_MOST_CLIPS = 4  # clips per source

# File names with the special characters of HMDB51's; the number makes the name of a source unique.
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
    """Settings of the generator; counts are (train, test) per action."""

    seed: int
    stills_per_action: tuple[int, int]
    clips_per_action: tuple[int, int]
    frames: tuple[int, int]  # length of the shortest and of the longest clip
    size: tuple[int, int]  # (width, height) of clips in pixels


class _Job(NamedTuple):
    """Files that one process writes in sequence."""

    name: str  # unique name of the job
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
    """Write the data set of all shared actions to `root`, atomically.

    Args:
        root: the folder; a data set of the same settings in it is kept, a data set of other settings is replaced,
            unless the folder holds other files, too.
        seed: seed of all pictures.
        stills_per_action: number of stills in the train and in the test list.
        clips_per_action: number of clips tagged as train and as test in each split; a few more clips are unused.
        frames: length of the shortest and of the longest clip.
        size: width and height of the clips, even numbers of pixels.
        workers: number of processes; None is one per core.

    Raises:
        ActionRecError: `root` holds other files, another process fills it, or OpenCV cannot write the videos.
    """
    pairs = [(int(low), int(high)) for low, high in (stills_per_action, clips_per_action, frames, size)]
    settings = Settings(seed, *pairs)
    text = json.dumps({"format": FORMAT, **asdict(settings)}) + "\n"
    mark = root / SETTINGS_FILE
    if mark.is_file() and mark.read_text(encoding="utf-8") == text:
        return
    if root.exists() and not mark.is_file() and (root.is_file() or any(root.iterdir())):
        raise ActionRecError(f"{root} is no generated data set (it has no {SETTINGS_FILE}); choose another folder")
    root = root.resolve()  # if `root` is a symbolic link, the folder behind the link is replaced
    with only_preparation(root), workspace(root) as temporary:
        if mark.is_file() and mark.read_text(encoding="utf-8") == text:
            return  # another process has generated the data set since the first check
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
    """Files in a generated data set that its lists do not name, as paths relative to `root`."""
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
    interval = 0.2 if sys.stderr.isatty() else 2  # seconds between two updates
    # Without `miniters`, tqdm adapts the number of files per update, and is silent for long when files become slower.
    with tqdm(desc="drawing", unit="file", total=files, mininterval=interval, miniters=1, smoothing=0) as bar:
        for _, error in run_jobs(partial.__call__, named, workers, lambda done: bar.update(done - bar.n)):
            if error:
                raise error


def _random(seed: int, name: str) -> Generator:
    return np.random.default_rng([seed, *name.encode()])


def _stills(folder: Path, settings: Settings) -> Iterator[_Job]:
    """Write Stanford40's lists; yield the jobs that write the images."""
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
        for start in range(0, len(names), _STILLS_PER_JOB):
            some = [images / name for name in names[start : start + _STILLS_PER_JOB]]
            yield _Job(some[0].name, len(some), partial(_write_stills, some, action, settings.seed))
    for part, names in everything.items():
        _write_list(lists / f"{part}.txt", names, "\r\n")


def _clips(folder: Path, settings: Settings) -> Iterator[_Job]:
    """Write HMDB51's split files; yield the jobs that write the clips."""
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
    """Tags by file name of the clips of each source, by source."""
    sources: dict[str, dict[str, Tags]] = {}
    # _MOST_CLIPS - 1 spare clips are needed, since a part may have to take a whole source for its last clip.
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
    """HMDB51's tag of every clip, source by source: 1 is train, 2 is test, 0 is unused.

    The test sources of a fold are consecutive, and each fold starts a third of the sources later.

    Args:
        sizes: number of clips of each source.
        wanted: number of train and test clips; further clips are unused.
        fold: 0, 1 or 2.
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
