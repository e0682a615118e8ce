"""`actionrec train experiment=<stage>`: train one stage and measure it, as a run."""

from actionrec.commands.app import command
from actionrec.experiment.training import train

main = command("train", choose="experiment")(train)
