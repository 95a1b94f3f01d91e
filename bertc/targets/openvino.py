"""Target `openvino`: static INT8 on OpenVINO's CPU kernels, attention's two products included."""

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
from bertc.graph.sites import Role, Site
from bertc.runtime import openvino as openvino_runtime
from bertc.runtime.cpu import VNNI_FEATURES, Cpu, check_vnni
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import INT8_ATTENTION, Optimized
from bertc.runtime.serving import OPENVINO

SUMMARY = "static INT8 with INT8 attention on OpenVINO (extra openvino)"
LIBRARY = "openvino"
MODEL_FILES = ("openvino_model.xml", "openvino_model.bin")
STATIC_INT8 = True
ZERO_POINTS = True
PRECISION = "int8"
NO_INT8 = ""
FLOAT_ROLES = openvino.FLOAT_ROLES
ATTENTIONS: dict[str, AttentionNeeds] = {}
NOTE = ""
SPARSITY = "OpenVINO's CPU kernels multiply by zeros as by any other number"
DEMANDS = tuple(sorted(VNNI_FEATURES))
SERVED = OPENVINO
PACKS_ROWS = True

ATTENTION_OPERANDS = (Role.QUERY, Role.KEY, Role.VALUE, Role.PROBS)


def check_machine(cpu: Cpu, attention: str | None = None) -> None:
    """Refuse where OpenVINO is not installed, and x86 without VNNI."""
    openvino_runtime.check_installed()
    check_vnni(cpu, "OpenVINO")


def onnx_from_graph(graph: ir.Model, options: EngineOptions = DEFAULT_OPTIONS) -> ir.Model:
    """Lower to the standard operators that OpenVINO reads."""
    return openvino.lower_graph(read_first_tokens(graph))


def write_model(lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None) -> Path:
    """Write OpenVINO's own two files."""
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
    """One node for each LayerNorm, and INT8 attention where all operands of its two products are quantized."""
    int8 = 0
    if scheme is not None:
        int8 = sum(all(scheme.quantizes(Site(layer, role)) for role in ATTENTION_OPERANDS) for layer in range(layers))
    return {"layer_norm": 2 * layers + 1, INT8_ATTENTION: int8}
