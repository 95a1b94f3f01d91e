"""Target `ort-cpu`: static INT8 with fused attention on ONNX Runtime's CPU kernels."""

from __future__ import annotations

import onnx_ir as ir

from bertc.export.engine_options import EngineOptions
from bertc.export.ort import lower as ort
from bertc.ir.last_layer import slice_last_layer
from bertc.runtime.ort.inference_session import OrtRuntime, expected_fusion
from bertc.runtime.served import ORT_CPU
from bertc.targets import Target


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Lower to ONNX Runtime's fused operators."""
    return ort.lower_graph(slice_last_layer(graph))


TARGET = Target(
    name="ort-cpu",
    summary="static INT8 with fused attention on ONNX Runtime",
    runtime=OrtRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=ORT_CPU,
    static_int8=True,
    zero_points=True,
    precision="int8",
    float_roles=ort.FLOAT_ROLES,
    packs_rows=True,
)
