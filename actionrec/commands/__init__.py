"""The command line `actionrec <verb> …`; each verb has a module, imported only if the verb is called."""

import importlib
import os
import sys
from typing import Any

from actionrec.system import pipes

VERBS = {
    "prepare": "put a data set into its folder, generate the demo set, or check a data set",
    "extract_flow": "compute the optical flow of the clips",
    "import_flow": "import optical flow that another program has computed",
    "train": "train one stage and measure it",
    "chain": "train the missing stages of a chain, parents first",
    "evaluate": "measure a run again, with other views or on other parts",
    "predict": "predict the actions in videos and images of your own",
    "features": "write the vectors that a network computes of videos and images, for other programs",
    "export": "write a network as an ONNX file that is checked against PyTorch, with a model card",
    "fuse": "compare all fusions of the scores of two or more runs",
    "search": "search the hyper-parameters of a stage with Optuna",
    "report": "write an HTML report of all runs on one data set",
    "app": "serve a page on which videos are predicted in a browser",
    "schema": "print the JSON Schema of a verb's settings, for editors",
}
_MODULES = {"app": "page"}  # of verbs whose module has another name


def main() -> None:
    """Run the verb that the command line names.

    Raises:
        SystemExit: with a message if the verb is unknown, otherwise with the status of the verb.
    """
    with pipes.ends_with_reader():
        _run(*sys.argv[1:] or ["--help"])


def _run(verb: str, *rest: str) -> None:
    if verb in ("-h", "--help"):
        print(usage())
    elif verb in ("-sc", "--shell-completion"):
        _complete()
    elif verb not in VERBS:
        sys.exit(f"error: actionrec {verb}: no such verb; use one of {', '.join(VERBS)}")
    else:
        typed, sys.argv = sys.argv, [f"actionrec {verb}", *rest]  # Hydra would parse the verb as an override
        _module(verb).main(typed)


def usage() -> str:
    """Usage text with a line for each verb."""
    lines = [f"  {verb:14}{text}" for verb, text in VERBS.items()]
    first, last = "usage: actionrec <verb> [key=value …]", "actionrec <verb> --help shows its settings"
    return "\n".join([first, "", *lines, "", last])


def _module(verb: str) -> Any:
    return importlib.import_module(f"actionrec.commands.{_MODULES.get(verb, verb)}")


def _complete() -> None:
    """Shell completion (`-sc query=…`): verbs for the first word, Hydra's completion of settings for later words.

    Hydra completes a script with a single configuration, so the verb is removed from the shell's `COMP_LINE` first.
    Other commands, such as `-sc install=bash`, are the same for every verb.
    """
    program, *words = os.environ.get("COMP_LINE", "").split(maxsplit=2)[:3] or [""]
    asked = any(argument.startswith("query=") for argument in sys.argv)
    if asked and (not words or words[0] not in VERBS):
        print(" ".join(verb for verb in VERBS if verb.startswith(words[0] if words else "")))
        return
    if asked and words[0] == "schema":  # not a verb of Hydra
        return
    verb = words[0] if asked else "train"
    os.environ["COMP_LINE"] = " ".join([program, *words[1:]])
    sys.argv[0] = "actionrec"
    _module(verb).main()
