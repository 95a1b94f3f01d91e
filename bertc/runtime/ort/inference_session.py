"""Opening ONNX Runtime sessions on the CPU, and reading back what ONNX Runtime made of a model."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bertc.core.progress import SILENCE, Progress
from bertc.errors import InputError
from bertc.ir.scheme import Scheme
from bertc.runtime.engine import Engine, OrtEngine
from bertc.runtime.machine.cpu import thread_count
from bertc.runtime.optimized import Optimized
from bertc.runtime.runtime import Runtime

if TYPE_CHECKING:
    import onnx_ir as ir

FUSED = {
    "attention": ("QAttention", "Attention", "MultiHeadAttention"),
    "layer_norm": (
        *("LayerNormalization", "SkipLayerNormalization", "EmbedLayerNormalization"),
        "SimplifiedLayerNormalization",
    ),
    "skip_layer_norm": ("SkipLayerNormalization",),
    "gelu": ("Gelu", "FastGelu", "BiasGelu", "Relu", "QuickGelu"),  # the last one is a SiLU as well
}
INT8_GEMMS = {
    "QAttention": 3,
    "MatMulIntegerToFloat": 1,
    "QLinearMatMul": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulInteger": 1,
}
FLOAT_GEMMS = {"Attention": 3, "MatMul": 1, "FusedMatMul": 1, "Gemm": 1, "FusedGemm": 1}

REQUIREMENT = "onnxruntime>=1.23,<2"

EXACT_SUMS = {"session.x64quantprecision": "1"}
"""On x86 without VNNI, sums of unsigned times signed codes saturate in 16 bits; with this entry of a session's
configuration ONNX Runtime makes the weights unsigned there, for a product that does not. Elsewhere it does nothing.
"""


SHARED_WEIGHTS = "Attempt to replace the existing tensor"
"""What ONNX Runtime says where it would make weights unsigned that several products share, which we do then."""


def session_options(threads: int, *, exact: bool = True) -> Any:
    """Return the options of every session on the CPU, with exact sums unless ONNX Runtime's defaults are asked for."""
    import onnxruntime as ort  # heavy: not when the command line only prints its help

    options = ort.SessionOptions()
    options.intra_op_num_threads = thread_count(threads)
    options.log_severity_level = 4  # what fails is an exception, with the same words
    # Every batch has another shape; a memory pattern for each would be kept for ever.
    options.enable_mem_pattern = False
    for name, value in EXACT_SUMS.items() if exact else ():
        options.add_session_config_entry(name, value)
    return options


def open_session(
    model: bytes | Path, *, threads: int = 0, optimized: Path | None = None, exact: bool = True
) -> OrtEngine:
    """Open a session on the CPU. Raises `InputError` when the file is no model that this version can run."""
    options = session_options(threads, exact=exact)
    import onnxruntime as ort

    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    source: Any = model if isinstance(model, bytes) else str(model)
    try:
        try:
            session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            if SHARED_WEIGHTS not in str(error):
                raise
            session = ort.InferenceSession(_unsigned(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises some ten unrelated classes of its own
        where = "the built model" if isinstance(model, bytes) else str(model)
        reason = str(error).splitlines()[0][:200]
        raise InputError(f"{where} cannot be opened by onnxruntime {ort.__version__}: {reason}") from error
    return OrtEngine(session)


def _unsigned(model: bytes | Path) -> bytes:
    """Return a model whose weights ONNX Runtime has no need to make unsigned."""
    import onnx
    import onnx_ir as ir

    from bertc.runtime.ort.unsigned_weights import make_weights_unsigned

    read = ir.from_proto(onnx.load_from_string(model)) if isinstance(model, bytes) else ir.load(model)
    return bytes(ir.to_proto(make_weights_unsigned(read)).SerializeToString())


def optimized_from_path(model: Path) -> Optimized:
    """Let ONNX Runtime optimize a model and count what came out."""
    import onnx
    import onnxruntime as ort

    with tempfile.TemporaryDirectory(prefix="bertc-") as folder:
        path = Path(folder) / "optimized.onnx"
        open_session(model, optimized=path).close()
        nodes = onnx.load(str(path)).graph.node
    return optimized_from_nodes(nodes, f"onnxruntime {ort.__version__}", REQUIREMENT)


def optimized_from_nodes(nodes: Iterable[Any], runtime: str, requirement: str) -> Optimized:
    """Count the nodes of an optimized ONNX graph. An activation in the head is none of the layers'."""
    nodes = tuple(nodes)
    operators = Counter(node.op_type for node in nodes)
    encoder = Counter(node.op_type for node in nodes if any(name.startswith("layer.") for name in node.output))
    body = Counter(node.op_type for node in nodes if not any(name.startswith("head.") for name in node.output))
    return Optimized(
        runtime=runtime,
        requirement=requirement,
        fused={name: sum(body[kind] for kind in kinds) for name, kinds in FUSED.items()},
        gemms_int8=sum(encoder[kind] * number for kind, number in INT8_GEMMS.items()),
        gemms_float=sum(encoder[kind] * number for kind, number in FLOAT_GEMMS.items()),
        operators=dict(operators),
    )


def expected_fusion(scheme: Scheme | None, layers: int) -> dict[str, int]:
    """Return the fused nodes that a number of layers implies, in INT8 or not: one for each part of a layer."""
    return {"attention": layers, "layer_norm": 2 * layers + 1, "gelu": layers}


@dataclass(frozen=True, slots=True)
class OrtRuntime(Runtime):
    """ONNX Runtime on the CPU, which every installation of bertc has."""

    library: ClassVar[str] = "onnxruntime"
    model_files: ClassVar[tuple[str, ...]] = ("model.onnx",)
    sparsity: ClassVar[str] = "ONNX Runtime's CPU kernels multiply by zeros as by any other number"

    @property
    def options(self) -> Mapping[str, Any]:
        """Entries of a session's configuration."""
        return EXACT_SUMS

    def check_here(self, attention: str | None) -> None:
        """It runs everywhere."""

    def write_model(
        self, lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None
    ) -> Path:
        """Write the ONNX file."""
        import onnx_ir as ir

        path = folder / self.model_files[0]
        ir.save(lowered, path)
        return path

    def engine_from_path(self, model: Path, *, threads: int, cache: Path | None = None) -> Engine:
        """Open a session on the CPU."""
        return open_session(model, threads=threads)

    def optimized_from_path(self, model: Path) -> Optimized:
        """Read ONNX Runtime's optimized model."""
        return optimized_from_path(model)
