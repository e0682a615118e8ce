"""Callbacks of this package: checkpoints, progress on terminal and log, RNG state for resuming, TensorBoard's content.

A callback that writes to TensorBoard writes only if a logger is TensorBoard's, only in the process of rank 0, and only
about the batches of that process.
"""

from actionrec.callbacks.bar import ProgressBar
from actionrec.callbacks.best import BestCheckpoint, LastCheckpoint
from actionrec.callbacks.divergence import Divergence
from actionrec.callbacks.origin import LogLineage
from actionrec.callbacks.progress import Progress
from actionrec.callbacks.randomness import SaveRngState
from actionrec.callbacks.scalars import LogEpochLine, LogLearningRate, LogThroughput
from actionrec.callbacks.training import LogFirstBatch
from actionrec.callbacks.validation import LogValidationImages

__all__ = [
    "BestCheckpoint",
    "Divergence",
    "LastCheckpoint",
    "LogEpochLine",
    "LogFirstBatch",
    "LogLearningRate",
    "LogLineage",
    "LogThroughput",
    "LogValidationImages",
    "Progress",
    "ProgressBar",
    "SaveRngState",
]
