"""Plots of results, in the colours of Okabe and Ito, which colour-blind people can distinguish.

A network has the colour of its stage in the chain, see `settings.chain.Look`.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from actionrec.evaluation.metrics import Bin
from actionrec.settings.chain import Look

BLUE, ORANGE, GRAY = "#0072B2", "#D55E00", "#555555"  # for plots that do not show one network


def confusion_matrix(counts: np.ndarray, actions: Sequence[str]) -> Figure:
    """Plot a confusion matrix of counts (K, K): rows are true actions, columns predictions, shades shares of a row."""
    few = len(actions) <= 20  # only then do the cells have room for their counts
    side = 1.6 + (0.42 if few else 0.22) * len(actions)
    figure = Figure(figsize=(side + 0.4, side), layout="constrained")
    axes = figure.subplots()
    rows = counts.sum(1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(actions)), actions, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(actions)), actions)
    axes.set(xlabel="answer", ylabel="action")
    axes.tick_params(labelsize=10 if few else 8)
    if few:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    return figure


def learning_curves(curves: Mapping[str, Sequence[tuple[int, float]]], look: Look, kept: int | None = None) -> Figure:
    """Plot loss and top-1 by epoch.

    Args:
        curves: (epoch, value) pairs of `train/loss`, `val/loss`, `train/acc` and `val/acc`; any may be missing.
        look: of the network; validation has the network's colour, training is gray.
        kept: epoch of the weights that are kept.
    """
    figure = Figure(figsize=(5.6, 2.7), layout="constrained")
    lines = {"train": ("-", ".", GRAY), "val": ("--", "s", look.colour)}
    for axes, metric, label in zip(figure.subplots(1, 2), ("loss", "acc"), ("loss (nats)", "top-1"), strict=True):
        for part, (line, marker, colour) in lines.items():
            points = curves.get(f"{part}/{metric}", ())
            name = {"train": "training", "val": "validation"}[part]
            if points:
                marks = {"marker": marker, "markersize": 4, "markevery": 1 + len(points) // 20}
                axes.plot(*zip(*points, strict=True), line, color=colour, label=name, **marks)
        if kept is not None:
            axes.axvline(kept, color="black", linewidth=0.8, linestyle=":", label="kept")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if metric == "acc":
            axes.set_ylim(0, 1.02)
        else:
            axes.set_ylim(bottom=0)
        _quiet(axes)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return figure


def action_bars(
    recalls: Mapping[str, Sequence[float]], looks: Sequence[Look], actions: Sequence[str], counts: Sequence[int]
) -> Figure:
    """Plot the recall of each action as a bar per network; the figure's height grows with the number of actions.

    Args:
        recalls: by the network's label, a value for each action.
        looks: of the networks.
        actions: from top to bottom.
        counts: number of samples of each action.
    """
    figure = Figure(figsize=(5.8, 1.1 + 0.17 * len(actions) * (len(recalls) + 0.8)), layout="constrained")
    axes = figure.subplots()
    thick = 0.84 / len(recalls)
    for index, ((label, values), look) in enumerate(zip(recalls.items(), looks, strict=True)):
        places = np.arange(len(actions)) + (index - (len(recalls) - 1) / 2) * thick
        axes.barh(places, values, thick, label=label, **_bars(look))
        for place, value in zip(places, values, strict=True):
            if value == 0:  # a bar of length zero would look like a missing value
                axes.text(0.006, place, "0", color=look.colour, fontsize=6, va="center")
    axes.set_yticks(range(len(actions)), [f"{action} ({n})" for action, n in zip(actions, counts, strict=True)])
    axes.set(xlim=(0, 1), ylim=(len(actions) - 0.4, -0.6), xlabel="recall")
    _quiet(axes, "x")
    handles = axes.get_legend_handles_labels()
    for columns in range(min(len(recalls), 4), 0, -1):  # as many as fit side by side
        legend = figure.legend(*handles, loc="outside upper center", ncols=columns, frameon=False)
        if columns == 1 or legend.get_window_extent().width <= figure.bbox.width:
            break
        legend.remove()
    return figure


def reliability_diagram(bins: Sequence[Bin], look: Look) -> Figure:
    """Plot accuracy over confidence, and below it the number of samples of each bin."""
    figure = Figure(figsize=(3.9, 4.2), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    middles = [(each.low + each.high) / 2 for each in bins]
    width = 0.92 * (bins[0].high - bins[0].low)
    above.bar(middles, [each.accuracy for each in bins], width, **_bars(look))
    above.plot((0, 1), (0, 1), "--", color="black", linewidth=1, label="as confident as right")
    points = [(each.confidence, each.accuracy) for each in bins if each.samples]
    above.plot(*zip(*points, strict=True), "D", color="black", markersize=4, label="mean of the bin")
    above.set(xlim=(0, 1), ylim=(0, 1.02), ylabel="accuracy")
    figure.legend(*above.get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    below.bar(middles, [each.samples for each in bins], width, **_bars(look))
    below.set(xlabel="confidence", ylabel="samples")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in (above, below):
        _quiet(axes)
    return figure


def study(
    title: str, labels: Sequence[str], runs: Sequence[Sequence[float]], intervals: Sequence[Sequence[float]]
) -> Figure:
    """Plot the test accuracy of each setting of a study.

    Args:
        title: name of the varied setting.
        labels: of the settings, from top to bottom.
        runs: for each setting the accuracies of its runs, drawn as points, with their mean as a tick and their
            standard deviation as a line.
        intervals: for each setting the bounds of one run's 95 % interval, drawn as a band.
    """
    figure = Figure(figsize=(7, 1.7 + 0.34 * len(labels)), layout="constrained")
    axes = figure.subplots()
    colour = BLUE
    for row, (values, interval) in enumerate(zip(runs, intervals, strict=True)):
        mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        axes.plot(  # any cap style but butt would extend the line beyond the interval
            interval, [row] * 2, color="#dddddd", linewidth=9, solid_capstyle="butt", label="95 % interval of one run"
        )
        axes.plot([mean - spread, mean + spread], [row] * 2, color=colour, label="standard deviation")
        axes.plot(mean, row, "|", color=colour, markersize=14, markeredgewidth=2.5, label="mean")
        axes.plot(values, [row] * len(values), "o", color=ORANGE, markerfacecolor="none", label="run")
    handles, names = axes.get_legend_handles_labels()  # one set per row; the dict keeps one handle per name
    known = dict(zip(names, handles, strict=True))
    figure.legend(known.values(), known, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set(xlabel="test top-1", title=title)
    _quiet(axes, "x")
    return figure


_READABLE = {"val/acc": "validation top-1"}


def history(found: Mapping[int, float], metric: str = "val/acc", lowest: bool = False) -> Figure:
    """Plot a metric of a search's trials by trial number, and the best value so far; `lowest`: lower is better."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    trials, values = list(found), list(found.values())
    axes.plot(trials, values, "o", color=BLUE, markerfacecolor="none", label="trial")
    best = (np.minimum if lowest else np.maximum).accumulate(values)
    axes.step(trials, best, where="post", color=ORANGE, label="best so far")
    axes.set(xlabel="trial", ylabel=_READABLE.get(metric, metric))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    _quiet(axes)
    return figure


def importances(shares: Mapping[str, float], trials: int, metric: str = "val/acc") -> Figure:
    """Plot the share of a metric's variance that each setting explains (fANOVA: Hutter et al., ICML 2014)."""
    figure = Figure(figsize=(6, 0.9 + 0.34 * len(shares)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares), list(shares.values()), **_bars(Look(BLUE)))
    axes.invert_yaxis()
    axes.set(xlabel=f"share of the variance of {_READABLE.get(metric, metric)} over {trials} trials")
    _quiet(axes, "x")
    return figure


def png(figure: Figure, dpi: int = 110) -> bytes:
    """The figure as a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=dpi)
    return data.getvalue()


def pixels(figure: Figure) -> np.ndarray:
    """The figure as (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _bars(look: Look) -> dict[str, Any]:
    return {"color": look.colour, "hatch": look.hatch, "edgecolor": "white", "linewidth": 0.5}


def _quiet(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Remove the top and right spines, and draw a grid behind the data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
