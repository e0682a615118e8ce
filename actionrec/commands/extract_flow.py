"""`actionrec extract_flow`: extract the optical flow of the clips into the flow store."""

from actionrec.commands.app import command
from actionrec.experiment.extraction import extract_flow

main = command("extract_flow")(extract_flow)
