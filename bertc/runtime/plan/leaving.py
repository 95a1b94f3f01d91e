"""Where texts leave a plan: an EXIT behind the classifier of each layer that has one, and what goes on behind it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import onnx_ir as ir

from bertc.core.exits import LAYERS
from bertc.errors import InputError
from bertc.ir.early_exit import exits_of_graph, threshold_of_graph
from bertc.ir.rms_norm import is_norm
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Op, Output, Plan, Rows, Step
from bertc.runtime.plan.patterns import operands
from bertc.runtime.plan.plan_writer import Place

MOST_GOING_ON = 2
"""Buffers whose rows an EXIT moves together."""


def exits_behind_norms(graph: ir.Model) -> Mapping[ir.Value, ir.Value]:
    """Return for each norm that a classifier reads that classifier's scores; none without a threshold."""
    if threshold_of_graph(graph) is None:
        return {}
    names = exits_of_graph(graph)
    return {_norm_before(value): value for value in graph.graph.outputs if value.name in names}


def _norm_before(scores: ir.Value) -> ir.Value:
    """Return the norm whose rows a classifier reads."""
    value = scores
    while True:
        node = value.producer()
        assert node is not None, f"{scores.name} reads no norm"
        if is_norm(node):
            return value
        value = operands(node)[0]


def exit_step(graph: ir.Model, scores: ir.Value, place: Place) -> Step:
    """Return the step at which texts leave whose scores lie at a place; what goes on is named later."""
    threshold = threshold_of_graph(graph)
    assert threshold is not None
    name = f"{scores.name}.exit"
    return Step(op=Op.EXIT, name=name, rows=Rows.TEXTS, n=place.columns, epsilon=threshold, **place.read())


def layers_output(exits: Collection[ir.Value]) -> tuple[Output, ...]:
    """Return the output that says at which classifier a text left, where texts can leave."""
    if not exits:
        return ()
    return (Output(name=LAYERS, buffer=NO_BUFFER, columns=1, per_token=False, vector=False),)


def with_what_goes_on(plan: Plan) -> Plan:
    """Name in every EXIT the buffers that are written before it and read after it. Each value has one of its own.

    Raises `InputError` where those are more than an EXIT moves.
    """
    return replace(plan, steps=tuple(_going_on(plan, number, step) for number, step in enumerate(plan.steps)))


def _going_on(plan: Plan, number: int, step: Step) -> Step:
    if step.op is not Op.EXIT:
        return step
    before = {buffer for each in plan.steps[:number] for buffer in each.written()}
    after = {buffer for each in plan.steps[number + 1 :] for buffer in each.read()}
    found = sorted(before & after)
    if len(found) > MOST_GOING_ON:
        raise InputError(
            f"{step.name}: a plan cannot let texts leave here, because later layers read {len(found)} "
            "values of earlier ones; build without --exit-threshold and --exit-drop"
        )
    first, second = (*found, *[NO_BUFFER] * (MOST_GOING_ON - len(found)))
    return replace(step, inputs=(step.inputs[0], first, second))
