"""What distances and types add to attention against float64 arithmetic: every kind, texts and blocks of many sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch

from bertc.runtime.cuda.added_scores import Added
from bertc.runtime.cuda.kernels.relative_scores import BIAS, OF_KEYS, OF_QUERIES, SEGMENTS
from tests.runtime.cuda.kernels.numbers import DEVICE, Array, exact, on_device
from tests.runtime.cuda.kernels.test_attention_in_a_row import HEADS, Case, attended, case, check_codes, context

LENGTHS = [1, 2, 17, 64, 65, 130, 300]
COLUMNS = 64
"""Of products with embeddings of distances: fewer than there are distances, far ones share one."""

KINDS = {
    "bias": BIAS.value,
    "of queries": OF_QUERIES.value,
    "of keys": OF_KEYS.value,
    "of both": OF_QUERIES.value | OF_KEYS.value,
    "segments": SEGMENTS.value,
    "of queries and segments": OF_QUERIES.value | SEGMENTS.value,
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def relative(
    kind: str, *, dtype: torch.dtype = torch.float16, lengths: list[int] = LENGTHS, per_text: bool = False
) -> Case:
    """Return a case with what a kind adds, about as large as the scores."""
    given, bits = case(dtype, 32, lengths, per_text=per_text), KINDS[kind]
    generator, longest, tokens = np.random.default_rng(bits), max(lengths), sum(lengths)
    rows = len(lengths) if per_text else tokens

    def numbers(*shape: int) -> torch.Tensor:
        return on_device(generator.normal(0, 1.5, shape), torch.float32 if per_text else torch.float16)

    distances = None
    if bits & BIAS.value:
        distances = on_device(generator.normal(0, 1.5, (HEADS, 2 * longest - 1)))
    elif bits != SEGMENTS.value:
        far = np.clip(np.arange(2 * longest - 1) - longest + 1, -COLUMNS // 2, COLUMNS // 2 - 1) + COLUMNS // 2
        distances = on_device(far, torch.int32)
    added = Added(
        bits=bits,
        distances=distances,
        by_query=numbers(HEADS, rows, COLUMNS) if bits & OF_QUERIES.value else None,
        by_key=numbers(HEADS, tokens, COLUMNS).half() if bits & OF_KEYS.value else None,
        segments=numbers(rows, 3 * HEADS)[:, :HEADS] if bits & SEGMENTS.value else None,
    )
    types = torch.randint(0, 3, (tokens,), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    return replace(given, added=added, types=types.to(DEVICE))


def check_numbers(found: torch.Tensor, wanted: Array) -> None:
    """Probabilities are FP16."""
    assert np.abs(exact(found) - wanted).max() <= 3e-3 * np.abs(wanted).max()


def ones(given: Case) -> Array:
    return np.ones(given.n)


@each_kind
@pytest.mark.parametrize("rows, keys", [(16, 16), (64, 32), (64, 512)])
def test_scores_have_what_is_added(kind: str, rows: int, keys: int) -> None:
    given = relative(kind)
    found = attended(given, torch.float32, ones(given), rows=rows, keys=keys)
    check_numbers(found, context(given, 1.0))
    with pytest.raises(AssertionError):  # nothing added, and the other way round
        check_numbers(found, context(replace(given, added=Added(bits=0)), 1.0))
    if given.added.distances is not None:
        turned = replace(given.added, distances=given.added.distances.flip(-1))
        with pytest.raises(AssertionError):
            check_numbers(found, context(replace(given, added=turned), 1.0))


@each_kind
@pytest.mark.parametrize("dtype", [torch.int8, torch.float8_e4m3fn], ids=str)
def test_codes_too(dtype: torch.dtype, kind: str) -> None:
    """The products are of codes then, and what is added is in their unit."""
    given = relative(kind, dtype=dtype, lengths=[1, 130, 40])
    inverse = np.random.default_rng(0).uniform(40, 90, given.n).astype(np.float32)
    if dtype == torch.int8:
        check_codes(attended(given, dtype, inverse, rows=64, keys=64), context(given, inverse))
    else:
        check_numbers(attended(given, torch.float32, inverse, rows=64, keys=64), context(given, 1.0))


@each_kind
@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
def test_a_query_for_each_text(last: bool, kind: str) -> None:
    """What is of queries has a row for each text, in float32."""
    given = replace(relative(kind, lengths=[3, 300, 20], per_text=True), last=last)
    for keys in (16, 512):
        found = attended(given, torch.float32, ones(given), rows=16, keys=keys)
        check_numbers(found, context(given, 1.0))
    with pytest.raises(AssertionError):  # the other end
        check_numbers(found, context(replace(given, last=not last), 1.0))


@pytest.mark.parametrize("kind", ["bias", "of both"])
def test_a_window_besides(kind: str) -> None:
    given = replace(relative(kind), near=9)
    check_numbers(attended(given, torch.float32, ones(given), rows=16, keys=16), context(given, 1.0))
