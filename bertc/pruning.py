"""The stage `prune`: a recipe's sparsity made into a pruned graph, kept in the cache, and verified after the export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.artefact.cache import StageCache
from bertc.artefact.stages import Stages
from bertc.artefact.swap import artefact_folder
from bertc.calibrate.gram import Gram, grams_from_batches
from bertc.calibrate.table import CalibrationTable
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.errors import InputError
from bertc.evaluate.report import SparseGemmPart, SparsityPart
from bertc.features import Progress, Silent
from bertc.graph.build import graph_from_checkpoint, parameters_from_checkpoint
from bertc.graph.edit import set_constant
from bertc.graph.emit import array_of
from bertc.graph.sites import Site, site_from_name
from bertc.inputs import Encoded, calibration_from_recipe, layers_of, length_from_recipe
from bertc.manifest import write_manifest
from bertc.quantize.insert import Quantized
from bertc.recipe import Recipe
from bertc.runtime.cpu import cpu_features
from bertc.sparsity.criteria import criterion_from_name
from bertc.sparsity.pattern import PATTERN, masks_from_graph
from bertc.sparsity.prune import Pruned, PrunedGemm, State, prune_graph, skipped_gemms, unpruned_gemms
from bertc.sparsity.verify import verify_pattern
from bertc.targets import Target
from bertc.versions import library_versions

WEIGHTS_FILE = "changed.npz"
GEMMS_FILE = "gemms.json"
REPORT_FILE = "sparsity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSparsity:
    """What was pruned, and how many of its weights were read and found 2:4 as codes and in the exported model.

    `codes` is None for a target without static INT8.
    """

    pruned: Pruned
    codes: int | None
    exported: int

    @property
    def complete(self) -> bool:
        """Whether every sparse weight was found 2:4 wherever it is stored."""
        return {self.codes, self.exported} - {None} == {len(self.pruned.masks)}


def check_sparsity(recipe: Recipe, checkpoint: Checkpoint, own: CalibrationTable | None = None) -> None:
    """Refuse at once wrong names, missing text, and a table (the user's, the checkpoint's own) of the dense weights."""
    wanted = recipe.sparsity
    if wanted.pattern is None:
        return
    method = criterion_from_name(wanted.criterion)
    skipped_gemms(wanted.skip, layers_of(checkpoint))
    if recipe.calibration.table is not None:
        raise InputError(
            f"calibration table {recipe.calibration.table} has the ranges of the dense weights, and --sparsity changes "
            "them; give --calibration-data, or prune first (bertc prune) and calibrate what it writes"
        )
    if own is not None:
        raise InputError(
            f"{recipe.checkpoint} has ranges of its own, which belong to its dense weights, and --sparsity changes "
            "them; build it without --sparsity, or prune the checkpoint that it was trained from"
        )
    if method.NEEDS_TEXT and recipe.calibration.data is None:
        raise InputError(f"the sparsity criterion {wanted.criterion} needs text; name a file with --calibration-data")


def needs_text(recipe: Recipe) -> bool:
    """Say whether the recipe's pruning reads the calibration text."""
    return recipe.sparsity.pattern is not None and criterion_from_name(recipe.sparsity.criterion).NEEDS_TEXT


def pruned_from_recipe(
    recipe: Recipe,
    checkpoint: Checkpoint,
    graph: ir.Model,
    encoded: Encoded | None,
    *,
    stages: Stages,
    progress: Progress,
) -> Pruned | None:
    """Prune the graph, take the result from the cache, or recognise a checkpoint that is 2:4 already.

    `encoded` is the calibration text, for a criterion that needs it. Returns None where nothing is sparse.
    """
    wanted = recipe.sparsity
    if wanted.pattern is None:
        masks = masks_from_graph(graph)
        return Pruned(graph=graph, masks=masks, gemms=unpruned_gemms(graph)) if masks else None

    def grams(model: ir.Model, sites: Sequence[Site]) -> Mapping[Site, Gram]:
        assert encoded is not None
        return grams_from_batches(model, encoded.features, sites, progress=Silent())  # the layers are what is counted

    def compute() -> Pruned:
        return prune_graph(
            graph,
            criterion=wanted.criterion,
            grams=None if encoded is None else grams,
            skip=wanted.skip,
            permute=wanted.permute,
            progress=progress,
        )

    return stages.kept(
        "prune",
        {
            "checkpoint": checkpoint.digest,
            "head": repr(checkpoint.head),
            "sparsity": wanted.model_dump(mode="json"),
            "rows": [] if encoded is None else [row.hash for row in encoded.rows],
            "max_length": length_from_recipe(recipe, checkpoint),
            "versions": library_versions(),
        },
        compute=compute,
        write=lambda pruned, folder: _write_pruned(graph, pruned, folder),
        read=lambda folder: _read_pruned(graph, folder),
    )


