"""`actionrec export <run or checkpoint>`: write a network as an ONNX file, with a model card."""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.commands.predict import arguments


def export(config: DictConfig) -> None:
    """Export the network of `checkpoint`, or write its model card.

    Raises:
        ActionRecError: a setting is wrong, or the exported network differs from PyTorch's.
    """
    from actionrec.export.run import export as task

    task(config)


_main = command("export")(export)


def main(typed: Sequence[str] = ()) -> None:
    """The command line; see `predict.arguments` and `app.command`."""
    sys.argv[1:] = arguments(sys.argv[1:])
    _main(typed)
