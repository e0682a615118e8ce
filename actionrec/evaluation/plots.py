"""Pictures of results. Colours are those of Okabe and Ito, which colour-blind people can tell apart."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

COLOURS = {"stills": "#CC79A7", "frame": "#0072B2", "flow": "#D55E00", "two_stream": "#009E73", "other": "#555555"}


def confusion_matrix(counts: np.ndarray, actions: Sequence[str]) -> Figure:
    """Counts (K, K), row the action and column the answer, shaded by the share of the row."""
    side = 1.6 + 0.42 * len(actions)
    figure = Figure(figsize=(side + 0.4, side), layout="constrained")
    axes = figure.subplots()
    rows = counts.sum(1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros(counts.shape), where=rows > 0)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(actions)), actions, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(actions)), actions)
    axes.set(xlabel="answer", ylabel="action")
    if len(actions) <= 20:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    return figure


def study(title: str, labels: Sequence[str], runs: Sequence[Sequence[float]]) -> Figure:
    """Test accuracy of each setting: every run a point, their mean a bar across, the standard deviation a line."""
    figure = Figure(figsize=(7, 1.3 + 0.34 * len(labels)), layout="constrained")
    axes = figure.subplots()
    for row, values in enumerate(runs):
        mean, spread = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        axes.plot([mean - spread, mean + spread], [row, row], color=COLOURS["frame"], linewidth=1.5)
        axes.plot(mean, row, "|", color=COLOURS["frame"], markersize=14, markeredgewidth=2.5)
        axes.plot(values, [row] * len(values), "o", color=COLOURS["flow"], markersize=5, markerfacecolor="none")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set(xlabel="test top-1: runs ○, mean |, standard deviation —", title=title)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    return figure


def history(values: Sequence[float]) -> Figure:
    """Validation accuracy of a search's trials in their order, and the best until then."""
    figure = Figure(figsize=(6, 3), layout="constrained")
    axes = figure.subplots()
    trials = range(1, len(values) + 1)
    axes.plot(trials, values, "o", color=COLOURS["frame"], markerfacecolor="none", label="trial")
    axes.step(trials, np.maximum.accumulate(values), where="post", color=COLOURS["flow"], label="best so far")
    axes.set(xlabel="trial", ylabel="validation top-1")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return figure


def importances(shares: Mapping[str, float]) -> Figure:
    """How much of the variance over a search's trials each setting explains (fANOVA: Hutter et al., ICML 2014)."""
    figure = Figure(figsize=(6, 0.9 + 0.34 * len(shares)), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares), list(shares.values()), color=COLOURS["frame"])
    axes.invert_yaxis()
    axes.set(xlabel="share of the variance of validation top-1")
    return figure


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    data = io.BytesIO()
    figure.savefig(data, format="png", dpi=110)
    return data.getvalue()


def pixels(figure: Figure) -> np.ndarray:
    """The figure as (H, W, 3) uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
