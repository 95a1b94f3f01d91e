"""The channel permutation: the search keeps more, and the permuted graph computes the unpermuted one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import batch_from_features
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.sites import Role, Site
from bertc.prune import permute
from bertc.prune.pattern import gemms_of_graph, mask_from_scores, weight_name
from bertc.prune.permute import Order, head_size_of_graph, order_from_scores, permute_channels, permuted_gram
from tests.prune.correlated import gram_of
from tests.tiny import TinyModel, random_features


def kept(scores: NDArray[np.float64]) -> float:
    return float(scores[mask_from_scores(scores)].sum())


def test_the_order_keeps_more_and_is_a_permutation() -> None:
    scores = np.abs(np.random.default_rng(0).standard_normal((64, 16)))
    order = order_from_scores(scores, block=64)
    assert sorted(order) == list(range(64))
    assert kept(scores[order]) > 1.02 * kept(scores)


def test_what_cannot_be_better_is_found() -> None:
    scores = np.zeros((16, 3))
    scores[:8] = 1.0  # eight live inputs in two groups: the best order has two in each
    assert kept(scores) == 12.0
    assert kept(scores[order_from_scores(scores, block=16)]) == 24.0


def test_more_rounds_are_never_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.abs(np.random.default_rng(1).standard_normal((32, 8)))
    found = []
    for rounds in (0, 1, 4, 16):
        monkeypatch.setattr(permute, "ROUNDS", rounds)
        found.append(kept(scores[order_from_scores(scores, block=32)]))
    assert found == sorted(found) and found[0] == kept(scores)


def test_inputs_stay_in_their_block() -> None:
    scores = np.abs(np.random.default_rng(2).standard_normal((32, 8)))
    order = order_from_scores(scores, block=8)
    assert np.array_equal(order // 8, np.arange(32) // 8) and not np.array_equal(order, np.arange(32))


@pytest.mark.parametrize("block", [4, 6])
def test_a_block_without_choice_stays_as_it_is(block: int) -> None:
    scores = np.abs(np.random.default_rng(3).standard_normal((24, 4)))
    assert np.array_equal(order_from_scores(scores, block=block), np.arange(24))


def test_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.abs(np.random.default_rng(4).standard_normal((64, 4)))
    monkeypatch.setattr(permute, "ROUNDS", 2)
    first, again = (order_from_scores(scores, block=64) for _ in range(2))
    monkeypatch.setattr(permute, "SEED", permute.SEED + 1)
    assert np.array_equal(first, again) and not np.array_equal(first, order_from_scores(scores, block=64))


def test_moments_follow_the_order() -> None:
    x = np.random.default_rng(5).standard_normal((20, 8))
    order = np.random.default_rng(6).permutation(8)
    found, wanted = permuted_gram(gram_of(x), order), gram_of(x[:, order])
    np.testing.assert_allclose(found.matrix, wanted.matrix)
    np.testing.assert_allclose(found.total, wanted.total)


def orders_of(model: ir.Model, *, across_heads: bool = False) -> dict[Site, Order]:
    """Random orders of everything that may be permuted (or, wrongly, of context channels across heads)."""
    generator = np.random.default_rng(0)
    orders = {}
    for site, weight in gemms_of_graph(model).items():
        if site.role in (Role.OUTPUT_GEMM, Role.ATTENTION_GEMM):
            head = head_size_of_graph(model, site.layer)
            free = site.role is Role.OUTPUT_GEMM or across_heads
            size = len(weight) if free else head
            parts = [begin + generator.permutation(size) for begin in range(0, len(weight), size)]
            orders[site] = np.concatenate(parts)
    return orders


def permuted_graph(graph: ir.Model, orders: dict[Site, Order]) -> ir.Model:
    model = graph.clone()
    for gemm, order in orders.items():
        permute_channels(model, gemm, order)
    return model


def test_the_permuted_graph_computes_the_same(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph
    name = weight_name(Site(0, Role.OUTPUT_GEMM))
    before = array_of(graph.graph.initializers[name]).copy()
    permuted = permuted_graph(graph, orders_of(graph))
    wanted = Interpreter(graph).run(tiny_classifier.batch)["logits"]
    found = Interpreter(permuted).run(tiny_classifier.batch)["logits"]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.array_equal(array_of(graph.graph.initializers[name]), before)
    assert not np.array_equal(array_of(permuted.graph.initializers[name]), before)


def test_across_heads_it_would_not(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph
    permuted = permuted_graph(graph, orders_of(graph, across_heads=True))
    wanted = Interpreter(graph).run(tiny_classifier.batch)["logits"]
    assert np.abs(Interpreter(permuted).run(tiny_classifier.batch)["logits"] - wanted).max() > 1e-4


@pytest.mark.shared
def test_a_real_checkpoint_permuted_computes_the_same(shared_path: Path) -> None:
    graph = graph_from_checkpoint(checkpoint_from_path(str(shared_path / "models" / "minilm-sst2")))
    permuted = permuted_graph(graph, orders_of(graph))
    batch = batch_from_features(random_features(8), range(8))
    found, wanted = Interpreter(permuted).run(batch)["logits"], Interpreter(graph).run(batch)["logits"]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
