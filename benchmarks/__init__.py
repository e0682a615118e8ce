"""Measurements against what they are measured by, in one run: `python -m benchmarks.flow`."""
