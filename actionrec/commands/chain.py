"""`actionrec chain`: train what a chain lacks, stage after stage in one process."""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.commands.report import report
from actionrec.experiment import chain as chains
from actionrec.experiment.stages import composed, of_report
from actionrec.settings.chain import CLIPS, STILLS
from actionrec.settings.composition import in_multirun
from actionrec.system.errors import ActionRecError


def chain(config: DictConfig) -> float | None:
    """Train the chain, and report it where `report=true`; returns the last stage's validation accuracy.

    Raises:
        ActionRecError: a stage fails, which the message names; or `report=true` in a multirun, whose jobs would all
            write one page.
    """
    if config.report and in_multirun():
        raise ActionRecError("report=true: the jobs of a multirun would all write one page; run actionrec report after")
    accuracy = chains.run(config)
    if config.report and accuracy is not None:
        print()
        with composed("report", of_report(config)) as settings:
            report(settings)
    return accuracy


def arguments(words: Sequence[str]) -> list[str]:
    """A command line with what follows `--stills` and `--clips` as lists of overrides, in Hydra's own quotes."""
    found: dict[str, list[str]] = {"": [], STILLS: [], CLIPS: []}
    into = ""
    for word in words:
        if word in (f"--{STILLS}", f"--{CLIPS}"):
            into = word.removeprefix("--")
        else:
            found[into].append(word)
    return found[""] + [f"{kind}={quoted(found[kind])}" for kind in (STILLS, CLIPS) if found[kind]]


def quoted(words: Sequence[str]) -> str:
    """Words as a list in Hydra's grammar, each of which its parser takes for that very word."""
    return f"[{','.join(_quoted(word) for word in words)}]"


def _quoted(word: str) -> str:
    # A backslash counts as itself but before a quote, and at the end, which is before the closing one.
    escaped, backslashes = "", 0
    for sign in word:
        if sign == "'":
            escaped += "\\" * backslashes + "\\"
        backslashes = backslashes + 1 if sign == "\\" else 0
        escaped += sign
    return f"'{escaped}{chr(92) * backslashes}'"


_main = command("chain")(chain)


def main(typed: Sequence[str] = ()) -> None:
    """The command line; see `arguments` and `app.command`."""
    sys.argv[1:] = arguments(sys.argv[1:])
    _main(typed)
