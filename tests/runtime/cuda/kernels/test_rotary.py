"""Rotary positions against float64 arithmetic: heads of several sizes, texts in one row, ragged ends."""

from __future__ import annotations

import numpy as np
import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch
import triton

from bertc.runtime.cuda.kernels.rotary import rotary
from bertc.runtime.cuda.texts import texts_of_lengths
from tests.runtime.cuda.kernels.numbers import CODES, DEVICE, Array, check_stored, exact, on_device, operand

POSITIONS = 300
LENGTHS = {"one": [1], "several": [1, 31, 2, 64], "longest": [7, POSITIONS]}
HEADS = 3


def tables(size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of every position, [positions, size / 2]."""
    angles = np.arange(POSITIONS)[:, None] * 100.0 ** (-np.arange(0, size, 2) / size)
    return on_device(np.cos(angles)), on_device(np.sin(angles))


def turned(x: torch.Tensor, places: Array, size: int) -> Array:
    """Turn pairs as complex numbers."""
    cos, sin = (exact(table)[places, None] for table in tables(size))
    halves = exact(x).reshape(len(x), HEADS, 2, size // 2)
    whole = (halves[:, :, 0] + 1j * halves[:, :, 1]) * (cos + 1j * sin)
    return np.stack((whole.real, whole.imag), axis=2).reshape(len(x), HEADS * size)


def launched(
    x: torch.Tensor, places: Array, size: int, out: torch.dtype, inverse: torch.Tensor, block: tuple[int, int] = (4, 64)
) -> torch.Tensor:
    """Return what lies behind a column that is not the kernel's to write."""
    cos, sin = tables(size)
    n = HEADS * size
    found = torch.full((len(x) + 1, n + 8), 7, dtype=torch.float32, device=DEVICE).to(out)
    rotary[(triton.cdiv(len(x), block[0]), triton.cdiv(n // 2, block[1]))](
        x, found[:, 4:], on_device(places, torch.int32), cos, sin, inverse, len(x), n // 2, x.stride(0),
        found.stride(0), HALF=size // 2, BLOCK_M=block[0], BLOCK_N=block[1],
    )  # fmt: skip
    assert (
        (found[:, :4].float() == 7).all() and (found[:, 4 + n :].float() == 7).all() and (found[-1].float() == 7).all()
    )
    return found[:-1, 4 : 4 + n]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("out", [torch.float16, *CODES], ids=str)
@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_heads_are_turned_by_their_places(size: int, out: torch.dtype, lengths: list[int]) -> None:
    """Columns of a wider matrix, as one product writes query, key and value."""
    generator = np.random.default_rng(size)
    places = texts_of_lengths(lengths).places
    x = operand(generator, torch.float16, len(places), (HEADS + 1) * size)[:, size:]
    inverse = on_device(generator.uniform(20, 60, HEADS * size))
    found = launched(x, places, size, out, inverse)
    scales = exact(inverse) if out in CODES else 1.0
    check_stored(found, turned(x, places, size) * scales)
    with pytest.raises(AssertionError):  # each text begins anew
        check_stored(found, turned(x, (np.arange(len(places)) + 1) % POSITIONS, size) * scales)


@pytest.mark.parametrize("block", [(1, 16), (8, 32), (16, 256)])
def test_blocks_do_not_matter(block: tuple[int, int]) -> None:
    generator = np.random.default_rng(0)
    places = texts_of_lengths([5, 40]).places
    x = operand(generator, torch.float32, len(places), HEADS * 64)
    ones = on_device(np.ones(HEADS * 64))
    found = launched(x, places, 64, torch.float32, ones, block)
    assert torch.equal(found, launched(x, places, 64, torch.float32, ones))
    check_stored(found, turned(x, places, 64))
    with pytest.raises(AssertionError):  # the other direction
        check_stored(found, turned(x, POSITIONS - 1 - places, 64))


def test_a_product_of_two_tokens_depends_on_their_distance_alone() -> None:
    generator = np.random.default_rng(1)
    x = operand(generator, torch.float32, 1, HEADS * 32).repeat(4, 1)
    found = exact(launched(x, np.array([1, 3, 5, 6]), 32, torch.float32, on_device(np.ones(HEADS * 32))))
    assert found[0] @ found[1] == pytest.approx(found[1] @ found[2], rel=1e-5)
    assert found[0] @ found[1] != pytest.approx(found[2] @ found[3], rel=1e-2)
