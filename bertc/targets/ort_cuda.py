"""Target `ort-cuda`: FP16 with fused attention on NVIDIA GPUs, ONNX Runtime's CUDA provider. Never executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from bertc.dialects import ort_cuda
from bertc.features import SILENCE, Progress
from bertc.graph.fused import AttentionNeeds
from bertc.graph.options import DEFAULT_OPTIONS, EngineOptions
from bertc.graph.scheme import Scheme
from bertc.graph.sites import Role
from bertc.runtime import ort as ort_runtime
from bertc.runtime import ort_cuda as library
from bertc.runtime.cpu import Cpu
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized
from bertc.runtime.serving import Served

SUMMARY = "FP16 with fused attention on NVIDIA GPUs (extra cuda); its authors could not execute it"
LIBRARY = "onnxruntime"
MODEL_FILES = ("model.onnx",)
STATIC_INT8 = False
ZERO_POINTS = False
PRECISION = "float16"
NO_INT8 = ort_cuda.NO_INT8
FLOAT_ROLES: dict[Role, str] = {}
ATTENTIONS: dict[str, AttentionNeeds] = {}
NOTE = (
    "The target ort-cuda is FP16, not INT8. It had never been executed on a GPU when this version of bertc was made; "
    "what is measured here is the first evidence."
)
SPARSITY = "it multiplies by zeros as by any other number, in FP16"
DEMANDS: tuple[str, ...] = ()
SERVED = Served(backend="onnxruntime", gpu=True)
PACKS_ROWS = False


def check_machine(cpu: Cpu, attention: str | None = None) -> None:
    """Refuse where ONNX Runtime's CUDA provider, the driver or a GPU is missing; the CPU does not matter."""
    library.check_installed()


def onnx_from_graph(graph: ir.Model, options: EngineOptions = DEFAULT_OPTIONS) -> ir.Model:
    """Lower to ONNX Runtime's fused operators, in FP16."""
    return ort_cuda.lower_graph(graph, half=True)


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each attention, LayerNorm and GELU."""
    return ort_runtime.expected_fusion(layers)


def write_model(lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None) -> Path:
    """Write the ONNX file."""
    path = folder / MODEL_FILES[0]
    ir.save(lowered, path)
    return path


def engine_from_path(model: Path, *, threads: int, cache: Path | None = None) -> Engine:
    """Open a session on the GPU; threads do not matter."""
    return library.open_session(model)


def optimized_from_path(model: Path) -> Optimized:
    """Read ONNX Runtime's optimized model, and which provider has which node."""
    return library.optimized_from_path(model)
