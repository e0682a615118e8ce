"""`actionrec evaluate experiment=<stage>`: measure a run again, or any checkpoint of that stage."""

from actionrec.commands.app import command
from actionrec.experiment.evaluation import evaluate

main = command("evaluate", choose="experiment")(evaluate)
