"""The chain as a diagram: positions of boxes and arrows, from which the page's template makes an SVG."""

from dataclasses import dataclass
from statistics import fmean

from actionrec.reporting.chain import GONE, OTHER, SAME, SHOWN_HASH, Chain, Link, starts_from
from actionrec.reporting.records import Run

WIDTH, HEIGHT = 256, 132  # of a box, in pixels
GAP_X, GAP_Y = 92, 36
LONGEST = 36  # characters; longer lines in a box are shortened
ABSENT = "#999999"
LABELS = {SAME: "same file", OTHER: "another file", GONE: "file is gone"}

Place = tuple[int, float]  # column and row


@dataclass(frozen=True)
class Box:
    """A stage, or a checkpoint from outside the chain: position, lines of text, and whether there is a run."""

    x: float
    y: float
    colour: str
    title: str
    lines: list[str]
    there: bool


@dataclass(frozen=True)
class Arrow:
    """Arrow from a parent to a child; a solid line (`whole`) if the child started from the parent's present file."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str
    whole: bool


@dataclass(frozen=True)
class Diagram:
    """Boxes and arrows, and their content as text for screen readers."""

    boxes: list[Box]
    arrows: list[Arrow]
    width: float
    height: float
    words: str
    box: tuple[int, int] = (WIDTH, HEIGHT)


def draw(chain: Chain) -> Diagram:
    """Draw the stages of a chain, and the checkpoints from outside the chain that stages started from.

    A stage without a run is an empty box. A parent that the chain does not declare, such as another data set's
    checkpoint of the same stage, has a box of its own.
    """
    declared = chain.config.links
    further = [link for link in chain.links if (link.parent, link.child) not in declared]
    source = {link: link.parent if _is_before(link, chain) else f"{link.parent} {link.recorded}" for link in further}
    edges = declared + [(source[link], link.child) for link in further]
    strangers: dict[str, Link] = {}
    names: list[str] = []
    for stage in chain.config.stages:  # an outside parent comes just before its child, so that few arrows cross
        for link in further:
            if link.child == stage and source[link] not in {*names, *chain.config.stages}:
                strangers[source[link]] = link
                names.append(source[link])
        names.append(stage)
    found = places(names, edges)
    elsewhere = {link.parent for link in chain.links if link.state in (SAME, OTHER)}
    boxes = {name: _box(name, found[name], chain, name in elsewhere) for name in chain.config.stages}
    boxes |= {key: _stranger(link, found[key]) for key, link in strangers.items()}
    states = {(link.parent, link.child): link.state for link in chain.links}
    states |= {(source[link], link.child): link.state for link in further}
    arrows, told = [], []
    for parent, child in edges:
        start, end, state = boxes[parent], boxes[child], states.get((parent, child))
        label = LABELS[state] if state else ("not from it" if child in chain.runs else "")
        where = start.x + WIDTH, start.y + HEIGHT / 2, end.x, end.y + HEIGHT / 2
        arrows.append(Arrow(*where, label, state == SAME))
        told.append(f"{end.title} from {start.title}: {label or 'not run'}")
    words = [f"{box.title}: {', '.join(box.lines)}" for box in boxes.values()]
    width = max(box.x for box in boxes.values()) + WIDTH
    height = max(box.y for box in boxes.values()) + HEIGHT
    return Diagram(list(boxes.values()), arrows, width, height, "; ".join(words + told))


def places(names: list[str], edges: list[tuple[str, str]]) -> dict[str, Place]:
    """Column and row of each box: a child is to the right of its parents, and a parent as far right as possible.

    Args:
        names: parents before their children.
        edges: (parent, child).
    """
    columns = _columns(names, edges)
    by_column: dict[int, list[str]] = {}
    for name in names:
        by_column.setdefault(columns[name], []).append(name)
    fullest = max(by_column, key=lambda column: len(by_column[column]))
    rows = {name: float(row) for row, name in enumerate(by_column[fullest])}
    for column in (*range(fullest - 1, -1, -1), *range(fullest + 1, len(by_column))):
        _add_rows(by_column[column], edges, rows)
    top = min(rows.values())
    return {name: (columns[name], rows[name] - top) for name in names}


def _columns(names: list[str], edges: list[tuple[str, str]]) -> dict[str, int]:
    columns: dict[str, int] = {}
    for name in names:
        columns[name] = max((columns[parent] + 1 for parent, child in edges if child == name), default=0)
    for name in reversed(names):
        columns[name] = min((columns[child] - 1 for parent, child in edges if parent == name), default=columns[name])
    return columns


def _add_rows(names: list[str], edges: list[tuple[str, str]], rows: dict[str, float]) -> None:
    """Add a column's boxes to `rows`: each box at the mean row of its neighbours, boxes at least one row apart."""

    def amid(name: str) -> float:
        beside = [rows[other] for edge in edges if name in edge for other in edge if other != name and other in rows]
        return fmean(beside) if beside else float(len(names))

    above = float("-inf")
    for row, name in sorted(((amid(name), name) for name in names), key=lambda each: each[0]):
        rows[name] = above = max(row, above + 1)


def _box(stage: str, place: Place, chain: Chain, elsewhere: bool) -> Box:
    x, y = _corner(place)
    run = chain.runs.get(stage)
    if run is None:
        return Box(x, y, ABSENT, stage, ["in another folder" if elsewhere else "not run"], False)
    return Box(x, y, chain.config.look(stage).colour, stage, _short(_lines(run)), True)


def _lines(run: Run) -> list[str]:
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
    return [*lines, top, size]


def _stranger(link: Link, place: Place) -> Box:
    """Box of a parent that the chain does not declare."""
    lines = [f"data {link.data or 'unknown'}, {link.run or 'no run'}", f"best.ckpt {link.recorded[:SHOWN_HASH]}"]
    return Box(*_corner(place), ABSENT, link.parent, _short(["in another folder", *lines]), False)


def _is_before(link: Link, chain: Chain) -> bool:
    """Whether a link's parent is the chain's run of a stage before the child."""
    run, stages = chain.runs.get(link.parent), [*chain.config.stages]
    there = run is not None and run.checkpoint is not None and run.checkpoint.sha256 == link.recorded
    return there and stages.index(link.parent) < stages.index(link.child)


def _corner(place: Place) -> tuple[float, float]:
    return place[0] * (WIDTH + GAP_X), place[1] * (HEIGHT + GAP_Y)


def _short(lines: list[str]) -> list[str]:
    return [line if len(line) <= LONGEST else f"{line[: LONGEST - 1]}…" for line in lines]
