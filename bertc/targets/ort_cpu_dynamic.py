"""Target `ort-cpu-dynamic`: ONNX Runtime's own dynamic INT8, activations quantized by each batch's range."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from bertc.dialects import ort
from bertc.features import SILENCE, Progress
from bertc.graph.fused import AttentionNeeds
from bertc.graph.last_layer import read_first_tokens
from bertc.graph.options import DEFAULT_OPTIONS, EngineOptions
from bertc.graph.scheme import Scheme
from bertc.graph.sites import Role
from bertc.runtime import ort as ort_runtime
from bertc.runtime.cpu import VNNI_FEATURES, Cpu, check_vnni
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized
from bertc.runtime.serving import ORT_CPU

SUMMARY = "dynamic INT8 on ONNX Runtime: no calibration, answers depend on batch mates"
LIBRARY = "onnxruntime"
MODEL_FILES = ("model.onnx",)
STATIC_INT8 = False
ZERO_POINTS = False
PRECISION = "int8"
NO_INT8 = ""
FLOAT_ROLES: dict[Role, str] = {}
ATTENTIONS: dict[str, AttentionNeeds] = {}
NOTE = "Activations are quantized by the range of each batch, so a text's answer depends on the texts beside it."
SPARSITY = "ONNX Runtime's CPU kernels multiply by zeros as by any other number"
DEMANDS = tuple(sorted(VNNI_FEATURES))
SERVED = ORT_CPU
PACKS_ROWS = True


def check_machine(cpu: Cpu, attention: str | None = None) -> None:
    """The same INT8 product, the same demand."""
    check_vnni(cpu, "ONNX Runtime")


def onnx_from_graph(graph: ir.Model, options: EngineOptions = DEFAULT_OPTIONS) -> ir.Model:
    """Lower the float graph and let ONNX Runtime's tool quantize the encoder's weights per channel."""
    import tempfile

    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = ort.lower_graph(read_first_tokens(graph))
    head = [node.name for node in model.graph if not str(node.outputs[0].name).startswith("layer.")]
    with tempfile.TemporaryDirectory(prefix="bertc-") as folder:
        source, quantized = Path(folder) / "float.onnx", Path(folder) / "dynamic.onnx"
        ir.save(model, source)
        with _quiet_advice():
            quantize_dynamic(
                source,
                quantized,
                op_types_to_quantize=["MatMul", "Attention"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=head,
                # Its shape inference does not see through ONNX Runtime's own operators.
                extra_options={"DefaultTensorType": int(ir.DataType.FLOAT)},
            )
        return ir.from_proto(ir.to_proto(ir.load(quantized)))


@contextmanager
def _quiet_advice() -> Iterator[None]:
    """Keep the tool's advice to pre-process off the user's screen: the graph it gets is already fused."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


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
