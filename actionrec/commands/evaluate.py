"""`actionrec evaluate experiment=<stage>`: measure a run again, or any checkpoint of that stage."""

import sys
from collections.abc import Sequence

from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.experiment.evaluation import remeasure


def evaluate(config: DictConfig) -> None:
    """Measure `checkpoint`, and print the metrics in a machine-readable form; the log has a table."""
    if config.localisation.use:
        from actionrec.experiment.localisation import localise

        metrics = localise(config)
    else:
        metrics = remeasure(config)
    print("\n".join(f"{tag:18} {value:.4f}" for tag, value in metrics.items() if isinstance(value, float)))


def arguments(words: Sequence[str]) -> list[str]:
    """Convert a command line to Hydra's overrides: `localisation=true` stands for `localisation.use=true`."""
    whole = ("localisation=true", "localisation=false")
    return [word.replace("=", ".use=") if word in whole else word for word in words]


_main = command("evaluate", choose="experiment")(evaluate)


def main(typed: Sequence[str] = ()) -> None:
    """The command line; see `arguments` and `app.command`."""
    sys.argv[1:] = arguments(sys.argv[1:])
    _main(typed)
