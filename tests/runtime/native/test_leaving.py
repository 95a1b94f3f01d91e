"""Texts leave the native engine where a classifier is certain of them, and the others are answered as without that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.checkpoint.exit_classifiers import checkpoint_with_exits
from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.exits import LAYERS, exit_name, leaving_layers, uncertainty
from bertc.core.head import Pooling
from bertc.errors import InputError
from bertc.export.embeddings import store_embeddings
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.early_exit import let_texts_leave, without_exits
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Op, Rows, json_from_plan, plan_from_json
from bertc.runtime.plan.leaving import with_what_goes_on
from bertc.runtime.plan.plan_check import check_plan
from tests.native_reference import run_plan
from tests.runtime.plan.compiled_plans import Compiled, changed, number_of
from tests.tiny import TinyModel, calibrated, quantized, random_features, tiny_checkpoint, tiny_scheme

Array = NDArray[Any]
EXITS = 3
FEATURES = random_features(60, seed=4)
OUTPUTS = ("logits", LAYERS)


@pytest.fixture(scope="module", params=[Pooling.CLS, Pooling.MEAN])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A tiny classifier of four layers, with three exits that differ, on first tokens or means."""
    found = tiny_checkpoint(tmp_path_factory.mktemp("exits"), layers=EXITS + 1)
    checkpoint = checkpoint_with_exits(found)
    exits = tuple(replace(each, pooling=request.param) for each in checkpoint.head.exits)
    checkpoint = replace(checkpoint, head=replace(checkpoint.head, exits=exits))
    graph = graph_from_checkpoint(checkpoint)
    return TinyModel(
        checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(without_exits(graph), FEATURES[:16])
    )


@pytest.fixture(scope="module", params=["1", "3", "float"])
def graph(request: pytest.FixtureRequest, model: TinyModel) -> Any:
    """Residuals as numbers, as codes, and everything in float."""
    if request.param == "float":
        return model.graph
    scheme = tiny_scheme(request.param, "channel" if request.param == "1" else "tensor")
    return quantized(replace(model, graph=store_embeddings(model.graph).graph), scheme).graph


@pytest.fixture(scope="module")
def every(graph: Any) -> Array:
    """What all classifiers say of all texts: [texts, exits + 1, 2]."""
    names = [*(exit_name(layer) for layer in range(EXITS)), "logits"]
    with NativeEngine(*plan_from_graph(graph), threads=1) as engine:
        return np.stack(engine.run(batch_of(range(len(FEATURES))), names), axis=1)


@pytest.fixture(scope="module")
def threshold(every: Array) -> float:
    """One at which texts leave at every exit, and some do not."""
    found = float(np.float32(np.quantile(uncertainty(every[:, :-1]).min(axis=1), 0.7)))
    assert len(np.bincount(leaving_layers(every[:, :-1], found), minlength=2)) == EXITS + 1
    return found


@pytest.fixture(scope="module")
def plan(graph: Any, threshold: float) -> Compiled:
    return plan_from_graph(let_texts_leave(graph, threshold))


def batch_of(places: Sequence[int]) -> Batch:
    return batch_from_features(FEATURES, list(places))


@pytest.mark.native
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("places", [range(60), range(7), [11]], ids=len)
def test_a_text_is_answered_by_the_classifier_at_which_it_leaves(
    places: Sequence[int], threads: int, plan: Compiled, every: Array, threshold: float
) -> None:
    """In chunks of texts, and step by step, bit for bit."""
    exits = leaving_layers(every[:, :-1], threshold)
    with NativeEngine(*plan, threads=threads) as engine:
        logits, layers = engine.run(batch_of(places), OUTPUTS)
    chosen = list(places)
    np.testing.assert_array_equal(layers, exits[chosen] + 1)
    np.testing.assert_array_equal(logits, every[chosen, exits[chosen]])


@pytest.mark.native
def test_texts_that_share_a_row_leave_alone(plan: Compiled, every: Array, threshold: float) -> None:
    rows = [[0, 5, 7], [3], [12, 2]]
    places = [place for row in rows for place in row]
    exits = leaving_layers(every[:, :-1], threshold)[places]
    with NativeEngine(*plan, threads=2) as engine:
        logits, layers = engine.run(packed_batch_from_features(FEATURES, rows), OUTPUTS)
    np.testing.assert_array_equal(layers, exits + 1)
    np.testing.assert_array_equal(logits, every[places, exits])


@pytest.mark.native
def test_the_kernels_agree_with_numpy_on_every_instruction_set(plan: Compiled, instruction_set: str) -> None:
    compiled, arrays = plan
    batch = batch_of(range(20))
    expected = run_plan(compiled, arrays, batch)
    with NativeEngine(compiled, arrays, threads=2, instruction_set=instruction_set) as engine:
        logits, layers = engine.run(batch, OUTPUTS)
    same = layers == expected[LAYERS]
    assert same.mean() > 0.9  # an uncertainty beside the threshold may be rounded over it
    assert np.abs(logits - expected["logits"])[same].max() < 0.05


