"""The stage `sensitivity`: each quantized site's share of the error, kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bertc.artefact.stages import Stages
from bertc.calibrate.table import CalibrationTable, text_from_table
from bertc.checkpoint import Checkpoint
from bertc.features import Progress
from bertc.graph.sites import Role, Site
from bertc.inputs import Encoded, length_from_recipe
from bertc.quantize.insert import Quantized
from bertc.quantize.sensitivity import sensitivity_from_graph
from bertc.recipe import Recipe
from bertc.tasks import outputs_from_head
from bertc.versions import library_versions

FILE = "sensitivity.json"


def sensitivity_of_sites(
    recipe: Recipe,
    checkpoint: Checkpoint,
    quantized: Quantized,
    table: CalibrationTable,
    encoded: Encoded,
    *,
    attention: str | None,
    stages: Stages,
    progress: Progress,
) -> Mapping[Site, float]:
    """Measure each site's share of the error on the texts, or take it from the cache."""
    parts = {
        "table": text_from_table(table),
        "head": repr(checkpoint.head),
        "max_length": length_from_recipe(recipe, checkpoint),
        "quantization": recipe.quantization.model_dump(mode="json"),
        "calibration": recipe.calibration.model_dump(mode="json"),
        "target": recipe.engine.target,
        "attention": attention,
        "rows": [row.hash for row in encoded.rows],
        "versions": library_versions(),
    }
    outputs = outputs_from_head(checkpoint.head)
    return stages.kept(
        "sensitivity",
        parts,
        compute=lambda: sensitivity_from_graph(quantized, table, encoded.features, outputs, progress=progress),
        write=_write,
        read=_read,
    )


def _write(errors: Mapping[Site, float], folder: Path) -> None:
    listed = [[site.layer, site.role, error] for site, error in errors.items()]
    (folder / FILE).write_text(json.dumps(listed), encoding="utf-8")


def _read(folder: Path) -> Mapping[Site, float]:
    listed = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return {Site(layer, Role(role)): error for layer, role, error in listed}
