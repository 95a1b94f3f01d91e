"""How near an engine's outputs are to the float model's, number by number."""

from __future__ import annotations

import math

import numpy as np

from bertc.evaluate.metrics.fidelity import squared_error

NAN = np.float32(np.nan)


def test_what_neither_side_has_is_left_out() -> None:
    """A word that was cut off has scores on neither side."""
    reference = np.array([[1.0, NAN], [2.0, NAN]], np.float32)
    assert squared_error(reference, np.array([[0.0, NAN], [4.0, NAN]], np.float32)) == (5.0, 2.0)


def test_what_one_side_lacks_is_no_agreement() -> None:
    reference = np.array([1.0, 2.0], np.float32)
    for outputs in (np.array([1.0, NAN]), np.array([1.0, np.inf])):
        total, count = squared_error(reference, outputs.astype(np.float32))
        assert not math.isfinite(total) and count == 2.0
        assert not math.isfinite(squared_error(outputs.astype(np.float32), reference)[0])
