import numpy as np
import pytest

from actionrec.evaluation import plots
from actionrec.evaluation.metrics import Bin
from actionrec.settings.chain import Look

LOOK = Look("#D55E00", "////")


@pytest.mark.parametrize("curves", [{}, {"val/acc": [(1.0, 0.5)]}, {"train/loss": [(1.0, 2.0), (2.0, 1.0)]}])
def test_learning_curves_of_whatever_was_logged(curves):
    assert plots.png(plots.learning_curves(curves, LOOK, kept=1)).startswith(b"\x89PNG")


def test_bars_grow_with_the_actions_and_stay_apart():
    few, many = (
        plots.action_bars(
            {"frame": [0.0] * n, "flow": [float("nan")] * n}, [LOOK] * 2, [f"action{i}" for i in range(n)], [1] * n
        )
        for n in (3, 51)
    )
    assert many.get_figheight() > 5 * few.get_figheight()
    assert [text.get_text() for text in few.axes[0].texts] == ["0"] * 3


@pytest.mark.parametrize("count", [2, 5])
def test_the_legend_of_many_networks_is_whole(count):
    labels = ["frame", "flow", "RGB difference", "two-stream, bagged", "three streams, bagged"][:count]
    figure = plots.action_bars({label: [0.5] for label in labels}, [LOOK] * count, ["run"], [1])
    figure.draw_without_rendering()
    [legend] = figure.legends
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert [text.get_text() for text in legend.get_texts()] == labels


def test_reliability_has_a_bar_a_bin():
    bins = [Bin(i / 15, (i + 1) / 15, i % 2, 0.5, 0.5 if i % 2 else float("nan")) for i in range(15)]
    above, below = plots.reliability_diagram(bins, LOOK).axes
    assert len(above.patches) == len(below.patches) == 15
    assert plots.pixels(plots.confusion_matrix(np.eye(2, dtype=int), "ab")).ndim == 3


def test_a_studys_bands_end_where_their_intervals_do():
    figure = plots.study("some", ["a"], [[0.5]], [(0.2, 0.8)])
    drawn = plots.pixels(figure)
    (left, middle), (right, _) = figure.axes[0].transData.transform([(0.2, 0), (0.8, 0)])
    gray = (drawn[len(drawn) - round(middle) + 4] == 0xDD).all(axis=-1).nonzero()[0]
    assert (gray.min(), gray.max()) == pytest.approx((left, right), abs=2)
