"""MaxSim, and what tells how near an engine's tokens are to float's: by hand, and for what must be noticed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertc.evaluate.metrics.token_vectors import COMPARED, max_sim, scores_of_queries, token_metrics

METRICS = {metric.name: metric for metric in token_metrics()}
Array = Any


def outputs_of(tokens: list[tuple[Array, Array]]) -> Array:
    found = np.zeros(len(tokens), COMPARED)
    for row, both in enumerate(tokens):
        found["tokens"][row] = both
        found["score"][row] = max_sim(*both)
    return found


def random_tokens(
    rows: int, *, common: float = 0.0, noise: float = 0.0, tokens: int | None = None
) -> list[tuple[Array, Array]]:
    """Return unit vectors that share a direction, with noise; documents of so many tokens, or of 2 to 6."""
    random, other = np.random.default_rng(0), np.random.default_rng(1)

    def some(count: int) -> Array:
        vectors = random.normal(size=(count, 16)) + common + noise * other.normal(size=(count, 16))
        return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)

    return [(some(4), some(tokens or 2 + row % 5)) for row in range(rows)]


def test_the_best_of_each_of_the_query_s_tokens_is_summed() -> None:
    query = np.float32([[1, 0], [0, 1], [0.6, 0.8]])
    document = np.float32([[1, 0], [0.8, 0.6]])
    assert max_sim(query, document) == pytest.approx(1 + 0.6 + 0.96)
    assert max_sim(query[:1], document[1:]) == pytest.approx(0.8)


def test_every_query_is_compared_with_every_document() -> None:
    tokens = random_tokens(7)
    expected = [[max_sim(query, document) for _, document in tokens] for query, _ in tokens]
    np.testing.assert_allclose(list(scores_of_queries(outputs_of(tokens))), expected, atol=1e-5)


@pytest.mark.parametrize("empty", [{0}, {3, 4}, {6}, set(range(7))], ids=str)
def test_a_document_without_tokens_scores_nothing_and_has_no_neighbour_s_score(empty: set[int]) -> None:
    tokens = [
        (query, document[: 0 if row in empty else None]) for row, (query, document) in enumerate(random_tokens(7))
    ]
    outputs = outputs_of(tokens)
    assert set(np.flatnonzero(outputs["score"] == 0)) == empty
    expected = [[max_sim(query, document) for _, document in tokens] for query, _ in tokens]
    np.testing.assert_allclose(list(scores_of_queries(outputs)), expected, atol=1e-5)
    values = {name: metric.value(outputs, outputs) for name, metric in METRICS.items()}
    assert values["agreement"] == 1 and values["mean_cosine"] == pytest.approx(1) and values["logit_mse"] == 0


def test_the_same_is_perfect_and_noise_is_not() -> None:
    reference = outputs_of(random_tokens(30))
    for metric in METRICS.values():
        perfect = 0.0 if metric.name == "logit_mse" else 1.0
        assert metric.value(reference, reference) == pytest.approx(perfect, abs=1e-6)
        values = [metric.value(reference, outputs_of(random_tokens(30, noise=noise))) for noise in (0.05, 0.3, 3.0)]
        ordered = sorted(values, reverse=metric.name != "logit_mse")
        assert values == ordered and values[0] != values[-1], metric.name


def test_an_order_of_chance_is_a_half() -> None:
    """Of documents of one length: a longer one has the larger score, whatever its vectors are."""
    reference, other = (outputs_of(random_tokens(80, noise=noise, tokens=4)) for noise in (0, 50))
    assert METRICS["order_agreement"].value(reference, other) == pytest.approx(0.5, abs=0.06)


def test_a_ruined_order_is_noticed_though_every_vector_is_near() -> None:
    """Vectors that nearly all point one way: a small error of each leaves the cosine and takes the order."""
    reference = outputs_of(random_tokens(40, common=20.0))
    ruined = outputs_of(random_tokens(40, common=20.0, noise=2.0))
    assert METRICS["mean_cosine"].value(reference, ruined) > 0.985
    assert METRICS["order_agreement"].value(reference, ruined) < 0.85
    assert METRICS["agreement"].value(reference, ruined) < 0.5


def test_documents_that_the_engine_alone_scores_alike_count_half() -> None:
    tokens = random_tokens(10)
    same = [(query, tokens[0][1]) for query, _ in tokens]
    assert METRICS["order_agreement"].value(outputs_of(tokens), outputs_of(same)) == pytest.approx(0.5)


def test_what_is_no_number_is_no_agreement() -> None:
    reference = outputs_of(random_tokens(5))
    broken = outputs_of([(query, np.full_like(document, np.nan)) for query, document in random_tokens(5)])
    assert np.isnan(METRICS["order_agreement"].value(reference, broken))
    assert np.isnan(METRICS["mean_cosine"].value(reference, broken))


def test_a_pair_counts_as_much_as_float_scores_it_apart() -> None:
    """Scores 3, 2 and 1.9 of one query's documents: a change of the last two costs a little, of the first two more."""
    one = np.eye(1, 4, dtype=np.float32)
    scores = (3.0, 2.0, 1.9)

    def ranked(order: tuple[float, ...]) -> Array:
        return outputs_of([(one, np.float32([[score, 0, 0, 0]])) for score in order])

    near, far = (METRICS["order_agreement"].value(ranked(scores), ranked(each)) for each in ((3, 1.9, 2), (2, 3, 1.9)))
    assert near == pytest.approx(1 - 0.1 / 2.2, abs=1e-5) and far == pytest.approx(1 - 1.0 / 2.2, abs=1e-5)
