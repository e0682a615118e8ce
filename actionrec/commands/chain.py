"""`actionrec chain`: train the missing stages of a chain in order, in one process."""

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
    """Train the chain, and write the report if `report=true`; returns the last stage's validation accuracy.

    Raises:
        ActionRecError: a stage fails, and the message names the stage; or `report=true` in a multirun, because all
            jobs would write the same report.
    """
    if config.report and in_multirun():
        raise ActionRecError(
            "report=true: all jobs of the multirun would write the same report; leave it out, and run actionrec report "
            "afterwards"
        )
    accuracy = chains.run(config)
    if config.report and not (config.dry_run or config.trainer.get("fast_dev_run")):
        print()
        with composed("report", of_report(config)) as settings:
            report(settings)
    return accuracy


def arguments(words: Sequence[str]) -> list[str]:
    """Convert the words after `--stills` and `--clips` to Hydra overrides `stills=[…]` and `clips=[…]`."""
    found: dict[str, list[str]] = {"": [], STILLS: [], CLIPS: []}
    into = ""
    for word in words:
        if word in (f"--{STILLS}", f"--{CLIPS}"):
            into = word.removeprefix("--")
        else:
            found[into].append(word)
    return found[""] + [f"{kind}={quoted(found[kind])}" for kind in (STILLS, CLIPS) if found[kind]]


def quoted(words: Sequence[str]) -> str:
    """Quote words as a list in Hydra's grammar, such that Hydra's parser returns the same words."""
    return f"[{','.join(_quoted(word) for word in words)}]"


def _quoted(word: str) -> str:
    # In Hydra's grammar a backslash is literal, except in a run of backslashes before a quote. The end of the word is
    # before the closing quote.
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
