"""Pictures of results. Colours are those of Okabe and Ito, which colour-blind people can tell apart."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

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
