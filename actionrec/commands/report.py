"""`actionrec report`: print a table of the runs on one data set, and write an HTML report."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from actionrec.commands.app import command
from actionrec.experiment import saved
from actionrec.reporting.tables import lines_of, texts
from actionrec.settings import chain as chains
from actionrec.system import terminal
from actionrec.system.errors import ActionRecError


def report(config: DictConfig) -> None:
    """Print the runs under `outputs/<data>`, and write `outputs/<data>/report/`.

    Raises:
        ActionRecError: there is nothing to report, or no run has the settings' `split`, `seed` and `tag`.
    """
    terminal.doing("reading the runs")
    from actionrec.reporting import results
    from actionrec.reporting.missing import Commands, splits_of
    from actionrec.reporting.outputs import read_outputs
    from actionrec.reporting.page import write

    folder = Path(config.paths.outputs) / config.paths.name
    asked = saved.given_choice("chain") or any(key.startswith("chain.") for key in saved.given_keys())
    outputs = read_outputs(folder, list(config.trust), chains.of(config) if asked else None)
    if outputs.empty:
        raise ActionRecError(f"no finished run under {folder}; train one, for example: make demo")
    choice = str(HydraConfig.get().runtime.choices["paths"])
    commands = Commands(choice, config.paths.name, config.paths.outputs, outputs.chain.name)
    terminal.doing("writing the page")
    write(
        outputs, folder / "report", commands, config.split, config.seed, config.gallery, config.tag, splits_of(outputs)
    )
    if outputs.runs:
        print(lines_of(results.short_lines(outputs)))
    if crossval := results.crossval_table(outputs):
        print(f"\n{lines_of(texts(crossval))}")
    print(f"\n{folder / 'report' / 'index.html'}")


main = command("report")(report)
