"""A model file alone, not validated: the same stages as in `bertc.jobs.build`, with the same cache."""

from __future__ import annotations

from dataclasses import replace

from bertc.cache.stages import Work
from bertc.jobs.inputs import checkpoint_from_recipe, inputs_from_recipe, length_of_inputs
from bertc.jobs.plan import check_architecture, plan_from_recipe
from bertc.jobs.ready import ready_from_inputs
from bertc.quantize.lowered import Lowered, lowered_graph
from bertc.recipe import Recipe


def export(recipe: Recipe, *, work: Work) -> Lowered:
    """Lower the recipe's checkpoint for the recipe's target, whether or not this machine can run it."""
    with work.timed("read"):
        checkpoint = checkpoint_from_recipe(recipe)
        length = length_of_inputs(checkpoint, recipe.engine.max_length)
        plan = plan_from_recipe(recipe, checkpoint, longest=length)
        check_architecture(plan, checkpoint)
        inputs = inputs_from_recipe(recipe, checkpoint, plan.scheme, max_length=length)
    ready = ready_from_inputs(recipe, inputs, plan.scheme, work=work)
    work.progress.stage("quantize and export")
    lowered = lowered_graph(ready.graph, plan.target, ready.quantization, ready.correction, options=plan.options)
    return replace(lowered, graph=plan.target.runtime.onnx_graph(lowered.graph))
