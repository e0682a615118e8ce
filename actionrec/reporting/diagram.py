"""The chain as a drawing: where boxes and arrows go; the template makes SVG of it."""

from dataclasses import dataclass

from actionrec.evaluation.plots import COLOURS
from actionrec.reporting.chain import GONE, OTHER, SAME, SHOWN_HASH, Chain, starts_from
from actionrec.reporting.gather import ROLES, STAGES, Run

WIDTH, HEIGHT = 256, 132  # of a box, in pixels
GAP_X, GAP_Y = 92, 36
LONGEST = 36  # characters of a line in a box
PLACES = dict(zip(STAGES, ((0, 0.0), (1, 0.0), (1, 1.0), (2, 0.5)), strict=True))  # column, row
ARROWS = ((STAGES[0], STAGES[1]), (STAGES[1], STAGES[3]), (STAGES[2], STAGES[3]))
LABELS = {SAME: "same file", OTHER: "another file", GONE: "file is gone"}


@dataclass(frozen=True)
class Box:
    """A stage: its place, its lines of text, and whether there is a run."""

    x: float
    y: float
    colour: str
    title: str
    lines: list[str]
    there: bool


@dataclass(frozen=True)
class Arrow:
    """From a parent to a child; whole where the child came from the file that is there now."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    whole: bool


@dataclass(frozen=True)
class Diagram:
    """Boxes and arrows, and the same in words."""

    boxes: list[Box]
    arrows: list[Arrow]
    width: float
    height: float
    words: str
    box: tuple[int, int] = (WIDTH, HEIGHT)


def draw(chain: Chain) -> Diagram:
    """The four stages of a chain; a stage without a run among them is an empty box."""
    elsewhere = {link.parent for link in chain.links if link.state in (SAME, OTHER)}
    boxes = {stage: _box(stage, chain.runs.get(stage), stage in elsewhere) for stage in STAGES}
    states = {(link.parent, link.child): link.state for link in chain.links}
    arrows = []
    for parent, child in ARROWS:
        start, end, state = boxes[parent], boxes[child], states.get((parent, child))
        label = LABELS[state] if state else ("not from it" if child in chain.runs else "")
        where = start.x + WIDTH, start.y + HEIGHT / 2, end.x, end.y + HEIGHT / 2
        arrows.append(Arrow(*where, label, state == SAME))
    words = "; ".join(f"{box.title}: {', '.join(box.lines)}" for box in boxes.values())
    words += "; " + "; ".join(
        f"{child} from {parent}: {arrow.label or 'not run'}"
        for (parent, child), arrow in zip(ARROWS, arrows, strict=True)
    )
    return Diagram(list(boxes.values()), arrows, 3 * WIDTH + 2 * GAP_X, 2 * HEIGHT + GAP_Y, words)


def _box(stage: str, run: Run | None, elsewhere: bool) -> Box:
    column, row = PLACES[stage]
    place = column * (WIDTH + GAP_X), row * (HEIGHT + GAP_Y)
    if run is None:
        return Box(*place, "#999999", stage, ["in another folder" if elsewhere else "not run"], False)
    lines = [f"split {run.split}, seed {run.seed}"]
    if run.checkpoint:
        lines[0] += f", data {run.checkpoint.lineage['data']}"
        lines.append(f"best.ckpt {run.checkpoint.sha256[:SHOWN_HASH]}")
        if not run.checkpoint.lineage["parents"]:
            lines.append(f"from {starts_from(run)}")
    else:
        lines.append("no checkpoint that can be read")
    top = f"top-1 {run.metrics['test/acc']:.3f}"
    if "test/acc_low" in run.metrics:
        top += f" [{run.metrics['test/acc_low']:.3f}, {run.metrics['test/acc_high']:.3f}]"
    size = f"n = {run.samples:,}" if run.samples else "n is not known"
    if run.sources and run.sources != run.samples:
        size += f" of {run.sources:,} source videos"
    short = [line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…" for line in (*lines, top, size)]
    return Box(*place, COLOURS[ROLES[stage]], stage, short, True)
