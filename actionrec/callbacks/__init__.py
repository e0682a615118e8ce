"""Callbacks of our own: checkpoints, a line an epoch, randomness that is resumed, and what TensorBoard shows.

The last write where the logger is TensorBoard's, from the first process alone, and of what that process saw.
"""

from actionrec.callbacks.bar import ProgressBar
from actionrec.callbacks.best import BestCheckpoint, LastCheckpoint
from actionrec.callbacks.divergence import Divergence
from actionrec.callbacks.origin import Origin
from actionrec.callbacks.progress import Progress
from actionrec.callbacks.randomness import RandomState
from actionrec.callbacks.scalars import EpochLine, LearningRate, Speed
from actionrec.callbacks.training import TrainingBatch
from actionrec.callbacks.validation import Validation

__all__ = [
    "BestCheckpoint",
    "Divergence",
    "EpochLine",
    "LastCheckpoint",
    "LearningRate",
    "Origin",
    "Progress",
    "ProgressBar",
    "RandomState",
    "Speed",
    "TrainingBatch",
    "Validation",
]
