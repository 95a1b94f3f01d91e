"""The last layer for the tokens that a classifier reads: the same answers from fewer rows; other heads untouched."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.head import Head, Pooling
from bertc.ir.edit import remove_unused
from bertc.ir.interpret import Interpreter
from bertc.ir.last_layer import slice_last_layer
from bertc.ir.sentences import unpack_rows
from bertc.ir.sites import Role, Site
from tests.conftest import TinyOf
from tests.tiny import LAYERS, TinyModel, quantized, random_features, run_values, tiny_model, tiny_scheme

SCHEMES = [None, ("1", None), ("1", "channel"), ("2", None), ("2", "channel"), ("3", None)]
FEATURES = random_features(7)
ROWS = ((0, 3, 5), (2,), (6, 1), (4,))
APART = batch_from_features(FEATURES, range(len(FEATURES)))
BATCHES = {
    "padded": APART,
    "padded on the left": Batch(
        input_ids=APART.input_ids[:, ::-1].copy(),
        token_type_ids=APART.token_type_ids[:, ::-1].copy(),
        mask=APART.mask[:, ::-1].copy(),
        order=APART.order,
    ),
    "packed": packed_batch_from_features(FEATURES, ROWS),
    "one text": batch_from_features(FEATURES, [3]),
}
LAST = [Site(LAYERS - 1, role).name for role in Role if role not in (Role.SCORES, Role.PROBS)]


def graph_of(model: TinyModel, scheme: tuple[str, str | None] | None) -> ir.Model:
    return model.graph if scheme is None else quantized(model, tiny_scheme(*scheme)).graph


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("name", BATCHES)
def test_the_answers_stay_the_same(
    name: str, scheme: tuple[str, str | None] | None, tiny_classifier: TinyModel
) -> None:
    graph = graph_of(tiny_classifier, scheme)
    (whole,), (first,) = (Interpreter(each).run(BATCHES[name]).values() for each in (graph, slice_last_layer(graph)))
    assert np.unique(whole).size > 1 and first.shape == whole.shape
    np.testing.assert_allclose(first, whole, atol=1e-5)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_behind_the_keys_and_values_only_first_tokens_remain(
    scheme: tuple[str, str | None] | None, tiny_classifier: TinyModel
) -> None:
    batch = BATCHES["packed"]
    graph = slice_last_layer(graph_of(tiny_classifier, scheme))
    lengths = {name: value.shape[1] for name, value in zip(LAST, run_values(graph, batch, LAST), strict=True)}
    whole = {name for name, length in lengths.items() if length == batch.mask.shape[1]}
    assert whole == {
        Site(LAYERS - 1, role).name for role in (Role.HIDDEN, Role.KEY_GEMM, Role.KEY, Role.VALUE_GEMM, Role.VALUE)
    }
    assert {lengths[name] for name in lengths if name not in whole} == {3}  # the most texts in a row


def test_a_sentence_sees_its_own_row_alone(tiny_classifier: TinyModel) -> None:
    graph = slice_last_layer(tiny_classifier.graph)
    packed = BATCHES["packed"]
    (apart,) = Interpreter(graph).run(batch_from_features(FEATURES, packed.order)).values()
    (together,) = Interpreter(graph).run(packed).values()
    blind = Batch(
        input_ids=packed.input_ids,
        token_type_ids=packed.token_type_ids,
        mask=np.minimum(packed.mask, 1),
        order=packed.order,
    )
    (mixed,) = Interpreter(graph).run(blind).values()
    np.testing.assert_allclose(together, apart, atol=1e-5)
    assert mixed.shape[0] == len(ROWS) and not np.allclose(mixed[0], apart[0], atol=1e-3)


def test_the_graph_that_was_given_stays_whole(tiny_classifier: TinyModel) -> None:
    before = [node.name for node in tiny_classifier.graph.graph]
    assert slice_last_layer(tiny_classifier.graph) is not tiny_classifier.graph
    assert [node.name for node in tiny_classifier.graph.graph] == before


@pytest.mark.parametrize("task", ["token-classification", "question-answering", "feature-extraction"])
def test_heads_that_read_every_token_keep_them(task: str, tiny_of: TinyOf) -> None:
    graph = tiny_of(task).graph
    assert slice_last_layer(graph) is graph


def test_embeddings_of_the_first_token_come_with_all_tokens(tmp_path: Path) -> None:
    graph = tiny_model(tmp_path, head=Head(task="feature-extraction", pooling=Pooling.CLS)).graph
    assert slice_last_layer(graph) is graph


def test_a_model_of_one_layer(tmp_path: Path) -> None:
    graph = tiny_model(tmp_path, layers=1).graph
    (whole,), (first,) = (
        Interpreter(each).run(BATCHES["packed"]).values() for each in (graph, slice_last_layer(graph))
    )
    np.testing.assert_allclose(first, whole, atol=1e-5)


def test_rows_that_are_one_text_each_are_refused(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph.clone()
    unpack_rows(graph)
    remove_unused(graph)
    with pytest.raises(KeyError):
        slice_last_layer(graph)
