"""`python -m benchmarks.flow [part …]`: all parts but `accuracy`, which trains for two hours, or those named.

Figures go to `outputs/benchmarks/flow.json`.
"""

from benchmarks.common import main
from benchmarks.flow import accuracy, estimators, formats, memory, speed

PARTS = {
    "speed": speed.measure,
    "memory": memory.measure,
    "estimators": estimators.measure,
    "formats": formats.measure,
    "accuracy": accuracy.measure,
}

if __name__ == "__main__":
    main("benchmarks.flow", PARTS, unasked=["accuracy"])