@pytest.mark.native
@pytest.mark.parametrize("threshold, layer", [(0.0, EXITS + 1), (1.0, 1)])
def test_nobody_leaves_below_nothing_and_everybody_at_once_below_the_largest(
    threshold: float, layer: int, graph: Any, every: Array
) -> None:
    with NativeEngine(*plan_from_graph(let_texts_leave(graph, threshold)), threads=2) as engine:
        logits, layers = engine.run(batch_of(range(60)), OUTPUTS)
    assert (layers == layer).all()
    np.testing.assert_array_equal(logits, every[:, layer - 1])


def test_without_a_threshold_all_scores_are_given_out_and_nobody_leaves(graph: Any) -> None:
    plan, _ = plan_from_graph(graph)
    assert [output.name for output in plan.outputs] == ["logits", *(exit_name(layer) for layer in range(EXITS))]
    assert all(step.op is not Op.EXIT for step in plan.steps)
    alone, _ = plan_from_graph(without_exits(graph))
    assert [output.name for output in alone.outputs] == ["logits"]
    assert len(alone.steps) < len(plan.steps)


def test_a_plan_with_exits_is_read_back_and_moves_what_goes_on(plan: Compiled) -> None:
    compiled, arrays = plan
    check_plan(compiled, arrays)
    assert plan_from_json(json_from_plan(compiled)) == compiled
    exits = [step for step in compiled.steps if step.op is Op.EXIT]
    assert len(exits) == EXITS
    assert all(step.inputs[1] != NO_BUFFER for step in exits)


@pytest.mark.parametrize(
    "values, told",
    [
        ({"epsilon": -0.5}, "epsilon is -0.5"),
        ({"epsilon": float("nan")}, "epsilon is nan"),
        ({"n": 1}, "n is 1"),
        ({"rows": Rows.TOKENS}, "rows"),
        ({"out": 0}, "out is 0, which this kernel does not read"),
        ({"inputs": (0, -1, -1)}, "inputs"),
        ({"inputs": (-1, -1, -1)}, "inputs"),
        ({"in_column": (0, 64, 0)}, "in_column"),
        ({"n": 3}, "before all of its columns are written|not the scores"),
    ],
    ids=str,
)
def test_a_damaged_exit_is_refused(values: dict[str, Any], told: str, plan: Compiled) -> None:
    compiled, arrays = plan
    with pytest.raises(InputError, match=told):
        check_plan(changed(compiled, number_of(compiled, Op.EXIT), **values), arrays)


@pytest.mark.parametrize("moved", [(NO_BUFFER, NO_BUFFER), (10_000, NO_BUFFER), "twice"], ids=str)
def test_an_exit_has_to_move_what_is_read_later(moved: Any, plan: Compiled) -> None:
    compiled, arrays = plan
    number = number_of(compiled, Op.EXIT)
    scores, first, _ = compiled.steps[number].inputs
    rest = (first, first) if moved == "twice" else moved
    with pytest.raises(InputError, match=r"before all of its columns are written|inputs"):
        check_plan(changed(compiled, number, inputs=(scores, *rest)), arrays)


@pytest.mark.parametrize(
    "place, values, told",
    [
        (0, {"buffer": NO_BUFFER}, "buffer is missing"),
        (1, {"vector": True}, "buffer is missing"),
        (1, {"columns": 2}, "buffer is missing"),
        (1, {"per_token": True}, "not the scores"),
        (0, {"columns": 1}, "not the scores"),
    ],
    ids=str,
)
def test_a_damaged_output_of_a_plan_with_exits_is_refused(
    place: int, values: dict[str, Any], told: str, plan: Compiled
) -> None:
    compiled, arrays = plan
    outputs = list(compiled.outputs)
    outputs[place] = replace(outputs[place], **values)
    with pytest.raises(InputError, match=told):
        check_plan(replace(compiled, outputs=tuple(outputs)), arrays)


def test_more_than_two_values_that_go_on_are_refused(plan: Compiled) -> None:
    """A third value would have to be moved, and the kernel moves two."""
    compiled, _ = plan
    number = number_of(compiled, Op.EXIT)
    before = sorted({buffer for step in compiled.steps[:number] for buffer in step.written()})
    reader = replace(compiled.steps[number + 1], inputs=(before[0], before[1], before[2]), residual=before[3])
    steps = (*compiled.steps[: number + 1], reader, *compiled.steps[number + 1 :])
    with pytest.raises(InputError, match="later layers read"):
        with_what_goes_on(replace(compiled, steps=steps))


def test_uncertainty_goes_from_0_to_1() -> None:
    logits = np.float32([[0, 0, 0], [9, 0, 0], [900, 0, -900]])
    found = uncertainty(logits)
    assert found[0] == pytest.approx(1)
    assert 0 < found[1] < 0.01
    assert found[2] == 0
