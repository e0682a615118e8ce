"""`actionrec fuse`: one table of the streams, of every fusion of their scores, and of the trained fusion networks."""

from actionrec.commands.app import command
from actionrec.experiment.score_fusion import fuse

main = command("fuse")(fuse)
