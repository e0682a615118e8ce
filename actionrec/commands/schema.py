"""`actionrec schema [<verb> [<group>]]`: print the JSON Schema of a verb's settings."""

import sys
from collections.abc import Sequence

from actionrec.settings import schema
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError

USAGE = """usage: actionrec schema [<verb> [<group>]]

Prints the JSON Schema of the settings of a verb (default: train): of conf/<verb>.yaml, of files in conf/experiment, and
of a run's config.yaml; with a config group, of the files in conf/<group>."""


def main(typed: Sequence[str] = ()) -> None:
    """Print the schema that the words of the command line name."""
    words = sys.argv[1:]
    if any(word in ("-h", "--help") for word in words):
        print(USAGE)
        return
    try:
        if len(words) > 2:
            raise ActionRecError(f"actionrec schema {' '.join(words)}: name one verb, and at most one config group")
        print(schema.text(schema.create(*words or ["train"])))
    except ActionRecError as error:
        sys.exit(f"{terminal.paint('error:', terminal.RED)} {error}")
