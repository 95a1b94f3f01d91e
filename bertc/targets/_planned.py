"""What the targets that run plans share (`bertc.runtime.plan`): how a graph is lowered, and what is fused."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from bertc.export.engine_options import EngineOptions
from bertc.ir.early_exit import let_texts_leave
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.runtime.optimized import INT8_ATTENTION

ATTENTION_OPERANDS = (Role.QUERY, Role.KEY, Role.VALUE, Role.PROBS)
HARDLY_EXECUTED = (
    "was executed on one GPU (H200) for minutes when this version of bertc was made, else in Triton's interpreter; "
    "docs/cuda.md says what was compared."
)
"""What a reader of a report has to know of the targets for GPUs."""


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Leave the graph as it is but for the threshold under which texts leave: the plan is made where it is written."""
    return graph if options.exit_threshold is None else let_texts_leave(graph, options.exit_threshold)


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One call for each attention and norm, and INT8 attention where all operands of its products are codes."""
    int8 = 0
    if scheme is not None:
        int8 = sum(all(scheme.quantizes(Site(layer, role)) for role in ATTENTION_OPERANDS) for layer in range(layers))
    return {"attention": layers, "layer_norm": 2 * layers + 1, INT8_ATTENTION: int8}
