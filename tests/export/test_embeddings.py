"""Embedding tables stored as INT8 with a scale per row."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.export.embeddings import TABLES, store_embeddings
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from tests.tiny import Array, TinyModel, quantized, rms, run_values, tiny_scheme

NAMES = list(TABLES.items())


def stored(graph: ir.Model, table: str) -> tuple[Array, Array]:
    initializers = graph.graph.initializers
    return array_of(initializers[f"{table}.codes"]), array_of(initializers[f"{table}.scales"])


@pytest.mark.parametrize("value, table", NAMES)
def test_every_element_is_within_half_a_step(value: str, table: str, tiny_classifier: TinyModel) -> None:
    found = store_embeddings(tiny_classifier.graph)
    before = array_of(tiny_classifier.graph.graph.initializers[table])
    codes, scales = stored(found.graph, table)
    assert codes.dtype == np.int8 and codes.min() >= -127 and codes.shape == before.shape
    assert scales.shape == (before.shape[0], 1)
    assert (np.abs(codes * scales - before) <= scales * 0.5001).all()
    assert (np.abs(codes).max(axis=1) == 127).all()  # each row uses its whole grid


def test_bytes_are_counted_and_reduced(tiny_classifier: TinyModel) -> None:
    found = store_embeddings(tiny_classifier.graph)
    tables = [array_of(tiny_classifier.graph.graph.initializers[table]) for table in TABLES.values()]
    assert found.bytes_before == sum(table.nbytes for table in tables)
    assert found.bytes_after == sum(table.size + 4 * len(table) for table in tables)
    before, after = (len(ir.to_proto(each).SerializeToString()) for each in (tiny_classifier.graph, found.graph))
    assert before - after == pytest.approx(found.bytes_before - found.bytes_after, abs=4000)
    assert not set(TABLES.values()) & set(found.graph.graph.initializers)


def test_the_graph_reads_the_rows_it_read(tiny_classifier: TinyModel) -> None:
    found = store_embeddings(tiny_classifier.graph)
    onnx.checker.check_model(ir.to_proto(found.graph), full_check=True)
    batch = tiny_classifier.batch
    names = list(TABLES)
    for name, before, after in zip(
        names, run_values(tiny_classifier.graph, batch, names), run_values(found.graph, batch, names), strict=True
    ):
        codes, scales = stored(found.graph, TABLES[name])
        ids = batch.input_ids if name == "embeddings.words" else np.arange(batch.input_ids.shape[1])
        np.testing.assert_allclose(after, (codes * scales)[ids], rtol=1e-6)
        assert 0 < np.abs(after - before).max() <= scales.max() * 0.51


def test_answers_hardly_change_and_do_with_damaged_scales(tiny_classifier: TinyModel) -> None:
    found = store_embeddings(tiny_classifier.graph)
    batch = tiny_classifier.batch
    exact = Interpreter(tiny_classifier.graph).run(batch)["logits"]
    error = rms(Interpreter(found.graph).run(batch)["logits"] - exact)
    assert 0 < error < 0.02 * rms(exact)
    scales = found.graph.graph.initializers["embeddings.word.scales"]
    scales.const_value = ir.tensor(np.ascontiguousarray(array_of(scales)[::-1]), name=scales.name)
    assert rms(Interpreter(found.graph).run(batch)["logits"] - exact) > 3 * error


def test_it_goes_with_a_quantized_graph_and_leaves_the_argument(tiny_classifier: TinyModel) -> None:
    source = quantized(tiny_classifier, tiny_scheme("2", "channel")).graph
    before = ir.to_proto(source).SerializeToString()
    found = store_embeddings(source)
    assert ir.to_proto(source).SerializeToString() == before
    batch = tiny_classifier.batch
    exact = Interpreter(tiny_classifier.graph).run(batch)["logits"]
    plain, small = (rms(Interpreter(each).run(batch)["logits"] - exact) for each in (source, found.graph))
    assert small < 1.5 * plain


def test_a_row_of_zeros_stays_zero(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph.clone()
    table = graph.graph.initializers["embeddings.word"]
    array = array_of(table).copy()
    array[7] = 0
    table.const_value = ir.tensor(array, name=table.name)
    codes, scales = stored(store_embeddings(graph).graph, "embeddings.word")
    assert not codes[7].any() and np.isfinite(scales).all() and codes[8].any()
