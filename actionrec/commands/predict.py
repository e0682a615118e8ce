"""`actionrec predict <run or checkpoint> source=…`: predict the actions in videos and images."""

import re
import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.commands.chain import quoted

# Settings whose value is taken as it is typed, unless it is Hydra's syntax, or a flag, which is none of a path.
_PATHS = ("checkpoint", "source", "out", "annotate", "background")
_FLAGS = ("true", "false")
# Options of Hydra whose value is the next word.
_VALUED = ("-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name", "-cd", "--config-dir")
_HYDRA = ("[", "'", '"', "$", "null")  # beginnings of values in Hydra's syntax


def predict(config: DictConfig) -> None:
    """Predict the files of `source`, and print the predictions or write them to `out`; or calibrate the run.

    Raises:
        ActionRecError: a setting is wrong, or a file could not be predicted; all others are.
    """
    if config.calibrate:
        from actionrec.prediction.calibrating import calibrate_run

        calibrate_run(config)
    else:
        from actionrec.prediction.run import predict_sources

        predict_sources(config)


def arguments(words: Sequence[str]) -> list[str]:
    """Convert a command line to Hydra's overrides.

    The first word that is neither an option nor `key=value` is the checkpoint, `window=true` stands for
    `window.use=true`, and names of files are quoted: they may have signs that Hydra's grammar rejects.
    """
    found, positional, before = [], False, ""
    for word in words:
        key, equals, value = word.partition("=")
        if before in _VALUED:
            found.append(word)
        elif not positional and not word.startswith("-") and (not equals or "/" in key):
            found.append(f"checkpoint={_quoted(word)}")
            positional = True
        elif equals and key in _PATHS and value not in ("", *_FLAGS) and not value.startswith(_HYDRA):
            found.append(f"{key}={_quoted(value)}")
        elif re.fullmatch(r"window=(true|false|auto)", word):
            found.append(f"window.use={value}")
        else:
            found.append(word)
        before = word
    return found


def _quoted(word: str) -> str:
    return quoted([word])[1:-1]


_main = command("predict")(predict)


def main(typed: Sequence[str] = ()) -> None:
    """The command line; see `arguments` and `app.command`."""
    sys.argv[1:] = arguments(sys.argv[1:])
    _main(typed)
