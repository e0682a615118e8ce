"""The command lines: `actionrec <verb> …`, one module for each verb, which is imported only when it is called."""

import importlib
import os
import sys
from typing import Any

VERBS = {
    "prepare": "bring a data set into its folder, or generate the demo set",
    "extract_flow": "compute the optical flow of the clips, once",
    "import_flow": "take flow that another program has computed",
    "train": "train one stage and measure it",
    "chain": "train the stages of a chain that are missing, each after those that it starts from",
    "evaluate": "measure a run again, under other views or on other parts",
    "fuse": "compare every fusion of the scores of two or more runs",
    "search": "search the settings of a stage with Optuna",
    "report": "write the page of all runs on one data set",
}


def main() -> None:
    """Run the verb that the command line names.

    Raises:
        SystemExit: with a message for an unknown verb, else as the verb ends.
    """
    verb, *rest = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print(usage())
    elif verb in ("-sc", "--shell-completion"):
        _complete()
    elif verb not in VERBS:
        sys.exit(f"error: actionrec {verb}: no such verb; use one of {', '.join(VERBS)}")
    else:
        typed, sys.argv = sys.argv, [f"actionrec {verb}", *rest]  # Hydra takes all words for settings
        _module(verb).main(typed)


def usage() -> str:
    """The verbs, with a line for each."""
    lines = [f"  {verb:14}{text}" for verb, text in VERBS.items()]
    first, last = "usage: actionrec <verb> [key=value …]", "actionrec <verb> --help shows its settings"
    return "\n".join([first, "", *lines, "", last])


def _module(verb: str) -> Any:
    return importlib.import_module(f"actionrec.commands.{verb}")


def _complete() -> None:
    """Answer a shell's `-sc query=…`: the verbs for the first word, and Hydra's own completion of settings behind it.

    Hydra completes a script of one configuration, so that the verb is taken out of the shell's `COMP_LINE` first. The
    other commands, such as `-sc install=bash`, are the same for every verb.
    """
    program, *words = os.environ.get("COMP_LINE", "").split(maxsplit=2)[:3] or [""]
    asked = any(argument.startswith("query=") for argument in sys.argv)
    if asked and (not words or words[0] not in VERBS):
        print(" ".join(verb for verb in VERBS if verb.startswith(words[0] if words else "")))
        return
    verb = words[0] if asked else "train"
    os.environ["COMP_LINE"] = " ".join([program, *words[1:]])
    sys.argv[0] = "actionrec"
    _module(verb).main()
