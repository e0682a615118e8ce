"""The command lines: `actionrec <verb> …`, one module for each verb, which is imported only when it is called."""

import importlib
import sys

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
        SystemExit: with status 0 after the help, 2 for an unknown verb, else as the verb ends.
    """
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        print(usage())
        return
    if verb not in VERBS:
        sys.exit(f"error: actionrec {verb}: no such verb; use one of {', '.join(VERBS)}")
    sys.argv = [f"actionrec {verb}", *sys.argv[2:]]
    importlib.import_module(f"actionrec.commands.{verb}").main()


def usage() -> str:
    """The verbs, with a line for each."""
    lines = [f"  {verb:14}{text}" for verb, text in VERBS.items()]
    return "\n".join(
        ["usage: actionrec <verb> [key=value …]", "", *lines, "", "actionrec <verb> --help shows its settings"]
    )
