"""The first stages of the compiler alone: a calibration table, a Q/DQ graph, or a model file, none of them validated.

The same stages as in `bertc.jobs.build`, with the same cache; what they give, a build would use as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from bertc.cache.stages import Work
from bertc.calibrate.carried import notes_of_ranges
from bertc.calibrate.table import CalibrationTable
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.scheme import Scheme
from bertc.jobs.inputs import (
    Inputs,
    calibrated,
    checkpoint_from_recipe,
    inputs_from_recipe,
    length_of_inputs,
    table_from_inputs,
)
from bertc.jobs.plan import correction_from_recipe, method_from_recipe, plan_from_recipe, scheme_from_recipe
from bertc.prune.stage import pruned_graph
from bertc.quantize.correction import Correction
from bertc.quantize.correction_stage import chosen_correction
from bertc.quantize.insert import Quantized, quantize_graph
from bertc.quantize.lowered import Lowered, lowered_graph
from bertc.quantize.quantization import Quantization
from bertc.recipe import Recipe
from bertc.tasks import outputs_from_head


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ready:
    """A graph that is ready to be lowered, and how it is quantized (None: the target has no static INT8)."""

    graph: ir.Model
    quantization: Quantization | None
    correction: Correction


def calibrate(recipe: Recipe, *, work: Work) -> CalibrationTable:
    """Observe every site of the recipe's checkpoint over the recipe's text."""
    with work.timed("read"):
        checkpoint = checkpoint_from_recipe(recipe)
        length = length_of_inputs(checkpoint, recipe.engine.max_length)
        text_only = recipe.calibration.model_copy(update={"table": None})
        inputs = inputs_from_recipe(
            recipe.model_copy(update={"calibration": text_only}),
            checkpoint,
            scheme_from_recipe(recipe.quantization, layers=checkpoint.architecture.layers),
            max_length=length,
        )
    return calibrated(inputs, _graph(inputs, work), work=work)


def quantize(recipe: Recipe, *, work: Work) -> Quantized:
    """Insert the Q/DQ pairs of the recipe's scheme, those included that no target lowers."""
    with work.timed("read"):
        checkpoint = checkpoint_from_recipe(recipe)
        scheme = scheme_from_recipe(recipe.quantization, layers=checkpoint.architecture.layers)
        length = length_of_inputs(checkpoint, recipe.engine.max_length)
        inputs = inputs_from_recipe(recipe, checkpoint, scheme, max_length=length)
    ready = _ready(recipe, inputs, scheme, work)
    work.progress.stage("quantize")
    assert ready.quantization is not None
    return quantize_graph(
        ready.graph,
        ready.quantization.table,
        scheme,
        ready.quantization.method,
        correction=ready.correction,
    )


def export(recipe: Recipe, *, work: Work) -> Lowered:
    """Lower the recipe's checkpoint for the recipe's target, whether or not this machine can run it."""
    with work.timed("read"):
        checkpoint = checkpoint_from_recipe(recipe)
        length = length_of_inputs(checkpoint, recipe.engine.max_length)
        plan = plan_from_recipe(recipe, checkpoint, longest=length)
        inputs = inputs_from_recipe(recipe, checkpoint, plan.scheme, max_length=length)
    ready = _ready(recipe, inputs, plan.scheme, work)
    work.progress.stage("quantize and export")
    return lowered_graph(ready.graph, plan.target, ready.quantization, ready.correction, options=plan.options)


def _graph(inputs: Inputs, work: Work) -> ir.Model:
    """Return the float graph, pruned where that is asked for."""
    graph = graph_from_checkpoint(inputs.checkpoint)
    pruned = pruned_graph(graph, inputs.sparsity, inputs.calibration, work=work)
    return graph if pruned is None else pruned.graph


def _ready(recipe: Recipe, inputs: Inputs, scheme: Scheme | None, work: Work) -> _Ready:
    """Prune, take or make the table, telling what is to be known of it, and decide how the weights are rounded."""
    graph = _graph(inputs, work)
    quantization = None
    if scheme is not None:
        table = table_from_inputs(inputs, graph, work=work)
        named = recipe.calibration.table or recipe.calibration.data
        for note in notes_of_ranges(inputs.checkpoint, table, named):
            work.progress.note(note)
        quantization = Quantization(scheme=scheme, table=table, method=method_from_recipe(recipe.calibration))
    wish = correction_from_recipe(recipe.quantization)
    outputs = outputs_from_head(inputs.checkpoint.head)
    correction = chosen_correction(graph, quantization, inputs.calibration, wish, outputs, work=work)
    return _Ready(graph=graph, quantization=quantization, correction=correction)
