import subprocess
import sys

import pytest

from actionrec.cli import one_line
from actionrec.errors import ActionRecError
from tests.conftest import VERBS

FROM_A_WORKER = """Caught ActionRecError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "worker.py", line 1, in fetch
actionrec.errors.ActionRecError: cannot read: a.jpg
"""


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ActionRecError("data.x=1: use 2"), "data.x=1: use 2"),
        (raised_from(ValueError("Error in call to target"), ActionRecError("mend it")), "mend it"),
        (ActionRecError(FROM_A_WORKER), "cannot read: a.jpg"),
        (ValueError("No 'foo'\nAvailable:\n\tbar\nConfig search path:\n\tx"), "No 'foo' Available: bar"),
    ],
)
def test_errors_are_one_line(error, line):
    assert one_line(error) == line


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_composes_without_loading_torch(verb):
    """So that --help, --cfg job and typos answer at once."""
    code = f"import sys; import actionrec.{verb}; print([m for m in ('torch', 'lightning', 'cv2') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_the_groups_and_the_settings(run, verb):
    outcome = run(verb, "--help")
    assert outcome.status == 0
    assert "Configuration groups" in outcome.out
    assert "paths:" in outcome.out


def test_a_defect_keeps_its_traceback(run, monkeypatch, paths):
    monkeypatch.setattr("actionrec.reporting.gather.gather", lambda folder: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("report", *paths)
