"""The gate: whether streams are fused, and how."""

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from actionrec.evaluation.gate import ERRORS_TO_FUSE, FUSIONS, NEGLIGIBLE, Gate, choose
from actionrec.system.errors import ActionRecError

CLASSES, SOURCES, CLIPS = 4, 60, 4  # clips of a source video


def streams(*strengths: float, seed: int = 0):
    """Logits of streams whose evidence is independent, with a mean of `strength` for the right class; clips alike in
    a source video."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(generator.integers(CLASSES, size=SOURCES), CLIPS)
    groups = [f"source{number}" for number in range(SOURCES) for _ in range(CLIPS)]
    right = np.eye(CLASSES)[labels]
    of_source = generator.normal(size=(len(strengths), SOURCES, 1, CLASSES)).repeat(CLIPS, axis=2)
    noise = of_source + 0.5 * generator.normal(size=(len(strengths), SOURCES, CLIPS, CLASSES))
    logits = np.array(strengths)[:, None, None] * right + noise.reshape(len(strengths), -1, CLASSES)
    return 2 * logits, labels, groups


@pytest.mark.parametrize("seed", range(12))
def test_a_stream_without_evidence_is_dropped(seed):
    logits, labels, groups = streams(0.0, 2.0, seed=seed)
    choice = choose(logits, labels, groups, ["frame", "flow"])
    assert choice.name == "flow alone"
    assert choice.gate.weights == (0, 1)
    assert choice.worse == 0


@pytest.mark.parametrize("seed", range(12))
def test_scores_of_other_clips_are_dropped(seed):
    logits, labels, groups = streams(1.5, 1.5, seed=seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    choice = choose(np.stack([logits[0][order], logits[1]]), labels, groups, ["frame", "flow"])
    assert choice.gate.weights == (0, 1)


@pytest.mark.parametrize("permuted", range(3))
@pytest.mark.parametrize("seed", range(6))
def test_of_three_streams_the_one_with_scores_of_other_clips_is_dropped(seed, permuted):
    logits, labels, groups = streams(1.5, 1.5, 1.5, seed=seed)
    order = np.random.default_rng(seed).permutation(len(labels))
    logits[permuted] = logits[permuted][order]
    names = ["frame", "flow", "rgb_difference"]
    choice = choose(logits, labels, groups, names)
    assert choice.gate.weights[permuted] == 0
    others = [row for row in range(3) if row != permuted]
    assert min(choice.gate.weights[row] for row in others) > 0
    assert choice.name.endswith(f" of {names[others[0]]}, {names[others[1]]}")


@pytest.mark.parametrize("seed", range(5))
def test_three_streams_with_evidence_of_their_own_are_fused(seed):
    choice = choose(*streams(1.5, 1.5, 1.5, seed=seed), ["frame", "flow", "rgb_difference"])
    assert min(choice.gate.weights) > 0
    assert choice.name in FUSIONS


@pytest.mark.parametrize("seed", range(5))
def test_streams_with_evidence_of_their_own_are_fused(seed):
    logits, labels, groups = streams(1.5, 1.5, seed=seed)
    choice = choose(logits, labels, groups, ["frame", "flow"])
    assert choice.name in FUSIONS
    assert min(choice.gate.weights) > 0
    single = max(choice.accuracies[f"{name} alone"] for name in ("frame", "flow"))
    assert choice.accuracies[choice.name] > single + 0.05
    single = min(choice.losses[f"{name} alone"] for name in ("frame", "flow"))
    assert choice.losses[choice.name] < single - ERRORS_TO_FUSE * choice.errors[choice.name] - NEGLIGIBLE


def test_of_two_equal_streams_one_is_enough():
    logits, labels, groups = streams(1.5)
    choice = choose(np.concatenate([logits, logits]), labels, groups, ["frame", "flow"])
    assert choice.gate.weights == (1, 0)


def test_streams_are_judged_calibrated_and_one_that_is_left_alone_answers_as_it_did():
    """Twice the logits of a calibrated stream need the temperature 2."""
    generator = np.random.default_rng(0)
    logits = 1.5 * generator.normal(size=(4000, CLASSES))
    drawn = (log_softmax(logits, axis=1) + generator.gumbel(size=logits.shape)).argmax(axis=1)
    groups = [str(number) for number in range(len(drawn))]
    choice = choose(2 * np.stack([logits, np.zeros_like(logits)]), drawn, groups, ["frame", "flow"])
    assert choice.name == "frame alone"
    calibrated = -log_softmax(logits, axis=1)[np.arange(len(drawn)), drawn].mean()
    assert choice.losses["frame alone"] == pytest.approx(calibrated, abs=0.002)
    assert choice.gate == Gate((1, 0), (1, 1))
    average = FUSIONS["calibrated average"](log_softmax(2 * np.stack([logits, logits]), axis=2), drawn)
    assert average.temperatures == pytest.approx((2, 2), rel=0.05)


@pytest.mark.parametrize("mixes", [True, False])
def test_a_gate_combines_as_it_says(mixes):
    logs = log_softmax(np.random.default_rng(0).normal(size=(3, 5, CLASSES)), axis=2)
    found = Gate((0.5, 0.0, 1.5), (2.0, 1.0, 1.0), mixes).combine(logs)
    tempered = log_softmax(logs[0] / 2, axis=1)
    both = np.logaddexp(tempered + np.log(0.25), logs[2] + np.log(0.75)) if mixes else 0.5 * tempered + 1.5 * logs[2]
    np.testing.assert_allclose(found, log_softmax(both, axis=1), atol=1e-12)
    np.testing.assert_allclose(logsumexp(found, axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("fit", FUSIONS.values(), ids=FUSIONS)
def test_every_fusion_takes_three_streams(fit):
    logits, labels, _ = streams(1.0, 1.5, 0.5)
    gate = fit(log_softmax(logits, axis=2), labels)
    assert len(gate.weights) == len(gate.temperatures) == 3
    assert min(gate.weights) >= 0 < sum(gate.weights)
    assert gate.combine(logits).shape == logits.shape[1:]


def test_one_source_video_is_too_few():
    with pytest.raises(ActionRecError, match="one source video"):
        choose(np.zeros((2, 3, CLASSES)), np.zeros(3, int), ["a"] * 3, ["frame", "flow"])
