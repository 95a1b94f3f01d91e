"""Plans of models whose attention knows positions or segments: rotary ones, windows, distances, and XLNet's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import Batch, batch_from_features
from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import values_by_name
from bertc.ir.interpret import Interpreter
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Activation, Op, Rows, Type
from tests.native_reference import run_plan
from tests.runtime.plan.test_compile import (
    BATCHES,
    FEATURES,
    SCHEMES,
    Array,
    check_same,
    compiled,
    int8_graph,
    scheme,
    steps_of,
)
from tests.tiny import TinyModel, calibrated, quantized, random_features, run_values
from tests.tiny_families import write_tiny_family


@pytest.mark.parametrize("chosen", [None, *SCHEMES])
@pytest.mark.parametrize("task", ["sequence-classification", "token-classification"])
def test_rotary_positions_local_windows_and_gates(
    task: str, chosen: tuple[str, str | None] | None, tmp_path: Path
) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path / "model", "modernbert", task=task))
    graph = graph_from_checkpoint(checkpoint)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))
    whole = graph if chosen is None else int8_graph(model, scheme(*chosen))
    for batch in BATCHES.values():
        check_same(whole, graph, batch)
    plan, _ = compiled(whole)
    assert [step.near for step in plan.steps if step.op is Op.ATTENTION] == [0, 5, 0]
    assert (plan.steps[0].position, plan.steps[0].positions, plan.steps[0].types) == ("", 128, 0)
    turns = [step for step in plan.steps if step.op is Op.ROTARY]
    alone = task == "sequence-classification"  # the last layer's queries are first tokens
    assert [step.n for step in turns] == [128, 128, *([64, 64] if alone else [128])]
    gated = [step for step in plan.steps if step.gated]
    assert len(gated) == 3 and all(step.activation is Activation.GELU for step in gated)
    if chosen is not None:
        assert {step.op for step in steps_of(plan, 0)} == {Op.NORM, Op.GEMM_INT8, Op.ROTARY, Op.ATTENTION}
        assert all(plan.buffers[step.out].type is Type.U8 for step in (*turns, *gated))


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_the_codes_of_a_rotary_model_are_the_simulator_s(mode: str, granularity: str | None, tmp_path: Path) -> None:
    """But for ties of roundings, as in models without."""
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path / "model", "modernbert"))
    graph = graph_from_checkpoint(checkpoint)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))
    batch = batch_from_features(random_features(40), range(40))
    whole = quantized(model, scheme(mode, granularity)).graph
    seen: dict[str, Array] = {}
    run_plan(*compiled(whole), batch, seen=seen)
    names = ["layer.0.query.codes", "layer.0.key.codes"]
    turned = seen["+".join(names)].astype(np.int64) - 128
    found = [*np.split(turned, 2, axis=1), seen["layer.0.value.codes"].astype(np.int64) - 128]
    for codes, others in zip(found, run_values(whole, batch, [*names, "layer.0.value.codes"]), strict=True):
        difference = np.abs(codes - others[batch.mask > 0].astype(np.int64))
        assert difference.max() <= 2 and np.mean(difference > 0) <= 0.001
    assert np.unique(turned).size > 100


@pytest.mark.parametrize("chosen", [None, *SCHEMES])
@pytest.mark.parametrize("task", ["sequence-classification", "token-classification"])
def test_products_with_distances(task: str, chosen: tuple[str, str | None] | None, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path / "model", "deberta-v2", task=task))
    graph = graph_from_checkpoint(checkpoint)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))
    whole = graph if chosen is None else int8_graph(model, scheme(*chosen))
    for batch in BATCHES.values():
        check_same(whole, graph, batch)
    plan, _ = compiled(whole)
    attentions = [step for step in plan.steps if step.op is Op.ATTENTION]
    assert all(step.distances == 16 and step.distance_key and step.distance_query for step in attentions)
    assert attentions[-1].rows is (Rows.TEXTS if task == "sequence-classification" else Rows.TOKENS)
    types = {plan.buffers[number].type for step in attentions for number in step.inputs}
    assert types == {Type.F32 if chosen is None else Type.U8}


@pytest.mark.parametrize("terms, given", [(["c2p"], (True, False)), (["p2c"], (False, True))])
def test_one_of_the_products_with_distances(terms: list[str], given: tuple[bool, bool], tmp_path: Path) -> None:
    """And distances that have rows of their own."""
    changes = {"pos_att_type": terms, "position_buckets": -1, "max_relative_positions": 6}
    graph = graph_from_checkpoint(checkpoint_from_path(write_tiny_family(tmp_path / "model", "deberta-v2", **changes)))
    check_same(graph, graph, BATCHES["packed"])
    for step in compiled(graph)[0].steps:
        if step.op is Op.ATTENTION:
            assert (bool(step.distance_key), bool(step.distance_query)) == given


def test_a_window_as_wide_as_a_text_is_none(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path / "model", "modernbert", local_attention=256))
    plan, _ = compiled(graph_from_checkpoint(checkpoint))
    assert {step.near for step in plan.steps} == {0}


def test_a_window_of_another_kind_is_refused(tmp_path: Path) -> None:
    graph = graph_from_checkpoint(checkpoint_from_path(write_tiny_family(tmp_path / "model", "modernbert")))
    node = values_by_name(graph)["packing.window_4.near"].producer()
    assert node is not None
    node.op_type = "Less"
    with pytest.raises(InputError, match=r"layer\.1\.context: in a plan a query sees .*ort-cpu"):
        plan_from_graph(graph)


# --- XLNet: segments, and a classifier's token at the end -------------------------------------------------------------

SUMMARIES = {"last": "sequence-classification", "first": "sequence-classification", "mean": "sequence-classification"}


def tiny_xlnet(folder: Path, task: str = "sequence-classification", **changes: Any) -> TinyModel:
    checkpoint = checkpoint_from_path(write_tiny_family(folder / "model", "xlnet", task=task, **changes))
    graph = graph_from_checkpoint(checkpoint)
    return TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))


@pytest.mark.parametrize("chosen", [None, *SCHEMES])
@pytest.mark.parametrize("task", ["sequence-classification", "token-classification"])
def test_segments_and_distances(task: str, chosen: tuple[str, str | None] | None, tmp_path: Path) -> None:
    model = tiny_xlnet(tmp_path, task)
    whole = model.graph if chosen is None else int8_graph(model, scheme(*chosen))
    for batch in BATCHES.values():
        check_same(whole, model.graph, batch)
    plan, _ = compiled(whole)
    embed, attentions = plan.steps[0], [step for step in plan.steps if step.op is Op.ATTENTION]
    assert (embed.type, embed.position) == ("", "") and embed.types > 3
    assert all(step.distance_key and not step.distance_query and step.segments != NO_BUFFER for step in attentions)
    alone = task == "sequence-classification"  # the last layer's queries are last tokens
    assert [step.last for step in attentions] == [0, int(alone)]
    assert attentions[-1].rows is (Rows.TEXTS if alone else Rows.TOKENS)
    types = {plan.buffers[number].type for step in attentions for number in step.inputs}
    assert types == {Type.F32 if chosen is None else Type.U8}


@pytest.mark.parametrize("summary, last", [("last", 1), ("first", 0), ("mean", None)])
def test_a_text_s_row_is_that_of_its_summary(summary: str, last: int | None, tmp_path: Path) -> None:
    model = tiny_xlnet(tmp_path, summary_type=summary)
    for graph in (model.graph, int8_graph(model, scheme("2", "channel"))):
        check_same(graph, model.graph, BATCHES["packed"])
        plan, _ = compiled(graph)
        assert {step.last for step in plan.steps if step.op is Op.FIRST} == (set() if last is None else {last})


def test_segments_are_told_apart_and_nothing_else_of_their_numbers(tmp_path: Path) -> None:
    """Any numbers: a text of types 0 and 1 answers as one of types 7 and 2, and not as one of a single type."""
    graph = tiny_xlnet(tmp_path).graph
    plan, arrays = compiled(graph)
    batch = BATCHES["padded"]

    def answers(types: Array) -> Array:
        given = Batch(input_ids=batch.input_ids, token_type_ids=types, mask=batch.mask, order=batch.order)
        found = run_plan(plan, arrays, given)["logits"]
        np.testing.assert_allclose(found, Interpreter(graph).run(given)["logits"], atol=1e-4)
        return found

    own = answers(batch.token_type_ids)
    np.testing.assert_array_equal(own, answers(np.where(batch.token_type_ids == 1, 2, 7)))
    assert np.abs(own - answers(np.zeros_like(batch.token_type_ids))).max() > 1e-4


@pytest.mark.parametrize("family", ["modernbert", "deberta-v2"])
@pytest.mark.parametrize("chosen", [None, ("2", "channel")])
def test_the_last_token_of_a_model_with_positions_of_its_own(
    family: str, chosen: tuple[str, str | None] | None, tmp_path: Path
) -> None:
    """Its window, its angle and its distances are those of its place."""
    folder = write_tiny_family(tmp_path / "model", family, task="feature-extraction")
    checkpoint = checkpoint_from_path(folder, task="feature-extraction")
    checkpoint = replace(checkpoint, head=Head(task="feature-extraction", pooling=Pooling.LAST))
    graph = graph_from_checkpoint(checkpoint)
    model = TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))
    whole = graph if chosen is None else int8_graph(model, scheme(*chosen))
    for batch in BATCHES.values():
        check_same(whole, graph, batch)
