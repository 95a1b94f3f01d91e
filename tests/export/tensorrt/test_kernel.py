"""Attention as the compiler's own kernel: the node's inputs and its body in standard operators, without padding.

The body and the kernel are two descriptions of one computation; `tests/runtime/tensorrt/kernels` compares the kernel
with the simulator.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.export.tensorrt.kernel import (
    ATTRIBUTES,
    INPUTS,
    KERNEL_DOMAIN,
    SCALES,
    kernel_function,
    kernel_of_model,
    kernel_op,
)
from bertc.export.tensorrt.limits import KERNEL
from bertc.export.tensorrt.lower import lower_graph
from bertc.ir.emit import array_of
from tests.export.tensorrt.test_lower import check_same_function, quantized
from tests.tiny import LAYERS, OUTPUTS, TinyModel, run_engine, tiny_model, tiny_scheme

SCHEMES = [("1", None), ("2", None), ("2", "channel")]
OPERATOR = kernel_op(2, 32)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A tiny classifier with two heads of size 32."""
    return tiny_model(tmp_path_factory.mktemp("wide"), hidden=64, heads=2)


def lowered(model: TinyModel, mode: str = "1", granularity: str | None = None, *, half: bool = False) -> ir.Model:
    return lower_graph(quantized(model, tiny_scheme(mode, granularity)), attention=KERNEL, half=half)


def kernel_nodes(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == OPERATOR]


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("half", [False, True])
def test_the_file_passes_the_checker_with_its_function(
    half: bool, mode: str, granularity: str | None, wide: TinyModel
) -> None:
    model = ir.to_proto(lowered(wide, mode, granularity, half=half))
    onnx.checker.check_model(model, full_check=True)
    assert {each.domain: each.version for each in model.opset_import} == {"": 20, KERNEL_DOMAIN: 1}
    assert [(function.domain, function.name) for function in model.functions] == [(KERNEL_DOMAIN, OPERATOR)]


def test_the_node_has_the_codes_their_scales_and_the_plugin_s_attributes(wide: TinyModel) -> None:
    graph = quantized(wide, tiny_scheme("1"))
    model = lower_graph(graph, attention=KERNEL)
    constants = graph.graph.initializers
    nodes = kernel_nodes(model)
    assert len(nodes) == LAYERS
    for layer, node in enumerate(nodes):
        assert {name: attribute.value for name, attribute in node.attributes.items()} == {
            "plugin_version": "1",
            "plugin_namespace": "bertc",
            "aot": 1,
        }
        query, key, value, ends, longest, scales = node.inputs
        for name, codes in zip(INPUTS, (query, key, value), strict=False):
            assert codes is not None
            quantize = codes.producer()
            assert quantize is not None and quantize.op_type == "QuantizeLinear"
            assert quantize.inputs[1] is not None and quantize.inputs[1].name == f"layer.{layer}.{name}.scale"
        wanted = [float(array_of(constants[f"layer.{layer}.{name}.scale"])) for name in SCALES]
        np.testing.assert_array_equal(array_of(scales), np.array(wanted, np.float32))
        assert ends is not None and longest is not None and len(set(wanted)) == len(SCALES)
        (use,) = node.outputs[0].uses()
        assert use.node.op_type == "DequantizeLinear"


def test_the_node_s_attributes_and_inputs_are_the_function_s(wide: TinyModel) -> None:
    function = kernel_function(2, 32)
    node = kernel_nodes(lowered(wide))[0]
    assert set(node.attributes) == set(ATTRIBUTES) == set(function.attributes)
    assert [value.name for value in function.inputs] == list(INPUTS) and len(node.inputs) == len(INPUTS)


def test_how_many_heads_of_which_size_is_in_the_name(wide: TinyModel) -> None:
    assert kernel_of_model(lowered(wide)) == ("PackedInt8Attention_2x32", 2, 32)
    assert kernel_of_model(lower_graph(quantized(wide, tiny_scheme("1")))) is None


def test_in_fp16_the_scales_are_those_that_the_codes_were_made_with(wide: TinyModel) -> None:
    (node, _) = kernel_nodes(lowered(wide, half=True))
    scales = array_of(node.inputs[5])
    assert scales.dtype == np.float16
    for codes, scale in zip(node.inputs[:3], scales[:3], strict=True):
        assert codes is not None
        quantize = codes.producer()
        assert quantize is not None and array_of(quantize.inputs[1]) == scale


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("task", OUTPUTS)
def test_the_body_gives_the_simulator_s_numbers_without_padding(
    task: str, mode: str, granularity: str | None, tmp_path: Path
) -> None:
    model = tiny_model(tmp_path, task=task, hidden=64, heads=2)
    graph = quantized(model, tiny_scheme(mode, granularity))
    check_same_function(lower_graph(graph, attention=KERNEL), graph, model, OUTPUTS[task][0])


def test_a_head_that_reads_all_layers_gets_them_spread(tmp_path: Path) -> None:
    head = Head(task="feature-extraction", pooling=Pooling.MEAN, layer_weights=(1.0, 2.0, 1.0))
    model = tiny_model(tmp_path, task="feature-extraction", head=head, hidden=64, heads=2)
    graph = quantized(model, tiny_scheme("2", "channel"))
    check_same_function(lower_graph(graph, attention=KERNEL), graph, model, "sentence_embedding")


def test_texts_do_not_see_each_other(wide: TinyModel) -> None:
    """A body that mixed the texts of a row would move the first when the others change."""
    batch = wide.batch
    other = replace(batch, input_ids=np.concatenate([batch.input_ids[:1], (batch.input_ids[1:] * 7) % 90]))
    model = lowered(wide)
    (before,), (after,) = (run_engine(model, each, ["logits"]) for each in (batch, other))
    np.testing.assert_allclose(before[0], after[0], atol=1e-5)
    assert np.abs(before[1:] - after[1:]).max() > 0.01


@pytest.mark.parametrize(
    "mode, kept", [("1", ("probs",)), ("1", ("context",)), ("1", ("key",)), ("3", ()), ("1", ("layer.1",))]
)
def test_what_is_not_int8_throughout_is_refused(mode: str, kept: tuple[str, ...], wide: TinyModel) -> None:
    graph = quantized(wide, tiny_scheme(mode, keep_float=kept))
    with pytest.raises(InputError, match=r"layer\.[01]: the kernel computes attention in INT8 throughout"):
        lower_graph(graph, attention=KERNEL)
