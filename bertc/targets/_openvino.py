"""What the targets on OpenVINO's CPU kernels share: how a graph is lowered, and what a float one has fused."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from bertc.export.engine_options import EngineOptions
from bertc.export.openvino import lower as openvino
from bertc.ir.last_layer import slice_last_layer
from bertc.ir.scheme import Scheme


def lower_graph(graph: ir.Model, options: EngineOptions) -> ir.Model:
    """Lower to the standard operators that OpenVINO reads."""
    return openvino.lower_graph(slice_last_layer(graph))


def expected_float_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each LayerNorm; GELUs inside their GEMMs."""
    return {"layer_norm": 2 * layers + 1, "gelu": layers}