def verify_sparsity(pruned: Pruned | None, quantized: Quantized | None, lowered: ir.Model) -> VerifiedSparsity | None:
    """Check the INT8 codes and the exported model. Raises `BrokenPatternError` where a zero was lost."""
    if pruned is None:
        return None
    return VerifiedSparsity(
        pruned=pruned,
        codes=None if quantized is None else verify_pattern(quantized.graph, pruned.masks),
        exported=verify_pattern(lowered, pruned.masks),
    )


def sparsity_part(found: VerifiedSparsity, recipe: Recipe, target: Target) -> SparsityPart:
    """Write what is sparse in the report's words."""
    asked = recipe.sparsity.pattern is not None
    return SparsityPart(
        pattern=PATTERN,
        criterion=recipe.sparsity.criterion if asked else "checkpoint",
        tensors=len(found.pruned.masks),
        verified=found.complete,
        unused=target.runtime.sparsity,
        permuted=asked and recipe.sparsity.permute,
        gemms=tuple(SparseGemmPart.model_validate(line) for line in _lines(found.pruned)),
    )


def prune_checkpoint(recipe: Recipe, out: Path, *, progress: Progress, cache: StageCache) -> Pruned:
    """Prune a checkpoint and write it as a Hugging Face folder, with what each GEMM lost in sparsity.json."""
    if recipe.sparsity.pattern is None:
        wanted = recipe.sparsity.model_copy(update={"pattern": PATTERN})
        recipe = recipe.model_copy(update={"sparsity": wanted})
    with artefact_folder(out, progress=progress) as folder:
        progress.stage("read")
        checkpoint = checkpoint_from_path(recipe.checkpoint, task=recipe.task)
        check_sparsity(recipe, checkpoint)
        encoded = calibration_from_recipe(recipe, checkpoint) if recipe.calibration.data is not None else None
        graph = graph_from_checkpoint(checkpoint)
        pruned = pruned_from_recipe(
            recipe, checkpoint, graph, encoded, stages=Stages(cache, progress), progress=progress
        )
        assert pruned is not None
        progress.stage("write")
        write_checkpoint(checkpoint, folder, tensors_from_graph(checkpoint, graph, pruned.graph))
        document = {"schema": 1, "pattern": PATTERN, "criterion": recipe.sparsity.criterion, "gemms": _lines(pruned)}
        (folder / REPORT_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        write_manifest(
            folder,
            target="checkpoint",
            checkpoint=checkpoint.digest,
            cpu=cpu_features(),
            versions=library_versions(),
            unvalidated=True,
        )
    return pruned


def tensors_from_graph(checkpoint: Checkpoint, before: ir.Model, after: ir.Model) -> dict[str, NDArray[np.float32]]:
    """Return the checkpoint's tensors that changed, by their names and in their shapes there."""
    parameters = parameters_from_checkpoint(checkpoint)
    return {
        parameters[name].name: np.ascontiguousarray(array.T if parameters[name].transposed else array)
        for name, array in _changed(before, after).items()
    }


def _changed(before: ir.Model, after: ir.Model) -> dict[str, NDArray[np.float32]]:
    """Return the initializers that differ."""
    old = before.graph.initializers
    return {
        str(name): array_of(value)
        for name, value in after.graph.initializers.items()
        if not np.array_equal(array_of(old[name]), array_of(value))
    }


def _lines(pruned: Pruned) -> list[dict[str, Any]]:
    """Write the GEMMs as JSON."""
    return [
        {
            "site": gemm.site.name,
            "state": str(gemm.state),
            "reason": gemm.reason,
            "kept_energy": gemm.kept_energy,
            "output_error": gemm.output_error,
        }
        for gemm in pruned.gemms
    ]


def _gemm_from_line(line: Mapping[str, Any]) -> PrunedGemm:
    return PrunedGemm(**{**line, "site": site_from_name(line["site"]), "state": State(line["state"])})


def _write_pruned(graph: ir.Model, pruned: Pruned, folder: Path) -> None:
    arrays: dict[str, Any] = {**_changed(graph, pruned.graph)}
    np.savez(folder / WEIGHTS_FILE, **arrays)
    (folder / GEMMS_FILE).write_text(json.dumps(_lines(pruned)), encoding="utf-8")


def _read_pruned(graph: ir.Model, folder: Path) -> Pruned:
    """Apply a cache entry to the graph that it was made from."""
    model = graph.clone()
    with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as arrays:
        for name in arrays.files:
            set_constant(model.graph.initializers[name], arrays[name])
    lines = json.loads((folder / GEMMS_FILE).read_text(encoding="utf-8"))
    return Pruned(graph=model, masks=masks_from_graph(model), gemms=tuple(map(_gemm_from_line, lines)))
