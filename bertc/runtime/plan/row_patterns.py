"""What a plan computes of a text's rows: the choice of one, their mean or maximum, and their lengths."""

from __future__ import annotations

import onnx_ir as ir

from bertc.ir.emit import array_of
from bertc.runtime.plan.kernel_plan import Pooled
from bertc.runtime.plan.patterns import produced

MARKED = (
    *(("Reshape", 0), ("Add", 1), ("Mod", 0), ("Sub", 1), ("ReduceMax", 0)),
    *(("Mul", 0), ("Mul", 0), ("Cast", 0)),
)
"""The nodes from the chosen places back to the comparison of ids, each with the input that is followed."""


def chosen_of(node: ir.Node) -> tuple[ir.Value, bool] | None:
    """Read the choice of each sentence's first or last token (`bertc.ir.sentences`): the tokens it is made from, and
    whether it is the last."""
    transposed = produced(node.inputs[1], "Transpose") if node.op_type == "GatherND" else None
    places = None if transposed is None else produced(transposed.inputs[0], "NonZero")
    starts = None if places is None else produced(places.inputs[0], "Equal")
    position = None if starts is None else starts.inputs[1]
    if position is None or node.inputs[0] is None:
        return None
    last = produced(position, "ReduceMax") is not None
    return (node.inputs[0], last) if last or position.const_value is not None else None


def marked_of(node: ir.Node) -> tuple[ir.Value, int] | None:
    """Read the choice of each sentence's token with an id (`bertc.ir.sentences`): the tokens, and the id."""
    flat = produced(node.inputs[0], "Reshape") if node.op_type == "Gather" else None
    if flat is None or flat.inputs[0] is None:
        return None
    value = node.inputs[1]
    for op_type, place in MARKED:
        found = produced(value, op_type)
        if found is None:
            return None
        value = found.inputs[place]
    found = produced(value, "Equal")
    return None if found is None else (flat.inputs[0], int(array_of(found.inputs[1])))


def pooled_of(node: ir.Node) -> tuple[ir.Value, Pooled] | None:
    """Read the mean or the maximum of each sentence's tokens (`bertc.ir.pooling`), or what SPLADE makes of it: the
    tokens, and which."""
    if node.op_type == "Log":
        total = produced(node.inputs[0], "Add")
        rectified = None if total is None else produced(total.inputs[0], "Relu")
        largest = None if rectified is None else produced(rectified.inputs[0], "ReduceMax")
        found = None if largest is None else pooled_of(largest)
        return None if found is None else (found[0], Pooled.LOG)
    maximum = node.op_type == "ReduceMax"
    total = node if maximum else produced(node.inputs[0], "ReduceSum") if node.op_type == "Div" else None
    shown = None if total is None else produced(total.inputs[0], "Where" if maximum else "Mul")
    gathered = None if shown is None else produced(shown.inputs[1 if maximum else 0], "Gather")
    flat = None if gathered is None else produced(gathered.inputs[0], "Reshape")
    if flat is None or flat.inputs[0] is None:
        return None
    return flat.inputs[0], Pooled.MAXIMUM if maximum else Pooled.MEAN


def unit_of(node: ir.Node) -> tuple[ir.Value, float] | None:
    """Read a division by the Euclidean length, of at least so much: the vectors, and that floor."""
    floor = produced(node.inputs[1], "Max") if node.op_type == "Div" else None
    length = None if floor is None else produced(floor.inputs[0], "ReduceL2")
    vectors = node.inputs[0]
    if floor is None or length is None or vectors is None or length.inputs[0] is not vectors:
        return None
    return vectors, float(array_of(floor.inputs[1]))
