"""The first stages of the compiler alone: a calibration table, a Q/DQ graph, or a model file, none of them validated.

The same stages as in `bertc.pipeline`, with the same cache; what they give, a build would use as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from bertc.artefact.cache import StageCache
from bertc.artefact.stages import Stages
from bertc.calibrate.table import CalibrationTable
from bertc.calibration import calibrated_table
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.corrections import correction_from_recipe
from bertc.features import Progress
from bertc.graph.build import graph_from_checkpoint
from bertc.graph.options import DEFAULT_OPTIONS, EngineOptions
from bertc.graph.scheme import Scheme
from bertc.inputs import calibration_from_recipe, given_table, options_from_recipe, scheme_from_recipe
from bertc.lowering import export_model
from bertc.own_ranges import notes_of_ranges, own_table
from bertc.pruning import check_sparsity, needs_text, pruned_from_recipe
from bertc.quantize.correction import Correction
from bertc.quantize.insert import Quantized, quantize_graph
from bertc.recipe import Recipe
from bertc.targets import Target, target_from_name
from bertc.tasks import outputs_from_head


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A model that was lowered, and what is INT8 in it (None: the target has no static INT8)."""

    model: ir.Model
    quantized: Quantized | None


def calibrate(recipe: Recipe, *, progress: Progress, cache: StageCache) -> CalibrationTable:
    """Observe every site of the recipe's checkpoint over the recipe's text."""
    text_only = recipe.model_copy(update={"calibration": recipe.calibration.model_copy(update={"table": None})})
    return _Read(text_only, None, Stages(cache, progress), progress).calibrated()


def quantize(recipe: Recipe, *, progress: Progress, cache: StageCache) -> Quantized:
    """Insert the Q/DQ pairs of the recipe's scheme, those included that no target lowers."""
    read = _Read(recipe, None, Stages(cache, progress), progress)
    table = read.table()
    progress.stage("quantize")
    wanted = recipe.calibration
    assert read.scheme is not None  # only a target can do without
    return quantize_graph(
        read.graph,
        table,
        read.scheme,
        calibrator=wanted.calibrator,
        percentile=wanted.percentile,
        correction=read.correction(table),
    )


def export(recipe: Recipe, *, progress: Progress, cache: StageCache) -> Exported:
    """Lower the recipe's checkpoint for the recipe's target, whether or not this machine can run it."""
    target = target_from_name(recipe.engine.target)
    read = _Read(recipe, target, Stages(cache, progress), progress)
    table = None if read.scheme is None else read.table()
    progress.stage("quantize and export")
    model, quantized, _ = export_model(
        recipe, target, read.graph, read.scheme, table, read.correction(table), options=read.options
    )
    return Exported(model=model, quantized=quantized)


class _Read:
    """A recipe's checkpoint, scheme and float graph, read and checked in the order of what is refused soonest."""

    def __init__(self, recipe: Recipe, target: Target | None, stages: Stages, progress: Progress) -> None:
        progress.stage("read")
        self.recipe = recipe
        self.stages = stages
        self.progress = progress
        self.checkpoint: Checkpoint = checkpoint_from_path(recipe.checkpoint, task=recipe.task)
        self.scheme: Scheme | None = scheme_from_recipe(recipe, self.checkpoint, target)
        self.options: EngineOptions = DEFAULT_OPTIONS
        if target is not None:
            self.options = options_from_recipe(recipe, self.checkpoint, target, self.scheme)
        check_sparsity(recipe, self.checkpoint, own_table(recipe, self.checkpoint, self.scheme))
        self.graph = graph_from_checkpoint(self.checkpoint)
        encoded = calibration_from_recipe(recipe, self.checkpoint) if needs_text(recipe) else None
        pruned = pruned_from_recipe(recipe, self.checkpoint, self.graph, encoded, stages=stages, progress=progress)
        if pruned is not None:
            self.graph = pruned.graph

    def table(self) -> CalibrationTable:
        """Return the user's table, the checkpoint's own, a cached one, or a new one, and tell what is to be known."""
        recipe = self.recipe
        table = own_table(recipe, self.checkpoint, self.scheme)
        if recipe.calibration.table is not None:
            table = given_table(recipe.calibration.table, self.checkpoint)
        table = table or self.calibrated()
        for note in notes_of_ranges(recipe, self.checkpoint, self.scheme, table):
            self.progress.note(note)
        return table

    def correction(self, table: CalibrationTable | None) -> Correction:
        """Decide how the weights are rounded, on the recipe's text if it names some."""
        recipe = self.recipe
        encoded = None
        if self.scheme is not None and recipe.calibration.data is not None:
            encoded = calibration_from_recipe(recipe, self.checkpoint)
        return correction_from_recipe(
            recipe,
            self.graph,
            self.scheme,
            table,
            encoded,
            outputs=outputs_from_head(self.checkpoint.head),
            stages=self.stages,
            progress=self.progress,
        )

    def calibrated(self) -> CalibrationTable:
        """Return the table of the recipe's text, cached or new."""
        recipe = self.recipe
        encoded = calibration_from_recipe(recipe, self.checkpoint)
        return calibrated_table(
            recipe, self.checkpoint, self.graph, encoded, stages=self.stages, progress=self.progress
        )
