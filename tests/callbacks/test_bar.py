import sys
from types import SimpleNamespace

import pytest
import torch

from actionrec.callbacks import ProgressBar, bar
from actionrec.callbacks.bar import Clock
from actionrec.system import terminal
from tests.callbacks.conftest import FrameAnswers, Samples
from tests.system.screen import Screen, shown

SAMPLES = Samples([0, 1, 2] * 3, [0, 1, 2] * 3)


@pytest.fixture
def now(monkeypatch):
    """Seconds on the clock that the bar reads; those of the terminal are its own."""
    found = [100.0]
    monkeypatch.setattr(bar, "time", SimpleNamespace(monotonic=lambda: found[0]))
    return found


def train(clock, now, epochs, first, step, answer, rest, left=None):
    """Seconds of epochs; `left` collects what the clock says after each batch, with the time then."""
    for _ in range(epochs):
        clock.begin()
        for batch in range(clock.train):
            now[0] += step if batch or clock.finished else first
            clock.trained()
            if left is not None:
                left.append((now[0], clock.left()))
        for _ in range(clock.val):
            now[0] += answer
            clock.validated()
            if left is not None:
                left.append((now[0], clock.left()))
        now[0] += rest
        clock.end()


def test_the_time_left_is_that_of_all_epochs_with_their_validations_and_the_rest(now):
    clock, left = Clock(4, 10, 5), []
    train(clock, now, 4, first=3, step=3, answer=1, rest=2, left=left)
    end = now[0]
    said = [estimate for _, estimate in left]
    true = [end - then for then, _ in left]
    assert said[15:] == pytest.approx(true[15:])  # after the first epoch
    assert said[:15] == pytest.approx(true[:15], rel=0.1)
    assert clock.left() == 0
    assert clock.fraction() == 1


def test_what_a_compiler_takes_once_is_not_expected_again(now):
    clock = Clock(3, 10, 2)
    train(clock, now, 1, first=300, step=1, answer=1, rest=0)
    assert clock.left() == pytest.approx(2 * 12)


def test_nothing_is_said_of_the_time_before_a_batch_is_done(now):
    clock = Clock(3, 10, 2)
    clock.begin()
    assert clock.left() is None
    assert clock.rate(0) == 0
    assert clock.fraction() == 0


def test_the_rate_leaves_out_the_first_batch(now):
    clock = Clock(1, 4, 0)
    clock.begin()
    for seconds in (50, 2, 2):
        now[0] += seconds
        clock.trained()
    assert clock.rate(3 * 8) == pytest.approx(4)


class Looks(torch.Tensor):
    """A loss that counts how often somebody reads it, which waits for a GPU."""

    read = 0

    def __float__(self):
        Looks.read += 1
        return 1.0


def test_the_loss_is_read_twice_a_second_at_most(now, monkeypatch):
    monkeypatch.setattr(Looks, "read", 0)
    monkeypatch.setattr(terminal._line, "_live", True)
    shows = ProgressBar()
    shows._enter(SimpleNamespace(is_global_zero=True), lambda width: "")
    loss, trainer = torch.zeros(()).as_subclass(Looks), SimpleNamespace(world_size=1)
    for _ in range(100):
        now[0] += 0.1
        shows.on_train_batch_end(trainer, None, {"loss": loss}, {"label": [0] * 8}, 0)
    shows._leave()
    assert 10 <= Looks.read <= 20


@pytest.fixture
def screened(monkeypatch, fit):
    """Train for two epochs before a terminal that is drawn on at each look; returns all that its last line said."""

    def run(rank_zero=True, **options):
        found = Screen()
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", "121")
        monkeypatch.setattr(sys, "stderr", found)
        monkeypatch.setattr(bar, "READ", -1.0)

        class Drawn(ProgressBar):
            def on_train_batch_end(self, *arguments):
                super().on_train_batch_end(*arguments)
                terminal._line.refresh()

            def on_validation_batch_end(self, *arguments):
                super().on_validation_batch_end(*arguments)
                terminal._line.refresh()

        with terminal.live("working"):
            fit(FrameAnswers(), SAMPLES, SAMPLES, [Drawn()], epochs=2, logger=False, **options)
        return shown(found.getvalue())

    return run


def test_the_bar_shows_epoch_loss_accuracy_rate_and_time(screened):
    lines, states = screened()
    bars = [state for state in states if state.startswith("epoch") and state.endswith(("left", "validating"))]
    assert bars
    assert {state.split()[1] for state in bars} == {"1/2", "2/2"}
    assert all("  loss " in state and "/s  " in state and " left" in state for state in bars)
    assert not [state for state in bars if state.startswith("epoch 1/2") and "val/acc" in state]
    assert [state for state in bars if state.startswith("epoch 2/2") and "val/acc 1.000" in state]
    percents = [int(state.partition(" %")[0].split()[-1]) for state in bars]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert lines == [""]


def test_a_training_that_fails_leaves_no_bar(screened, monkeypatch):
    def fail(*_):
        raise RuntimeError("odd")

    monkeypatch.setattr(FrameAnswers, "validation_step", fail)
    with pytest.raises(RuntimeError, match="odd"):
        screened()
    assert terminal._line._texts == []


def test_only_the_first_process_shows_a_bar(monkeypatch):
    shows = ProgressBar()
    shows._enter(SimpleNamespace(is_global_zero=False), lambda width: "")
    assert terminal._line._texts == []
    assert shows._shown is None
