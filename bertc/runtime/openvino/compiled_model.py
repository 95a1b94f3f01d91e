"""Opening models with OpenVINO on the CPU, writing its files, and reading back what it runs.

OpenVINO is an extra: every function here that needs it raises `EnvironmentLackError` where it is not installed.
"""

from __future__ import annotations

import functools
import io
import re
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from bertc.core.batch import Batch
from bertc.core.progress import SILENCE, Progress
from bertc.errors import BertcError, EnvironmentLackError, InputError
from bertc.runtime.engine import Array, Closing, Engine
from bertc.runtime.machine.cpu import thread_count
from bertc.runtime.openvino.compiled_cache import compiled_from_cache
from bertc.runtime.openvino.shapes import LENGTH_STEP, pieces_from_batch
from bertc.runtime.optimized import INT8_ATTENTION, Optimized
from bertc.runtime.runtime import Runtime

if TYPE_CHECKING:
    import onnx_ir as ir

REQUIREMENT = "openvino>=2026.4,<2027"
MISSING = 'OpenVINO is not installed; install it with pip install "bertc[openvino]"'
Precision = Literal["f32", "bf16"]
GROUP_SIZE = 0
"""Channels of a float activation that OpenVINO rounds to INT8 together, beside weights in INT8; 0: it rounds none.

Its own choice is 32, which nobody asked for and the simulator does not know.
"""
GEMM = "FullyConnected"
NORMS = ("MVN", "RMS")  # LayerNorm, RMSNorm
LAYER = re.compile(r"layer\.(\d+)\.([\w.]+)")
OPERANDS = ("query", "key", "value")
SCORES, PROBS_CODES, CONTEXT = "scores", "probs.codes", "context_heads"
"""Values inside attention, as `emit_attention` names them: the two batched products, and the codes between them."""


