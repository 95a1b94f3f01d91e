"""Early exit in a graph: scores behind layers before the last, and the uncertainty under which a text stops there.

A graph gives all classifiers' scores out. The engine that computes a text no further gives out the scores of the
classifier at which it left, and which one that was.
"""

from __future__ import annotations

import math

import onnx_ir as ir

from bertc.core.exits import EXIT
from bertc.ir.edit import remove_unused

THRESHOLD = "bertc.exit_threshold"
"""The key of the threshold in a model's metadata."""


def exits_of_graph(graph: ir.Model) -> dict[str, int]:
    """Return the outputs that are an exit's scores, in order, each with its layer."""
    found = [(str(value.name), EXIT.fullmatch(str(value.name))) for value in graph.graph.outputs]
    return {name: int(match[1]) for name, match in found if match is not None}


def let_texts_leave(graph: ir.Model, threshold: float) -> ir.Model:
    """Return a copy of a graph with exits that says under which uncertainty a text leaves."""
    assert exits_of_graph(graph) and math.isfinite(threshold)
    model = graph.clone()
    model.metadata_props[THRESHOLD] = repr(threshold)
    return model


def without_exits(graph: ir.Model) -> ir.Model:
    """Return a copy of a graph that gives out the last classifier's scores alone."""
    model = graph.clone()
    names = exits_of_graph(model)
    kept = [value for value in model.graph.outputs if value.name not in names]
    model.graph.outputs.clear()
    model.graph.outputs.extend(kept)
    remove_unused(model)
    return model


def threshold_of_graph(graph: ir.Model) -> float | None:
    """Return the uncertainty under which a text leaves; None where all texts go through all layers."""
    told = graph.metadata_props.get(THRESHOLD)
    return None if told is None else float(told)
