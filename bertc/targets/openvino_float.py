"""Target `openvino-float`: FP32 on OpenVINO's CPU kernels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from bertc.dialects import openvino
from bertc.features import SILENCE, Progress
from bertc.graph.fused import AttentionNeeds
from bertc.graph.last_layer import read_first_tokens
from bertc.graph.options import DEFAULT_OPTIONS, EngineOptions
from bertc.graph.scheme import Scheme
from bertc.graph.sites import Role
from bertc.runtime import openvino as openvino_runtime
from bertc.runtime.cpu import Cpu
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized
from bertc.runtime.serving import OPENVINO

SUMMARY = "FP32 on OpenVINO (extra openvino)"
LIBRARY = "openvino"
MODEL_FILES = ("openvino_model.xml", "openvino_model.bin")
STATIC_INT8 = False
ZERO_POINTS = False
PRECISION = "float32"
NO_INT8 = "it is FP32; the target openvino is OpenVINO's INT8"
FLOAT_ROLES: dict[Role, str] = {}
ATTENTIONS: dict[str, AttentionNeeds] = {}
NOTE = ""
SPARSITY = "OpenVINO's CPU kernels multiply by zeros as by any other number"
DEMANDS: tuple[str, ...] = ()
SERVED = OPENVINO
PACKS_ROWS = True


def check_machine(cpu: Cpu, attention: str | None = None) -> None:
    """Refuse where OpenVINO is not installed."""
    openvino_runtime.check_installed()


def onnx_from_graph(graph: ir.Model, options: EngineOptions = DEFAULT_OPTIONS) -> ir.Model:
    """Lower to the standard operators that OpenVINO reads."""
    return openvino.lower_graph(read_first_tokens(graph))


def write_model(lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None) -> Path:
    """Write OpenVINO's own two files, in FP32."""
    path = folder / MODEL_FILES[0]
    openvino_runtime.save_model(ir.to_proto(lowered).SerializeToString(), path)
    return path


def engine_from_path(model: Path, *, threads: int, cache: Path | None = None) -> Engine:
    """Compile for the CPU."""
    return openvino_runtime.open_model(model, threads=threads, cache=cache)


def optimized_from_path(model: Path) -> Optimized:
    """Read OpenVINO's execution graph."""
    return openvino_runtime.optimized_from_path(model)


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each LayerNorm; GELUs inside their GEMMs."""
    return {"layer_norm": 2 * layers + 1, "gelu": layers}
