"""The graph that OpenVINO gets, looked at without OpenVINO: its operators, where scales per column stand, residuals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.export.openvino.lower import FLOAT_ROLES, lower_graph
from bertc.ir.edit import set_constant, values_by_name
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from tests.tiny import LAYERS, TinyModel, quantized, rms, tiny_model, tiny_scheme

SCHEMES = [("1", None), ("2", None), ("2", "channel"), ("3", None), ("3", "channel")]
SUMS = [f"layer.{layer}.{name}" for layer in range(LAYERS) for name in ("attention_sum", "output_sum")]


def scheme(mode: str, granularity: str | None = None, *kept: str) -> Scheme:
    """Return the scheme as the target openvino runs it."""
    plain = tiny_scheme(mode, granularity, keep_float=kept)
    return replace(plain, one_sided=plain.per_channel)


def lowered(model: TinyModel, mode: str, granularity: str | None = None, *kept: str) -> ir.Model:
    return lower_graph(quantized(model, scheme(mode, granularity, *kept)).graph)


def reader(model: ir.Model, name: str) -> ir.Node:
    """Return the one node that reads a value."""
    (use,) = values_by_name(model)[name].uses()
    return use.node


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_every_role_is_lowered_to_standard_operators(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    assert not FLOAT_ROLES
    model = lowered(tiny_classifier, mode, granularity)
    assert dict(model.opset_imports) == {"": 20} and not model.functions
    assert {node.domain for node in model.graph} == {""}
    before = quantized(tiny_classifier, scheme(mode, granularity)).counts
    sites = sum(count for role, count in before.items() if role != "weights")
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph) == sites


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_a_scale_per_column_stands_right_behind_its_gemm(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    for node in lowered(tiny_classifier, mode, granularity).graph:
        if node.op_type == "QuantizeLinear" and array_of(node.inputs[1]).ndim:
            assert node.inputs[0] is not None
            producer = node.inputs[0].producer()
            moved = producer is not None and str(producer.outputs[0].name).endswith(".moved")
            assert producer is not None and producer.op_type == ("Add" if moved else "MatMul")


def test_a_scale_per_column_elsewhere_is_refused_by_its_name(tiny_classifier: TinyModel) -> None:
    graph = quantized(tiny_classifier, tiny_scheme("2", "channel")).graph
    scale = graph.graph.initializers["layer.1.gelu.scale"]
    set_constant(scale, np.full(128, array_of(scale), np.float32))
    with pytest.raises(InputError, match=r"layer\.1\.gelu\.codes: .*granularity tensor"):
        lower_graph(graph)


@pytest.mark.parametrize("mode", ["2", "3"])
def test_a_smoothed_residual_is_added_as_codes(mode: str, tiny_classifier: TinyModel) -> None:
    model = lowered(tiny_classifier, mode, "channel")
    values = values_by_name(model)
    assert not [name for name in values if name.endswith(".residual")]
    for name in SUMS:
        producer = values[name].producer()
        assert producer is not None and producer.op_type == "Add"
        codes = producer.inputs[1].producer() if producer.inputs[1] else None
        assert codes is not None and array_of(codes.inputs[1]) == np.float32(1)
        scaling = reader(model, name)
        assert scaling.op_type == "Mul" and array_of(scaling.inputs[1]).shape == (64,)
        assert reader(model, str(scaling.outputs[0].name)).op_type == "LayerNormalization"


def test_a_residual_with_one_scale_is_left_as_it_is(tiny_classifier: TinyModel) -> None:
    for mode, granularity in (("1", None), ("2", None)):
        model = lowered(tiny_classifier, mode, granularity)
        assert {reader(model, name).op_type for name in SUMS} == {"LayerNormalization"}


def test_beside_a_float_gemm_a_smoothed_residual_is_left_as_it_is(tiny_classifier: TinyModel) -> None:
    model = lowered(tiny_classifier, "2", "channel", "layer.0.attention_gemm")
    changed = [name for name in SUMS if reader(model, name).op_type == "Mul"]
    assert changed == [name for name in SUMS if name != "layer.0.attention_sum"]


def test_a_residual_that_a_head_reads_is_left_as_it_is(tmp_path: Path) -> None:
    head = Head(task="feature-extraction", pooling=Pooling.MEAN, layer_weights=(1.0, 2.0, 1.0))
    model = tiny_model(tmp_path, task="feature-extraction", head=head)
    graph = lowered(model, "2", "channel")
    mixed = [name for name in values_by_name(graph) if name.endswith("hidden.residual")]
    assert mixed == ["layer.0.hidden.residual", "layer.1.hidden.residual"]
    check_same_function(graph, model, "2", "channel")


def test_a_gemm_with_a_range_of_the_user_s_own_keeps_its_numbers(tiny_classifier: TinyModel) -> None:
    own = {Site(0, Role.ATTENTION_GEMM): 2.0, Site(1, Role.OUTPUT_GEMM): 2.0}
    model = replace(tiny_classifier, table=replace(tiny_classifier.table, overrides=own))
    graph = lowered(model, "2", "channel")
    assert {reader(graph, name).op_type for name in SUMS} == {"Mul"}
    check_same_function(graph, model, "2", "channel")


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_no_operand_keeps_a_zero_point(mode: str, granularity: str | None, tiny_classifier: TinyModel) -> None:
    before = quantized(tiny_classifier, scheme(mode, granularity)).graph
    assert array_of(before.graph.initializers["layer.0.gelu.zero_point"]) < -64
    model = lowered(tiny_classifier, mode, granularity)
    for node in model.graph:
        if node.op_type == "DequantizeLinear" and len(node.inputs) > 2 and node.inputs[2].const_value is not None:
            assert not array_of(node.inputs[2]).any()
    # Where the GEMM's output is quantized before the bias, the row stands before that.
    moved = [name for name in values_by_name(model) if name.endswith(".moved")]
    assert moved == ([] if mode == "1" else [f"layer.{layer}.output_gemm.moved" for layer in range(LAYERS)])


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel"), ("3", "channel")])
def test_the_softmax_alone_has_unsigned_codes(mode: str, granularity: str | None, tiny_classifier: TinyModel) -> None:
    def unsigned(model: ir.Model) -> list[str]:
        values = onnx.shape_inference.infer_shapes(ir.to_proto(model)).graph.value_info
        codes = [value for value in values if value.name.endswith(".codes")]
        return [value.name for value in codes if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8]

    assert unsigned(lowered(tiny_classifier, mode, granularity)) == [f"layer.{n}.probs.codes" for n in range(LAYERS)]
    symmetric = quantized(tiny_classifier, tiny_scheme(mode, granularity)).graph
    assert not unsigned(lower_graph(symmetric))


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_lowering_keeps_the_simulator_s_numbers(mode: str, granularity: str | None, tiny_classifier: TinyModel) -> None:
    check_same_function(lowered(tiny_classifier, mode, granularity), tiny_classifier, mode, granularity)


def check_same_function(graph: ir.Model, model: TinyModel, mode: str, granularity: str | None) -> None:
    source = quantized(model, scheme(mode, granularity)).graph
    for name, simulated in Interpreter(source).run(model.batch).items():
        exact = Interpreter(model.graph).run(model.batch)[name]
        found = Interpreter(graph).run(model.batch)[name]
        assert rms(found - simulated) <= 0.3 * rms(simulated - exact)
