"""Target `float`: FP32 with fused attention on ONNX Runtime, the reference of every comparison."""

from __future__ import annotations

import onnx_ir as ir

from bertc.dialects import ort
from bertc.graph.last_layer import read_first_tokens
from bertc.graph.options import EngineOptions
from bertc.runtime.ort import OrtRuntime, expected_fusion
from bertc.runtime.serving import ORT_CPU
from bertc.targets import Target


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Lower to ONNX Runtime's fused operators."""
    return ort.lower_graph(read_first_tokens(graph))


TARGET = Target(
    name="float",
    summary="FP32 with fused attention on ONNX Runtime (the reference)",
    runtime=OrtRuntime(),
    lower=lower_graph,
    expected_fusion=expected_fusion,
    served=ORT_CPU,
    packs_rows=True,
)
