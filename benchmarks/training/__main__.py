"""`python -m benchmarks.training [part …]`: all parts but those that train for half an hour or more, or those named.

Figures go to `outputs/benchmarks/training.json`.
"""

from benchmarks.common import main
from benchmarks.training import (
    accuracy,
    chain,
    depthwise,
    growth,
    jobs,
    loader,
    normalisation,
    plain,
    stages,
    time_to_accuracy,
    tricks,
)

PARTS = {
    "stages": stages.measure,
    "plain": plain.measure,
    "tricks": tricks.measure,
    "depthwise": depthwise.measure,
    "loader": loader.measure,
    "growth": growth.measure,
    "jobs": jobs.measure,
    "chain": chain.measure,
    "normalisation": normalisation.measure,
    "accuracy": accuracy.measure,
    "time_to_accuracy": time_to_accuracy.measure,
}

if __name__ == "__main__":
    main("benchmarks.training", PARTS, unasked=["accuracy", "time_to_accuracy"])
