"""Target `ort-cpu`: static INT8 with fused attention on ONNX Runtime's CPU kernels."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from bertc.dialects import ort
from bertc.errors import EnvironmentLackError
from bertc.runtime.cpu import VNNI_FEATURES, Cpu
from bertc.runtime.engine import Engine
from bertc.runtime.ort import open_session

SUMMARY = "static INT8 with fused attention on ONNX Runtime (the default)"
STATIC_INT8 = True
FLOAT_ROLES = ort.FLOAT_ROLES
NOTE = ""
SPARSITY = "ONNX Runtime's CPU kernels multiply by zeros as by any other number"
DEMANDS = tuple(sorted(VNNI_FEATURES))


def check_machine(cpu: Cpu) -> None:
    """Refuse x86 without VNNI: its u8 x s8 product adds pairs in 16 bits and saturates (onnxruntime#6004)."""
    if cpu.machine in ("x86_64", "AMD64") and cpu.features_known and not cpu.has_vnni:
        raise EnvironmentLackError(
            f"{cpu.model} has no VNNI instructions, and ONNX Runtime's INT8 product saturates without them; "
            "build with --target float here, or on a machine with AVX-512 VNNI, AVX-VNNI or AMX"
        )


def onnx_from_graph(graph: ir.Model) -> ir.Model:
    """Lower to ONNX Runtime's fused operators."""
    return ort.lower_graph(graph)


def engine_from_onnx(model: Path, *, threads: int) -> Engine:
    """Open a session on the CPU."""
    return open_session(model, threads=threads)
