"""A plan computes what the simulator computes: every task, mode, family and head, and with any role left in float."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.export.embeddings import store_embeddings
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import set_constant, values_by_name
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Activation, Op, Plan, Rows, Step, Type
from bertc.runtime.plan.plan_check import check_plan
from tests.conftest import TinyOf
from tests.fixtures import write_tiny_sentences
from tests.native_reference import run_plan
from tests.tiny import (
    LAYERS,
    OUTPUTS,
    TinyModel,
    calibrated,
    quantized,
    random_features,
    rms,
    run_values,
    tiny_model,
    tiny_scheme,
)
from tests.tiny_families import write_tiny_family

Array = NDArray[Any]
SCHEMES = [("1", None), ("2", None), ("2", "channel"), ("3", None), ("3", "channel")]
FEATURES = random_features(9)
BATCHES = {
    "padded": batch_from_features(FEATURES, range(len(FEATURES))),
    "packed": packed_batch_from_features(FEATURES, ((0, 3, 5), (2,), (6, 1, 8), (4, 7))),
    "one text": batch_from_features(FEATURES, [3]),
}


def scheme(mode: str, granularity: str | None = None, *kept: str, **options: Any) -> Scheme:
    """Return the scheme as engines of plans run it."""
    plain = tiny_scheme(mode, granularity, keep_float=kept, **options)
    return replace(plain, one_sided=plain.per_channel, split_outliers=plain.per_channel)


def compiled(graph: ir.Model) -> tuple[Plan, Mapping[str, Array]]:
    plan, arrays = plan_from_graph(graph)
    check_plan(plan, arrays)
    return plan, arrays


def int8_graph(model: TinyModel, chosen: Scheme) -> ir.Model:
    """Return the Q/DQ graph with INT8 tables: what the target is given."""
    stored = replace(model, graph=store_embeddings(model.graph).graph)
    return quantized(stored, chosen).graph


def shown(outputs: Mapping[str, Array], batch: Batch) -> dict[str, Array]:
    """Return what of outputs is not padding."""
    return {
        name: values[batch.mask > 0] if values.shape[:2] == batch.mask.shape else values
        for name, values in outputs.items()
    }


def check_same(graph: ir.Model, float_graph: ir.Model, batch: Batch) -> None:
    """Compare a plan with the simulator: a float graph's to rounding, else by modes.md's bar."""
    plan, arrays = compiled(graph)
    found = run_plan(plan, arrays, batch)
    expected, reference = (Interpreter(each).run(batch) for each in (graph, float_graph))
    assert {name: values.shape for name, values in found.items()} == {
        name: values.shape for name, values in expected.items()
    }
    found, expected, reference = (shown(each, batch) for each in (found, expected, reference))
    for name, values in expected.items():
        assert np.isfinite(found[name]).all()
        if graph is float_graph:
            np.testing.assert_allclose(found[name], values, atol=1e-4)
        else:
            assert rms(found[name] - values) <= 0.3 * rms(values - reference[name])


@pytest.mark.parametrize("name", BATCHES)
@pytest.mark.parametrize("task", OUTPUTS)
def test_a_float_graph_s_plan_computes_the_same(task: str, name: str, tiny_of: TinyOf) -> None:
    graph = tiny_of(task).graph
    check_same(graph, graph, BATCHES[name])


@pytest.mark.parametrize("name", ["padded", "packed"])
@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("task", OUTPUTS)
def test_a_quantized_graph_s_plan_computes_the_same(
    task: str, mode: str, granularity: str | None, name: str, tiny_of: TinyOf
) -> None:
    model = tiny_of(task)
    check_same(int8_graph(model, scheme(mode, granularity)), model.graph, BATCHES[name])


@pytest.mark.parametrize("role", [*Role, "layer.0", "layer.1"])
@pytest.mark.parametrize("mode, granularity", [("1", None), ("3", "channel")])
def test_what_stays_in_float_is_computed_in_float(
    mode: str, granularity: str | None, role: str, tiny_classifier: TinyModel
) -> None:
    kept = ("scores", "probs") if role == "probs" else (str(role),)
    graph = int8_graph(tiny_classifier, scheme(mode, granularity, *kept))
    check_same(graph, tiny_classifier.graph, BATCHES["packed"])


def test_everything_in_float_but_the_scheme_is_a_float_plan(tiny_classifier: TinyModel) -> None:
    plan, _ = compiled(quantized(tiny_classifier, scheme("1", None, *Role)).graph)
    assert {buffer.type for buffer in plan.buffers} == {Type.F32}


@pytest.mark.parametrize(
    "options",
    [
        {"smoothing": 0.0},
        {"one_sided": False},
        {"split_outliers": False},
        {"one_sided": False, "split_outliers": False, "smoothing": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_refinements_may_be_off(
    mode: str, granularity: str | None, options: Mapping[str, Any], tiny_classifier: TinyModel
) -> None:
    smoothing = {name: value for name, value in options.items() if name == "smoothing"}
    rest = {name: value for name, value in options.items() if name != "smoothing"}
    chosen = replace(scheme(mode, granularity, **smoothing), **rest)
    check_same(int8_graph(tiny_classifier, chosen), tiny_classifier.graph, BATCHES["packed"])


def test_ranges_of_the_user_s_own_and_float_tables(tiny_classifier: TinyModel) -> None:
    own = {Site(0, Role.ATTENTION_GEMM): 2.0, Site(1, Role.ACTIVATION): 2.0, Site(0, Role.QUERY_GEMM): 3.0}
    model = replace(tiny_classifier, table=replace(tiny_classifier.table, overrides=own))
    graph = quantized(model, scheme("2", "channel")).graph
    plan, _ = compiled(graph)
    assert plan.steps[0].flag == 0
    check_same(graph, model.graph, BATCHES["packed"])


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_the_codes_are_the_simulator_s(mode: str, granularity: str | None, tiny_classifier: TinyModel) -> None:
    """But for roundings of ties: before them stand sums in float32, in another order."""
    batch = batch_from_features(random_features(40), range(40))
    graph = quantized(tiny_classifier, scheme(mode, granularity)).graph
    seen: dict[str, Array] = {}
    run_plan(*compiled(graph), batch, seen=seen)
    joined = "layer.0.query.codes+layer.0.key.codes+layer.0.value.codes"
    products = seen[joined].astype(np.int64) - 128
    names = joined.split("+")
    width = products.shape[1] // len(names)
    expected = run_values(graph, batch, [*names, "layer.0.hidden.codes", "layer.0.attention_norm.codes"])
    found = [products[:, place * width :][:, :width] for place in range(len(names))]
    for name in ("layer.0.hidden", "layer.0.attention_norm"):
        plain = f"{name}.plain.codes"  # where smoothing stands behind the norm
        found.append(seen[plain if plain in seen else f"{name}.codes"].astype(np.int64) - 128)
    for codes, others, most in zip(found, expected, (0.001, 0.001, 0.001, 0.0005, 0.01), strict=True):
        difference = np.abs(codes - others[batch.mask > 0].astype(np.int64))
        assert difference.max() <= 2 and np.mean(difference > 0) <= most
    assert np.unique(products).size > 100


@pytest.mark.parametrize("quantize", [False, True])
@pytest.mark.parametrize("family", ["roberta", "distilbert", "electra"])
@pytest.mark.parametrize("task", ["sequence-classification", "feature-extraction"])
def test_families(task: str, family: str, quantize: bool, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path / "model", family, task=task))
    graph = graph_from_checkpoint(checkpoint)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))
    plan, _ = compiled(graph)
    embed = plan.steps[0]
    types = {"roberta": 1, "distilbert": 0, "electra": 2}[family]
    assert (embed.types, embed.first_position) == (types, 2 if family == "roberta" else 0)
    assert embed.positions == 130 if family == "roberta" else embed.positions == 128
    if task == "sequence-classification":
        active = next(step for step in plan.steps if step.name.startswith("head.dense_0"))
        expected = {"roberta": Activation.TANH, "distilbert": Activation.RELU, "electra": Activation.GELU}
        assert active.activation is expected[family]
    check_same(int8_graph(model, scheme("2", "channel")) if quantize else graph, graph, BATCHES["packed"])


HEADS: dict[str, dict[str, Any]] = {
    "cls": {"pooling": Pooling.CLS},
    "last": {"pooling": Pooling.LAST},
    "max": {"pooling": Pooling.MAX},
    "unit": {"pooling": Pooling.MEAN, "normalize": True},
    "short": {"pooling": Pooling.MEAN, "normalize": True, "dimensions": 24},
    "mix": {"pooling": Pooling.MEAN, "layer_weights": (1.0, 2.0, 1.0)},
}
PROJECTED = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("chosen", [None, ("1", None), ("2", "channel"), ("3", None)])
def test_sentence_vectors(name: str, chosen: tuple[str, str | None] | None, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, task="feature-extraction", head=Head(task="feature-extraction", **HEADS[name]))
    graph = model.graph if chosen is None else int8_graph(model, scheme(*chosen))
    check_same(graph, model.graph, BATCHES["packed"])


@pytest.mark.parametrize("chosen", [None, ("2", "channel")])
def test_layers_behind_the_pooling(chosen: tuple[str, str | None] | None, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_sentences(tmp_path, modules=PROJECTED))
    graph, features = graph_from_checkpoint(checkpoint), random_features(8)
    table = calibrated(graph, features)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=features, table=table)
    check_same(graph if chosen is None else int8_graph(model, scheme(*chosen)), graph, BATCHES["packed"])


@pytest.mark.parametrize("hidden, heads, intermediate", [(48, 4, 80), (72, 3, 100), (130, 2, 70)])
def test_widths_that_are_no_multiples_of_a_panel(hidden: int, heads: int, intermediate: int, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, hidden=hidden, heads=heads, intermediate=intermediate)
    check_same(model.graph, model.graph, BATCHES["packed"])
    for chosen in (("1", None), ("3", "channel")):
        check_same(int8_graph(model, scheme(*chosen)), model.graph, BATCHES["packed"])


@pytest.mark.parametrize("activation", ["relu", "gelu_new"])
def test_other_activations(activation: str, tmp_path: Path) -> None:
    model = tiny_model(tmp_path, config={"hidden_act": activation})
    expected = Activation.RELU if activation == "relu" else Activation.GELU_TANH
    plan, _ = compiled(model.graph)
    assert sum(step.activation is expected for step in plan.steps) == LAYERS
    check_same(int8_graph(model, scheme("1")), model.graph, BATCHES["packed"])


def steps_of(plan: Plan, layer: int) -> list[Step]:
    return [step for step in plan.steps if step.name.startswith(f"layer.{layer}.")]


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_a_layer_is_seven_steps(mode: str, granularity: str | None, tiny_classifier: TinyModel) -> None:
    plan, _ = compiled(int8_graph(tiny_classifier, scheme(mode, granularity)))
    gemm, norm = Op.GEMM_INT8, Op.NORM
    steps = steps_of(plan, 0)
    assert [step.op for step in steps] == [norm, gemm, Op.ATTENTION, gemm, norm, gemm, gemm]
    assert steps[1].n == 3 * 64 and steps[2].in_column == (0, 64, 128)
    int8_out = {step.name for step in steps if step.out != NO_BUFFER and plan.buffers[step.out].type is Type.U8}
    assert len(int8_out) == 3  # projections, context, activation
    requantized = [step for step in steps if step.requant]
    assert len(requantized) == (0 if mode == "1" else 4)


def test_a_norm_gives_numbers_only_where_they_are_read(tiny_classifier: TinyModel) -> None:
    for mode, floats in (("1", True), ("2", False)):
        plan, _ = compiled(int8_graph(tiny_classifier, scheme(mode)))
        norms = [step for step in plan.steps if step.op is Op.NORM and step.name != "encoder.output"]
        assert [step.out != NO_BUFFER for step in norms] == [floats] * (2 * LAYERS)
        assert all(step.out_codes != NO_BUFFER for step in norms)


def test_the_last_layer_is_computed_for_first_tokens_where_nothing_else_is_read(tiny_of: TinyOf) -> None:
    for mode, firsts in (("1", 2), ("2", 1)):
        plan, _ = compiled(int8_graph(tiny_of("sequence-classification"), scheme(mode)))
        rows = Counter(step.rows for step in steps_of(plan, LAYERS - 1))
        assert rows == {Rows.TOKENS: 2, Rows.TEXTS: 6 + firsts}
        assert {step.rows for step in steps_of(plan, 0)} == {Rows.TOKENS}
        (keys,) = [step for step in plan.steps if step.name == "layer.1.key.codes+layer.1.value.codes"]
        assert keys.n == 128 and keys.rows is Rows.TOKENS
        chosen = [step for step in plan.steps if step.op is Op.FIRST]
        types = [plan.buffers[step.out].type for step in chosen]
        assert sorted(types) == sorted([Type.U8] if mode == "2" else [Type.F32, Type.U8])
    plan, _ = compiled(int8_graph(tiny_of("feature-extraction"), scheme("1")))
    assert {step.rows for step in steps_of(plan, LAYERS - 1)} == {Rows.TOKENS}


def test_values_share_buffers(tiny_classifier: TinyModel) -> None:
    plan, _ = compiled(tiny_classifier.graph)
    assert len(plan.buffers) < len(plan.steps) / 2
    over = [step for step in plan.steps if step.residual == step.out]
    assert len(over) == 2 * LAYERS
    assert not [step for step in plan.steps if set(step.written()) & set(step.inputs)]


Edit = Callable[[ir.Model], None]


def _sine(model: ir.Model) -> None:
    node = values_by_name(model)["layer.1.gelu"].producer()
    assert node is not None
    node.op_type = "Sin"
    node.attributes.clear()


def test_an_unknown_node_is_refused_by_its_name(tiny_classifier: TinyModel) -> None:
    graph = tiny_classifier.graph.clone()
    _sine(graph)
    with pytest.raises(InputError, match=r"layer\.1\.gelu: no kernel of a plan computes Sin .*ort-cpu"):
        plan_from_graph(graph)


def test_one_table_in_int8_and_one_in_float_is_refused(tiny_classifier: TinyModel) -> None:
    graph = store_embeddings(tiny_classifier.graph).graph
    values = values_by_name(graph)
    table = graph.graph.initializers["embeddings.position.codes"]
    set_constant(table, np.zeros(table.const_value.shape, np.float32))  # type: ignore[union-attr]
    scaled, lookup = values["embeddings.positions"], values["embeddings.position.row_codes"]
    for use in list(scaled.uses()):
        use.node.replace_input_with(use.idx, lookup)
    with pytest.raises(InputError, match="both embedding tables"):
        plan_from_graph(graph)
