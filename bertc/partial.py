"""The first stages of the compiler alone: a calibration table, a Q/DQ graph, or a model file, none of them validated.

The same stages as in `bertc.pipeline`, with the same cache; what they give a build would use as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from bertc.artefact.cache import StageCache
from bertc.artefact.stages import Stages
from bertc.calibrate.table import CalibrationTable
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.features import Progress
from bertc.graph.build import graph_from_checkpoint
from bertc.pipeline import (
    calibration_stage,
    checked_target,
    export_stage,
    quantized_from_graph,
    scheme_from_recipe,
)
from bertc.quantize.insert import Quantized
from bertc.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A model file that was written, and how many sites and weights of each kind are INT8 (None: not static INT8)."""

    path: Path
    bytes: int
    quantized: Quantized | None


def calibrate(recipe: Recipe, *, progress: Progress, cache: StageCache) -> CalibrationTable:
    """Observe every site of the recipe's checkpoint over the recipe's text."""
    text_only = recipe.model_copy(update={"calibration": recipe.calibration.model_copy(update={"table": None})})
    stages = Stages(cache, progress)
    checkpoint, graph = _read(recipe, progress)
    scheme = scheme_from_recipe(recipe, checkpoint, None)
    table = calibration_stage(text_only, checkpoint, graph, scheme, stages, progress)
    assert table is not None  # every scheme needs one
    return table


def quantize(recipe: Recipe, *, progress: Progress, cache: StageCache) -> Quantized:
    """Insert the Q/DQ pairs of the recipe's scheme, those included that no target lowers."""
    stages = Stages(cache, progress)
    checkpoint, graph = _read(recipe, progress)
    scheme = scheme_from_recipe(recipe, checkpoint, None)
    table = calibration_stage(recipe, checkpoint, graph, scheme, stages, progress)
    assert scheme is not None and table is not None
    progress.stage("quantize")
    return quantized_from_graph(recipe, graph, table, scheme)


def export(recipe: Recipe, folder: Path, *, progress: Progress, cache: StageCache) -> Exported:
    """Write model.onnx for the recipe's target into a folder."""
    target = checked_target(recipe)
    stages = Stages(cache, progress)
    checkpoint, graph = _read(recipe, progress)
    scheme = scheme_from_recipe(recipe, checkpoint, target)
    table = calibration_stage(recipe, checkpoint, graph, scheme, stages, progress)
    quantized, _, path = export_stage(recipe, target, graph, table, scheme, stages, folder, progress)
    return Exported(path=path, bytes=path.stat().st_size, quantized=quantized)


def _read(recipe: Recipe, progress: Progress) -> tuple[Checkpoint, ir.Model]:
    progress.stage("read")
    checkpoint = checkpoint_from_path(recipe.checkpoint, task=recipe.task)
    return checkpoint, graph_from_checkpoint(checkpoint)
