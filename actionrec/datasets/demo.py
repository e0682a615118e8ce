"""A generated data set in the layout of the real ones: learned in minutes, and only by looks and motion together.

Every item is drawn from its own random stream, seeded by the set's seed and the item's name, so that the bytes do not
depend on the number of processes. What acts in the pictures, and what makes it hard, is in `figures`.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from actionrec.datasets.actions import stanford40_name
from actionrec.datasets.archives import only_preparation, workspace
from actionrec.datasets.figures import ACTIONS, Brush, Colour, Image, Performance, Person, draw
from actionrec.system.errors import ActionRecError
from actionrec.system.hardware import usable_cores

SETTINGS_FILE = "demo.json"  # written last; a folder that has it may be replaced
FORMAT = 1  # to be raised with every change of what is drawn or written

_STILL_SIZE = (200, 150)
_FPS = 30
_SUPERSAMPLING = 2
_MARGIN = 16  # pixels of scene around the picture, which a moving camera may show
_MOST_CLIPS = 4  # of a source
_QUALITY = {"goo": (0.0, 0.0), "med": (0.5, 2.0), "bad": (0.8, 5.0)}  # blur in pixels, noise in grey levels

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


@dataclass(frozen=True)
class Tags:
    """What the name of an HMDB51 clip says about it, in its words."""

    body: str  # visible part: f full, u upper
    camera: str  # cm in motion, nm still
    view: str  # fr front, ba back, le left, ri right
    quality: str  # goo, med, bad


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
        _run([*_stills(new / "Stanford40", settings), *_clips(new, settings)], workers or usable_cores())
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


def _run(jobs: Sequence[Callable[[], None]], workers: int) -> None:
    if workers == 1:
        for job in jobs:
            job()
        return
    # Spawned, not forked: a fork of a process in which OpenCV or torch has threads may hang.
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        list(pool.map(partial.__call__, jobs, chunksize=8))


def _random(seed: int, name: str) -> Generator:
    return np.random.default_rng([seed, *name.encode()])


def _stills(folder: Path, settings: Settings) -> Iterator[Callable[[], None]]:
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
        yield from (partial(_write_still, images / name, action, settings.seed) for name in names)
    for part, names in everything.items():
        _write_list(lists / f"{part}.txt", names, "\r\n")


def _clips(folder: Path, settings: Settings) -> Iterator[Callable[[], None]]:
    """Write HMDB51's split files; yield what writes the clips."""
    splits = folder / "hmdb51_splits"
    splits.mkdir()
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
            yield partial(_write_source, videos, action, source, clips, settings)


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
            tags = _draw_tags(rng)
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


def _write_still(path: Path, action: str, seed: int) -> None:
    rng = _random(seed, path.name)
    (picture,) = _pictures(action, _scene(rng, _STILL_SIZE), _person(rng), _draw_tags(rng), 1, rng)
    if not cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 90]):
        raise ActionRecError(f"OpenCV cannot write {path}")


def _write_source(folder: Path, action: str, name: str, clips: dict[str, Tags], settings: Settings) -> None:
    shared = _random(settings.seed, f"{name}_{action}")
    scene, person = _scene(shared, settings.size), _person(shared)
    for clip, tags in clips.items():
        rng = _random(settings.seed, clip)
        count = int(rng.integers(settings.frames[0], settings.frames[1] + 1))
        writer = cv2.VideoWriter(str(folder / clip), cv2.VideoWriter.fourcc(*"XVID"), _FPS, settings.size)
        if not writer.isOpened():
            raise ActionRecError(f"OpenCV cannot write {folder / clip}; its build has no MPEG-4 encoder")
        for picture in _pictures(action, scene, person, tags, count, rng):
            writer.write(picture)
        writer.release()


def _draw_tags(rng: Generator) -> Tags:
    choices = ("f", "f", "u"), ("cm", "nm"), ("fr", "fr", "ba", "le", "le", "ri", "ri"), ("goo", "goo", "med", "bad")
    return Tags(*(str(rng.choice(choice)) for choice in choices))


