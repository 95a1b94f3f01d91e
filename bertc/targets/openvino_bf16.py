"""Target `openvino-bf16`: BF16 on OpenVINO's CPU kernels, where the CPU multiplies it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from bertc.dialects import openvino
from bertc.errors import EnvironmentLackError
from bertc.features import SILENCE, Progress
from bertc.graph.fused import AttentionNeeds
from bertc.graph.last_layer import read_first_tokens
from bertc.graph.options import DEFAULT_OPTIONS, EngineOptions
from bertc.graph.scheme import Scheme
from bertc.graph.sites import Role
from bertc.runtime import openvino as openvino_runtime
from bertc.runtime.cpu import BF16_FEATURES, Cpu
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized
from bertc.runtime.serving import OPENVINO

SUMMARY = "BF16 on OpenVINO, on CPUs that multiply it (extra openvino)"
LIBRARY = "openvino"
MODEL_FILES = ("openvino_model.xml", "openvino_model.bin")
STATIC_INT8 = False
ZERO_POINTS = False
PRECISION = "float32"
NO_INT8 = "it is BF16; the target openvino is OpenVINO's INT8"
FLOAT_ROLES: dict[Role, str] = {}
ATTENTIONS: dict[str, AttentionNeeds] = {}
NOTE = ""
SPARSITY = "OpenVINO's CPU kernels multiply by zeros as by any other number"
DEMANDS = tuple(sorted(BF16_FEATURES))
SERVED = OPENVINO
PACKS_ROWS = True


def check_machine(cpu: Cpu, attention: str | None = None) -> None:
    """Refuse where OpenVINO is not installed, and a CPU that would compute BF16 with FP32 instructions."""
    openvino_runtime.check_installed()
    if cpu.features_known and not cpu.features & BF16_FEATURES:
        raise EnvironmentLackError(
            f"{cpu.model} has no BF16 instructions (AVX512-BF16 or AMX-BF16); build with --target openvino-float here"
        )


def onnx_from_graph(graph: ir.Model, options: EngineOptions = DEFAULT_OPTIONS) -> ir.Model:
    """Lower to the standard operators that OpenVINO reads."""
    return openvino.lower_graph(read_first_tokens(graph))


def write_model(lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None) -> Path:
    """Write OpenVINO's own two files, in FP32."""
    path = folder / MODEL_FILES[0]
    openvino_runtime.save_model(ir.to_proto(lowered).SerializeToString(), path)
    return path


def engine_from_path(model: Path, *, threads: int, cache: Path | None = None) -> Engine:
    """Compile for the CPU in BF16."""
    return openvino_runtime.open_model(model, threads=threads, cache=cache, precision="bf16")


def optimized_from_path(model: Path) -> Optimized:
    """Read OpenVINO's execution graph. Raises `EnvironmentLackError` for a GEMM that is not in BF16."""
    return openvino_runtime.optimized_from_path(model, precision="bf16")


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each LayerNorm; GELUs inside their GEMMs."""
    return {"layer_norm": 2 * layers + 1, "gelu": layers}
