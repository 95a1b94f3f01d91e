"""The stages between a float graph and a target's model: what `bertc build` and `bertc export` have in common."""

from __future__ import annotations

import onnx_ir as ir

from bertc.calibrate.table import CalibrationTable
from bertc.export.embeddings import StoredEmbeddings, store_embeddings
from bertc.graph.options import DEFAULT_OPTIONS, EngineOptions
from bertc.graph.scheme import Scheme
from bertc.quantize.correction import NO_CORRECTION, Correction
from bertc.quantize.insert import Quantized, quantize_graph
from bertc.recipe import Recipe
from bertc.targets import Target


def export_model(
    recipe: Recipe,
    target: Target,
    graph: ir.Model,
    scheme: Scheme | None,
    table: CalibrationTable | None,
    correction: Correction = NO_CORRECTION,
    *,
    options: EngineOptions = DEFAULT_OPTIONS,
) -> tuple[ir.Model, Quantized | None, StoredEmbeddings | None]:
    """Store the embeddings, quantize where the target wants it, and lower."""
    stored = store_embeddings(graph) if target.precision == "int8" else None
    source = graph if stored is None else stored.graph
    quantized = None
    if scheme is not None and table is not None:
        wanted = recipe.calibration
        quantized = quantize_graph(
            source, table, scheme, calibrator=wanted.calibrator, percentile=wanted.percentile, correction=correction
        )
        source = quantized.graph
    return target.onnx_from_graph(source, options), quantized, stored
