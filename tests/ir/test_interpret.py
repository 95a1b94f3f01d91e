"""The simulator: what is computed once is not computed in every call."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from bertc.core.batch import Batch
from bertc.ir.emit import IR_VERSION, OPSET, Emitter
from bertc.ir.interpret import Interpreter


def batch(length: int) -> Batch:
    ones = np.ones((1, length), np.int64)
    return Batch(input_ids=ones, token_type_ids=ones, mask=ones, order=(0,))


def graph_of(emit: Emitter, value: ir.Value, ids: ir.Value) -> ir.Model:
    value.dtype, value.shape = ir.DataType.FLOAT, ir.Shape(("rows", "columns"))
    graph = ir.Graph([ids], [value], nodes=emit.nodes, initializers=emit.initializers, opset_imports={"": OPSET})
    return ir.Model(graph, ir_version=IR_VERSION)


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("zero", [False, True])
def test_codes_that_are_constants_are_floats_before_the_first_call(axis: int | None, zero: bool) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(-128, 128, (4, 6)).astype(np.int8)
    scale = np.asarray(rng.uniform(0.01, 0.1, () if axis is None else codes.shape[axis]), np.float32)
    zeros = rng.integers(-9, 9, scale.shape).astype(np.int8)
    emit = Emitter()
    parts = [emit.constant("codes", codes), emit.constant("scale", scale)]
    parts += [emit.constant("zero", zeros)] if zero else []
    weights = emit.op("DequantizeLinear", *parts, name="weights", axis=axis or 0)
    ids = ir.val("input_ids", dtype=ir.DataType.INT64, shape=("batch", "sequence"))
    count = emit.op("ReduceSum", emit.op("Cast", ids, to=ir.DataType.FLOAT, name="floats"), name="count")
    model = graph_of(emit, emit.op("Mul", weights, count, name="out"), ids)
    along = [-1 if place == axis else 1 for place in range(2)] if axis is not None else []
    whole = codes.astype(np.int32) - (zeros.astype(np.int32).reshape(along) if zero else 0)
    expected = whole.astype(np.float32) * scale.reshape(along) * np.float32(3)
    assert np.array_equal(Interpreter(model).run(batch(3))["out"], expected)
    assert [node.op_type for node in model.graph].count("DequantizeLinear") == 1, "the graph that was given is changed"


def test_codes_that_come_with_the_text_are_dequantized_in_the_call() -> None:
    emit = Emitter()
    ids = ir.val("input_ids", dtype=ir.DataType.INT64, shape=("batch", "sequence"))
    table, scale = emit.constant("table", np.array([[1, 2], [3, 4]], np.int8)), emit.constant("scale", np.float32(0.5))
    rows = emit.op("Gather", table, ids, name="rows")
    model = graph_of(emit, emit.op("DequantizeLinear", rows, scale, name="out"), ids)
    assert Interpreter(model).run(batch(2))["out"].tolist() == [[[1.5, 2.0], [1.5, 2.0]]]
