"""The stage `calibrate`: the recipe's table, observed over its text or taken from the cache."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bertc.artefact.stages import Stages
from bertc.calibrate.table import CalibrationTable, table_from_path, text_from_table
from bertc.checkpoint import Checkpoint
from bertc.features import Progress
from bertc.inputs import Encoded, exponent_from_recipe, length_from_recipe, table_from_text
from bertc.recipe import Recipe
from bertc.versions import library_versions


def calibrated_table(
    recipe: Recipe, checkpoint: Checkpoint, graph: ir.Model, encoded: Encoded, *, stages: Stages, progress: Progress
) -> CalibrationTable:
    """Observe every site over the calibration text, or take the table from the cache."""
    return stages.kept(
        "calibrate",
        {
            "checkpoint": checkpoint.digest,
            "head": repr(checkpoint.head),
            "rows": [row.hash for row in encoded.rows],
            "data": encoded.path,
            "digest": encoded.digest,
            "seed": recipe.calibration.seed,
            "max_length": length_from_recipe(recipe, checkpoint),
            "exponent": exponent_from_recipe(recipe),
            "per_site": sorted(recipe.calibration.per_site),
            "sparsity": recipe.sparsity.model_dump(mode="json"),
            "versions": library_versions(),
        },
        compute=lambda: table_from_text(recipe, checkpoint, graph, encoded, progress),
        write=_write,
        read=lambda folder: table_from_path(folder / "calibration.json"),
    )


def _write(table: CalibrationTable, folder: Path) -> None:
    (folder / "calibration.json").write_text(text_from_table(table), encoding="utf-8")
