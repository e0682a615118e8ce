"""Callbacks of our own: a line an epoch, randomness that is resumed, and what TensorBoard shows besides scalars.

The latter write where the logger is TensorBoard's, from the first process alone, and of what that process saw.
"""

from actionrec.callbacks.origin import Origin
from actionrec.callbacks.randomness import RandomState
from actionrec.callbacks.scalars import EpochLine, LearningRate, Speed
from actionrec.callbacks.training import TrainingBatch
from actionrec.callbacks.validation import Validation

__all__ = ["EpochLine", "LearningRate", "Origin", "RandomState", "Speed", "TrainingBatch", "Validation"]
