"""`bertc prune`: a checkpoint made 2:4, written as the checkpoint that a build or a training takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.artefact.kinds import CHECKPOINT_TARGET, PRUNED
from bertc.artefact.layout import SPARSITY_FILE
from bertc.artefact.manifest import Provenance, write_manifest
from bertc.artefact.swap import artefact_folder
from bertc.cache.stages import Work
from bertc.checkpoint import Checkpoint
from bertc.checkpoint.write import write_checkpoint
from bertc.core.versions import library_versions
from bertc.graph.encoder import graph_from_checkpoint, parameters_from_checkpoint
from bertc.jobs.inputs import (
    calibration_from_recipe,
    check_sparsity,
    checkpoint_from_recipe,
    length_of_inputs,
    sparsity_from_recipe,
)
from bertc.prune.layers import Pruned
from bertc.prune.pattern import PATTERN
from bertc.prune.stage import changed_weights, lines_from_gemms, pruned_graph
from bertc.recipe import Recipe
from bertc.runtime.machine.cpu import cpu_features


def prune_checkpoint(recipe: Recipe, out: Path, *, work: Work) -> Pruned:
    """Prune a checkpoint and write it as a Hugging Face folder, with what each GEMM lost in sparsity.json."""
    if recipe.sparsity.pattern is None:
        sparsity = recipe.sparsity.model_copy(update={"pattern": PATTERN})
        recipe = recipe.model_copy(update={"sparsity": sparsity})
    with artefact_folder(out, kind=PRUNED, progress=work.progress) as folder:
        with work.timed("read"):
            checkpoint = checkpoint_from_recipe(recipe)
            check_sparsity(recipe, checkpoint)
            texts = None
            if recipe.calibration.data is not None:
                length = length_of_inputs(checkpoint, recipe.engine.max_length)
                texts = calibration_from_recipe(recipe.calibration, checkpoint, length)
            graph = graph_from_checkpoint(checkpoint)
        pruned = pruned_graph(graph, sparsity_from_recipe(recipe.sparsity), texts, work=work)
        assert pruned is not None
        work.progress.stage("write")
        write_checkpoint(checkpoint, folder, tensors_from_graph(checkpoint, graph, pruned.graph))
        gemms = lines_from_gemms(pruned.gemms)
        document = {"schema": 1, "pattern": PATTERN, "criterion": recipe.sparsity.criterion, "gemms": gemms}
        (folder / SPARSITY_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        made = Provenance(
            target=CHECKPOINT_TARGET, checkpoint=checkpoint.digest, cpu=cpu_features(), versions=library_versions()
        )
        write_manifest(folder, made, unvalidated=True)
    return pruned


def tensors_from_graph(checkpoint: Checkpoint, before: ir.Model, after: ir.Model) -> dict[str, NDArray[np.float32]]:
    """Return the checkpoint's tensors that changed, by their names and in their shapes there."""
    parameters = parameters_from_checkpoint(checkpoint)
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, array in changed_weights(before, after).items():
        tensors |= parameters[name].tensors(array)
    return tensors
