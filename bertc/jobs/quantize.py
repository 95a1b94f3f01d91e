"""A Q/DQ graph alone, not validated: the same stages as in `bertc.jobs.build`, with the same cache."""

from __future__ import annotations

from bertc.cache.stages import Work
from bertc.jobs.inputs import checkpoint_from_recipe, inputs_from_recipe, length_of_inputs
from bertc.jobs.plan import scheme_from_recipe
from bertc.jobs.ready import ready_from_inputs
from bertc.quantize.insert import Quantized, quantize_graph
from bertc.recipe import Recipe


def quantize(recipe: Recipe, *, work: Work) -> Quantized:
    """Insert the Q/DQ pairs of the recipe's scheme, those included that no target lowers."""
    with work.timed("read"):
        checkpoint = checkpoint_from_recipe(recipe)
        scheme = scheme_from_recipe(recipe.quantization, layers=checkpoint.architecture.layers)
        length = length_of_inputs(checkpoint, recipe.engine.max_length)
        inputs = inputs_from_recipe(recipe, checkpoint, scheme, max_length=length)
    ready = ready_from_inputs(recipe, inputs, scheme, work=work)
    work.progress.stage("quantize")
    assert ready.quantization is not None
    return quantize_graph(
        ready.graph,
        ready.quantization.table,
        scheme,
        ready.quantization.method,
        correction=ready.correction,
    )
