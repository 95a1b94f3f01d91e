"""Target `ort-cpu`: static INT8 with fused attention on ONNX Runtime's CPU kernels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from bertc.dialects import ort
from bertc.features import SILENCE, Progress
from bertc.graph.fused import AttentionNeeds
from bertc.graph.last_layer import read_first_tokens
from bertc.graph.options import DEFAULT_OPTIONS, EngineOptions
from bertc.graph.scheme import Scheme
from bertc.runtime import ort as ort_runtime
from bertc.runtime.cpu import VNNI_FEATURES, Cpu, check_vnni
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized
from bertc.runtime.serving import ORT_CPU

SUMMARY = "static INT8 with fused attention on ONNX Runtime (the default)"
LIBRARY = "onnxruntime"
MODEL_FILES = ("model.onnx",)
STATIC_INT8 = True
ZERO_POINTS = True
PRECISION = "int8"
NO_INT8 = ""
FLOAT_ROLES = ort.FLOAT_ROLES
ATTENTIONS: dict[str, AttentionNeeds] = {}
NOTE = ""
SPARSITY = "ONNX Runtime's CPU kernels multiply by zeros as by any other number"
DEMANDS = tuple(sorted(VNNI_FEATURES))
SERVED = ORT_CPU
PACKS_ROWS = True


def check_machine(cpu: Cpu, attention: str | None = None) -> None:
    """Refuse x86 without VNNI."""
    check_vnni(cpu, "ONNX Runtime")


def onnx_from_graph(graph: ir.Model, options: EngineOptions = DEFAULT_OPTIONS) -> ir.Model:
    """Lower to ONNX Runtime's fused operators."""
    return ort.lower_graph(read_first_tokens(graph))


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each attention, LayerNorm and GELU."""
    return ort_runtime.expected_fusion(layers)


def write_model(lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None) -> Path:
    """Write the ONNX file."""
    path = folder / MODEL_FILES[0]
    ir.save(lowered, path)
    return path


def engine_from_path(model: Path, *, threads: int, cache: Path | None = None) -> Engine:
    """Open a session on the CPU."""
    return ort_runtime.open_session(model, threads=threads)


def optimized_from_path(model: Path) -> Optimized:
    """Read ONNX Runtime's optimized model."""
    return ort_runtime.optimized_from_path(model)
