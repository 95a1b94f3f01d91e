"""Early exit as numbers: when a text leaves, and what the outputs are called. Part of the shared language."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

LAYERS = "layers"
"""The engine's output that says at which classifier a text left, counted from 1 at the first exit, [texts]."""

WEIGHTS = "head.exit_"
"""How the names of a graph's weights of exits begin."""

EXIT = re.compile(r"exit_(\d+)_logits")


def exit_name(layer: int) -> str:
    """Return the name of the scores behind a layer, counted from 0.

    >>> exit_name(2), EXIT.fullmatch("exit_2_logits") is not None
    ('exit_2_logits', True)
    """
    return f"exit_{layer}_logits"


def uncertainty(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the entropy of softmax(logits) divided by its largest, log n: 0 to 1. logits: [..., n], n at least 2.

    FastBERT's (Liu et al. 2020, arXiv:2004.02178, eq. 7).

    >>> uncertainty(np.float32([[0, 0], [0, 100]])).round(3).tolist()
    [1.0, 0.0]
    """
    x = logits.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    e = np.exp(x)
    total = e.sum(-1)
    return np.asarray((np.log(total) - (e * x).sum(-1) / total) / math.log(logits.shape[-1]))


def leaving_layers(exits: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Return at which exit each text leaves, the number of exits for those that go to the end: [texts].

    exits: the scores of all exits but the last, [texts, exits, n].
    """
    leaves = uncertainty(exits) < np.float64(np.float32(threshold))
    return np.asarray(np.where(leaves.any(-1), leaves.argmax(-1), exits.shape[1]), np.int64)
