"""Target `float`: FP32 with fused attention on ONNX Runtime, the reference of every comparison."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bertc.dialects import ort
from bertc.graph.sites import Role
from bertc.runtime.cpu import Cpu
from bertc.runtime.engine import Engine
from bertc.runtime.ort import open_session

SUMMARY = "FP32 with fused attention on ONNX Runtime (the reference)"
STATIC_INT8 = False
FLOAT_ROLES: dict[Role, str] = {}
NOTE = ""
SPARSITY = "ONNX Runtime's CPU kernels multiply by zeros as by any other number"
DEMANDS: tuple[str, ...] = ()


def check_machine(cpu: Cpu) -> None:
    """Any CPU will do."""


def onnx_from_graph(graph: ir.Model) -> ir.Model:
    """Lower to ONNX Runtime's fused operators."""
    return ort.lower_graph(graph)


def engine_from_onnx(model: Path, *, threads: int) -> Engine:
    """Open a session on the CPU."""
    return open_session(model, threads=threads)
