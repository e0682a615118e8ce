"""How often the 95 % intervals of actionrec hold the truth, and how wide they are, where it is known by simulation."""

import argparse
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from actionrec.evaluation.metrics import HEADLINES, interval, intervals, measure, share_variance
from actionrec.evaluation.scores import Scores
from actionrec.evaluation.significance import difference_interval
from benchmarks.common import table

# Source videos × clips of each, as in the test parts of small sets; last one whose sources are very unequal.
DESIGNS: dict[str, Sequence[int]] = {
    "10 × 9": [9] * 10,
    "14 × 6": [6] * 14,
    "17 × 5": [5] * 17,
    "38 × 2": [2] * 38,
    "60 × 5": [5] * 60,
    "10 × 1 to 20": [1, 2, 4, 5, 7, 10, 10, 14, 17, 20],
}
HARDER = {"38 × 1 to 10": [1] * 20 + [2] * 10 + [5] * 5 + [10] * 3}  # three sources make up a third
ACCURACIES = (0.5, 0.7, 0.9, 0.97)
CORRELATIONS = (0.0, 0.3, 1.0)  # between two clips of a source: 1 is all right or all wrong
DISAGREEMENTS = ((0.02, 0.01), (0.1, 0.0), (0.2, 0.2), (0.3, 0.1))  # shares that only one of two networks has right


def draw(rng: np.random.Generator, sizes: np.ndarray, shares: Sequence[float], icc: float, trials: int) -> np.ndarray:
    """Clips of each source (trials, G, C) that fall into C kinds of given shares, Dirichlet-multinomial.

    Args:
        rng: draws.
        sizes: clips of each source (G,).
        shares: of the kinds (C,), which sum to one.
        icc: correlation between two clips of a source, 0 to 1.
        trials: tests that are drawn.
    """
    known = np.broadcast_to(np.asarray(shares), (trials, len(sizes), len(shares)))
    if icc == 1:
        known = rng.multinomial(1, known).astype(float)
    elif icc > 0:
        known = rng.gamma(known * (1 - icc) / icc)
        known = known / known.sum(-1, keepdims=True)
    return rng.multinomial(sizes, known)


def of_shares(sizes: Sequence[int], accuracy: float, icc: float, trials: int, seed: int = 0) -> np.ndarray:
    """Lows and highs (2, trials) of accuracy's intervals."""
    clips = np.asarray(sizes)
    right = draw(np.random.default_rng(seed), clips, (accuracy, 1 - accuracy), icc, trials)[..., 0]
    return np.stack(interval(right.sum(-1) / clips.sum(), share_variance(right, clips), clips))


def of_differences(
    sizes: Sequence[int], only: tuple[float, float], icc: float, trials: int, seed: int = 0
) -> np.ndarray:
    """Lows and highs (2, trials) of the intervals of the difference of two accuracies on the same clips."""
    clips = np.asarray(sizes)
    kinds = draw(np.random.default_rng(seed), clips, (*only, 1 - sum(only)), icc, trials)
    return np.stack(difference_interval(kinds[..., 0], kinds[..., 1], clips))


def made_scores(rng: np.random.Generator, sizes: Sequence[int], actions: int, skill: float, icc: float) -> Scores:
    """Scores with normal logits, the label's higher by `skill`; all clips of a source are of one action."""
    source = np.repeat(np.arange(len(sizes)), sizes)
    labels = source % actions
    shared, own = rng.normal(size=(len(sizes), actions))[source], rng.normal(size=(len(source), actions))
    logits = np.sqrt(icc) * shared + np.sqrt(1 - icc) * own
    logits[np.arange(len(source)), labels] += skill
    names = [str(clip) for clip in range(len(source))]
    groups = [str(each) for each in source]
    return Scores(
        names, torch.from_numpy(logits).float(), torch.from_numpy(labels), (*map(str, range(actions)),), groups
    )


def of_headlines(
    sizes: Sequence[int], actions: int, skill: float, icc: float, trials: int, seed: int = 0
) -> dict[str, tuple[float, np.ndarray]]:
    """For each headline its truth, from many sources, and lows and highs (2, trials) of its intervals."""
    rng = np.random.default_rng(seed)
    truth = measure(made_scores(rng, [1] * 2000 * actions, actions, skill, 0), "test")
    found = [intervals(made_scores(rng, sizes, actions, skill, icc), "test") for _ in range(trials)]
    bounds = {
        name: np.array([[each[f"test/{name}_{end}"] for each in found] for end in ("low", "high")])
        for name in HEADLINES
    }
    return {name: (truth[f"test/{name}"], bounds[name]) for name in HEADLINES}


def coverage(truth: float, bounds: np.ndarray) -> float:
    """Share of intervals (2, trials) that hold the truth."""
    low, high = bounds
    return float(np.mean((low <= truth) & (truth <= high)))


def shares_rows(trials: int) -> Iterable[dict[str, Any]]:
    """A row for each design and accuracy."""
    for design, sizes in (DESIGNS | HARDER).items():
        for accuracy in ACCURACIES:
            row: dict[str, Any] = {"sources × clips": design, "accuracy": str(accuracy)}
            for icc in CORRELATIONS:
                row[f"icc {icc:g}"] = _cell(accuracy, of_shares(sizes, accuracy, icc, trials))
            yield row


def differences_rows(trials: int) -> Iterable[dict[str, Any]]:
    """A row for each design and pair of networks."""
    for design, sizes in DESIGNS.items():
        for first, second in DISAGREEMENTS:
            row: dict[str, Any] = {"sources × clips": design, "only first, only second right": f"{first}, {second}"}
            for icc in CORRELATIONS:
                row[f"icc {icc:g}"] = _cell(first - second, of_differences(sizes, (first, second), icc, trials))
            yield row


def headlines_rows(trials: int) -> Iterable[dict[str, Any]]:
    """A row for each design, skill and correlation."""
    for design, actions in (("10 × 9", 2), ("17 × 5", 4), ("38 × 2", 7)):
        for skill in (1.0, 2.0):
            for icc in (0.0, 0.3, 0.95):
                row: dict[str, Any] = {"sources × clips": design, "actions": actions, "icc": f"{icc:g}"}
                found = of_headlines(DESIGNS[design], actions, skill, icc, trials)
                yield row | {name: f"{truth:.2f}: {_cell(truth, bounds)}" for name, (truth, bounds) in found.items()}


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.coverage", description=__doc__)
    parser.add_argument(
        "--trials", type=int, default=10_000, help="simulated tests of a cell; of the last table a 20th"
    )
    trials = parser.parse_args().trials
    fewer = max(trials // 20, 1)
    print(f"In each cell the share of 95 % intervals that hold the truth, and their mean width; {trials:,} trials.\n")
    print(f"## Accuracy\n\n{table(list(shares_rows(trials)))}\n")
    print(f"## Difference of two accuracies on the same clips\n\n{table(list(differences_rows(trials)))}\n")
    print(f"## Every metric ({fewer:,} trials; first its truth)\n\n{table(list(headlines_rows(fewer)))}")


def _cell(truth: float, bounds: np.ndarray) -> str:
    return f"{coverage(truth, bounds):.3f} ({np.mean(bounds[1] - bounds[0]):.2f})"


if __name__ == "__main__":
    main()
