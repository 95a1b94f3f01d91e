"""Weights that became unsigned are the same numbers, in every operator that reads them."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bertc.export.ort import lower as ort
from bertc.ir.standard import standard_from_graph
from bertc.runtime.ort.unsigned_weights import WEIGHTS, make_weights_unsigned
from tests.tiny import TinyModel, engine_scheme, quantized, run_engine, tiny_scheme

SCHEMES = [("1", None), ("2", "channel"), ("2", "tensor"), ("3", None)]


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("lowered", [True, False], ids=["integer products", "Q/DQ"])
def test_the_answers_are_the_same(
    mode: str, granularity: str | None, lowered: bool, tiny_classifier: TinyModel
) -> None:
    graph = quantized(tiny_classifier, engine_scheme(tiny_scheme(mode, granularity))).graph
    model = ort.lower_graph(graph) if lowered else standard_from_graph(graph)
    (wanted,) = run_engine(model, tiny_classifier.batch, ["logits"])
    unsigned = make_weights_unsigned(model.clone())
    (found,) = run_engine(unsigned, tiny_classifier.batch, ["logits"])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert signed(model) and not signed(unsigned)


def test_a_float_graph_is_left_as_it_is(tiny_classifier: TinyModel) -> None:
    model = ort.lower_graph(tiny_classifier.graph)
    before = ir.to_proto(model).SerializeToString()
    assert ir.to_proto(make_weights_unsigned(model)).SerializeToString() == before


def signed(model: ir.Model) -> list[str | None]:
    """Return the names of the INT8 weights that products read."""
    read = [node.inputs[WEIGHTS[node.op_type][0]] for node in model.graph if node.op_type in WEIGHTS]
    return [
        each.name
        for each in read
        if each is not None and each.const_value is not None and each.dtype == ir.DataType.INT8
    ]
