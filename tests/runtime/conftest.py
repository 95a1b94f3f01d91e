"""Plans of tiny models, compiled once, and the instruction sets of the native engine to run them on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.exit_classifiers import checkpoint_with_exits
from bertc.core.head import Head, Pooling
from bertc.core.progress import Silent
from bertc.export.embeddings import store_embeddings
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.early_exit import let_texts_leave, without_exits
from bertc.ir.scheme import Scheme
from bertc.prune.layers import prune_graph
from bertc.runtime.native.bf16_choice import choose_bf16
from bertc.runtime.native.library import instruction_sets
from bertc.runtime.native.sparse_choice import choose_sparse
from bertc.runtime.plan.compile import plan_from_graph
from tests.runtime.plan.compiled_plans import Compiled
from tests.tiny import TinyModel, calibrated, quantized, random_features, tiny_checkpoint, tiny_model, tiny_scheme
from tests.tiny_families import write_tiny_family


@pytest.fixture(params=["amx", "avx512", "avxvnni", "avx2", "i8mm", "dotprod", "plain"])
def instruction_set(request: pytest.FixtureRequest) -> str:
    """Each set that this CPU has."""
    if request.param not in instruction_sets():
        pytest.skip(f"this CPU has no {request.param}")
    return str(request.param)


def compiled_family(folder: Path, family: str, scheme: Scheme, **options: Any) -> Compiled:
    """Compile a tiny classifier of a family, with INT8 tables."""
    checkpoint = checkpoint_from_path(write_tiny_family(folder / "model", family, **options))
    graph = store_embeddings(graph_from_checkpoint(checkpoint)).graph
    features = random_features(8)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=features, table=calibrated(graph, features))
    return plan_from_graph(quantized(model, scheme).graph)


@pytest.fixture(scope="session")
def int8(tiny_classifier: TinyModel) -> Compiled:
    """Mode 3 with every field that a classifier's plan can have."""
    stored = replace(tiny_classifier, graph=store_embeddings(tiny_classifier.graph).graph)
    chosen = replace(tiny_scheme("3", "channel"), one_sided=True, split_outliers=True)
    return plan_from_graph(quantized(stored, chosen).graph)


@pytest.fixture(scope="session")
def turned(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Rotary positions, a local window and a gated feed-forward, without a table of positions, in mode 2."""
    return compiled_family(tmp_path_factory.mktemp("turned"), "modernbert", tiny_scheme("2", "channel"))


@pytest.fixture(scope="session")
def distant(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Products of queries and keys with embeddings of distances, in mode 1."""
    return compiled_family(tmp_path_factory.mktemp("distant"), "deberta-v2", tiny_scheme("1"))


@pytest.fixture(scope="session")
def biased(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """RMSNorm, a bias by distance and scores without a scale, a gated feed-forward, in mode 2."""
    folder, chosen = tmp_path_factory.mktemp("biased"), tiny_scheme("2", "channel")
    return compiled_family(folder, "t5", chosen, task="token-classification")


@pytest.fixture(scope="session")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Distances and segments, and texts' last tokens, in mode 2."""
    return compiled_family(tmp_path_factory.mktemp("segmented"), "xlnet", tiny_scheme("2", "channel"))


@pytest.fixture(scope="session")
def leaving(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Two exits, at which texts leave, in mode 3: what goes on are codes."""
    checkpoint = checkpoint_with_exits(tiny_checkpoint(tmp_path_factory.mktemp("leaving"), layers=3))
    graph = graph_from_checkpoint(checkpoint)
    features = random_features(8)
    table = calibrated(without_exits(graph), features)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=features, table=table)
    return plan_from_graph(let_texts_leave(quantized(model, tiny_scheme("3")).graph, 0.9))


@pytest.fixture(scope="session")
def sparse(tiny_classifier: TinyModel) -> Compiled:
    """A plan whose products have 2:4 weights, and skip their zeros."""
    graph = prune_graph(tiny_classifier.graph, criterion="magnitude", grams=None, progress=Silent()).graph
    compiled = plan_from_graph(quantized(replace(tiny_classifier, graph=graph), tiny_scheme("2", "channel")).graph)
    return choose_sparse(*compiled, speedups=lambda *_: (2.0, 2.0))


@pytest.fixture(scope="session")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A float plan with a mix of layers, pooling and a length of 1, one product in INT8."""
    head = Head(task="feature-extraction", pooling=Pooling.MEAN, normalize=True, layer_weights=(1.0, 2.0, 1.0))
    model = tiny_model(tmp_path_factory.mktemp("pooled"), task="feature-extraction", head=head)
    return plan_from_graph(quantized(model, tiny_scheme("2", keep_float=("probs", "query", "layer.1.context"))).graph)


@pytest.fixture(scope="session")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A masked language model's plan, which reads each text's mask."""
    model = tiny_model(tmp_path_factory.mktemp("marked"), task="fill-mask")
    return plan_from_graph(quantized(model, tiny_scheme("1")).graph)


@pytest.fixture(scope="session")
def bf16(pooled: Compiled) -> Compiled:
    """The same with what is float in the layers in BF16."""
    return choose_bf16(*pooled, pays=True)
