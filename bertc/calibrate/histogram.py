"""Histograms of magnitudes whose bins are fixed, so that they merge in any order to the same bits.

A bin is a bfloat16 number: the 15 bits of |x| below the sign, which is 8 bits of exponent and 7 of mantissa. Bins are
at most 0.8 % wide whatever the data, no range has to be known beforehand, and counts are integers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bertc.core.array_text import array_from_text, text_from_array
from bertc.errors import InputError

BINS = 1 << 15
Counts = NDArray[np.int64]


def counts_from_values(values: NDArray[np.float32]) -> Counts:
    """Count |x| of finite values in the bfloat16 bins: int64 [32768].

    >>> counts = counts_from_values(np.float32([1.0, -1.0, 2.0]))
    >>> int(counts[0x3F80]), int(counts.sum())
    (2, 3)
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint16).reshape(-1, 2)[:, 1]
    return np.bincount(bits & np.uint16(0x7FFF), minlength=BINS).astype(np.int64)


def bin_values() -> NDArray[np.float64]:
    """Return the magnitude that stands for each bin, its middle: float64 [32768]; the last exponent is infinity."""
    finite = BINS - 128  # the last exponent's bins are infinity and NaN
    low = np.full(BINS, np.inf)
    low[:finite] = (np.arange(finite, dtype=np.uint32) << 16).view(np.float32)
    middle = np.append((low[:-1] + low[1:]) / 2, np.inf)
    middle[0] = 0.0  # the bin of zero and the subnormals below 1e-38
    return middle


def text_from_counts(counts: Counts) -> str:
    """Pack counts for JSON: the first occupied bin, then the counts of the occupied range, int64."""
    occupied = np.flatnonzero(counts)
    first, last = (int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else (0, 0)
    return text_from_array(np.concatenate([[first], counts[first:last]]).astype(np.int64))


def counts_from_text(text: str) -> Counts:
    """Unpack `text_from_counts`. Raises `InputError` on anything else."""
    try:
        packed = array_from_text(text, np.int64, most=8 * (BINS + 1))
        first, body = int(packed[0]), packed[1:]
        if first < 0 or first + body.size > BINS:
            raise ValueError("bins that do not exist")
        counts = np.zeros(BINS, np.int64)
        counts[first : first + body.size] = body
    except (ValueError, IndexError) as error:
        raise InputError("the calibration table holds a damaged histogram; calibrate again") from error
    if (counts < 0).any():
        raise InputError("the calibration table holds a histogram with negative counts; calibrate again")
    return counts
