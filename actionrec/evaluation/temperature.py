"""Temperature scaling (Guo et al., ICML 2017)."""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

RANGE = (0.05, 20.0)  # of the search


def temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature by which logits (N, K) have to be divided for the largest likelihood of the labels (N,)."""

    def loss(logarithm: float) -> float:
        scaled = log_softmax(logits / math.exp(logarithm), axis=1)
        return -float(scaled[np.arange(len(labels)), labels].mean())

    bounds = tuple(math.log(each) for each in RANGE)
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x)
