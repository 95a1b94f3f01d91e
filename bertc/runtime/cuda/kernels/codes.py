"""What the kernels share: numbers to codes, and the activations."""

from __future__ import annotations

import os

import triton
import triton.language as tl

INTERPRETED = tl.constexpr(os.environ.get("TRITON_INTERPRET") == "1")
"""Whether kernels run in Triton's interpreter, which knows no instructions of a GPU."""

ROUNDER = tl.constexpr(12582912.0)
"""1.5 * 2^23: added to a small float, it leaves the integer nearest to it, half to even."""

HIGHEST_E4M3 = tl.constexpr(448.0)

NONE, RELU, GELU, GELU_TANH, TANH, SIGMOID, SILU = (tl.constexpr(number) for number in range(7))
"""`bertc.runtime.plan.kernel_plan.Activation`."""


@triton.jit
def rounded(numbers: tl.tensor, lowest: tl.constexpr) -> tl.tensor:
    """Return whole numbers as floats, rounded half to even and saturated: the value of an INT8 code."""
    within = tl.minimum(tl.maximum(numbers, lowest), 127.0)
    return (within + ROUNDER) - ROUNDER


@triton.jit
def to_codes(numbers: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """Return the codes of scaled numbers: int8, or E4M3, which is rounded to even by the conversion."""
    if dtype == tl.int8:
        # The code is the lowest byte of the sum, which no conversion has to find.
        within = tl.minimum(tl.maximum(numbers, -128.0), 127.0)
        return (within + ROUNDER).to(tl.int32, bitcast=True).to(tl.int8)
    else:
        return tl.minimum(tl.maximum(numbers, -HIGHEST_E4M3), HIGHEST_E4M3).to(dtype)


@triton.jit
def to_type(numbers: tl.tensor, inverse: tl.tensor, dtype: tl.constexpr) -> tl.tensor:
    """Return numbers as an output's type has them; only codes are scaled."""
    if dtype == tl.float16 or dtype == tl.bfloat16 or dtype == tl.float32:
        return numbers.to(dtype)
    else:
        return to_codes(numbers * inverse, dtype)


@triton.jit
def _erf(x: tl.tensor) -> tl.tensor:
    """Formula 7.1.26 of Abramowitz and Stegun, Handbook of Mathematical Functions: within 1.5e-7."""
    size = tl.abs(x)
    t = 1.0 / (1.0 + 0.3275911 * size)
    polynomial = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    found = 1.0 - polynomial * tl.exp(-size * size)
    return tl.where(x < 0.0, -found, found)


@triton.jit
def _gelu(x: tl.tensor) -> tl.tensor:
    """0.5 x (1 + erf(x / sqrt(2))), on a GPU as 0.5 x (1 + tanh(a x + b x^3)) by one instruction.

    a and b make the largest error of the formula smallest, 2.8e-4; the instruction's is 2^-11 of the tangent.
    """
    half = 0.5 * x
    if INTERPRETED:
        return half * (1.0 + _erf(x * 0.7071067811865476))
    else:
        inner = x * (0.800142993 + 0.034707304 * x * x)
        found = tl.inline_asm_elementwise(
            "tanh.approx.f32 $0, $1;", "=f,f", [inner], dtype=tl.float32, is_pure=True, pack=1
        )
        return half * found + half


@triton.jit
def _sigmoid(x: tl.tensor) -> tl.tensor:
    return 1.0 / (1.0 + tl.exp(-x))


@triton.jit
def activated(x: tl.tensor, activation: tl.constexpr) -> tl.tensor:
    """Apply an activation to float32 numbers."""
    if activation == RELU:
        return tl.maximum(x, 0.0)
    elif activation == GELU:
        return _gelu(x)
    elif activation == GELU_TANH:
        return x * _sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))
    elif activation == TANH:
        return 2.0 * _sigmoid(2.0 * x) - 1.0
    elif activation == SIGMOID:
        return _sigmoid(x)
    elif activation == SILU:
        return x * _sigmoid(x)
    else:
        return x
