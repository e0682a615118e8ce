"""`actionrec train experiment=<stage>`: train one stage, measure it, and keep it as a run."""

from actionrec.commands.app import command
from actionrec.experiment.training import train

main = command("train", choose="experiment")(train)
