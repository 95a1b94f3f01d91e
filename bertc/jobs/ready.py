"""A graph that is ready to be lowered: what the jobs `quantize` and `export` share. A build would use it as it is."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from bertc.cache.stages import Work
from bertc.calibrate.carried import notes_of_ranges
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.scheme import Scheme
from bertc.jobs.inputs import Inputs, table_from_inputs
from bertc.jobs.plan import correction_from_recipe, method_from_recipe
from bertc.prune.stage import pruned_graph
from bertc.quantize.correction import Correction
from bertc.quantize.correction_stage import chosen_correction
from bertc.quantize.quantization import Quantization
from bertc.recipe import Recipe
from bertc.tasks import outputs_from_head


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A graph that is ready to be lowered, and how it is quantized (None: the target has no static INT8)."""

    graph: ir.Model
    quantization: Quantization | None
    correction: Correction


def graph_from_inputs(inputs: Inputs, *, work: Work) -> ir.Model:
    """Return the float graph, pruned where that is asked for."""
    graph = graph_from_checkpoint(inputs.checkpoint)
    pruned = pruned_graph(graph, inputs.sparsity, inputs.calibration, work=work)
    return graph if pruned is None else pruned.graph


def ready_from_inputs(recipe: Recipe, inputs: Inputs, scheme: Scheme | None, *, work: Work) -> Ready:
    """Prune, take or make the table, telling what is to be known of it, and decide how the weights are rounded."""
    graph = graph_from_inputs(inputs, work=work)
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
    return Ready(graph=graph, quantization=quantization, correction=correction)
