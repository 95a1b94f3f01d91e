"""Where a site's lower bound is known: its values are one-sided, and an INT8 grid need not be symmetric."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bertc.ir.edit import values_by_name
from bertc.ir.emit import array_of
from bertc.ir.sites import Role, Site

LOWEST = {"Gelu": -0.1701, "Relu": 0.0}
"""Just below what an activation ever gives: GELU's minimum is -0.16997, that of its tanh form -0.17004."""


def lower_bounds(graph: ir.Model) -> dict[Site, float]:
    """Return the lower bound of every layer's softmax and (if it has one) activation, in a graph without smoothing."""
    bounds: dict[Site, float] = {}
    for value in values_by_name(graph).values():
        producer = value.producer()
        if not str(value.name).endswith(f".{Role.ACTIVATION}") or producer is None:
            continue
        layer = int(str(value.name).split(".")[1])
        constants = [each for each in producer.inputs if each is not None and each.const_value is not None]
        gated = producer.op_type == "Mul" and not constants
        if gated or producer.op_type in LOWEST:
            bounds[Site(layer, Role.PROBS)] = 0.0
        if producer.op_type in LOWEST:  # a gated activation has no bound: its gate has any sign
            bounds[Site(layer, Role.ACTIVATION)] = LOWEST[producer.op_type]
    return bounds


def zero_point_of(node: ir.Node) -> int:
    """Return the zero point of a Q or DQ node. Weights have none, and the pairs inside attention a constant 0."""
    zero_point = node.inputs[2] if len(node.inputs) > 2 else None
    if zero_point is None or zero_point.const_value is None:
        return 0
    (common,) = np.unique(array_of(zero_point))
    return int(common)
