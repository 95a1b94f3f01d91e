"""The ONNX Runtime dialect computes what the simulator computes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.calibrate.method import RangeMethod
from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.text_encoder import TextEncoder
from bertc.core.batch import batch_from_features, packed_batch_from_features
from bertc.core.feature import Feature
from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.export.embeddings import store_embeddings
from bertc.export.ort import lower as ort
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme, scheme_from_options
from bertc.ir.sites import Role, site_from_name
from bertc.quantize.insert import quantize_graph
from bertc.runtime.batch_plan import packed_rows
from bertc.runtime.engine import outputs_from_features
from bertc.runtime.ort.inference_session import open_session
from tests.conftest import TinyOf
from tests.tiny import (
    OUTPUTS,
    Array,
    TinyModel,
    calibrated,
    engine_scheme,
    expose,
    quantized,
    rms,
    run_engine,
    tiny_model,
    tiny_scheme,
)

BAR = 0.3
"""Largest rms(engine - simulator) over rms(simulator - float), docs/modes.md."""

SCHEMES = {
    "mode 1": tiny_scheme("1"),
    "mode 1, no smoothing": tiny_scheme("1", smoothing=0),
    "mode 2": tiny_scheme("2"),
    "mode 2 channel": tiny_scheme("2", "channel"),
    "mode 2 channel, no smoothing": tiny_scheme("2", "channel", smoothing=0),
    "mode 3": tiny_scheme("3"),
    "mode 3 channel": tiny_scheme("3", "channel"),
}
KEPT = [
    ("1", None, "layer.0"),
    ("1", None, "hidden"),
    ("1", None, "context"),
    ("1", None, "gelu"),
    ("2", None, "layer.1"),
    ("2", None, "context"),
    ("2", None, "output_gemm"),
    ("2", "channel", "layer.0"),
    ("2", "channel", "hidden"),
    ("2", "channel", "context"),
    ("2", "channel", "attention_norm"),
    ("2", "channel", "gelu"),
    ("2", "channel", "layer.1.intermediate_gemm"),
]


def differences(model: TinyModel, graph: ir.Model) -> tuple[float, float]:
    """Return rms(engine - simulator) and rms(simulator - float) of the first output on real tokens."""
    name = OUTPUTS[model.checkpoint.head.task][0]
    batch = model.batch
    exact, simulated = (Interpreter(each).run(batch)[name] for each in (model.graph, graph))
    (found,) = run_engine(ort.lower_graph(graph), batch, [name])
    if found.shape[:2] == batch.mask.shape:
        mask = batch.mask.astype(bool)
        exact, simulated, found = exact[mask], simulated[mask], found[mask]
    return rms(found - simulated), rms(simulated - exact)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES.keys())
@pytest.mark.parametrize("task", OUTPUTS)
def test_the_engine_is_close_to_its_simulator(scheme: Scheme, task: str, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    apart, lost = differences(model, quantized(model, engine_scheme(scheme)).graph)
    assert apart <= BAR * lost and lost > 0


@pytest.mark.parametrize("mode, granularity, name", KEPT)
def test_mixed_precision_is_close_to_its_simulator(
    mode: str, granularity: str | None, name: str, tiny_classifier: TinyModel
) -> None:
    scheme = engine_scheme(tiny_scheme(mode, granularity, keep_float=(name,)))
    apart, lost = differences(tiny_classifier, quantized(tiny_classifier, scheme).graph)
    assert apart <= BAR * lost and lost > 0


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", None), ("2", "channel")])
def test_other_scales_than_the_simulator_s_would_be_seen(
    mode: str, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    """The negative twin: ranges a quarter too small in the engine alone."""
    scheme = engine_scheme(tiny_scheme(mode, granularity))
    right = quantized(tiny_classifier, scheme)
    overrides = {site: float(scale.max() * 127 * 0.75) for site, scale in right.scales.items()}
    wrong = quantized(replace(tiny_classifier, table=replace(tiny_classifier.table, overrides=overrides)), scheme)
    batch = tiny_classifier.batch
    exact, simulated = (Interpreter(each).run(batch)["logits"] for each in (tiny_classifier.graph, right.graph))
    (found,) = run_engine(ort.lower_graph(wrong.graph), batch, ["logits"])
    assert rms(found - simulated) > BAR * rms(simulated - exact)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_every_activation_is_close(activation: str, mode: str, granularity: str | None, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, config={"hidden_act": activation})
    apart, lost = differences(model, quantized(model, engine_scheme(tiny_scheme(mode, granularity))).graph)
    assert apart <= BAR * lost and lost > 0


@pytest.mark.parametrize("hidden, heads", [(36, 4), (30, 3)])
def test_odd_head_sizes_are_close(hidden: int, heads: int, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, hidden=hidden, heads=heads, intermediate=50)
    for scheme in (tiny_scheme("1"), tiny_scheme("2", "channel")):
        apart, lost = differences(model, quantized(model, engine_scheme(scheme)).graph)
        assert apart <= BAR * lost and lost > 0


HEADS = [
    Head(task="feature-extraction", pooling=pooling, normalize=normalize, layer_weights=weights)
    for pooling, normalize, weights in (
        (Pooling.CLS, False, None),
        (Pooling.MEAN, True, None),
        (Pooling.MAX, True, (1.0, 2.0, 3.0)),
        (Pooling.MEAN, False, (1.0, 0.0, 1.0)),
    )
]


@pytest.mark.parametrize("head", HEADS, ids=str)
@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_every_way_of_pooling_is_close(head: Head, mode: str, granularity: str | None, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, task="feature-extraction", head=head)
    graph = quantized(model, engine_scheme(tiny_scheme(mode, granularity))).graph
    batch = model.batch
    exact, simulated = (Interpreter(each).run(batch)["sentence_embedding"] for each in (model.graph, graph))
    (found,) = run_engine(ort.lower_graph(graph), batch, ["sentence_embedding"])
    assert rms(found - simulated) <= BAR * rms(simulated - exact)


@pytest.mark.parametrize("task", OUTPUTS)
def test_the_float_graph_lowers_to_the_same_function(task: str, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    apart, _ = differences(model, model.graph)
    assert apart < 1e-5


@pytest.mark.parametrize("role", [Role.PROBS, Role.SCORES])
def test_int8_inside_attention_is_refused_with_a_reason(role: Role, tiny_classifier: TinyModel) -> None:
    scheme = tiny_scheme("3").without_roles(frozenset(ort.FLOAT_ROLES) - {Role.PROBS, role})
    with pytest.raises(InputError, match=r"layer\.0\.context: .* leave probs and scores in float"):
        ort.lower_graph(quantized(tiny_classifier, scheme).graph)


def test_operands_of_attention_may_be_int8(tiny_classifier: TinyModel) -> None:
    """Their Q/DQ pairs stay, and attention is one float node behind them."""
    scheme = tiny_scheme("2", "channel").without_roles(frozenset({Role.PROBS}))
    graph = quantized(tiny_classifier, scheme).graph
    lowered = ort.lower_graph(graph)
    assert sum(node.op_type == "MultiHeadAttention" for node in lowered.graph) == 2
    apart, lost = differences(tiny_classifier, graph)
    assert apart <= BAR * lost
    features = tiny_classifier.features
    packed = packed_batch_from_features(features, packed_rows([feature.length for feature in features], 64))
    (found,) = run_engine(lowered, packed, ["logits"])
    (plain,) = run_engine(lowered, batch_from_features(features, packed.order), ["logits"])
    assert found.shape == plain.shape and rms(found - plain) <= BAR * lost


def test_the_mask_is_written_once_for_all_layers(tiny_classifier: TinyModel) -> None:
    lowered = ort.lower_graph(tiny_classifier.graph)
    (cast,) = [node for node in lowered.graph if node.outputs[0].name == "attention_mask_int32"]
    mask = cast.outputs[0]
    assert [use.node.op_type for use in mask.uses()] == ["Attention"] * 2
    mask.type = ir.TensorType(ir.DataType.INT32)
    lowered.graph.outputs.append(mask)
    batch = tiny_classifier.batch
    (plain,) = run_engine(lowered, batch, [str(mask.name)])
    np.testing.assert_array_equal(plain, np.broadcast_to(batch.mask[:, None, :], plain.shape))
    packed = packed_batch_from_features(tiny_classifier.features, [[0, 1], [2]])
    (block,) = run_engine(lowered, packed, [str(mask.name)])
    length = packed.mask.shape[1]
    assert block.shape == (2, length, length)
    first = tiny_classifier.features[0].length
    assert block[0, :first, :first].all() and not block[0, :first, first:].any() and not block[0, first:, :first].any()


def test_column_scaled_codes_are_the_codes_of_the_float_product(tiny_classifier: TinyModel) -> None:
    """The law of the column scale: QLinearMatMul with w_scale[c] / s_out[c] is Q per column behind the GEMM."""
    found = quantized(tiny_classifier, engine_scheme(tiny_scheme("2", "channel")))
    lowered = ort.lower_graph(found.graph)
    pairs = {"context": "attention_gemm", "attention_norm": "intermediate_gemm", "gelu": "output_gemm"}
    names = [f"layer.1.{part}.codes" for pair in pairs.items() for part in pair]
    expose(lowered, names)
    codes = dict(zip(names, run_engine(lowered, tiny_classifier.batch, names), strict=True))
    for operand, output in pairs.items():
        zero_point = 128 + found.zero_points.get(site_from_name(f"layer.1.{operand}"), 0)
        read = codes[f"layer.1.{operand}.codes"].astype(np.int32) - zero_point
        written = codes[f"layer.1.{output}.codes"].astype(np.int32) - 128
        initializers = found.graph.graph.initializers
        weight: Array = initializers[f"layer.1.{output}.weight"].const_value.numpy().astype(np.int32)
        weight_scale = initializers[f"layer.1.{output}.weight_scale"].const_value.numpy().astype(np.float64)
        scales = {str(site): scale.astype(np.float64) for site, scale in found.scales.items()}
        product = (read @ weight) * scales[f"layer.1.{operand}"] * weight_scale
        expected = np.clip(np.rint(product / scales[f"layer.1.{output}"]), -128, 127)
        off = np.abs(written - expected)
        assert off.max() <= 1 and np.mean(off > 0) < 1e-3  # rounding ties
        one_scale = np.clip(np.rint(product / scales[f"layer.1.{output}"].max()), -128, 127)
        assert np.mean(one_scale != written) > 0.3  # a scalar scale would give other codes


@pytest.mark.parametrize("task", OUTPUTS)
@pytest.mark.parametrize("scheme", [None, *SCHEMES.values()], ids=["float", *SCHEMES])
def test_the_file_is_valid_and_old_enough_for_serving_tools(task: str, scheme: Scheme | None, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    graph = model.graph if scheme is None else quantized(model, engine_scheme(scheme)).graph
    lowered = ort.lower_graph(store_embeddings(graph).graph)
    proto = ir.to_proto(lowered)
    onnx.checker.check_model(proto)
    opsets = {each.domain: each.version for each in proto.opset_import}
    assert opsets[""] <= 20 and proto.ir_version <= 9 and set(opsets) == {"", "com.microsoft"}
    assert not proto.functions
    integer = onnx.TensorProto.INT64
    assert [(each.name, each.type.tensor_type.elem_type) for each in proto.graph.input] == [
        (name, integer) for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    assert tuple(each.name for each in proto.graph.output) == OUTPUTS[task]


def test_lowering_leaves_the_argument(tiny_classifier: TinyModel) -> None:
    graph = quantized(tiny_classifier, engine_scheme(tiny_scheme("2", "channel"))).graph
    before = ir.to_proto(graph).SerializeToString()
    once, again = (ir.to_proto(ort.lower_graph(graph)).SerializeToString() for _ in range(2))
    assert once == again and ir.to_proto(graph).SerializeToString() == before


def sentences(path: Path, encoder: TextEncoder, count: int) -> list[Feature]:
    """Encode the first rows of a file of (label, sentence)."""
    lines = path.read_text(encoding="utf-8").split("\n")[1 : count + 1]
    encoded = encoder.encode_batch([line.split("\t")[1] for line in lines], max_length=128)
    return [
        Feature(input_ids=np.asarray(one.ids, np.int64), token_type_ids=np.asarray(one.type_ids, np.int64), row=row)
        for row, one in enumerate(encoded)
    ]


@pytest.fixture(scope="module")
def sst2(shared_path: Path) -> tuple[TinyModel, list[Feature]]:
    """The real classifier calibrated on training text, and 200 rows to compare on."""
    checkpoint = checkpoint_from_path(shared_path / "models/minilm-sst2")
    graph = graph_from_checkpoint(checkpoint)
    data = shared_path / "data/sst2"
    train = sentences(data / "train.tsv", checkpoint.encoder, 400)
    train = [feature for feature in train if feature.length > 10][:128]
    table = calibrated(graph, train)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=tuple(train), table=table)
    return model, sentences(data / "dev.tsv", checkpoint.encoder, 200)


def logits_of(graph: ir.Model, features: list[Feature]) -> Array:
    interpreter = Interpreter(graph)
    found = np.zeros((len(features), 2), np.float32)
    order = sorted(range(len(features)), key=lambda place: features[place].length)
    for start in range(0, len(order), 50):
        chosen = order[start : start + 50]
        found[chosen] = interpreter.run(batch_from_features(features, chosen))["logits"]
    return found


@pytest.mark.shared
@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", None), ("2", "channel")])
def test_the_real_engine_is_as_close_as_modes_md_demands(
    mode: str, granularity: str | None, sst2: tuple[TinyModel, list[Feature]]
) -> None:
    model, features = sst2
    scheme = engine_scheme(scheme_from_options(mode, granularity=granularity, layers=6))
    graph = quantize_graph(model.graph, model.table, scheme, RangeMethod(percentile=99.99)).graph
    exact, simulated = logits_of(model.graph, features), logits_of(graph, features)
    lowered = ort.lower_graph(graph)
    with open_session(ir.to_proto(lowered).SerializeToString()) as engine:
        outputs = outputs_from_features(engine, features, model.checkpoint.head)
    found = np.stack(outputs["logits"])
    apart, lost = rms(found - simulated), rms(simulated - exact)
    same = np.mean(found.argmax(axis=1) == simulated.argmax(axis=1))
    assert apart <= BAR * lost, f"{apart} against {lost}"
    assert same >= 0.995
