"""Attention to near tokens alone against float64 arithmetic: windows, texts and blocks of many sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch

from tests.runtime.cuda.kernels.numbers import Array, exact
from tests.runtime.cuda.kernels.test_attention_in_a_row import Case, attended, case, check_codes, context, most_keys

LENGTHS = [1, 2, 17, 64, 65, 130, 300]
WINDOWS = [1, 2, 8, 33, 65, 200]


def check_numbers(found: torch.Tensor, wanted: Array) -> None:
    """Probabilities are FP16."""
    assert np.abs(exact(found) - wanted).max() <= 3e-3 * np.abs(wanted).max()


def windowed(near: int, *, dtype: torch.dtype = torch.float16, size: int = 32, lengths: list[int] = LENGTHS) -> Case:
    return replace(case(dtype, size, lengths), near=near)


def ones(given: Case) -> Array:
    return np.ones(given.n)


@pytest.mark.parametrize("rows, keys", [(16, 16), (64, 32), (32, 128), (64, 512)])
@pytest.mark.parametrize("near", WINDOWS)
def test_a_query_sees_keys_in_its_window_alone(near: int, rows: int, keys: int) -> None:
    given = windowed(near)
    found = attended(given, torch.float32, ones(given), rows=rows, keys=keys)
    check_numbers(found, context(given, 1.0))
    for other in {near + 1, near - 1 if near > 1 else 0}:  # a window that is one wider, or narrower, is seen
        with pytest.raises(AssertionError):
            check_numbers(found, context(replace(given, near=other), 1.0))


@pytest.mark.parametrize("near", [3, 65])
@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_windows_of_codes(dtype: torch.dtype, size: int, near: int) -> None:
    given = windowed(near, dtype=dtype, size=size, lengths=[1, 300, 40])
    inverse = np.random.default_rng(0).uniform(40, 90, given.n).astype(np.float32)
    if dtype == torch.int8:
        check_codes(attended(given, dtype, inverse, rows=64, keys=64), context(given, inverse))
    else:
        check_numbers(attended(given, torch.float32, inverse, rows=64, keys=64), context(given, 1.0))


@pytest.mark.parametrize("longest", range(1, 301, 13))
def test_texts_of_every_length(longest: int) -> None:
    """In one step and in several, by what a window leaves of a text."""
    given = windowed(9, lengths=[longest, 3])
    for rows, keys in ((32, 64), (32, 16)):
        found = attended(given, torch.float32, ones(given), rows=rows, keys=keys)
        check_numbers(found, context(given, 1.0))
    assert most_keys(given, 32) <= 48


def test_a_window_as_wide_as_the_texts_is_none() -> None:
    given = windowed(64, lengths=[64, 20])
    whole = replace(given, near=0)
    found, all_keys = (attended(each, torch.float32, ones(given), rows=64, keys=64) for each in (given, whole))
    assert torch.equal(found, all_keys)
    narrower = attended(replace(given, near=63), torch.float32, ones(given), rows=64, keys=64)
    assert not torch.equal(narrower, all_keys)


@pytest.mark.parametrize("keys", [16, 64, 512])
@pytest.mark.parametrize("near", [1, 5, 65])
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_a_query_for_each_text(last: bool, near: int, keys: int) -> None:
    given = replace(case(torch.float16, 32, [3, 300, 20], per_text=True), near=near, last=last)
    found = attended(given, torch.float32, ones(given), rows=16, keys=keys)
    check_numbers(found, context(given, 1.0))
    with pytest.raises(AssertionError):  # the other end
        check_numbers(found, context(replace(given, last=not last), 1.0))


@pytest.mark.filterwarnings("ignore:All-NaN slice encountered")
def test_blocks_of_keys_outside_of_the_window_are_not_even_read() -> None:
    """A number that is none would show; in a key that is seen it does."""
    given = windowed(9, lengths=[200])
    before = attended(given, torch.float32, ones(given), rows=16, keys=16)
    given.joined[160:] = float("nan")
    after = attended(given, torch.float32, ones(given), rows=16, keys=16)
    assert torch.equal(before[:144], after[:144]) and torch.isfinite(after[:144]).all()
    assert torch.isnan(after[153:]).all()
