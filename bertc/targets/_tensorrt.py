"""What the targets on TensorRT share: a strongly typed network in FP16 with INT8 or FP8, its engine. Never executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import onnx_ir as ir

from bertc.core.progress import SILENCE, Progress
from bertc.export.engine_options import EngineOptions
from bertc.export.tensorrt import lower as tensorrt
from bertc.export.tensorrt.fp8 import is_fp8
from bertc.export.tensorrt.kernel import kernel_of_model
from bertc.export.tensorrt.limits import DECOMPOSED, KERNEL_NAMESPACE, NATIVE, PACKED
from bertc.ir.emit import array_of
from bertc.ir.fused import AttentionNeeds
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized
from bertc.runtime.runtime import Runtime
from bertc.runtime.tensorrt.builder import Plan, engine_from_plan
from bertc.runtime.tensorrt.cuda_memory import current_device
from bertc.runtime.tensorrt.gpu_engine import deserialized, open_engine
from bertc.runtime.tensorrt.inspector import optimized_from_engine
from bertc.runtime.tensorrt.kernel_plugin import Kernel
from bertc.runtime.tensorrt.library import check_attention_here, check_installed
from bertc.runtime.tensorrt.profiles import PROFILES_KEY, profiles_from_lengths, profiles_from_text, text_from_profiles

LAYER_FORMS: Mapping[str, Literal["padded", "packed"]] = {NATIVE: "padded", PACKED: "packed"}

NEVER_EXECUTED = (
    "was written from TensorRT's documentation and had never been executed when this version of bertc was made; what "
    "is measured here is the first evidence."
)
"""What a reader of a report has to know."""

ATTENTION_KEY = "bertc.attention"
"""Where the ONNX file says the attention of the engine to build from it, so that it can be built elsewhere."""


def lower_graph(graph: ir.Model, options: EngineOptions, *, fp8: bool = False) -> ir.Model:
    """Lower to what TensorRT's parser reads, in FP16 with codes in INT8 or FP8."""
    attention = options.attention or DECOMPOSED
    model = tensorrt.lower_graph(graph, attention=attention, half=True, fp8=fp8)
    profiles = profiles_from_lengths(options.lengths, options.longest)
    model.metadata_props.update({ATTENTION_KEY: attention, PROFILES_KEY: text_from_profiles(profiles)})
    return model


def expected_fusion(scheme: Scheme | None, layers: int) -> Mapping[str, int]:
    """One node for each LayerNorm; whether attention is fused is TensorRT's choice, and a line of the report."""
    return {"layer_norm": 2 * layers + 1}


def plan_from_model(lowered: ir.Model, cache: Path | None) -> Plan:
    """Return what an engine is built of, from a lowered graph or an exported file."""
    constants = lowered.graph.initializers
    layers = 0
    while f"{Site(layers, Role.QUERY_GEMM).name}.weight" in constants:
        layers += 1
    attention = lowered.metadata_props[ATTENTION_KEY]
    scales = {layer: constants.get(f"{Site(layer, Role.PROBS).name}.scale") for layer in range(layers)}
    return Plan(
        onnx=ir.to_proto(lowered).SerializeToString(),
        profiles=profiles_from_text(lowered.metadata_props[PROFILES_KEY]),
        layers=layers,
        native=LAYER_FORMS.get(attention),
        kernel=_kernel(lowered),
        sparse=_is_sparse(lowered),
        fp8=is_fp8(lowered),
        probs_scales={layer: float(array_of(scale)) for layer, scale in scales.items() if scale is not None},
        cache=cache,
    )


def _kernel(lowered: ir.Model) -> Kernel | None:
    """Return the plugin that a model's attention is, None where it is none of ours."""
    found = kernel_of_model(lowered)
    if found is None:
        return None
    operator, heads, size = found
    return Kernel(identifier=f"{KERNEL_NAMESPACE}::{operator}", heads=heads, size=size)


def _is_sparse(lowered: ir.Model) -> bool:
    """Whether some GEMM's weights [in, out] are 2:4 along their input: at most two of four are not zero."""
    for name, value in lowered.graph.initializers.items():
        if name.startswith("layer.") and name.endswith("_gemm.weight"):
            weights = array_of(value)
            rows = weights.shape[0] // 4 * 4
            if rows and ((weights[:rows].reshape(-1, 4, weights.shape[1]) != 0).sum(axis=1) <= 2).all():
                return True
    return False


@dataclass(frozen=True, slots=True)
class TensorrtRuntime(Runtime):
    """TensorRT on the current GPU; neither CPU nor threads matter. `needs` are those of its kinds of attention."""

    needs: Mapping[str, AttentionNeeds] = field(hash=False)
    codes: Literal["INT8", "FP8"]

    library: ClassVar[str] = "tensorrt"
    on_gpu: ClassVar[bool] = True
    model_files: ClassVar[tuple[str, ...]] = ("model.plan", "model.onnx")
    sparsity: ClassVar[str] = ""

    def check_here(self, attention: str | None) -> None:
        """Refuse where TensorRT or the GPU is missing, or is none that the attention runs on."""
        check_installed()
        name = attention or DECOMPOSED
        if name in self.needs:  # an unknown one is refused with the list of those that exist
            check_attention_here(name, self.needs[name], self.codes)

    def write_model(
        self, lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None
    ) -> Path:
        """Write the ONNX file, and the engine that is built from it on this machine's GPU."""
        check_installed()
        path, onnx = (folder / name for name in self.model_files)
        ir.save(lowered, onnx)
        path.write_bytes(engine_from_plan(plan_from_model(lowered, cache), current_device(), progress))
        return path

    def engine_from_path(self, model: Path, *, threads: int, cache: Path | None = None) -> Engine:
        """Open the engine."""
        return open_engine(model)

    def optimized_from_path(self, model: Path) -> Optimized:
        """Read the engine inspector."""
        return optimized_from_engine(deserialized(model), current_device())
