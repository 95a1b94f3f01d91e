"""Attention over texts of 1 to 512 tokens in one row against float64 arithmetic on the same operands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch
import triton.language as tl

from bertc.runtime.cuda.added_scores import Added
from bertc.runtime.cuda.kernels.attention import attend
from bertc.runtime.cuda.kernels.relative_scores import BIAS
from bertc.runtime.cuda.step_launch import attention_ways
from bertc.runtime.cuda.texts import Texts, texts_of_lengths
from tests.runtime.cuda.kernels.numbers import DEVICE, Array, check_stored, exact, on_device, operand

LENGTHS = [1, 2, 31, 64, 65, 200, 512]
SHORT = [1, 31, 2, 64]
HEADS = 2
NOTHING = Added(bits=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Query, key and value beside each other in one matrix, as one product writes them, and the numbers of a step."""

    texts: Texts
    size: int
    joined: torch.Tensor
    scaling: float = 1.0
    context_scale: float = 1.0
    queries: torch.Tensor | None = None
    """A query for each text, instead of each token's: its first token's, or with `last` its last's."""

    near: int = 0
    last: bool = False
    added: Added = NOTHING
    types: torch.Tensor | None = None

    @property
    def n(self) -> int:
        return HEADS * self.size

    def operands(self) -> list[torch.Tensor]:
        query, key, value = (self.joined[:, place * self.n :][:, : self.n] for place in range(3))
        return [query if self.queries is None else self.queries, key, value]


def case(dtype: torch.dtype, size: int, lengths: list[int], *, per_text: bool = False) -> Case:
    generator = np.random.default_rng(size)
    joined = operand(generator, dtype, sum(lengths), 3 * HEADS * size)
    queries = joined[: len(lengths), : HEADS * size].float() if per_text else None
    unit = 1.0 if dtype == torch.float16 else 60.0
    return Case(
        texts=texts_of_lengths(lengths),
        size=size,
        joined=joined,
        scaling=2.0 / (unit * unit * size**0.5),
        context_scale=1 / unit,
        queries=queries,
    )


def seen(given: Case, length: int) -> Array:
    """Say which keys of a text its queries see, [queries, length]."""
    keys = np.arange(length)
    queries = keys if given.queries is None else keys[-1:] if given.last else keys[:1]
    return np.asarray((np.abs(queries[:, None] - keys) < given.near) | (given.near == 0))


def more(given: Case, head: int, rows: slice, begin: int, end: int) -> Array:
    """Return what is added to the scores of a head in the text of tokens begin to end, [queries, keys]."""
    added, keys = given.added, np.arange(end - begin)
    queries = keys if given.queries is None else keys[-1:] if given.last else keys[:1]
    found = np.zeros((len(queries), len(keys)))
    if added.distances is not None:
        cells = keys - queries[:, None] + added.distances.shape[-1] // 2
        if added.bits & BIAS.value:
            found += exact(added.distances)[head, cells]
        else:
            column = added.distances.cpu().numpy()[cells]
            for products, row in ((added.by_query, np.arange(len(queries))[:, None]), (added.by_key, keys)):
                if products is not None:
                    found += exact(products)[head, rows if products is added.by_query else slice(begin, end)][
                        row, column
                    ]
    if added.segments is not None and given.types is not None:
        types = given.types.cpu().numpy()[begin:end]
        found += (types[queries][:, None] == types) * exact(added.segments)[rows, head][:, None]
    return found


def context(given: Case, inverse: Array | float) -> Array:
    """Return the context in float64, [rows, n], times `inverse`."""
    query, key, value = (exact(each) for each in given.operands())
    found = np.zeros_like(query)
    for text, (begin, end) in enumerate(zip(given.texts.ends[:-1], given.texts.ends[1:], strict=True)):
        rows = slice(begin, end) if given.queries is None else slice(text, text + 1)
        for head in range(HEADS):
            columns = slice(head * given.size, (head + 1) * given.size)
            scores = query[rows, columns] @ key[begin:end, columns].T * given.scaling
            scores = np.where(seen(given, end - begin), scores + more(given, head, rows, begin, end), -np.inf)
            probs = np.exp(scores - scores.max(axis=1, keepdims=True))
            probs /= probs.sum(axis=1, keepdims=True)
            found[rows, columns] = probs @ value[begin:end, columns] * given.context_scale
    return found * inverse


