"""The CRF's algorithms against a sum over all sequences of tags, and the constraints of the schemes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest

from bertc.core.crf import Crf
from bertc.core.head import Head
from bertc.evaluate import chain as module
from bertc.evaluate.chain import Chain, best_tags, chain_from_head, tag_chances
from bertc.evaluate.metrics.classification import softmax
from bertc.evaluate.metrics.entities import Scheme, allowed_neighbours, entities_from_tags, scheme_from_labels
from tests.evaluate.toy import TAGGER


def chain_of(random: np.random.Generator, tags: int, *, whole: bool) -> Chain:
    sizes = ((tags, tags), (tags,), (tags,))
    scores = [random.integers(-2, 3, size) if whole else 2 * random.standard_normal(size) for size in sizes]
    transitions, start, end = (np.asarray(values, np.float64) for values in scores)
    return Chain(transitions=transitions, start=start, end=end)


def score(chain: Chain, emissions: np.ndarray, tags: tuple[int, ...]) -> float:
    inner = sum(chain.transitions[pair] for pair in pairwise(tags))
    each = emissions.astype(np.float64)[range(len(tags)), tags].sum()
    return float(chain.start[tags[0]] + each + inner + chain.end[tags[-1]])


def every_path(chain: Chain, emissions: np.ndarray) -> Iterator[tuple[float, tuple[int, ...]]]:
    for tags in product(range(chain.tags), repeat=len(emissions)):
        yield score(chain, emissions, tags), tags


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_all_sequences_is_found_and_ties_go_to_the_first_tags_from_the_end(seed: int) -> None:
    random = np.random.default_rng(seed)
    tags = int(random.integers(1, 4))
    chain = chain_of(random, tags, whole=seed % 2 == 0)  # whole numbers have ties
    texts = [random.integers(-1, 2, (length, tags)).astype(np.float32) for length in random.integers(1, 6, 7)]
    for found, emissions in zip(best_tags(chain, texts), texts, strict=True):
        # Backwards, since of equal sequences the one with the smaller last tag counts, then the last but one, ...
        _, wanted = min((-value, path[::-1]) for value, path in every_path(chain, emissions))
        assert found.dtype == np.int64 and tuple(found[::-1]) == wanted


@pytest.mark.parametrize("seed", range(4))
def test_chances_are_shares_of_all_sequences(seed: int) -> None:
    random = np.random.default_rng(seed)
    chain = chain_of(random, 3, whole=False)
    texts = [random.standard_normal((length, 3)).astype(np.float32) for length in (4, 1, 5, 2)]
    for found, emissions in zip(tag_chances(chain, texts), texts, strict=True):
        wanted = np.zeros_like(found)
        for value, path in every_path(chain, emissions):
            wanted[range(len(path)), path] += np.exp(value)
        assert found == pytest.approx(wanted / wanted.sum(1, keepdims=True), abs=1e-12)


def test_a_text_does_not_depend_on_the_others_nor_on_how_many_are_decided_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(1)
    chain = chain_of(random, 5, whole=False)
    texts = [random.standard_normal((length, 5)).astype(np.float32) for length in (3, 0, 40, 1, 0, 12)]
    together = best_tags(chain, texts), tag_chances(chain, texts)
    monkeypatch.setattr(module, "MOST_PAIRS", 1)
    for function, whole in zip((best_tags, tag_chances), together, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(function(chain, texts), whole, strict=True))
        assert [len(each) for each in whole] == [3, 0, 40, 1, 0, 12]
    assert best_tags(chain, []) == []


def test_a_crf_that_adds_nothing_decides_as_each_token_alone() -> None:
    chain = Chain(transitions=np.zeros((4, 4)), start=np.zeros(4), end=np.zeros(4))
    texts = [np.random.default_rng(0).standard_normal((length, 4)).astype(np.float32) for length in (5, 2)]
    for tags, chances, emissions in zip(best_tags(chain, texts), tag_chances(chain, texts), texts, strict=True):
        assert np.array_equal(tags, emissions.argmax(1)) and chances == pytest.approx(softmax(emissions))


def test_huge_scores_give_no_nan() -> None:
    chain = Chain(transitions=np.array([[0.0, -1e4], [-1e4, 0.0]]), start=np.zeros(2), end=np.zeros(2))
    emissions = np.array([[3e4, 0], [0, 3e4], [3e4, 0]], np.float32)
    assert best_tags(chain, [emissions])[0].tolist() == [0, 1, 0]
    assert tag_chances(chain, [emissions])[0] == pytest.approx(np.array([[1, 0], [0, 1], [1, 0]]))


LABELS = {
    Scheme.BIO: ("O", "B-a", "I-a", "B-b", "I-b"),
    Scheme.IOB1: ("O", "B-a", "I-a", "I-b"),
    Scheme.BILOU: ("O", "B-a", "I-a", "L-a", "U-a", "U-b"),
    Scheme.IOBES: ("O", "B-a", "I-a", "E-a", "S-a", "B-b", "I-b", "E-b", "S-b"),
}


@pytest.mark.parametrize("scheme", LABELS)
def test_what_is_allowed_is_what_the_entities_can_be_written_in(scheme: Scheme) -> None:
    """Tags are allowed if and only if none of them is lost or changed when its entities are written down again."""
    labels = LABELS[scheme]
    assert scheme_from_labels(labels) is scheme
    allowed = allowed_neighbours(labels, scheme)
    for ids in product(range(len(labels)), repeat=3):
        tags = [labels[index] for index in ids]
        path = (-1, *ids, -1)
        fits = all(allowed[pair] for pair in pairwise(path))
        assert fits == (written(tags, scheme) == tags), tags


def written(tags: list[str], scheme: Scheme) -> list[str]:
    """Return the tags of the entities that `tags` have."""
    found = ["O"] * len(tags)
    first, last, single = {
        Scheme.BILOU: ("B", "L", "U"),
        Scheme.IOBES: ("B", "E", "S"),
        Scheme.BIO: ("B", "I", "B"),
        Scheme.IOB1: ("I", "I", "I"),
    }[scheme]
    before = ("", -2)
    for kind, begin, end in entities_from_tags(tags, scheme):
        found[begin : end + 1] = [f"I-{kind}"] * (end + 1 - begin)
        found[begin] = f"{first}-{kind}"
        found[end] = f"{last}-{kind}" if end > begin else f"{single}-{kind}"
        if scheme is Scheme.IOB1 and before == (kind, begin - 1):
            found[begin] = f"B-{kind}"
        before = (kind, end)
    return found


def test_a_constrained_crf_never_gives_out_what_its_scheme_forbids() -> None:
    random = np.random.default_rng(3)
    texts = [3 * random.standard_normal((9, len(TAGGER.labels))).astype(np.float32) for _ in range(20)]

    def forbidden(head: Head) -> int:
        allowed = allowed_neighbours(head.labels, Scheme.BIO)
        paths = [(-1, *tags, -1) for tags in best_tags(chain_from_head(head), texts)]
        return sum(not allowed[pair] for path in paths for pair in pairwise(path))

    assert TAGGER.crf is not None
    assert forbidden(TAGGER) > 0
    assert forbidden(replace(TAGGER, crf=replace(TAGGER.crf, constrained=True))) == 0


def test_sizes_that_do_not_fit_are_no_crf() -> None:
    with pytest.raises(ValueError, match=r"\[1, 2\]"):
        Crf(transitions=((0.0, 1.0), (1.0, 0.0)), start=(0.0,), end=(0.0, 0.0))
