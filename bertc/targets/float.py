"""Target `float`: FP32 with fused attention on ONNX Runtime, the reference of every comparison."""

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
    name="float",
    summary="FP32 with fused attention on ONNX Runtime (the reference)",
    runtime=OrtRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=ORT_CPU,
    packs_rows=True,
)
