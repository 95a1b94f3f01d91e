"""The kernels that see rows alone, and the pooling of texts, against float64 arithmetic; a wrong number is seen."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch
import triton

from bertc.runtime.cuda.kernels.norm import embed, finish, norm
from bertc.runtime.cuda.kernels.pooled_rows import pool
from bertc.runtime.plan.kernel_plan import Pooled
from tests.runtime.cuda.kernels.numbers import CODES, DEVICE, Array, check_stored, exact, on_device, operand

N = 96
EPSILON = 1e-5


def normed(x: torch.Tensor, gamma: torch.Tensor, beta: torch.Tensor | None) -> Array:
    """LayerNorm, or RMSNorm without beta."""
    rows = x.numpy() if x.dtype == torch.float64 else exact(x)
    if beta is not None:
        rows = rows - rows.mean(axis=1, keepdims=True)
    rows = rows / np.sqrt((rows**2).mean(axis=1, keepdims=True) + EPSILON) * exact(gamma)
    return rows if beta is None else rows + exact(beta)


@pytest.mark.parametrize("stored", ["numbers", "codes", "both"])
@pytest.mark.parametrize("rms", [False, True], ids=["layer", "rms"])
@pytest.mark.parametrize("kind", CODES, ids=str)
@pytest.mark.parametrize("rows", [1, 17])
def test_norms(rows: int, kind: torch.dtype, rms: bool, stored: str) -> None:
    generator = np.random.default_rng(rows)
    x = on_device(generator.normal(3, 2, (rows, N)), torch.float16)
    gamma, beta = on_device(generator.uniform(0.5, 2, N)), on_device(generator.normal(0, 1, N))
    inverse = on_device(generator.uniform(20, 90, N))
    out, codes = (torch.zeros((rows, N), dtype=each, device=DEVICE) for each in (torch.float16, kind))
    norm[(triton.cdiv(rows, 4),)](
        x, x, x, x, x, out, codes, gamma, beta, inverse, rows, N, x.stride(0), 0, out.stride(0), EPSILON,
        SCALED=False, BIASED=False, RESIDUAL=0, RMS=rms, SHIFTED=not rms, FLOATS=stored != "codes",
        CODES=stored != "numbers", BLOCK_M=4, BLOCK_N=128,
    )  # fmt: skip
    wanted = normed(x, gamma, None if rms else beta)
    if stored != "codes":
        check_stored(out, wanted)
    if stored != "numbers":
        check_stored(codes, wanted * exact(inverse))
    assert (codes.float() != 0).any() == (stored != "numbers") and (out != 0).any() == (stored != "codes")
    with pytest.raises(AssertionError):  # the other norm is seen
        check_stored(out, normed(x, gamma, beta if rms else None))


@pytest.mark.parametrize("kind", ["numbers", "codes", "numbers alone"])
def test_a_norm_of_a_product_s_sums(kind: str) -> None:
    """The product's scale, bias and residual are the norm's to add, as numbers or codes."""
    generator = np.random.default_rng(4)
    x = operand(generator, torch.int8 if kind == "codes" else torch.float16, 17, N)
    residual = operand(generator, torch.int8 if kind == "codes" else torch.float16, 17, N)
    scale, residual_scale = (on_device(generator.uniform(0.5, 1, N) / 60) for _ in range(2))
    bias, gamma, beta = (on_device(generator.normal(0, 1, N)) for _ in range(3))
    out = torch.zeros((17, N), dtype=torch.float32, device=DEVICE)
    residuals = {"numbers": 1, "codes": 2}.get(kind, 0)
    norm[(triton.cdiv(17, 4),)](
        x, scale, bias, residual, residual_scale, out, out, gamma, beta, out, 17, N, x.stride(0), N, N, EPSILON,
        SCALED=kind == "codes", BIASED=residuals > 0, RESIDUAL=residuals, RMS=False, SHIFTED=True, FLOATS=True,
        CODES=False, BLOCK_M=4, BLOCK_N=128,
    )  # fmt: skip
    added = {"numbers": exact(residual), "codes": exact(residual) * exact(residual_scale)}.get(kind, 0.0)
    y = exact(x) * (exact(scale) if kind == "codes" else 1) + (exact(bias) if residuals else 0) + added
    wanted = normed(torch.from_numpy(y), gamma, beta)
    check_stored(out, wanted)
    with pytest.raises(AssertionError):
        check_stored(out, normed(torch.from_numpy(y + exact(bias)), gamma, beta))


@pytest.mark.parametrize("int8", [False, True], ids=["numbers", "codes"])
@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("types", [0, 1, 2])
def test_embeddings(int8: bool, positions: bool, types: int) -> None:
    """One row of types is every token's, whatever its type."""
    generator = np.random.default_rng(1)
    ids, kinds, places = (generator.integers(0, high, 17).astype(np.int32) for high in (40, 2, 30))
    tables = [
        generator.integers(-127, 128, (rows, N)) if int8 else generator.normal(0, 1, (rows, N)) for rows in (40, 30)
    ]
    stored = [on_device(table, torch.int8 if int8 else torch.float32) for table in tables]
    scales = [on_device(generator.uniform(0.5, 1, rows) / 60) for rows in (40, 30)]
    type_rows = on_device(generator.normal(0, 1, (2, N)))
    out = torch.zeros((17, N), dtype=torch.float32, device=DEVICE)
    embed[(triton.cdiv(17, 4),)](
        *(on_device(each, torch.int32) for each in (ids, kinds, places)), stored[0], scales[0], stored[1], scales[1],
        type_rows, out, 17, N, out.stride(0), INT8=int8, POSITIONS=positions, TYPES=types, BLOCK_M=4, BLOCK_N=128,
    )  # fmt: skip
    rows = [exact(table) * (exact(scale)[:, None] if int8 else 1) for table, scale in zip(stored, scales, strict=True)]
    of_types = exact(type_rows)[kinds if types > 1 else kinds * 0] * (types > 0)
    check_stored(out, rows[0][ids] + positions * rows[1][places] + of_types)
    for other in (
        rows[0][ids] + (not positions) * rows[1][places] + of_types,
        rows[0][ids] + positions * rows[1][places] + exact(type_rows)[kinds] * (types != 2),
    ):
        with pytest.raises(AssertionError):
            check_stored(out, other)


