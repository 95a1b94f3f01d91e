"""Operands of kernels, and what codes are in float64 arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[Any]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EDGE = 1e-3
"""Of a code: a float32 number that lies so near to the middle of two may become either."""

SMALLEST_E4M3 = 2.0**-9 if DEVICE == "cpu" else 2.0**-10
"""How far a code below 2^-6 may be off: Triton's interpreter cuts those off, a GPU rounds them."""

CODES = (torch.int8, torch.float8_e4m3fn)


def on_device(values: Array, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(DEVICE).to(dtype)


def exact(tensor: torch.Tensor) -> Array:
    """Return what a tensor holds in float64."""
    found: Array = tensor.cpu().float().numpy().astype(np.float64)
    return found


def operand(generator: np.random.Generator, dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """Return codes over their whole range, or numbers around 1."""
    if dtype == torch.int8:
        return on_device(generator.integers(-128, 128, shape), dtype)
    return on_device(generator.normal(0, 60 if dtype == torch.float8_e4m3fn else 1, shape), dtype)


def check_stored(found: torch.Tensor, wanted: Array) -> None:
    """Compare what was stored with numbers in float64, which codes are nearest to; `wanted` is scaled already."""
    numbers = exact(found)
    assert np.isfinite(numbers).all()
    if found.dtype == torch.int8:
        low, high = (np.clip(np.rint(wanted + sign * EDGE), -128, 127) for sign in (-1, 1))
        assert ((numbers == low) | (numbers == high)).all()
    elif found.dtype == torch.float8_e4m3fn:
        within = np.clip(wanted, -448, 448)
        right = np.abs(numbers - within) <= np.maximum(np.abs(within) / 16, SMALLEST_E4M3) * (1 + EDGE)
        assert (right | (rounds_to_power(within) & (DEVICE == "cpu"))).all() and right.mean() > 0.9
    else:
        near = 2e-3 if found.dtype == torch.float16 else 2e-5
        np.testing.assert_allclose(numbers, wanted, rtol=near, atol=near * np.abs(wanted).max())


def rounds_to_power(numbers: Array) -> Array:
    """Say which numbers E4M3 rounds up to a power of two: Triton's interpreter (3.4 to 3.9) gives half of that.

    It adds the carry to the fraction and not to the exponent.
    """
    fraction, _ = np.frexp(np.abs(numbers))
    return np.asarray(fraction > 1 - 2.0**-5 - EDGE)
