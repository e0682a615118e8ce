"""Temperature and threshold from validation scores, and their file."""

import json

import pytest
import torch

from actionrec.prediction import calibration
from actionrec.prediction.calibration import Calibration, calibrate
from tests.conftest import attempt

SHA = "0" * 64


def test_overconfident_logits_get_their_temperature_back():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(4000, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator).squeeze(1)
    assert calibrate(logits, labels).temperature == pytest.approx(1.0, rel=0.05)
    assert calibrate(3 * logits, labels).temperature == pytest.approx(3.0, rel=0.05)


@pytest.mark.parametrize(("rate", "rejected"), [(0.0, 0), (0.05, 1), (0.1, 2), (0.99, 19), (1.0, 19)])
def test_the_threshold_rejects_the_stated_share_of_the_right_answers(rate, rejected):
    """Twenty right answers, each less certain than the one before, and five wrong ones, which do not count."""
    margins = torch.cat([torch.linspace(0.5, 4.0, 20), torch.full((5,), 0.1)])
    logits = torch.stack([margins, torch.zeros(25)], dim=1)
    labels = torch.cat([torch.zeros(20, dtype=torch.int64), torch.ones(5, dtype=torch.int64)])
    made = calibrate(logits, labels, rate)
    best = made.probabilities(logits)[:20].max(axis=1)
    assert (best < made.threshold).sum() == rejected
    assert made.n == 25


def test_scores_that_say_nothing_are_refused():
    assert "no validation answer is right" in attempt(calibrate, torch.eye(2), torch.tensor([1, 0]))[1]
    assert "no validation scores" in attempt(calibrate, torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))[1]


def test_a_calibration_is_read_as_written(tmp_path):
    path = tmp_path / calibration.FILE
    made = Calibration(1.7, 0.4, calibration.METHOD, 120, 0.05, SHA)
    calibration.save(made, path)
    assert calibration.load(path, SHA) == made


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperature": 0}, "temperature=0"),
        ({"temperature": "hot"}, "temperature=hot"),
        ({"threshold": 1.5}, "threshold=1.5"),
        ({"more": 1}, "more"),
        ({"checkpoint": "1" * 64}, "is of another checkpoint"),
    ],
)
def test_a_damaged_calibration_says_how_to_make_it_again(tmp_path, change, said):
    path = tmp_path / calibration.FILE
    content = Calibration(1.7, 0.4, calibration.METHOD, 120, 0.05, SHA)._asdict()
    path.write_text(json.dumps({**content, **change}))
    _, message = attempt(calibration.load, path, SHA)
    assert said in message
    assert "calibrate=true" in message