def _colour(rng: Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    hsv = np.array([[[rng.uniform(0, 180), 255 * rng.uniform(*saturation), 255 * rng.uniform(*value)]]], np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def _person(rng: Generator) -> Person:
    red, green, blue = (255 * shade for shade in np.array([0.95, 0.72, 0.58]) * rng.uniform(0.4, 1.05))
    return Person(
        skin=(blue, green, red),
        hair=_colour(rng, (0.1, 0.5), (0.1, 0.5)),
        top=_colour(rng, (0.5, 1), (0.4, 0.8)),
        bottom=_colour(rng, (0.2, 0.9), (0.2, 0.7)),
        prop=_colour(rng, (0, 0.9), (0.75, 1)),
        trim=_colour(rng, (0, 0.5), (0.85, 1)),
        ink=_colour(rng, (0, 0.4), (0.05, 0.15)),
        girth=rng.uniform(0.07, 0.095),
        head=rng.uniform(0.078, 0.095),
    )


def _scene(rng: Generator, size: tuple[int, int]) -> Image:
    """A sky, some things in it, and ground before them, all a little rough: flow needs texture.

    It is larger than the pictures of this (width, height): a margin wider all round, and supersampled.
    """
    width, height = (side + 2 * _MARGIN for side in size)
    sky, haze, near = (np.array(_colour(rng, (0.05, 0.45), value)) for value in ((0.5, 1), (0.5, 1), (0.3, 0.8)))
    scene = sky + (haze - sky) * np.linspace(0, 1, height)[:, None, None] + np.zeros((height, width, 3))
    for _ in range(rng.integers(3, 9)):
        x, y, w, h = rng.uniform((0, 0, 8, 8), (width, 0.8 * height, 60, 60)).astype(int).tolist()
        colour = _colour(rng, (0.05, 0.5), (0.3, 0.9))
        if rng.random() < 0.4:
            cv2.circle(scene, (x, y), w // 3, colour, -1)
        else:
            cv2.rectangle(scene, (x - w // 2, y - h // 2), (x + w // 2, y + h // 2), colour, -1)
    waves = np.sin(np.linspace(0, 1, width) * rng.uniform(2, 12, (3, 1)) + rng.uniform(0, math.tau, (3, 1))).sum(0)
    horizon = rng.uniform(0.55, 0.85) + rng.uniform(0, 0.03) * waves
    depth = (np.arange(height)[:, None] / height - horizon)[..., None]
    scene = cv2.GaussianBlur(np.where(depth > 0, near * (1 - depth), scene), (0, 0), rng.uniform(0.4, 1.2))
    coarse = cv2.resize(rng.normal(0, 10, (9, 12)), (width, height), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(0, 15, (height, width)), (0, 0), 1)
    rough = np.clip(scene + (coarse + fine)[..., None], 0, 255).astype(np.uint8)
    return cv2.resize(rough, None, fx=_SUPERSAMPLING, fy=_SUPERSAMPLING)


def _pictures(action: str, scene: Image, person: Person, tags: Tags, count: int, rng: Generator) -> Iterator[Image]:
    """Frames of one performance before a scene."""
    size = np.array(scene.shape[1::-1]) / _SUPERSAMPLING - 2 * _MARGIN
    full = tags.body == "f"
    unit = size[1] * rng.uniform(*((0.7, 0.88) if full else (0.85, 1)))
    hip = size * rng.uniform((0.42, 0.48 if full else 0.56), (0.58, 0.54 if full else 0.64))
    x, y = (hip + _MARGIN) * _SUPERSAMPLING
    mirrored = tags.view == "le" or (tags.view != "ri" and bool(rng.random() < 0.5))
    camera = rng.uniform((-0.8, -0.3, -0.003), (0.8, 0.3, 0.003)) * (tags.camera == "cm")  # pan x, y and zoom a frame
    blur, noise = _QUALITY[tags.quality]
    performance = Performance(action, rng)
    for time in np.arange(count) - (count - 1) / 2:
        canvas = scene.copy()
        brush = Brush(canvas, (x, y), unit * _SUPERSAMPLING, mirrored, person.ink)
        draw(brush, person, performance.look, performance.pose(time), tags.view)
        picture = _photograph(canvas, size, camera[:2] * time, 1 + camera[2] * time)
        if blur:
            grain = noise * rng.standard_normal((*picture.shape[:2], 1), np.float32)
            picture = np.clip(cv2.GaussianBlur(picture, (0, 0), blur) + grain, 0, 255).astype(np.uint8)
        yield picture


def _photograph(canvas: Image, size: np.ndarray, pan: np.ndarray, zoom: float) -> Image:
    """What the camera sees of a canvas: the inverse of supersampling and margins, but for its movement."""
    step = _SUPERSAMPLING / zoom
    left, top = (size * (1 - 1 / zoom) / 2 + _MARGIN + pan) * _SUPERSAMPLING + (step - 1) / 2
    matrix, flags = np.array([[step, 0, left], [0, step, top]]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(canvas, matrix, size.astype(int).tolist(), flags=flags, borderMode=cv2.BORDER_REFLECT)