def attended(given: Case, out: torch.dtype, inverse: Array, *, rows: int, keys: int) -> torch.Tensor:
    query, key, value = given.operands()
    per_text = given.queries is not None
    texts = np.stack((np.arange(given.texts.count), np.zeros(given.texts.count)), 1).astype(np.int32)
    blocks = on_device(np.concatenate((texts if per_text else given.texts.blocks(rows), [[-1, -1]])), torch.int32)
    found = torch.zeros((len(query), given.n), dtype=out, device=DEVICE)
    added = given.added
    tensors = (added.distances, added.by_query, added.by_key, given.types, added.segments)
    middle = 0 if added.distances is None else added.distances.shape[-1] // 2
    attend[(len(blocks), HEADS)](
        query, key, value, found, on_device(given.texts.ends, torch.int32), blocks, on_device(inverse),
        *(found if each is None else each for each in tensors),
        given.scaling, given.context_scale, 1 / given.scaling, middle, added.columns,
        query.stride(0), key.stride(0), value.stride(0), found.stride(0), *added.strides,
        SIZE=given.size, PER_TEXT=per_text, LAST=given.last, NEAR=given.near, ADDED=added.bits, PROBS=tl.float16,
        ONE_STEP=most_keys(given, rows) <= keys, BLOCK_M=rows, BLOCK_N=keys,
    )  # fmt: skip
    return found


def most_keys(given: Case, rows: int) -> int:
    """Return how many keys the queries of a block see at most."""
    longest = max(given.texts.lengths)
    return min(longest, rows + 2 * (given.near - 1)) if given.near else longest


def check_codes(found: torch.Tensor, wanted: Array) -> None:
    """Probabilities are FP16: a context beside the middle of two codes may become the other."""
    off = np.abs(exact(found) - np.clip(wanted, -128, 127))
    assert off.max() <= 0.6 and np.abs(wanted).max() > 40


@pytest.mark.parametrize("lengths, keys", [(SHORT, 64), (LENGTHS, 64), ([512, 3], 512)], ids=["one", "several", "wide"])
@pytest.mark.parametrize("size", [32, 64])
def test_attention_in_codes(size: int, lengths: list[int], keys: int) -> None:
    """In one step, where all keys fit into a block, and in several."""
    given = case(torch.int8, size, lengths)
    inverse = np.random.default_rng(0).uniform(40, 90, given.n).astype(np.float32)
    found = attended(given, torch.int8, inverse, rows=64, keys=keys)
    check_codes(found, context(given, inverse))
    with pytest.raises(AssertionError):
        check_codes(found, context(given, np.roll(inverse, 1)))


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn], ids=str)
@pytest.mark.parametrize("lengths", [SHORT, LENGTHS], ids=["one", "several"])
def test_attention_in_numbers(lengths: list[int], dtype: torch.dtype, size: int) -> None:
    given = case(dtype, size, lengths)
    found = attended(given, torch.float32, np.ones(given.n), rows=64, keys=64)
    wanted = context(given, 1.0)
    assert np.abs(exact(found) - wanted).max() <= 3e-3 * np.abs(wanted).max()  # probabilities are FP16
    with pytest.raises(AssertionError):
        check_stored(found, wanted * 1.05)


@pytest.mark.parametrize("dtype", [torch.int8, torch.float16], ids=str)
@pytest.mark.parametrize("keys", [16, 512])
def test_a_query_for_each_text(keys: int, dtype: torch.dtype) -> None:
    """As the last layer has them, where a classifier reads first tokens alone: float32 for codes too."""
    given = case(dtype, 32, [3, 512, 20], per_text=True)
    found = attended(given, torch.float32, np.ones(given.n), rows=16, keys=keys)
    wanted = context(given, 1.0)
    tokens = Case(**{name: getattr(given, name) for name in Case.__slots__} | {"queries": None})
    assert np.abs(exact(found) - wanted).max() <= 1e-2 * np.abs(wanted).max()
    assert np.abs(exact(found) - context(tokens, 1.0)[:3]).max() > 0.1 * np.abs(wanted).max()


def test_a_text_sees_itself_alone() -> None:
    given = case(torch.float16, 32, [20, 30])
    before = attended(given, torch.float32, np.ones(given.n), rows=16, keys=16)
    given.joined[20:] += 1
    after = attended(given, torch.float32, np.ones(given.n), rows=16, keys=16)
    assert torch.equal(before[:20], after[:20]) and not torch.equal(before[20:], after[20:])


@pytest.mark.parametrize("near", [1, 5, 65])
@pytest.mark.parametrize("longest", [16, 64, 128, 256, 1024])
@pytest.mark.parametrize("per_text", [False, True])
def test_with_a_window_one_step_is_for_windows_that_fit_into_a_block(longest: int, per_text: bool, near: int) -> None:
    ways = attention_ways(longest, per_text, near)
    assert ways and len({str(way) for way in ways}) == len(ways)
    for way in ways:
        most = min(longest, way["BLOCK_M"] + 2 * (near - 1))
        assert way["ONE_STEP"] is (most <= way["BLOCK_N"]) and 16 <= way["BLOCK_N"] < 2 * max(most, 16)


@pytest.mark.parametrize("longest", [16, 32, 64, 128, 256, 512, 1024])
@pytest.mark.parametrize("per_text", [False, True])
def test_one_step_is_for_texts_that_fit_into_a_block(longest: int, per_text: bool) -> None:
    ways = attention_ways(longest, per_text)
    assert ways and all(way["ONE_STEP"] is (longest <= way["BLOCK_N"]) for way in ways)
    assert all(way["BLOCK_M"] >= 16 and way["BLOCK_N"] >= 16 for way in ways)
