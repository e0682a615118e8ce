"""The people of the generated data set: their looks and their motions.

An action is a pair of a look and a motion. A look is a pose with clothes and a prop; a motion displaces joints of any
pose. Each look and each motion belongs to two actions, and no two actions have the same pair. So neither a frame alone
nor flow alone can distinguish all actions, while both together can. Two conditions ensure this:
- All motions of a look have a random phase, and only the motion of the action advances. So a single frame has the same
  distribution for both actions of a look.
- Looks that share a motion have the moved joints in the same pose, with small props. So their flow is similar.

Lengths are in body heights unless stated otherwise; x points to where the figure faces, y points down, and the origin
is the hip.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from actionrec.datasets.demo_brush import Brush, Colour, Point

Pose = Mapping[str, Point]  # by joint

ACTIONS = {  # action: (look, motion)
    "clap": ("dress", "spread"),
    "wave": ("dress", "swing"),
    "throw": ("jug", "swing"),
    "pour": ("jug", "lift"),
    "drink": ("table", "lift"),
    "smoke": ("table", "draw"),
    "shoot_bow": ("bow", "draw"),
    "climb": ("bow", "bob"),
    "jump": ("stripes", "bob"),
    "run": ("stripes", "travel"),
    "ride_horse": ("wheel", "travel"),
    "ride_bike": ("wheel", "spread"),
}

BODY = ("body", "head", "front_foot", "back_foot")  # joints; the others are `front_hand` and `back_hand`

_WHITE: Colour = (240, 245, 245)
_ARM, _LEG = 0.16, 0.24  # length of one bone; a limb has two bones
_HAND = 0.052  # radius
_NECK = (0, -0.29)  # relative to the hip
_BOW = [(0.16 * math.cos(angle), 0.56 * math.sin(angle) - 0.05) for angle in np.linspace(-1.4, 1.4, 13).tolist()]
_RIM = [(0.17 * math.cos(angle), 0.17 * math.sin(angle)) for angle in np.linspace(0, math.tau, 21).tolist()]


@dataclass(frozen=True)
class Motion:
    """An oscillation of joints.

    The offset is a triangle wave and not a sine, so that every window of a few frames shows the full speed.
    """

    joints: Mapping[str, Point]  # displacement of each joint for an offset of 1; the joint `body` moves all joints
    amplitude: float  # largest offset
    speed: tuple[float, float]  # range of the offset's change per frame
    phases: tuple[float, float] = (0, 1)  # range at the middle of a clip, in periods

    def offset(self, phase: float) -> float:
        return self.amplitude * (4 * abs(phase % 1 - 0.5) - 1)


MOTIONS = {
    "swing": Motion({"back_hand": (1, 0)}, 0.15, (0.045, 0.065)),
    "lift": Motion({"front_hand": (0, 1)}, 0.08, (0.016, 0.024)),
    "draw": Motion({"back_hand": (1, 0)}, 0.08, (0.016, 0.024)),
    "bob": Motion({"body": (0, 1)}, 0.09, (0.024, 0.034)),
    "travel": Motion({"body": (1, 0)}, 0.6, (0.024, 0.034), phases=(0.67, 0.83)),  # forwards
    "spread": Motion({"front_hand": (1, 0), "back_hand": (-1, 0)}, 0.08, (0.036, 0.048)),
}


@dataclass(frozen=True)
class Person:
    skin: Colour
    hair: Colour
    top: Colour
    bottom: Colour
    prop: Colour
    trim: Colour
    ink: Colour  # outlines
    girth: float  # width of the limbs
    head: float  # radius


Painter = Callable[[Brush, Person, Pose], None]


def _at(point: Point, x: float, y: float) -> Point:
    return point[0] + x, point[1] + y


def _around(point: Point, *offsets: Point) -> list[Point]:
    return [_at(point, *offset) for offset in offsets]


def _bend(root: Point, end: Point, bone: float, side: int) -> list[Point]:
    """Two bones from `root` towards `end`; `side` is -1 if the joint bends to the left of the direction, 1 if right."""
    dx, dy = end[0] - root[0], end[1] - root[1]
    distance = math.hypot(dx, dy) + 1e-9
    half = min(distance, 1.98 * bone) / 2
    ux, uy, out = dx / distance, dy / distance, side * math.sqrt(bone**2 - half**2)
    return _around(root, (0, 0), (ux * half - uy * out, uy * half + ux * out), (2 * ux * half, 2 * uy * half))


def _nothing(brush: Brush, person: Person, pose: Pose) -> None:
    pass


def _gloves(brush: Brush, person: Person, pose: Pose) -> None:
    for hand in ("front_hand", "back_hand"):
        brush.disc(pose[hand], _HAND, person.prop)


def _dress_and_scarf(brush: Brush, person: Person, pose: Pose) -> None:
    hip = pose["body"]
    brush.shape(_around(hip, (-0.07, -0.08), (0.07, -0.08), (0.17, 0.17), (-0.17, 0.17)), person.trim)
    brush.line(_around(hip, (-0.04, -0.16), (-0.03, -0.27), (0.04, -0.27)), 0.045, person.trim)


def _coat_and_hat(brush: Brush, person: Person, pose: Pose) -> None:
    hip, brim = pose["body"], _at(pose["head"], 0, 0.02 - person.head)
    brush.shape(_around(hip, (-0.07, -0.26), (0.07, -0.26), (0.14, 0.24), (-0.14, 0.24)), person.top)
    brush.line(_around(hip, (0, -0.22), (0.01, 0.2)), 0.02, person.trim, outlined=False)
    brush.line(_around(brim, (-0.03, -0.05), (0.03, -0.05)), 0.08, person.ink)
    brush.line(_around(brim, (-0.11, 0), (0.11, 0)), 0.03, person.ink)


def _glass(brush: Brush, person: Person, pose: Pose) -> None:
    hand = pose["front_hand"]
    brush.shape(_around(hand, (-0.04, -0.08), (0.04, -0.08), (0.028, 0.03), (-0.028, 0.03)), person.prop)


def _glass_and_table(brush: Brush, person: Person, pose: Pose) -> None:
    hip = pose["body"]
    brush.line(_around(hip, (0.22, 0.1), (0.22, 0.46)), 0.03, person.trim)
    brush.line(_around(hip, (0.04, 0.1), (0.4, 0.1)), 0.04, person.trim)
    _glass(brush, person, pose)


def _apron_and_toque(brush: Brush, person: Person, pose: Pose) -> None:
    hip, brow = pose["body"], _at(pose["head"], 0, 0.01 - person.head)
    brush.shape(_around(hip, (-0.05, -0.2), (0.06, -0.2), (0.08, 0.16), (-0.08, 0.16)), person.trim)
    brush.line(_around(brow, (-0.05, -0.09), (0.05, -0.09)), 0.09, _WHITE)
    brush.shape(_around(brow, (-0.07, -0.07), (0.07, -0.07), (0.06, 0.02), (-0.06, 0.02)), _WHITE)


def _glass_and_jug(brush: Brush, person: Person, pose: Pose) -> None:
    jug = pose["back_hand"]
    brush.shape(_around(jug, (0.02, -0.06), (0.09, -0.07), (0.05, 0.0)), person.prop)
    brush.disc(jug, 1.05 * _HAND, person.prop)
    _glass(brush, person, pose)


def _bow(brush: Brush, person: Person, pose: Pose) -> None:
    x = pose["body"][0] + 0.13  # the bow keeps its height, so a climbing body slides along it
    arc = [(x + forwards, down) for forwards, down in _BOW]
    brush.line([arc[0], arc[-1]], 0.01, person.trim, outlined=False)
    brush.line(arc, 0.035, person.prop)


def _hood(brush: Brush, person: Person, pose: Pose) -> None:
    hip, head, r = pose["body"], pose["head"], person.head
    brush.line([*_around(head, (-0.5 * r, -0.75 * r), (-r, 0.2 * r)), _at(hip, -0.05, -0.27)], 0.07, person.top)
    brush.line(_around(hip, (-0.08, -0.02), (0.08, -0.02)), 0.04, person.trim)


def _stripes(brush: Brush, person: Person, pose: Pose) -> None:
    hip, head, r = pose["body"], pose["head"], person.head
    for y in (-0.24, -0.17, -0.1, -0.03):
        brush.line(_around(hip, (-0.06, y), (0.06, y)), 0.03, person.trim, outlined=False)
    brush.line(_around(head, (-r, -0.03), (r, -0.03)), 0.03, person.prop, outlined=False)


def _wheel(brush: Brush, person: Person, pose: Pose) -> None:
    hub = _at(pose["body"], 0, 0.34)
    rim = _around(hub, *_RIM)
    for width, colour in ((0.06, person.ink), (0.034, person.prop)):
        brush.line(rim, width, colour, outlined=False)
    brush.line(_around(hub, (0, 0), (0, -0.29), (-0.07, -0.3), (0.07, -0.3)), 0.035, person.trim)


def _helmet(brush: Brush, person: Person, pose: Pose) -> None:
    brush.line(_around(pose["head"], (-0.06, -0.6 * person.head), (0.06, -0.6 * person.head)), 0.09, person.trim)


_OUT: Pose = {"front_hand": (0.25, -0.36), "back_hand": (-0.25, -0.36)}
_TO_MOUTH: Pose = {"front_hand": (0.14, -0.32), "back_hand": (-0.25, -0.36)}
_STANDING: Pose = {"front_foot": (0.08, 0.46), "back_foot": (-0.08, 0.46)}
_STRIDING: Pose = {"front_foot": (0.14, 0.36), "back_foot": (-0.17, 0.39)}


@dataclass(frozen=True)
class Look:
    limbs: Pose
    behind: Painter = _nothing
    clothes: Painter = _nothing
    held: Painter = _nothing
    shorts: bool = False


LOOKS = {
    "dress": Look({**_OUT, **_STANDING}, clothes=_dress_and_scarf, held=_gloves),
    "jug": Look({**_TO_MOUTH, **_STANDING}, clothes=_apron_and_toque, held=_glass_and_jug),
    "table": Look({**_TO_MOUTH, **_STANDING}, clothes=_coat_and_hat, held=_glass_and_table),
    "bow": Look({**_OUT, **_STRIDING}, behind=_bow, clothes=_hood),
    "stripes": Look({**_OUT, **_STRIDING}, clothes=_stripes, shorts=True),
    "wheel": Look({**_OUT, **_STRIDING}, behind=_wheel, clothes=_helmet, held=_gloves),
}


class Performance:
    """A random performance of an action: the pose at any time."""

    def __init__(self, action: str, rng: Generator) -> None:
        name, self._own = ACTIONS[action]
        self.look = LOOKS[name]
        base = {"body": (0.0, 0.0), "head": (0.01, -0.4), **self.look.limbs}
        self._base = {
            joint: _at(point, *rng.normal(0, 0.04 if joint.endswith("foot") else 0.02, 2).tolist())
            for joint, point in base.items()
        }
        able = {motion for look, motion in ACTIONS.values() if look == name} | {"bob", "travel"}
        self._phases = {motion: rng.uniform(*MOTIONS[motion].phases) for motion in sorted(able)}
        self._rate = rng.uniform(*MOTIONS[self._own].speed) / (4 * MOTIONS[self._own].amplitude)

    def pose(self, time: float) -> Pose:
        """Positions of the joints `time` frames after the middle of the clip."""
        pose = dict(self._base)
        for name, phase in self._phases.items():
            motion = MOTIONS[name]
            offset = motion.offset(phase + (self._rate * time if name == self._own else 0))
            for joint, (x, y) in motion.joints.items():
                for moved in pose if joint == "body" else (joint,):
                    pose[moved] = _at(pose[moved], x * offset, y * offset)
        return pose


def draw_body(brush: Brush, person: Person, look: Look, pose: Pose, view: str) -> None:
    """Draw everything except arms and held things, from the front (`fr`), the back (`ba`) or the side."""
    hip, girth = pose["body"], person.girth
    neck = _at(hip, *_NECK)
    look.behind(brush, person, pose)
    for side, x in (("back", -0.03), ("front", 0.03)):
        leg = _bend(_at(hip, x, 0), pose[f"{side}_foot"], _LEG, -1)
        brush.line(leg, girth, person.skin if look.shorts else person.bottom)
        brush.line(leg[:2], 1.1 * girth, person.bottom, outlined=False)
        brush.line(_around(leg[2], (0, 0), (0.05, 0.01)), 0.8 * girth, person.ink)
    brush.line(_around(hip, (0, -0.23), (0, -0.02)), 0.16, person.top)
    brush.line([neck, pose["head"]], 0.7 * girth, person.skin)
    _draw_head(brush, person, pose["head"], view)
    look.clothes(brush, person, pose)


def draw_arms(brush: Brush, person: Person, look: Look, pose: Pose) -> None:
    """Draw the arms and held things.

    Arms are drawn over the clothes, since clothes would hide more of the arms in some looks than in others.
    """
    neck = _at(pose["body"], *_NECK)
    front = _bend(_at(neck, 0.06, 0.03), pose["front_hand"], _ARM, 1)
    back = _bend(_at(neck, -0.06, 0.03), pose["back_hand"], _ARM, -1)
    for arm in (back, front):
        brush.line(arm, 0.8 * person.girth, person.top)
        brush.disc(arm[2], _HAND, person.skin)
    look.held(brush, person, {**pose, "front_hand": front[2], "back_hand": back[2]})


def _draw_head(brush: Brush, person: Person, centre: Point, view: str) -> None:
    radius = person.head
    brush.disc(centre, radius, person.hair)
    if view == "ba":
        return
    turn = 0 if view == "fr" else 0.3 * radius
    brush.disc(_at(centre, turn, 0.2 * radius), 0.78 * radius, person.skin, outlined=False)
    for eye in (turn - 0.3 * radius, turn + 0.35 * radius):
        brush.disc(_at(centre, eye, 0.1 * radius), 0.1 * radius, person.ink, outlined=False)
