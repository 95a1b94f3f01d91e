"""Products and what follows them against float64 arithmetic on the same operands; a wrong number is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch
from scipy.special import erf

from bertc.runtime.cuda.products import Product
from bertc.runtime.cuda.tuning import Way
from bertc.runtime.plan.kernel_plan import Activation
from tests.runtime.cuda.kernels.numbers import CODES, Array, check_stored, exact, on_device, operand

N, K = 96, 80
"""Multiples of no block."""

ROWS = (1, 17, 129)
BLOCKS: Way = {"BLOCK_M": 16, "BLOCK_N": 64, "BLOCK_K": 64, "GROUP": 2, "num_warps": 4, "num_stages": 2}
OPERANDS = (torch.int8, torch.float8_e4m3fn, torch.float16)
ENDINGS: dict[str, dict[str, Any]] = {
    "numbers": {},
    "scale and bias": {"scale": True, "bias": True},
    "requantized": {"scale": True, "requant_scale": True, "bias": True},
    "numbers added": {"scale": True, "bias": True, "residual": "numbers"},
    "codes added": {"scale": True, "bias": True, "residual": "codes"},
    "gate": {"scale": True, "activation": Activation.GELU_TANH, "residual": "gate"},
    "codes out": {"scale": True, "bias": True, "out": "codes"},
    "codes of a sum": {"scale": True, "requant_scale": True, "residual": "codes", "out": "codes"},
    **{each.name.lower(): {"scale": True, "bias": True, "activation": each} for each in Activation if each},
}


def activated(x: Array, activation: Activation) -> Array:
    if activation is Activation.RELU:
        return np.maximum(x, 0)
    if activation is Activation.GELU:
        return 0.5 * x * (1 + erf(x / np.sqrt(2)))
    if activation is Activation.GELU_TANH:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    if activation is Activation.TANH:
        return np.tanh(x)
    if activation is Activation.SIGMOID:
        return 1 / (1 + np.exp(-x))
    return x / (1 + np.exp(-x)) if activation is Activation.SILU else x


def product(dtype: torch.dtype, rows: int, ending: dict[str, Any]) -> Product:
    """Return a product whose results are around 1, or whose codes fill their range."""
    generator = np.random.default_rng(rows)
    a, b = operand(generator, dtype, rows, K), operand(generator, dtype, N, K)
    spread = float(np.std(exact(a) @ exact(b).T)) or 1.0
    codes = dtype if dtype in CODES else torch.int8
    found: dict[str, Any] = {"activation": int(ending.get("activation", Activation.NONE))}
    if "scale" in ending:
        size = 40 if "requant_scale" in ending else 1.5
        found["scale"] = on_device(generator.uniform(0.5, 1, N) * size / spread)
    if "requant_scale" in ending:
        found["requant_scale"] = on_device(generator.uniform(0.5, 1, N) * 1.5 / 40)
    if "bias" in ending:
        found["bias"] = on_device(generator.normal(0, 1, N))
    kind = ending.get("residual")
    if kind == "codes":
        found["residual"] = operand(generator, codes, rows, N)
        found["residual_scale"] = on_device(generator.uniform(0.5, 1, N) / 60)
    elif kind is not None:
        found |= {"residual": operand(generator, torch.float16, rows, N), "gated": kind == "gate"}
    if "out" in ending:
        found["inverse"] = on_device(generator.uniform(0.5, 1, N) * (60 if codes == torch.int8 else 200))
    out = torch.zeros((rows, N), dtype=codes if "out" in ending else torch.float32, device=a.device)
    return Product(a=a, b=b, out=out, **found)


def wanted(given: Product) -> Array:
    """Return what has to be stored, scaled by `inverse`, in the order of native/bertc.h."""
    y = exact(given.a) @ exact(given.b).T
    if given.scale is not None:
        y = y * exact(given.scale)
    if given.requant_scale is not None:
        y = np.clip(np.rint(y), -128, 127) * exact(given.requant_scale)
    if given.bias is not None:
        y = y + exact(given.bias)
    y = activated(y, Activation(given.activation))
    if given.residual is not None:
        residual = exact(given.residual)
        scale = 1.0 if given.residual_scale is None else exact(given.residual_scale)
        y = y * residual if given.gated else y + residual * scale
    return y if given.inverse is None else y * exact(given.inverse)


def check_product(given: Product, *, described: int | None, expected: Product | None = None) -> None:
    given.launch(BLOCKS | {"described": described})
    check_stored(given.out, wanted(expected or given))


@pytest.mark.parametrize("described", [None, 0, 1], ids=["loads", "tiles", "programs"])
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("dtype", OPERANDS, ids=str)
def test_a_product_is_float64_s(dtype: torch.dtype, ending: str, described: int | None) -> None:
    if dtype != torch.int8 and ("requant_scale" in ENDINGS[ending] or ENDINGS[ending].get("residual") == "codes"):
        pytest.skip("only INT8 products are requantized, or added to codes")
    check_product(product(dtype, 17, ENDINGS[ending]), described=described)


@pytest.mark.parametrize("described", [None, 0, 1], ids=["loads", "tiles", "programs"])
@pytest.mark.parametrize("rows", ROWS)
@pytest.mark.parametrize("dtype", OPERANDS, ids=str)
def test_rows_that_fill_no_block(dtype: torch.dtype, rows: int, described: int | None) -> None:
    check_product(product(dtype, rows, ENDINGS["codes out"]), described=described)


def test_sums_of_codes_are_exact() -> None:
    given = product(torch.int8, 129, {})
    given.launch(BLOCKS | {"described": None})
    np.testing.assert_array_equal(exact(given.out), exact(given.a) @ exact(given.b).T)


def test_columns_of_a_wider_matrix() -> None:
    """As products that were written as one are read and written: rows lie further apart than they are long."""
    given = product(torch.int8, 17, ENDINGS["codes added"])
    whole, out, residual = (
        torch.full((17, 2 * each.shape[1]), 99, dtype=each.dtype, device=each.device)
        for each in (given.a, given.out, given.residual)
    )
    whole[:, K:], residual[:, :N] = given.a, given.residual
    check_product(replace(given, a=whole[:, K:], out=out[:, N:], residual=residual[:, :N]), described=None)
    assert (out[:, :N] == 99).all()


@pytest.mark.parametrize("field", ["scale", "requant_scale", "bias", "residual_scale", "inverse"])
def test_a_wrong_number_of_one_column_is_seen(field: str) -> None:
    ending = ENDINGS["codes of a sum"] | {"bias": True, "out": "codes"}
    given = product(torch.int8, 17, ending)
    vector = getattr(given, field).clone()
    vector[N - 1] *= 1.5
    with pytest.raises(AssertionError):
        check_product(given, described=None, expected=replace(given, **{field: vector}))


@pytest.mark.parametrize("rows", [1, 40, 300, 3000])
def test_ways_fit_the_product(rows: int) -> None:
    a = torch.zeros((rows, K), dtype=torch.int8)
    given = Product(a=a, b=torch.zeros((N, K), dtype=torch.int8), out=torch.zeros((rows, N)), activation=0)
    old, new = given.ways(8), given.ways(9)
    assert old and all(way["described"] is None for way in old)
    assert any(way["described"] is not None for way in new) is (rows > 64)
    assert all(way["BLOCK_N"] <= 128 and way["BLOCK_K"] <= 128 and way["BLOCK_M"] >= 16 for way in (*old, *new))
