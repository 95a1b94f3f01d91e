"""The stage `correct`: how a build's weights are rounded, as the recipe says or as its calibration text decides.

What is best differs from model to model by more than the corrections themselves gain, so where the recipe leaves it
open, all of them are tried on calibration text and the one whose outputs are closest to the float model's is taken
(docs/decisions/0005-corrections.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.artefact.stages import Stages
from bertc.calibrate.gram import grams_from_batches
from bertc.calibrate.table import CalibrationTable, text_from_table
from bertc.errors import InputError
from bertc.features import Progress
from bertc.graph.scheme import Scheme
from bertc.graph.sites import GEMM_INPUTS, Site, site_from_name
from bertc.inputs import Encoded
from bertc.outputs import Output
from bertc.quantize.correction import (
    NO_CORRECTION,
    Correction,
    Rounded,
    correction_from_grams,
    output_divergence,
)
from bertc.quantize.insert import quantize_graph
from bertc.recipe import Recipe
from bertc.versions import library_versions

JUDGED_FEATURES = 96
"""Texts of the calibration that the corrections are compared on: enough that the better one shows, few enough to be
quick."""

CODES_FILE = "codes.npz"
FACTS_FILE = "correction.json"


def correction_from_recipe(
    recipe: Recipe,
    graph: ir.Model,
    scheme: Scheme | None,
    table: CalibrationTable | None,
    encoded: Encoded | None,
    *,
    outputs: Sequence[Output],
    stages: Stages,
    progress: Progress,
) -> Correction:
    """Return the recipe's correction, computed or from the cache.

    Nothing is corrected without text, nor where ranges and weights were trained together: their codes are what was
    trained. One scale per tensor is left alone too unless the recipe asks, since weights are not what it suffers from.
    Raises `InputError` for a correction that is asked for where it cannot be.
    """
    wanted = recipe.quantization
    asked = wanted.rounding == "gptq" or bool(wanted.bias_correction)
    if scheme is None or table is None:
        return NO_CORRECTION
    choices = _choices(recipe, scheme)
    trained = bool(table.origin.get("trained"))
    if encoded is None or trained:
        if asked:
            reason = "the checkpoint was trained with its codes" if trained else "there is no calibration text"
            raise InputError(f"rounding gptq and bias correction cannot be used, because {reason}; leave them out")
        if not trained and len(choices) > 1:
            progress.note("weights are rounded to nearest: there is no calibration text to correct them on")
        return NO_CORRECTION
    if choices == [(False, False)]:
        return NO_CORRECTION
    return stages.kept(
        "correct",
        {
            "table": text_from_table(table),
            "rows": [row.hash for row in encoded.rows],
            "quantization": wanted.model_dump(mode="json"),
            "calibration": recipe.calibration.model_dump(mode="json"),
            "sparsity": recipe.sparsity.model_dump(mode="json"),
            "scheme": repr((scheme.mode.name, scheme.granularity, scheme.smoothing, sorted(scheme.float_sites))),
            "float_roles": sorted(scheme.float_roles),
            "one_sided": scheme.one_sided,
            "split_outliers": scheme.split_outliers,
            "max_length": recipe.engine.max_length,
            "versions": library_versions(),
        },
        compute=lambda: _computed(recipe, graph, scheme, table, encoded, choices, outputs, progress),
        write=_write,
        read=_read,
    )


def _choices(recipe: Recipe, scheme: Scheme) -> list[tuple[bool, bool]]:
    """Return what may be done, as (gptq, bias)."""
    wanted = recipe.quantization
    open_choice = (False, True) if scheme.per_channel else (False,)
    roundings = open_choice if wanted.rounding is None else (wanted.rounding == "gptq",)
    biases = open_choice if wanted.bias_correction is None else (wanted.bias_correction,)
    return [(gptq, bias) for gptq in roundings for bias in biases]


def _computed(
    recipe: Recipe,
    graph: ir.Model,
    scheme: Scheme,
    table: CalibrationTable,
    encoded: Encoded,
    choices: list[tuple[bool, bool]],
    outputs: Sequence[Output],
    progress: Progress,
) -> Correction:
    sites = [site for site in table.sites if site.role in GEMM_INPUTS]
    grams = grams_from_batches(graph, encoded.features, sites, progress=progress)
    progress.stage("correct", total=len(choices))
    found = []
    for gptq, bias in choices:
        found.append(correction_from_grams(graph, table, scheme, grams, gptq=gptq, bias=bias))
        progress.advance()
    if len(found) == 1:
        return found[0]

    def quantized(correction: Correction) -> ir.Model:
        wanted = recipe.calibration
        return quantize_graph(
            graph, table, scheme, calibrator=wanted.calibrator, percentile=wanted.percentile, correction=correction
        ).graph

    graphs: dict[str, Callable[[], ir.Model]] = {
        correction.name: partial(quantized, correction) for correction in found
    }
    step = max(1, len(encoded.features) // JUDGED_FEATURES)
    errors = output_divergence(graph, graphs, encoded.features[::step], outputs, progress)
    best = min(found, key=lambda correction: errors[correction.name])
    progress.note(f"rounding {best.name}: output error {errors[best.name]:.3g}, the least of {len(found)}")
    return replace(best, errors=errors)


def _write(correction: Correction, folder: Path) -> None:
    facts = {"gptq": correction.gptq, "bias": correction.bias, "errors": dict(correction.errors)}
    (folder / FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    arrays: dict[str, Any] = {}
    for gemm, rounded in correction.gemms.items():
        arrays |= {f"{gemm.name}.codes": rounded.codes, f"{gemm.name}.shift": rounded.shift}
    np.savez(folder / CODES_FILE, **arrays)


def _read(folder: Path) -> Correction:
    facts = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
    gemms: dict[Site, Rounded] = {}
    with np.load(folder / CODES_FILE, allow_pickle=False) as arrays:
        for name in arrays.files:
            gemm, _, kind = name.rpartition(".")
            if kind == "codes":
                gemms[site_from_name(gemm)] = Rounded(arrays[name], arrays[f"{gemm}.shift"])
    return Correction(gptq=facts["gptq"], bias=facts["bias"], gemms=gemms, errors=facts["errors"])
