"""Build a TensorRT engine of an ONNX file: a strongly typed network, profiles, timing cache, what TensorRT said.

One design for 10.12 to 11.x: precision comes from the network's types and its Q/DQ pairs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bertc.core.progress import Progress
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.tensorrt.attention_layer import insert_attention
from bertc.runtime.tensorrt.cuda_memory import Device
from bertc.runtime.tensorrt.kernel_plugin import register_kernel
from bertc.runtime.tensorrt.library import listener, open_library, sentence_from_errors, version_from_text
from bertc.runtime.tensorrt.profiles import Profile

if TYPE_CHECKING:
    import tensorrt as trt


WORKSPACE_BYTES = 4 << 30
"""What a tactic may use beside weights and activations; BERT's kernels use far less."""

OPTIMIZATION_LEVEL = 3
"""TensorRT's own default; its levels are 0 to 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an engine is built of. `probs_scales` has the layers whose softmax is INT8, for the attention layer.

    `native` is the form in which TensorRT's attention layer is put in (None: it is not); `kernel` is what the plugin of
    bertc's own kernel is registered as (None: not used); `sparse` lets it choose kernels for 2:4 weights where they are
    faster; `cache` is the folder of timings that later builds take up (None: none is kept).
    """

    onnx: bytes
    profiles: Sequence[Profile]
    layers: int
    native: Literal["padded", "packed"] | None
    kernel: str | None
    sparse: bool
    probs_scales: Mapping[int, float]
    cache: Path | None


def engine_from_plan(plan: Plan, device: Device, progress: Progress) -> bytes:
    """Build, and return the serialized engine.

    Raises `InputError` for a model that TensorRT does not take, `EnvironmentLackError` where it cannot build here.
    """
    open_library()
    import tensorrt as trt

    said: list[str] = []
    logger = listener(said)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # the binding's words for a builder that could not be made
        raise EnvironmentLackError(f"TensorRT cannot start here: {sentence_from_errors(said)}") from error
    # The flag is accepted and without effect from 11.0 on; its number changed, so it is always asked for by name.
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(strongly_typed)
    if plan.kernel is not None:
        register_kernel(plan.kernel)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(plan.onnx):
        raise InputError(
            f"TensorRT {trt.__version__} cannot read the model: {_faults(parser) or sentence_from_errors(said)}"
        )
    kept = []
    if plan.native is not None:
        version = version_from_text(trt.__version__)
        kept = insert_attention(
            network, parser, plan.probs_scales, layers=plan.layers, packed=plan.native == "packed", version=version
        )
    config = _config(builder, network, plan, progress)
    timings = None if plan.cache is None else plan.cache / f"tensorrt-{trt.__version__}-sm{device.capability}.timing"
    cache = config.create_timing_cache(_read(timings))
    config.set_timing_cache(cache, ignore_mismatch=False)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise InputError(
            f"TensorRT {trt.__version__} cannot build an engine on {device.name}: {sentence_from_errors(said)}"
        )
    del kept  # only now: TensorRT reads its constants where they lie, while it builds
    if timings is not None:
        _write(timings, bytes(config.get_timing_cache().serialize()))
    return bytes(serialized)


def _config(
    builder: trt.Builder, network: trt.INetworkDefinition, plan: Plan, progress: Progress
) -> trt.IBuilderConfig:
    """Return how to build: memory, level, profiles, what is kept for the inspector, and who hears of the progress."""
    import tensorrt as trt

    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.builder_optimization_level = OPTIMIZATION_LEVEL
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # FP32 layers of the head are FP32, not TF32: the report compares with a float model.
    config.clear_flag(trt.BuilderFlag.TF32)
    if plan.sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    config.progress_monitor = _monitor(progress)
    names = [network.get_input(number).name for number in range(network.num_inputs)]
    for wanted in plan.profiles:
        profile = builder.create_optimization_profile()
        least, usual, most = zip(wanted.batch, wanted.length, strict=True)
        for name in names:
            profile.set_shape(name, least, usual, most)
        config.add_optimization_profile(profile)
    return config


def _monitor(progress: Progress) -> trt.IProgressMonitor:
    """Return a monitor that shows the outermost phase of a build as the current stage's progress."""
    import tensorrt as trt

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._outermost: str | None = None

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._outermost = phase_name
                progress.stage(f"tensorrt: {phase_name}", total=num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name == self._outermost:
                progress.advance()
            return True

        def phase_finish(self, phase_name: str) -> None:
            if phase_name == self._outermost:
                self._outermost = None

    return Monitor()


def _faults(parser: trt.OnnxParser) -> str:
    """Return what the parser could not read, node by node."""
    faults = []
    for number in range(parser.num_errors):
        error = parser.get_error(number)
        where = f"{error.node_operator()} {error.node_name()}".strip()
        faults.append(f"{where}: {error.desc()}" if where else error.desc())
    return "; ".join(dict.fromkeys(" ".join(fault.split()) for fault in faults))


def _read(timings: Path | None) -> bytes:
    """Return the timings of earlier builds, b"" where there are none."""
    if timings is None or not timings.is_file():
        return b""
    return timings.read_bytes()


def _write(timings: Path, content: bytes) -> None:
    """Keep the timings, whole or not at all."""
    work = timings.with_suffix(".new")
    work.write_bytes(content)
    work.replace(timings)