@pytest.mark.parametrize("out", ["numbers", "codes"])
@pytest.mark.parametrize("kind", ["plain", "scaled", "requantized", "added", "codes added", "gate"])
def test_what_follows_a_value(kind: str, out: str) -> None:
    generator = np.random.default_rng(2)
    x = operand(generator, torch.int8 if kind == "scaled" else torch.float16, 70, N)
    scale, bias = on_device(generator.uniform(0.5, 1, N) / 60), on_device(generator.normal(0, 1, N))
    if kind == "requantized":
        scale, x = scale * 2000, on_device(generator.normal(0, 1, (70, N)))
    requant_scale = on_device(generator.uniform(0.5, 1, N) / 40)
    residual = operand(generator, torch.int8 if kind == "codes added" else torch.float16, 70, N)
    residual_scale, inverse = on_device(generator.uniform(0.5, 1, N) / 60), on_device(generator.uniform(20, 40, N))
    found = torch.zeros((70, N), dtype=torch.int8 if out == "codes" else torch.float32, device=DEVICE)
    finish[(triton.cdiv(70, 64), triton.cdiv(N, 64))](
        x, found, scale, requant_scale, bias, residual, residual_scale, inverse, 70, N, x.stride(0), found.stride(0), N,
        SCALED=kind in ("scaled", "requantized"), REQUANTIZED=kind == "requantized", BIASED=True, ACTIVATION=0,
        RESIDUAL={"added": 1, "codes added": 2, "gate": 3}.get(kind, 0), BLOCK_M=64, BLOCK_N=64,
    )  # fmt: skip
    y = exact(x) * (exact(scale) if kind in ("scaled", "requantized") else 1)
    y = (np.rint(y) * exact(requant_scale) if kind == "requantized" else y) + exact(bias)
    more = exact(residual) * (exact(residual_scale) if kind == "codes added" else 1)
    y = y + more if "added" in kind else y * more if kind == "gate" else y
    y = y * exact(inverse) if out == "codes" else y
    check_stored(found, y)
    with pytest.raises(AssertionError):
        check_stored(found, y * 1.05)


@pytest.mark.parametrize("kind", Pooled)
def test_texts_are_pooled_apart(kind: Pooled) -> None:
    generator = np.random.default_rng(3)
    lengths = [1, 33, 2, 64]
    ends = np.cumsum([0, *lengths, 0]).astype(np.int32)  # the last text has no token
    x = operand(generator, torch.float16, int(ends[-1]), N)
    out = torch.full((5, N), 99, dtype=torch.float32, device=DEVICE)
    options: dict[str, Any] = {"KIND": int(kind), "BLOCK_M": 32, "BLOCK_N": 128}
    pool[(5, 1)](x, out, on_device(ends, torch.int32), N, x.stride(0), out.stride(0), **options)
    texts = [exact(x)[begin:end] for begin, end in pairwise(ends[:-1])]
    means, maxima = (np.stack([each(text) for text in texts]) for each in (lambda t: t.mean(0), lambda t: t.max(0)))
    wanted = {Pooled.MEAN: means, Pooled.MAXIMUM: maxima, Pooled.LOG: np.log1p(np.maximum(maxima, 0))}
    check_stored(out[:4], wanted[kind])
    assert (out[4] == 0).all()
    with pytest.raises(AssertionError):
        check_stored(out[:4], wanted[Pooled.MAXIMUM if kind is Pooled.MEAN else Pooled.MEAN])
