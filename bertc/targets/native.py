"""Target `native`: static INT8, attention's two products included, on bertc's own kernels, without padding."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from bertc.export.engine_options import EngineOptions
from bertc.ir.early_exit import let_texts_leave
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.runtime.native.native_runtime import NativeRuntime
from bertc.runtime.optimized import INT8_ATTENTION
from bertc.runtime.served import Served
from bertc.targets import Target

ATTENTION_OPERANDS = (Role.QUERY, Role.KEY, Role.VALUE, Role.PROBS)


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Leave the graph as it is but for the threshold under which texts leave: the plan is made where it is written."""
    return graph if options.exit_threshold is None else let_texts_leave(graph, options.exit_threshold)


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One call for each attention and norm, and INT8 attention where all operands of its products are codes."""
    int8 = 0
    if scheme is not None:
        int8 = sum(all(scheme.quantizes(Site(layer, role)) for role in ATTENTION_OPERANDS) for layer in range(layers))
    return {"attention": layers, "layer_norm": 2 * layers + 1, INT8_ATTENTION: int8}


TARGET = Target(
    name="native",
    summary="static INT8 with INT8 attention on bertc's own kernels, without padding (the default)",
    runtime=NativeRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=Served(refusal="Triton has no backend for bertc's own engine; the targets on ONNX Runtime can be served"),
    static_int8=True,
    zero_points=True,
    precision="int8",
    lets_texts_leave=True,
)
