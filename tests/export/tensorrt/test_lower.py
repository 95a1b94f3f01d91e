"""The graph that TensorRT gets: which scale stands where, in which type, and that its numbers are the simulator's.

The golden files are the whole of a layer, node by node; `python -m tests.export.tensorrt.test_lower` writes them again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.calibrate.method import RangeMethod
from bertc.checkpoint import checkpoint_from_path
from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.export.embeddings import store_embeddings
from bertc.export.half import MASKED_HALF, use_half
from bertc.export.tensorrt.limits import DECOMPOSED, NATIVE, NEEDS, PACKED
from bertc.export.tensorrt.lower import FLOAT_ROLES, lower_graph
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import set_constant, values_by_name
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from bertc.quantize.insert import quantize_graph
from tests.conftest import TinyOf
from tests.tiny import LAYERS, OUTPUTS, TinyModel, rms, run_engine, tiny_model, tiny_scheme
from tests.tiny_families import write_tiny_family

GOLDEN = Path(__file__).parents[2] / "golden" / "tensorrt"
SCHEMES = [("1", None), ("2", None), ("2", "channel"), ("3", None), ("3", "channel")]
LAYOUTS = (DECOMPOSED, NATIVE, PACKED)
GOLDEN_CASES = [("1", None, DECOMPOSED), ("2", "channel", DECOMPOSED), ("2", None, NATIVE), ("2", None, PACKED)]
Node = ir.Node


def quantized(model: TinyModel, scheme: Scheme) -> ir.Model:
    """Quantize as a build does, with the embeddings stored as INT8."""
    source = store_embeddings(model.graph).graph
    return quantize_graph(source, model.table, scheme, RangeMethod(percentile=99.99)).graph


def lowered(model: TinyModel, mode: str, granularity: str | None = None, *kept: str, **options: object) -> ir.Model:
    return lower_graph(quantized(model, tiny_scheme(mode, granularity, keep_float=kept)), **options)  # type: ignore[arg-type]


def nodes_of(model: ir.Model, op_type: str) -> list[Node]:
    return [node for node in model.graph if node.op_type == op_type]


def producer(value: ir.Value | None) -> Node | None:
    return None if value is None else value.producer()


# --- structure --------------------------------------------------------------------------------------------------------


def described(model: ir.Model) -> Iterator[str]:
    """Write the first layer, and what all layers share, one node a line; constants by type and shape."""
    for value in model.graph.inputs:
        yield f"input {value.name}: {value.dtype} {value.shape}"
    for node in model.graph:
        name = str(node.outputs[0].name)
        if name.startswith("layer.1."):
            continue
        inputs = [described_input(value) for value in node.inputs if value is not None]
        plain = [f"{key}={attribute.value}" for key, attribute in sorted(node.attributes.items())]
        op_type = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
        yield f"{name} = {op_type}({', '.join([*inputs, *plain])})"
    for value in model.graph.outputs:
        yield f"output {value.name}: {value.dtype}"


def described_input(value: ir.Value) -> str:
    if value.const_value is None:
        return str(value.name)
    array = array_of(value)
    return f"<{array.dtype}{list(array.shape)}>"


def golden_text(model: TinyModel, mode: str, granularity: str | None, attention: str) -> str:
    graph = quantized(model, tiny_scheme(mode, granularity))
    return "\n".join(described(lower_graph(graph, attention=attention, half=True))) + "\n"


def golden_path(mode: str, granularity: str | None, attention: str) -> Path:
    return GOLDEN / f"mode-{mode}-{granularity or 'own'}-{attention}.txt"


@pytest.mark.parametrize("mode, granularity, attention", GOLDEN_CASES)
def test_a_layer_is_the_golden_one(
    mode: str, granularity: str | None, attention: str, tiny_classifier: TinyModel
) -> None:
    path = golden_path(mode, granularity, attention)
    assert golden_text(tiny_classifier, mode, granularity, attention) == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("attention", LAYOUTS)
@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_the_file_is_plain_onnx_that_the_checker_takes(
    mode: str, granularity: str | None, attention: str, tiny_classifier: TinyModel
) -> None:
    assert not FLOAT_ROLES
    for half in (False, True):
        model = lowered(tiny_classifier, mode, granularity, attention=attention, half=half)
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
        assert dict(model.opset_imports) == {"": 20} and not model.functions
        assert {value.dtype for value in model.graph.inputs} == {ir.DataType.INT32}
        assert {value.dtype for value in model.graph.outputs} == {ir.DataType.FLOAT}


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_activations_have_one_scale_and_weights_one_per_column(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    model = lowered(tiny_classifier, mode, granularity)
    scheme = tiny_scheme(mode, granularity)
    for node in nodes_of(model, "QuantizeLinear"):
        assert array_of(node.inputs[1]).ndim == 0 and "axis" not in node.attributes
    for node in nodes_of(model, "DequantizeLinear"):
        assert node.inputs[0] is not None
        weight = node.inputs[0].const_value is not None
        assert array_of(node.inputs[1]).ndim == int(weight and scheme.per_channel)
        assert not weight or not scheme.per_channel or node.attributes["axis"].as_int() == 1
        zero_points = [array_of(value) for value in node.inputs[2:]]
        assert not any(zero_point.any() for zero_point in zero_points)


@pytest.mark.parametrize("attention", LAYOUTS)
@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_both_operands_of_every_product_come_straight_from_codes(
    mode: str, granularity: str | None, attention: str, tiny_classifier: TinyModel
) -> None:
    model = lowered(tiny_classifier, mode, granularity, attention=attention)
    products = [node for node in nodes_of(model, "MatMul") if str(node.outputs[0].name).startswith("layer.")]
    assert len(products) == 8 * LAYERS
    for node in products:
        for value in node.inputs:
            found = producer(value)
            # The layout of the key and of the context may still turn between the pair and the product.
            while found is not None and found.op_type in ("Transpose", "Reshape"):
                found = producer(found.inputs[0])
            assert found is not None and found.op_type == "DequantizeLinear", node.outputs[0].name


@pytest.mark.parametrize("attention", [NATIVE, PACKED])
def test_nothing_stands_between_the_pairs_and_the_attention_layer(attention: str, tiny_classifier: TinyModel) -> None:
    values = values_by_name(lowered(tiny_classifier, "1", attention=attention))
    for role in ("query", "key", "value"):
        assert f"layer.0.{role}_heads.dequantized" in values
    (use,) = values["layer.0.context_heads"].uses()
    assert use.node.op_type == "QuantizeLinear"
    assert not [name for name in values if "scores_scaled" in name]


@pytest.mark.parametrize("granularity", [None, "channel"])
def test_additions_of_mode_2_read_codes(granularity: str | None, tiny_classifier: TinyModel) -> None:
    values = values_by_name(lowered(tiny_classifier, "2", granularity))
    for layer in range(LAYERS):
        for name in ("attention_sum", "output_sum"):
            add = producer(values[f"layer.{layer}.{name}"])
            assert add is not None
            residual = producer(add.inputs[1])
            if granularity:
                assert residual is not None and residual.op_type == "Mul"
                assert array_of(residual.inputs[1]).shape == (64,)
                residual = producer(residual.inputs[0])
            assert residual is not None and residual.op_type == "DequantizeLinear"


def test_additions_of_mode_1_read_floats(tiny_classifier: TinyModel) -> None:
    values = values_by_name(lowered(tiny_classifier, "1"))
    add = producer(values["layer.1.attention_sum"])
    residual = None if add is None else producer(add.inputs[1])
    assert residual is not None and residual.op_type == "LayerNormalization"


def test_a_scale_per_column_is_in_the_weights_and_before_the_bias(tiny_classifier: TinyModel) -> None:
    graph = quantized(tiny_classifier, tiny_scheme("2", "channel"))
    before = graph.graph.initializers
    columns = array_of(before["layer.0.output_gemm.scale"])
    model = lower_graph(graph)
    after = model.graph.initializers
    expected = array_of(before["layer.0.output_gemm.weight_scale"]) / columns
    np.testing.assert_array_equal(array_of(after["layer.0.output_gemm.weight_scale"]), expected)
    biased = producer(values_by_name(model)["layer.0.output_biased"])
    factor = None if biased is None else producer(biased.inputs[0])
    assert factor is not None and factor.op_type == "Mul"
    np.testing.assert_array_equal(array_of(factor.inputs[1]), columns)
    dequantize = producer(factor.inputs[0])
    assert dequantize is not None and array_of(dequantize.inputs[1]) == np.float32(1)


def test_a_vector_anywhere_else_is_multiplied_away(tiny_classifier: TinyModel) -> None:
    graph = quantized(tiny_classifier, tiny_scheme("1", None))
    for name in ("scale", "zero_point"):
        constant = graph.graph.initializers[f"layer.1.gelu.{name}"]
        set_constant(constant, np.full(128, array_of(constant)))
    for node in graph.graph:
        if str(node.outputs[0].name).startswith(("layer.1.gelu.codes", "layer.1.gelu.dequantized")):
            node.attributes["axis"] = ir.AttrInt64("axis", 2)
    model = lower_graph(graph)
    assert array_of(producer(values_by_name(model)["layer.1.gelu.codes"]).inputs[1]) == 1  # type: ignore[union-attr]
    check_same_function(model, graph, tiny_classifier, "logits")


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_the_scaling_moves_into_scales_and_leaves_every_code(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    graph = quantized(tiny_classifier, tiny_scheme(mode, granularity))
    before, after = graph.graph.initializers, lower_graph(graph).graph.initializers
    root = np.float32(32**0.5)
    query = array_of(before["layer.0.query.scale"]) / array_of(after["layer.0.query.scale"])
    np.testing.assert_allclose(query, root, rtol=1e-6)
    for name in ("layer.0.query_gemm.weight", "layer.0.key_gemm.weight"):
        np.testing.assert_array_equal(array_of(before[name]), array_of(after[name]))
    np.testing.assert_array_equal(array_of(before["layer.0.key.scale"]), array_of(after["layer.0.key.scale"]))


# --- types ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", OUTPUTS)
def test_half_types_encoder_and_scales_and_leaves_the_head(task: str, tiny_of: TinyOf) -> None:
    model = lowered(tiny_of(task), "2", "channel", half=True)
    for node in model.graph:
        name = str(node.outputs[0].name)
        kinds = {value.dtype for value in node.inputs if value is not None and value.const_value is not None}
        if name.startswith(("layer.", "embeddings.", "encoder.")):
            assert ir.DataType.FLOAT not in kinds, name
        elif name.startswith("head."):
            assert ir.DataType.FLOAT16 not in kinds, name
        if node.op_type == "QuantizeLinear":
            assert node.inputs[1] is not None and node.inputs[1].dtype == ir.DataType.FLOAT16
    lowest = array_of(model.graph.initializers["attention.masked_score"])
    assert lowest.dtype == np.float16 and lowest == np.float16(MASKED_HALF)


def test_half_keeps_the_predictions_of_a_model_that_decides(tiny_of: TinyOf) -> None:
    model = tiny_of("feature-extraction")
    graph = quantized(model, tiny_scheme("1"))
    (exact,), (half,) = (run_engine(lower_graph(graph, half=h), model.batch, ["sentence_embedding"]) for h in (0, 1))
    cosine = (exact * half).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(half, axis=1)
    assert cosine.min() > 0.999


def test_a_scale_that_half_cannot_hold_is_refused_by_name(tiny_classifier: TinyModel) -> None:
    model = lowered(tiny_classifier, "1")
    set_constant(model.graph.initializers["layer.1.gelu.scale"], np.float32(1e-8))
    with pytest.raises(InputError, match=r"layer\.1\.gelu\.scale is 1e-08.*--keep-float"):
        use_half(model)


def test_a_value_that_half_cannot_hold_is_refused_by_name(tiny_classifier: TinyModel) -> None:
    model = lowered(tiny_classifier, "1")
    set_constant(model.graph.initializers["layer.0.output_gemm.bias"], np.full(64, 7e4, np.float32))
    with pytest.raises(InputError, match=r"layer\.0\.output_gemm\.bias has a value of 7e\+04"):
        use_half(model)


def test_a_column_without_weights_has_a_scale_that_half_holds(tiny_classifier: TinyModel) -> None:
    model = lowered(tiny_classifier, "1")
    weight, scale = (model.graph.initializers[f"layer.0.key_gemm.{name}"] for name in ("weight", "weight_scale"))
    codes, scales = np.array(array_of(weight)), np.array(array_of(scale))
    codes[:, 3], scales[3] = 0, 1e-10
    set_constant(weight, codes)
    set_constant(scale, scales)
    use_half(model)
    assert array_of(scale)[3] == 1


# --- numbers ----------------------------------------------------------------------------------------------------------


def check_same_function(found: ir.Model, source: ir.Model, model: TinyModel, name: str) -> None:
    exact, simulated = (Interpreter(each).run(model.batch)[name] for each in (model.graph, source))
    (ran,) = run_engine(found, model.batch, [name])
    mask = model.batch.mask.astype(bool)
    if exact.shape[:2] == mask.shape:
        exact, simulated, ran = exact[mask], simulated[mask], ran[mask]
    assert rms(ran - exact) > 0
    assert rms(ran - simulated) <= 0.3 * rms(simulated - exact)


@pytest.mark.parametrize("attention", LAYOUTS)
@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_lowering_keeps_the_simulator_s_numbers(
    mode: str, granularity: str | None, attention: str, tiny_classifier: TinyModel
) -> None:
    graph = quantized(tiny_classifier, tiny_scheme(mode, granularity))
    check_same_function(lower_graph(graph, attention=attention), graph, tiny_classifier, "logits")


@pytest.mark.parametrize("attention", LAYOUTS)
@pytest.mark.parametrize("task", OUTPUTS)
def test_every_task_keeps_its_numbers(task: str, attention: str, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    graph = quantized(model, tiny_scheme("2", "channel"))
    check_same_function(lower_graph(graph, attention=attention), graph, model, OUTPUTS[task][0])


@pytest.mark.parametrize("kept", ["query", "key", "value", "probs", "context", "hidden", "query_gemm", "layer.0"])
def test_what_is_kept_in_float_keeps_its_numbers(kept: str, tiny_classifier: TinyModel) -> None:
    for mode, granularity in (("1", None), ("2", "channel")):
        graph = quantized(tiny_classifier, tiny_scheme(mode, granularity, keep_float=(kept,)))
        check_same_function(lower_graph(graph), graph, tiny_classifier, "logits")


def test_a_graph_whose_scaling_is_lost_is_found_out(tiny_classifier: TinyModel) -> None:
    graph = quantized(tiny_classifier, tiny_scheme("1"))
    model = lower_graph(graph)
    scale = model.graph.initializers["layer.0.query.scale"]
    set_constant(scale, array_of(scale) * np.float32(32**0.5))
    with pytest.raises(AssertionError):
        check_same_function(model, graph, tiny_classifier, "logits")


def test_a_head_that_reads_all_layers_keeps_its_numbers(tmp_path: Path) -> None:
    head = Head(task="feature-extraction", pooling=Pooling.MEAN, layer_weights=(1.0, 2.0, 1.0))
    model = tiny_model(tmp_path, task="feature-extraction", head=head)
    graph = quantized(model, tiny_scheme("2", "channel"))
    check_same_function(lower_graph(graph), graph, model, "sentence_embedding")


def test_the_kinds_are_those_that_are_documented() -> None:
    assert tuple(NEEDS) == ("decomposed", "native", "packed", "kernel")


def write_golden() -> None:
    """Write the golden files again."""
    with tempfile.TemporaryDirectory() as folder:
        model = tiny_model(Path(folder), task="sequence-classification")
    for case in GOLDEN_CASES:
        golden_path(*case).write_text(golden_text(model, *case), encoding="utf-8")


if __name__ == "__main__":
    write_golden()


@pytest.mark.parametrize("attention", [name for name in NEEDS if name != DECOMPOSED])
def test_an_attention_that_adds_no_bias_refuses_a_model_that_has_one(attention: str, tmp_path: Path) -> None:
    graph = graph_from_checkpoint(checkpoint_from_path(write_tiny_family(tmp_path, "mpnet")))
    with pytest.raises(InputError, match=f"the attention {attention} of TensorRT adds none; choose --attention decomp"):
        lower_graph(graph, attention=attention)
    assert lower_graph(graph, attention=DECOMPOSED).graph
