"""A calibration table alone: the same stage as in `bertc.jobs.build`, with the same cache."""

from __future__ import annotations

from bertc.cache.stages import Work
from bertc.calibrate.shards import ready_to_observe
from bertc.calibrate.table import CalibrationTable
from bertc.jobs.inputs import calibrated, checkpoint_from_recipe, inputs_from_recipe, length_of_inputs
from bertc.jobs.plan import scheme_from_recipe
from bertc.jobs.ready import graph_from_inputs
from bertc.recipe import Recipe


def calibrate(recipe: Recipe, *, work: Work) -> CalibrationTable:
    """Observe every site of the recipe's checkpoint over the recipe's text."""
    with work.timed("read"):
        checkpoint = checkpoint_from_recipe(recipe)
        length = length_of_inputs(checkpoint, recipe.engine.max_length)
        work.workers.start(ready_to_observe)
        text_only = recipe.calibration.model_copy(update={"table": None})
        inputs = inputs_from_recipe(
            recipe.model_copy(update={"calibration": text_only}),
            checkpoint,
            scheme_from_recipe(recipe.quantization, layers=checkpoint.architecture.layers),
            max_length=length,
        )
    return calibrated(inputs, graph_from_inputs(inputs, work=work), work=work)
