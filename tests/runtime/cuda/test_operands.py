"""Weights are unpacked to what was packed, are there once, and E4M3 codes are scaled to its range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bertc.ir.affine import E4M3_MAX, TO_E4M3
from bertc.runtime.cuda.operands import Operands, rows_of_panels
from bertc.runtime.plan.kernel_plan import Op, Rows, Step, padded
from bertc.runtime.plan.packing import float_panels, float_vector, int8_panels

SIZES = [(1, 1), (64, 64), (80, 96), (130, 2)]


def step(op: Op) -> Step:
    return Step(op=op, name="product", rows=Rows.TOKENS, n=96, weights="w", scale="s")


@pytest.mark.parametrize("k, n", SIZES)
def test_unpacking_inverts_packing(k: int, n: int) -> None:
    generator = np.random.default_rng(k)
    codes = generator.integers(-128, 128, (k, n)).astype(np.int8)
    found = rows_of_panels(int8_panels(codes))
    assert found.shape == (padded(n), padded(k))
    np.testing.assert_array_equal(found[:n, :k], codes.T)
    assert not found[n:].any() and not found[:, k:].any()
    floats = generator.normal(0, 1, (k, n)).astype(np.float32)
    found = rows_of_panels(float_panels(floats))
    assert found.shape == (padded(n), k)
    np.testing.assert_array_equal(found[:n], floats.T)
    assert n == 1 or not np.array_equal(found[:n], floats.T[::-1])


def test_an_array_is_on_the_device_once() -> None:
    arrays: dict[str, Any] = {"w": int8_panels(np.full((80, 96), 127, np.int8)), "s": float_vector(0.5, 96)}
    operands = Operands(arrays, torch.device("cpu"))
    weights = operands.weights(step(Op.GEMM_INT8), torch.int8)
    assert operands.weights(step(Op.GEMM_INT8), torch.int8) is weights
    scale = operands.scaled("s", 2.0)
    assert scale is not None and scale is operands.scaled("s", 2.0) and scale[0] == 1.0
    other = operands.scaled("s", 3.0)
    assert other is not None and other[0] == 1.5
    assert operands.array("") is None and operands.scaled("", 2.0) is None


def test_codes_fill_e4m3_s_range_and_floats_stay() -> None:
    arrays: dict[str, Any] = {"w": int8_panels(np.full((80, 96), 127, np.int8))}
    found = Operands(arrays, torch.device("cpu")).weights(step(Op.GEMM_INT8), torch.float8_e4m3fn)
    assert found[0, 0].float() == E4M3_MAX and TO_E4M3 > 3.5
    floats: dict[str, Any] = {"w": float_panels(np.full((80, 96), 0.5, np.float32))}
    assert Operands(floats, torch.device("cpu")).weights(step(Op.GEMM_F32), torch.float16)[0, 0] == 0.5
