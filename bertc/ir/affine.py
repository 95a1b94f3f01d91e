"""INT8 arithmetic (docs/modes.md): scale = amax / 127 and zero point 0, round half to even, saturate.

One grid is not symmetric, that of values with a lower bound near 0 (`grid_from_range`). FP8 (E4M3) takes INT8's ranges:
its largest code stands where INT8's does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

CODE_MAX = 127
ACTIVATION_CODE_MIN = -128
WEIGHT_CODE_MIN = -127
E4M3_MAX = 448
"""The largest number of E4M3 without infinities (Micikevicius et al. 2022, arXiv:2209.05433, table 1)."""

TO_E4M3 = E4M3_MAX / CODE_MAX
"""E4M3's code for INT8's 1, before it is rounded; what a code means is divided by it."""

SMALLEST_AMAX = 1e-8
"""An operand that is all zeros still needs a scale that is a normal float32."""


def scale_from_amax(amax: NDArray[np.floating] | float) -> Array:
    """Return the scale of a symmetric INT8 grid, amax / 127, as float32 of the same shape.

    >>> float(scale_from_amax(2.54))
    0.019999999552965164
    """
    return np.asarray(np.maximum(np.asarray(amax, np.float64), SMALLEST_AMAX) / CODE_MAX, np.float32)


def grid_from_range(low: float, high: float) -> tuple[Array, NDArray[np.int8]]:
    """Return scale and zero point of the INT8 grid over low <= x <= high, which holds 0 exactly.

    scale = (high - low) / 255, zero point = -128 - low / scale, rounded (Jacob et al. 2018, arXiv:1712.05877, eq. 1
    and section 3). Below -high the range is cut, so that a grid is never coarser than the symmetric one.

    >>> scale, zero_point = grid_from_range(-0.5, 2.05)
    >>> round(float(scale), 6), int(zero_point)
    (0.01, -78)
    """
    high = max(high, SMALLEST_AMAX)
    low = max(low, -high)
    scale = np.asarray((high - low) / (CODE_MAX - ACTIVATION_CODE_MIN), np.float32)
    return scale, np.asarray(np.rint(ACTIVATION_CODE_MIN - low / float(scale)), np.int8)


def codes_from_weights(weights: Array, scale: Array) -> NDArray[np.int8]:
    """Quantize weights [in, out] with one scale, or one per output column, to codes -127..127.

    >>> codes_from_weights(np.float32([[0.02, -2.6]]), np.float32(0.02)).tolist()
    [[1, -127]]
    """
    return np.asarray(np.clip(np.rint(weights / scale), WEIGHT_CODE_MIN, CODE_MAX), np.int8)


def fake_quantize(values: Array, scale: Array) -> Array:
    """Quantize activations to codes -128..127 and back, scale a scalar or one per last-axis channel.

    >>> fake_quantize(np.float32([0.031, -9.0]), np.float32(0.02)).round(3).tolist()
    [0.03999999910593033, -2.559999942779541]
    """
    codes = np.clip(np.rint(values / scale), ACTIVATION_CODE_MIN, CODE_MAX)
    return np.asarray(codes * scale, np.float32)


def weight_amax(weights: Array, *, per_channel: bool) -> Array:
    """Return the largest magnitude of weights [in, out]: per output column [out], or one for the tensor []."""
    return np.asarray(np.abs(weights).max(axis=0 if per_channel else None), np.float32)
