import numpy as np
import pytest
import torch

from actionrec.evaluation.fusion import (
    SCORE_FUSIONS,
    average,
    better,
    linear,
    matched,
    maximum,
    product,
    svm,
    weighted,
)
from actionrec.evaluation.metrics import measure, probabilities_of
from actionrec.evaluation.scores import Scores
from actionrec.system.errors import ActionRecError


def stream(part: str, seed: int, strength: float, samples: int = 120, actions: int = 4) -> Scores:
    """A network that knows the labels of the part, which all streams of it share, as well as `strength` says."""
    labels = torch.randint(0, actions, (samples,), generator=torch.Generator().manual_seed(len(part)))
    labels[:actions] = torch.arange(actions)
    logits = torch.randn(samples, actions, generator=torch.Generator().manual_seed(seed))
    logits[torch.arange(samples), labels] += strength
    names = [f"{part}{i}" for i in range(samples)]
    return Scores(names, logits, labels, tuple("wxyz"[:actions]), names)


def parts_of(strengths: dict[str, tuple[float, ...]], **options: int) -> dict[str, list[Scores]]:
    return {
        part: [stream(part, 10 * number + len(part), each, **options) for number, each in enumerate(strength)]
        for part, strength in strengths.items()
    }


def accuracy(scores: Scores) -> float:
    return measure(scores, "x")["x/acc"]


EVEN = {"train": (2.0, 2.0), "val": (2.0, 2.0), "test": (2.0, 2.0)}


@pytest.mark.parametrize("name", SCORE_FUSIONS)
@pytest.mark.parametrize("actions", [2, 4])
def test_two_good_streams_are_better_than_one(name, actions):
    parts = parts_of(EVEN, samples=400, actions=actions)
    fused = SCORE_FUSIONS[name](parts).scores
    assert fused.names == parts["test"][0].names
    assert accuracy(fused) > max(accuracy(each) for each in parts["test"])


def test_the_fixed_fusions_are_their_formulas():
    parts = parts_of(EVEN)
    a, b = (probabilities_of(each) for each in parts["test"])
    assert probabilities_of(average(parts).scores) == pytest.approx((a + b) / 2, abs=1e-6)
    for function, expected in ((maximum, torch.from_numpy(a).maximum(torch.from_numpy(b)).numpy()), (product, a * b)):
        assert probabilities_of(function(parts).scores) == pytest.approx(
            expected / expected.sum(1, keepdims=True), abs=1e-6
        )


@pytest.mark.parametrize("function", [average, maximum, product, weighted])
def test_a_probability_of_zero_is_worth_as_little_in_every_fusion(function):
    """Of two streams that are both sure of the same, whose other probabilities underflow to zero."""
    parts = parts_of(EVEN)
    sure = [each._replace(logits=each.logits * 1e4) for each in parts["val"][:1] * 2]
    fused = function({part: sure for part in parts}).scores
    assert torch.isfinite(fused.logits).all()
    lowest = np.log(1e-12) * (2 if function is product else 1)
    assert fused.logits.min().item() == pytest.approx(lowest, abs=1e-3)


def test_margins_are_no_likelihoods():
    parts = parts_of(EVEN)
    assert not svm(parts).likelihoods
    assert all(function(parts).likelihoods for name, function in SCORE_FUSIONS.items() if name != "linear SVM")
    found = measure(svm(parts).scores, "test", likelihoods=False)
    assert {"test/loss", "test/ece"} & found.keys() == set()
    assert found.keys() | {"test/loss", "test/ece"} == measure(svm(parts).scores, "test").keys()


def test_the_better_stream_is_the_one_with_more_of_validation_right():
    good, bad = stream("val", 1, 3.0), stream("val", 2, 0.5)
    assert better({"frame": bad, "flow": good}) == "flow"
    assert better({"frame": good, "flow": bad}) == "frame"


def test_of_streams_with_equally_much_of_validation_right_the_likelier_is_the_better():
    one = stream("val", 1, 2.0)
    doubtful = one._replace(logits=one.logits / 100)
    assert better({"doubtful": doubtful, "surer": one}) == "surer"
    assert better({"first": one, "second": one}) == "first"


def test_weights_follow_validation():
    """The second stream knows nothing but the training part, which it has learnt by heart."""
    parts = parts_of({"train": (9.0, 9.0), "val": (2.0, 0.0), "test": (2.0, 0.0)}, samples=400)
    fused = weighted(parts)
    first = float(fused.chosen.split()[1].rstrip(","))
    assert first > 0.5
    assert accuracy(fused.scores) > accuracy(average(parts).scores)
    assert accuracy(fused.scores) >= accuracy(parts["test"][0]) - 0.02


@pytest.mark.parametrize("name", SCORE_FUSIONS)
def test_no_choice_touches_the_test(name):
    """Other test labels, or other test samples beside a sample, change none of its fused scores."""
    parts = parts_of(EVEN)
    before = SCORE_FUSIONS[name](parts)
    relabelled = [each._replace(labels=(each.labels + 1) % 4) for each in parts["test"]]
    after = SCORE_FUSIONS[name]({**parts, "test": relabelled})
    assert after.chosen == before.chosen
    assert torch.equal(after.scores.logits, before.scores.logits)
    few = [
        Scores(each.names[:5], each.logits[:5], each.labels[:5], each.actions, each.groups[:5])
        for each in parts["test"]
    ]
    assert torch.allclose(
        SCORE_FUSIONS[name]({**parts, "test": few}).scores.logits, before.scores.logits[:5], atol=1e-5
    )


def test_actions_without_training_samples_are_out_of_the_question():
    parts = parts_of(EVEN)
    known = parts["train"][0].labels != 3
    names = [name for name, is_known in zip(parts["train"][0].names, known, strict=True) if is_known]
    parts["train"] = [
        Scores(names, each.logits[known], each.labels[known], each.actions, names) for each in parts["train"]
    ]
    assert (probabilities_of(linear(parts).scores).argmax(1) != 3).all()


def test_three_streams_are_weighted():
    parts = {part: [stream(part, seed + len(part), 2.0) for seed in (0, 20, 40)] for part in EVEN}
    weights = [float(each.rstrip(",")) for each in weighted(parts).chosen.split()[1:]]
    assert len(weights) == 3
    assert sum(weights) == pytest.approx(1)


def test_samples_of_two_parts_are_refused():
    parts = parts_of(EVEN)
    with pytest.raises(ActionRecError, match=r"120 samples are among the train and the test scores .first: train0"):
        matched({**parts, "test": parts["train"]})


def test_rows_are_brought_into_one_order():
    parts = parts_of(EVEN)
    one = parts["test"][1]
    shuffled = Scores(one.names[::-1], one.logits.flip(0), one.labels.flip(0), one.actions, one.groups[::-1])
    found = matched({**parts, "test": [parts["test"][0], shuffled]})
    assert torch.equal(found["test"][1].logits, one.logits)
