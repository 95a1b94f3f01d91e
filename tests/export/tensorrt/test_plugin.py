"""Attention as NVIDIA's plugin: the node's fields, its body in standard operators, and the encoder without padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.core.batch import Batch
from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.export.tensorrt.limits import PLUGIN
from bertc.export.tensorrt.lower import lower_graph
from bertc.export.tensorrt.plugin import ATTRIBUTES, PLUGIN_DOMAIN, PLUGIN_OP, plugin_function
from bertc.ir.edit import values_by_name
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from tests.export.tensorrt.test_lower import check_same_function, quantized
from tests.tiny import LAYERS, OUTPUTS, TinyModel, run_engine, tiny_model, tiny_scheme

SCHEMES = [("1", None), ("2", None), ("2", "channel")]
ModelOf = Callable[[str], TinyModel]


@pytest.fixture(scope="module")
def wide_of(tmp_path_factory: pytest.TempPathFactory) -> ModelOf:
    """Give a function that makes the tiny model of a task with heads of size 64."""
    made: dict[str, TinyModel] = {}

    def of(task: str) -> TinyModel:
        if task not in made:
            made[task] = tiny_model(tmp_path_factory.mktemp(task), task=task, hidden=128, heads=2)
        return made[task]

    return of


def plugin_scheme(mode: str, granularity: str | None = None, **options: Any) -> Scheme:
    return replace(tiny_scheme(mode, granularity, **options), tie_operands=True)


def plugin_nodes(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph if node.op_type == PLUGIN_OP]


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("half", [False, True])
def test_the_file_passes_the_checker_with_its_function(
    half: bool, mode: str, granularity: str | None, wide_of: ModelOf
) -> None:
    graph = quantized(wide_of("sequence-classification"), plugin_scheme(mode, granularity))
    model = ir.to_proto(lower_graph(graph, attention=PLUGIN, half=half))
    onnx.checker.check_model(model, full_check=True)
    assert {each.domain: each.version for each in model.opset_import} == {"": 20, PLUGIN_DOMAIN: 1}
    assert [(function.domain, function.name) for function in model.functions] == [(PLUGIN_DOMAIN, PLUGIN_OP)]
    assert {value.type.tensor_type.elem_type for value in model.graph.input} == {onnx.TensorProto.INT32}


def test_the_node_has_the_plugin_s_fields_and_inputs(wide_of: ModelOf) -> None:
    graph = quantized(wide_of("sequence-classification"), plugin_scheme("1"))
    model = lower_graph(graph, attention=PLUGIN, half=True)
    constants = graph.graph.initializers
    nodes = plugin_nodes(model)
    assert len(nodes) == LAYERS
    for layer, node in enumerate(nodes):
        found = {name: attribute.value for name, attribute in node.attributes.items()}
        assert found.pop("input_qkv_scale") == array_of(constants[f"layer.{layer}.query.scale"])
        assert found.pop("output_ctx_scale") == array_of(constants[f"layer.{layer}.context.scale"])
        assert found.pop("dq_probs") == array_of(constants[f"layer.{layer}.probs.scale"])
        assert found == {
            "plugin_version": "6",
            "plugin_namespace": "",
            "hidden_size": 128,
            "num_heads": 2,
            "use_int8_scale_max": 0,
            "use_explicit_int8": 1,
        }
        codes, ends, longest = node.inputs
        assert codes is not None and ends is not None and longest is not None
        quantize, concat = codes.producer(), ends.producer()
        assert quantize is not None and quantize.op_type == "QuantizeLinear"
        assert concat is not None and concat.op_type == "Concat"
        (use,) = node.outputs[0].uses()
        assert use.node.op_type == "DequantizeLinear"


def test_the_node_s_attributes_are_the_function_s(wide_of: ModelOf) -> None:
    model = lower_graph(quantized(wide_of("sequence-classification"), plugin_scheme("1")), attention=PLUGIN)
    assert set(plugin_nodes(model)[0].attributes) == set(ATTRIBUTES) == set(plugin_function().attributes)


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("task", OUTPUTS)
def test_the_body_gives_the_simulator_s_numbers_without_padding(
    task: str, mode: str, granularity: str | None, wide_of: ModelOf
) -> None:
    model = wide_of(task)
    assert len({feature.length for feature in model.features}) > 5
    graph = quantized(model, plugin_scheme(mode, granularity))
    check_same_function(lower_graph(graph, attention=PLUGIN), graph, model, OUTPUTS[task][0])


def test_a_head_that_reads_all_layers_gets_them_spread(tmp_path: Path) -> None:
    head = Head(task="feature-extraction", pooling=Pooling.MEAN, layer_weights=(1.0, 2.0, 1.0))
    model = tiny_model(tmp_path, task="feature-extraction", head=head, hidden=64, heads=1)
    graph = quantized(model, plugin_scheme("2", "channel"))
    check_same_function(lower_graph(graph, attention=PLUGIN), graph, model, "sentence_embedding")


def test_the_encoder_has_no_place_of_padding(wide_of: ModelOf) -> None:
    model = wide_of("token-classification")
    lowered = lower_graph(quantized(model, plugin_scheme("1")), attention=PLUGIN)
    value = values_by_name(lowered)["layer.1.attention_norm"]
    value.type, value.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([None, None, None])
    lowered.graph.outputs.append(value)
    (found,) = run_engine(lowered, model.batch, ["layer.1.attention_norm"])
    assert found.shape == (1, int(model.batch.mask.sum()), 128)
    assert model.batch.mask.size > model.batch.mask.sum()


def test_a_batch_without_padding_and_one_of_a_single_token_run(wide_of: ModelOf) -> None:
    model = wide_of("token-classification")
    graph = quantized(model, plugin_scheme("1"))
    lowered = lower_graph(graph, attention=PLUGIN)
    ids = np.random.default_rng(0).integers(5, 90, (3, 7))
    for rows, length in ((3, 7), (1, 1)):
        part = ids[:rows, :length]
        batch = Batch(
            input_ids=part, token_type_ids=np.zeros_like(part), mask=np.ones_like(part), order=tuple(range(rows))
        )
        (found,) = run_engine(lowered, batch, ["logits"])
        np.testing.assert_allclose(found, Interpreter(graph).run(batch)["logits"], atol=2e-2)


def test_texts_do_not_see_each_other(wide_of: ModelOf) -> None:
    """A body that mixed the texts of a row would move the first when the others change."""
    model = wide_of("sequence-classification")
    lowered = lower_graph(quantized(model, plugin_scheme("1")), attention=PLUGIN)
    batch = model.batch
    other = replace(batch, input_ids=np.concatenate([batch.input_ids[:1], (batch.input_ids[1:] * 7) % 90]))
    (before,), (after,) = (run_engine(lowered, each, ["logits"]) for each in (batch, other))
    np.testing.assert_allclose(before[0], after[0], atol=1e-5)
    assert np.abs(before[1:] - after[1:]).max() > 0.01


def test_a_graph_with_three_scales_is_refused(wide_of: ModelOf) -> None:
    graph = quantized(wide_of("sequence-classification"), tiny_scheme("1"))
    with pytest.raises(InputError, match=r"layer\.0: the plugin has one scale for query, key and value"):
        lower_graph(graph, attention=PLUGIN)


@pytest.mark.parametrize("mode, kept", [("1", ("probs",)), ("1", ("context",)), ("3", ()), ("1", ("layer.1",))])
def test_what_is_not_int8_throughout_is_refused(mode: str, kept: tuple[str, ...], wide_of: ModelOf) -> None:
    graph = quantized(wide_of("sequence-classification"), plugin_scheme(mode, keep_float=kept))
    with pytest.raises(InputError, match=r"layer\.[01]: the plugin computes attention in INT8 throughout"):
        lower_graph(graph, attention=PLUGIN)
