"""A batch of no rows, as a server may send it, has an answer of no rows, or an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.core.batch import Batch
from bertc.export.ort.no_rows import REFUSAL
from bertc.runtime.engine import Engine
from bertc.targets import target_from_name
from tests.conftest import TinyOf
from tests.tiny import OUTPUTS, TinyModel, engine_scheme, quantized, tiny_scheme

TARGETS = [
    "float",
    pytest.param("openvino", marks=pytest.mark.openvino),
    pytest.param("openvino-bf16", marks=pytest.mark.openvino),
]


def batch_of(rows: int, length: int) -> Batch:
    ids = np.ones((rows, length), np.int64)
    return Batch(input_ids=ids, token_type_ids=np.zeros_like(ids), mask=ids, order=tuple(range(rows)))


def engine_of(name: str, model: TinyModel, folder: Path) -> Engine:
    target = target_from_name(name)
    graph = quantized(model, engine_scheme(tiny_scheme("1"))).graph if target.static_int8 else model.graph
    path = target.runtime.write_model(target.onnx_from_graph(graph), folder)
    return target.runtime.engine_from_path(path, threads=1, cache=None)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("task", OUTPUTS)
def test_no_rows_have_no_answers_and_one_has_one(name: str, task: str, tiny_of: TinyOf, tmp_path: Path) -> None:
    engine = engine_of(name, tiny_of(task), tmp_path)
    try:
        for rows in (1, 0, 2):
            found = engine.run(batch_of(rows, 8), OUTPUTS[task])
            assert [len(values) for values in found] == [rows] * len(OUTPUTS[task])
            assert all(np.isfinite(values).all() for values in found)
    finally:
        engine.close()


@pytest.mark.parametrize("name", ["ort-cpu", "ort-cpu-dynamic"])
@pytest.mark.parametrize("task", OUTPUTS)
def test_no_rows_are_an_error_before_qattention(name: str, task: str, tiny_of: TinyOf, tmp_path: Path) -> None:
    engine = engine_of(name, tiny_of(task), tmp_path)
    try:
        for rows, length in ((0, 8), (1, 0)):
            with pytest.raises(Exception, match=REFUSAL):
                engine.run(batch_of(rows, length), OUTPUTS[task])
        found = engine.run(batch_of(1, 1), OUTPUTS[task])
        assert [len(values) for values in found] == [1] * len(OUTPUTS[task])
    finally:
        engine.close()


def test_only_a_graph_with_qattention_refuses(tiny_classifier: TinyModel) -> None:
    names = {}
    for name in ("float", "ort-cpu-dynamic"):
        graph = target_from_name(name).onnx_from_graph(tiny_classifier.graph).graph
        names[name] = {value.name for node in graph for value in node.outputs}
    assert REFUSAL in names["ort-cpu-dynamic"] and REFUSAL not in names["float"]