class OpenvinoEngine(Closing):
    """A compiled model with one inference request; calls from several threads wait for each other.

    It runs a batch in pieces of few shapes, so that its memory does not grow with what it was asked.
    """

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = [value.any_name for value in compiled.inputs]
        # Of an output per token the second size is the batch's length, of one per text it is the head's.
        self._per_token = {
            name: len(value.partial_shape) > 1 and value.partial_shape[1].is_dynamic
            for value in compiled.outputs
            for name in value.names
        }
        self._turn = threading.Lock()

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch, padded as it is."""
        length = batch.mask.shape[1]
        found: list[list[Array]] = [[] for _ in outputs]
        for piece in pieces_from_batch(batch):
            with self._turn:
                self._request.infer(piece.batch.feeds(self._inputs), share_inputs=True)
                for values, name in zip(found, outputs, strict=True):
                    data = self._request.get_tensor(name).data
                    own = data[: piece.rows, :length] if self._per_token[name] else data[: piece.texts]
                    values.append(own.copy())  # the next call writes into the same memory
        return [values[0] if len(values) == 1 else np.concatenate(values) for values in found]

    def close(self) -> None:
        """Free the model."""
        self._request = None


def check_installed() -> None:
    """Raise `EnvironmentLackError` where OpenVINO is not installed, without importing it."""
    if find_spec("openvino") is None:
        raise EnvironmentLackError(MISSING)


def open_model(
    model: Path, *, threads: int = 0, precision: Precision = "f32", cache: Path | None = None
) -> OpenvinoEngine:
    """Open a model on the CPU, what is not INT8 in a precision; with a folder for compiled models, from there.

    Raises `InputError` when the file is no model that this version can run.
    """
    return OpenvinoEngine(_compiled(model, threads, precision, cache))


def save_model(onnx: bytes, path: Path) -> None:
    """Write an ONNX model as OpenVINO's own files: `path` (.xml) and beside it the weights (.bin), codes as codes."""
    openvino = _openvino()
    model = openvino_core().read_model(io.BytesIO(onnx))
    for place, node in enumerate(model.get_ordered_ops()):
        kind = node.get_type_name()
        # Nodes without a name in the source are numbered by a counter of the process: no two files would be equal.
        if re.fullmatch(rf"{kind}_\d+", node.get_friendly_name()):
            node.set_friendly_name(f"{kind}_{place}")
    # Who opens the file without options gets this one; OpenVINO reads no precision from it (docs/cpu.md).
    model.set_rt_info(str(GROUP_SIZE), ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
    # Compression would store float weights as FP16.
    openvino.save_model(model, path, compress_to_fp16=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Executed:
    """A node of the execution graph: its kind, precision, and what it computes as layer and value.

    `int8_inputs` counts the inputs that arrive as codes. The precision alone does not tell: it is the first input's,
    and an attention in float may name the mask's. `norm`: it is a norm of the layers, or has the root of one.
    """

    kind: str
    precision: str
    computed: tuple[tuple[int, str], ...]
    int8_inputs: int
    norm: bool

    @property
    def int8(self) -> bool:
        """Whether its kernel is one of INT8."""
        return self.precision in ("i8", "u8")

    def layers(self, *values: str) -> frozenset[int]:
        """Return the layers of which it computes all these values (names' beginnings)."""
        found = [{layer for layer, name in self.computed if name.startswith(value)} for value in values]
        return frozenset(set.intersection(*found))


def optimized_from_path(model: Path, *, precision: Precision = "f32") -> Optimized:
    """Let OpenVINO compile a model and count what it runs, from its execution graph.

    `fused`: attentions that are one node, those with both products in INT8 (as one node or several), norms, and
    GELUs inside a GEMM. Raises `EnvironmentLackError` for GEMMs that are neither INT8 nor in the precision.
    """
    openvino = _openvino()
    nodes = [_executed(node) for node in _compiled(model, 1, precision).get_runtime_model().get_ordered_ops()]
    gemms = [node for node in nodes if node.kind == GEMM and node.computed]
    int8 = sum(node.int8 for node in gemms)
    others = Counter(node.precision for node in gemms if not node.int8 and node.precision != precision)
    if others:
        found = ", ".join(f"{number} in {name}" for name, number in others.items())
        raise EnvironmentLackError(f"OpenVINO does not run all GEMMs in {precision} here: {found} of {len(gemms)}")
    return Optimized(
        runtime=f"openvino {openvino.__version__.split('-')[0]}",
        requirement=REQUIREMENT,
        fused={
            "attention": sum(len(node.layers(CONTEXT)) for node in nodes if node.kind == "Subgraph"),
            INT8_ATTENTION: len(_int8_attentions(nodes)),
            "layer_norm": sum(node.norm for node in nodes),
            "gelu": sum(len(node.layers("gelu")) for node in gemms),
        },
        gemms_int8=int8,
        gemms_float=len(gemms) - int8,
        operators=dict(Counter(f"{node.kind} {node.precision}" for node in nodes)),
    )


def _int8_attentions(nodes: Sequence[_Executed]) -> frozenset[int]:
    """Return the layers whose two batched products both multiply codes."""
    whole, scores, context = set[int](), set[int](), set[int]()
    for node in nodes:
        if node.kind == "Subgraph" and node.int8_inputs == len(OPERANDS):
            whole |= node.layers(CONTEXT, PROBS_CODES)
        elif node.kind == "MatMul" and node.int8_inputs == 2:
            scores |= node.layers(SCORES)
            context |= node.layers(CONTEXT)
    return frozenset(whole | (scores & context))


def _executed(node: Any) -> _Executed:
    """Read one node of the execution graph."""
    facts, names = _facts(node), _names(node)
    sources = [value.get_source_output().get_element_type().get_type_name() for value in node.inputs()]
    if facts["layerType"] == GEMM:
        # A GEMM whose bias is 0 has lost its own name; its weights have theirs.
        names += f",{_names(node.input(1).get_source_output().get_node())}"
    # A norm has lost its own name; what it reads has not.
    head = any("head." in _names(value.get_source_output().get_node()) for value in node.inputs()[:1])
    return _Executed(
        kind=facts["layerType"],
        precision=facts["runtimePrecision"],
        computed=tuple((int(layer), name) for layer, name in LAYER.findall(names)),
        int8_inputs=sources.count("i8"),
        norm=facts["layerType"] in NORMS and not head,
    )


def _facts(node: Any) -> dict[str, str]:
    return {name: str(value.astype(str)) for name, value in node.get_rt_info().items()}


def _names(node: Any) -> str:
    """Return what a node computes; one that OpenVINO did not fuse or rename has no list of names."""
    return _facts(node).get("originalLayersNames") or str(node.get_friendly_name())


def numeric_options(precision: Precision) -> dict[str, Any]:
    """Return the options that change answers: without them they are not those that were validated."""
    return {
        # Its own choice is BF16 on CPUs that have it: the answers of one artefact would depend on the CPU.
        "INFERENCE_PRECISION_HINT": precision,
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP_SIZE,
    }


def compile_options(threads: int, precision: Precision) -> dict[str, Any]:
    """Return what a model is compiled with on the CPU: what is not INT8 in a precision, all threads asked for used."""
    return {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": thread_count(threads),
        **numeric_options(precision),
        # Pinned, the one thread of each of several processes would run on the same core.
        "ENABLE_CPU_PINNING": False,
        "ENABLE_HYPER_THREADING": True,
    }


def _compiled(model: Path, threads: int, precision: Precision, cache: Path | None = None) -> Any:
    """Compile a model for the CPU, or take it from a cache."""
    openvino = _openvino()
    _check_xml(model)
    options = compile_options(threads, precision)
    core = openvino_core()

    def compile_model() -> Any:
        return core.compile_model(core.read_model(model), "CPU", options)

    try:
        return compile_model() if cache is None else compiled_from_cache(core, model, options, cache, compile_model)
    except BertcError:
        raise
    except Exception as error:  # RuntimeError, and others of its own for files that are damaged in other ways
        raise InputError(
            f"{model} cannot be opened by openvino {openvino.__version__.split('-')[0]}: {_reason(error)}"
        ) from error


def _check_xml(model: Path) -> None:
    """Refuse what is no XML at all, on which OpenVINO would try the readers of every other format."""
    try:
        with model.open("rb") as file:
            begin = file.read(5)
    except OSError as error:
        raise InputError(f"{model} cannot be opened by openvino: {error.strerror}") from error
    if begin != b"<?xml":
        raise InputError(f"{model} cannot be opened by openvino: it is no openvino_model.xml")


def _reason(error: Exception) -> str:
    """Return what happened, without the places in OpenVINO's sources that it lists first."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and not line.startswith(("Exception from", "Check "))), lines[0])[:200]


@functools.cache
def openvino_core() -> Any:
    """Return the `openvino.Core` that this process shares. Raises `EnvironmentLackError` where OpenVINO is missing.

    One, and to the process's end. What runs models on the CPU gives the thread that loads it a stack for signal
    handlers (for AMX), one for each core, and where cores end in another order than they began, leaves the thread with
    one that is unmapped (2026.4): the next signal that Python handles, Ctrl-C or SIGTERM, is a segmentation fault.
    """
    return _openvino().Core()


def _openvino() -> Any:
    """Import OpenVINO. Raises `EnvironmentLackError` where it is not installed."""
    try:
        import openvino
    except ImportError as error:
        raise EnvironmentLackError(MISSING) from error
    return openvino


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenvinoRuntime(Runtime):
    """OpenVINO on the CPU, with what is not INT8 in a precision."""

    precision: Precision = "f32"

    library: ClassVar[str] = "openvino"
    model_files: ClassVar[tuple[str, ...]] = ("openvino_model.xml", "openvino_model.bin")
    sparsity: ClassVar[str] = "OpenVINO's CPU kernels multiply by zeros as by any other number"

    @property
    def options(self) -> Mapping[str, Any]:
        """The precision of what is not INT8, and that nothing is rounded to INT8 unasked."""
        return numeric_options(self.precision)

    @property
    def sentence_settings(self) -> Mapping[str, Any]:
        """The options by which the model is compiled, and the lengths to which texts are padded.

        OpenVINO sums in another order at other lengths, by which an INT8 code may become its neighbour.
        """
        return {
            "model_args": {"ov_config": {name: str(value) for name, value in self.options.items()}},
            "processing_kwargs": {"text": {"pad_to_multiple_of": LENGTH_STEP}},
        }

    def check_here(self, attention: str | None) -> None:
        """Refuse where OpenVINO is not installed."""
        check_installed()

    def write_model(
        self, lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None
    ) -> Path:
        """Write OpenVINO's own two files, what is not INT8 in FP32."""
        import onnx_ir as ir

        path = folder / self.model_files[0]
        save_model(ir.to_proto(lowered).SerializeToString(), path)
        return path

    def engine_from_path(self, model: Path, *, threads: int, cache: Path | None = None) -> Engine:
        """Compile for the CPU."""
        return open_model(model, threads=threads, precision=self.precision, cache=cache)

    def optimized_from_path(self, model: Path) -> Optimized:
        """Read OpenVINO's execution graph. Raises `EnvironmentLackError` for a GEMM in another precision."""
        return optimized_from_path(model, precision=self.precision)
