"""Pictures of the generated data set: a performance of `demo_people` in front of a scene, taken by a camera.

Everything is drawn supersampled. The actions are in `demo_people`; this module adds variation that is independent of
the action: scenes, colours, camera motion, blur and noise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from actionrec.datasets.demo_brush import Brush, Colour, Image
from actionrec.datasets.demo_people import BODY, Performance, Person, draw_arms, draw_body

_SUPERSAMPLING = 2
_MARGIN = 16  # pixels of scene around the picture, for the moving camera
_QUALITY = {"goo": (0.0, 0.0), "med": (0.5, 2.0), "bad": (0.8, 5.0)}  # blur in pixels, noise in grey levels


@dataclass(frozen=True)
class Tags:
    """The tags in the name of an HMDB51 clip."""

    body: str  # visible part: f full, u upper
    camera: str  # cm in motion, nm still
    view: str  # fr front, ba back, le left, ri right
    quality: str  # goo, med, bad


def draw_tags(rng: Generator) -> Tags:
    """Random tags."""
    choices = ("f", "f", "u"), ("cm", "nm"), ("fr", "fr", "ba", "le", "le", "ri", "ri"), ("goo", "goo", "med", "bad")
    return Tags(*(str(rng.choice(choice)) for choice in choices))


def draw_person(rng: Generator) -> Person:
    """A random person."""
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


def draw_scene(rng: Generator, size: tuple[int, int]) -> Image:
    """A random scene: a sky, some shapes in it, and ground in front, with noise, since flow needs texture.

    The scene is larger than a picture of this size (width, height): it is supersampled, and has a margin on all sides.
    """
    width, height = (side + 2 * _MARGIN for side in size)
    sky, haze, near = (np.array(_colour(rng, (0.05, 0.45), value)) for value in ((0.5, 1), (0.5, 1), (0.3, 0.8)))
    scene = cv2.repeat(sky + (haze - sky) * np.linspace(0, 1, height)[:, None, None], 1, width)
    for _ in range(rng.integers(3, 9)):
        x, y, w, h = rng.uniform((0, 0, 8, 8), (width, 0.8 * height, 60, 60)).astype(int).tolist()
        colour = _colour(rng, (0.05, 0.5), (0.3, 0.9))
        if rng.random() < 0.4:
            cv2.circle(scene, (x, y), w // 3, colour, -1)
        else:
            cv2.rectangle(scene, (x - w // 2, y - h // 2), (x + w // 2, y + h // 2), colour, -1)
    waves = np.sin(np.linspace(0, 1, width) * rng.uniform(2, 12, (3, 1)) + rng.uniform(0, math.tau, (3, 1))).sum(0)
    horizon = rng.uniform(0.55, 0.85) + rng.uniform(0, 0.03) * waves
    depth = np.arange(height)[:, None] / height - horizon
    # Merging three planes is ten times as fast as NumPy's broadcasting over the channels of a pixel.
    ground = cv2.merge([shade * (1 - depth) for shade in near])
    cv2.copyTo(ground, (depth > 0).astype(np.uint8), scene)
    scene = cv2.GaussianBlur(scene, (0, 0), rng.uniform(0.4, 1.2))
    coarse = cv2.resize(rng.normal(0, 10, (9, 12)), (width, height), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(0, 15, (height, width)), (0, 0), 1)
    scene += cv2.merge([coarse + fine] * 3)
    return cv2.resize(_to_pixels(scene), None, fx=_SUPERSAMPLING, fy=_SUPERSAMPLING)


def pictures(action: str, scene: Image, person: Person, tags: Tags, count: int, rng: Generator) -> Iterator[Image]:
    """Frames of one performance in front of a scene, (height, width, 3) uint8, BGR."""
    size = np.array(scene.shape[1::-1]) / _SUPERSAMPLING - 2 * _MARGIN
    full = tags.body == "f"
    unit = float(size[1]) * rng.uniform(*((0.7, 0.88) if full else (0.85, 1)))
    hip = size * rng.uniform((0.42, 0.48 if full else 0.56), (0.58, 0.54 if full else 0.64))
    x, y = ((hip + _MARGIN) * _SUPERSAMPLING).tolist()
    mirrored = tags.view == "le" or (tags.view != "ri" and bool(rng.random() < 0.5))
    camera = rng.uniform((-0.8, -0.3, -0.003), (0.8, 0.3, 0.003)) * (tags.camera == "cm")  # pan x, y, zoom per frame
    blur, noise = _QUALITY[tags.quality]
    performance = Performance(action, rng)
    times = (np.arange(count) - (count - 1) / 2).tolist()

    def brush(canvas: Image) -> Brush:
        return Brush(canvas, (x, y), unit * _SUPERSAMPLING, mirrored, person.ink)

    behind, drawn = scene, None
    for time in times:
        pose = performance.pose(time)
        body = {joint: pose[joint] for joint in BODY}
        if body != drawn:  # in most actions only the hands move, and the body is drawn once
            behind, drawn = scene.copy(), body
            draw_body(brush(behind), person, performance.look, pose, tags.view)
        canvas = behind.copy()
        draw_arms(brush(canvas), person, performance.look, pose)
        picture = _photograph(canvas, size, camera[:2] * time, 1 + camera[2] * time)
        if blur:
            grain = noise * rng.standard_normal(picture.shape[:2], np.float32)
            picture = _to_pixels(cv2.GaussianBlur(picture, (0, 0), blur) + cv2.merge([grain] * 3))
        yield picture


def _colour(rng: Generator, saturation: tuple[float, float], value: tuple[float, float]) -> Colour:
    hsv = np.array([[[rng.uniform(0, 180), 255 * rng.uniform(*saturation), 255 * rng.uniform(*value)]]], np.uint8)
    blue, green, red = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def _to_pixels(values: np.ndarray) -> Image:
    """Clip grey levels to uint8; `values` is modified."""
    return np.clip(values, 0, 255, out=values).astype(np.uint8)


def _photograph(canvas: Image, size: np.ndarray, pan: np.ndarray, zoom: float) -> Image:
    """The camera's picture of a canvas: without margin and supersampling, moved by pan and zoom."""
    step = _SUPERSAMPLING / zoom
    left, top = (size * (1 - 1 / zoom) / 2 + _MARGIN + pan) * _SUPERSAMPLING + (step - 1) / 2
    matrix, flags = np.array([[step, 0, left], [0, step, top]]), cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(canvas, matrix, size.astype(int).tolist(), flags=flags, borderMode=cv2.BORDER_REFLECT)
