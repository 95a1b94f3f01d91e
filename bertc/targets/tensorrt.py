"""Target `tensorrt`: INT8 with fused attention on NVIDIA GPUs, a strongly typed network in FP16. Never executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from bertc.dialects import tensorrt
from bertc.dialects.tensorrt_needs import DECOMPOSED, NEEDS
from bertc.graph.options import DEFAULT_OPTIONS, EngineOptions
from bertc.graph.scheme import Scheme
from bertc.runtime import tensorrt as tensorrt_runtime
from bertc.runtime.cpu import Cpu
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized

SUMMARY = "INT8 with fused attention on NVIDIA GPUs (extra tensorrt; never executed by its authors)"
LIBRARY = "tensorrt"
MODEL_FILES = ("model.plan", "model.onnx")
STATIC_INT8 = True
FLOAT_ROLES = tensorrt.FLOAT_ROLES
ATTENTIONS = NEEDS
NOTE = "The target tensorrt was written by its documentation; nobody had executed it when this version was made."
SPARSITY = ""
DEMANDS: tuple[str, ...] = ()


def check_machine(cpu: Cpu) -> None:
    """Refuse where TensorRT is not installed; the CPU does not matter."""
    tensorrt_runtime.check_installed()


def onnx_from_graph(graph: ir.Model, options: EngineOptions = DEFAULT_OPTIONS) -> ir.Model:
    """Lower to the standard operators that TensorRT's parser reads, in FP16."""
    return tensorrt.lower_graph(graph, attention=options.attention or DECOMPOSED, half=True)


def write_model(lowered: ir.Model, folder: Path) -> Path:
    """Write the ONNX file and the engine built from it on this machine's GPU."""
    tensorrt_runtime.check_installed()
    raise NotImplementedError


def engine_from_path(model: Path, *, threads: int) -> Engine:
    """Open the engine on this machine's GPU."""
    tensorrt_runtime.check_installed()
    raise NotImplementedError


def optimized_from_path(model: Path) -> Optimized:
    """Read what TensorRT made of the model."""
    tensorrt_runtime.check_installed()
    raise NotImplementedError


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each LayerNorm."""
    return {"layer_norm": 2 * layers + 1}
