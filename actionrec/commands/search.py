"""`actionrec search experiment=<stage>`: hyper-parameter search for one stage with Optuna, selected on validation."""

import sys
from collections.abc import Sequence

from actionrec.commands.app import command
from actionrec.experiment.search import NO_MULTIRUN, search

_main = command("search", choose="experiment")(search)


def main(typed: Sequence[str] = ()) -> None:
    """The command line; see `app.command`."""
    if {"-m", "--multirun"} & {*sys.argv[1:]}:
        sys.exit(f"error: {NO_MULTIRUN}")
    _main(typed)
