"""The stages between a float graph and a target's model: what `bertc build` and `bertc export` have in common."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from bertc.export.embeddings import StoredEmbeddings, store_embeddings
from bertc.export.engine_options import DEFAULT_OPTIONS, EngineOptions
from bertc.quantize.correction import NO_CORRECTION, Correction
from bertc.quantize.insert import Quantized, quantize_graph
from bertc.quantize.quantization import Quantization
from bertc.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """A graph in a target's operators, what was quantized in it, and how its embeddings are stored (None: not so)."""

    graph: ir.Model
    quantized: Quantized | None
    stored: StoredEmbeddings | None


def lowered_graph(
    graph: ir.Model,
    target: Target,
    quantization: Quantization | None,
    correction: Correction = NO_CORRECTION,
    *,
    options: EngineOptions = DEFAULT_OPTIONS,
) -> Lowered:
    """Store the embeddings, quantize where the target wants it, and lower."""
    stored = store_embeddings(graph) if target.precision == "int8" else None
    source = graph if stored is None else stored.graph
    quantized = None
    if quantization is not None:
        quantized = quantize_graph(
            source, quantization.table, quantization.scheme, quantization.method, correction=correction
        )
        source = quantized.graph
    return Lowered(graph=target.onnx_from_graph(source, options), quantized=quantized, stored=stored)
