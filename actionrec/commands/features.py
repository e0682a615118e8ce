"""`actionrec features <run or checkpoint> source=…`: write the features of videos and images as `.npz`."""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.commands.predict import arguments


def features(config: DictConfig) -> None:
    """Write the features of the files of `source` to `out`.

    Raises:
        ActionRecError: a setting is wrong, or a file has failed; the features of all others are written.
    """
    from actionrec.prediction.features import write_features

    write_features(config)


_main = command("features")(features)


def main(typed: Sequence[str] = ()) -> None:
    """The command line; see `predict.arguments` and `app.command`."""
    sys.argv[1:] = arguments(sys.argv[1:])
    _main(typed)
