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
from bertc.runtime.tensorrt.kernel_plugin import Kernel, raise_first, register_kernel
from bertc.runtime.tensorrt.library import (
    listener,
    made,
    open_library,
    sentence_from_errors,
    stdout_on_stderr,
)
from bertc.runtime.tensorrt.profiles import Profile
from bertc.runtime.tensorrt.timing_cache import give_timings, keep_timings

if TYPE_CHECKING:
    import tensorrt as trt


WORKSPACE_BYTES = 4 << 30
"""What a tactic may use beside weights and activations; BERT's kernels use far less."""

OPTIMIZATION_LEVEL = 3
"""TensorRT's own default; its levels are 0 to 5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What an engine is built of. `probs_scales` has the layers whose softmax gives codes, for the attention layer.

    `native` is the form in which TensorRT's attention layer is put in (None: it is not); `kernel` says what the plugin
    of bertc's own kernel is registered as (None: not used); `sparse` lets it choose kernels for 2:4 weights where they
    are faster; `fp8` says that codes are E4M3 and not INT8; `cache` is the folder of timings that later builds take up
    (None: none is kept).
    """

    onnx: bytes
    profiles: Sequence[Profile]
    layers: int
    native: Literal["padded", "packed"] | None
    kernel: Kernel | None
    sparse: bool
    fp8: bool
    probs_scales: Mapping[int, float]
    cache: Path | None


def engine_from_plan(plan: Plan, device: Device, progress: Progress) -> bytes:
    """Build, and return the serialized engine.

    Raises `InputError` for a model that TensorRT does not take, `EnvironmentLackError` where it cannot build here.
    """
    open_library()
    with stdout_on_stderr():
        return _built(plan, device, progress)


def _built(plan: Plan, device: Device, progress: Progress) -> bytes:
    import tensorrt as trt

    said: list[str] = []
    logger = listener(said)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # the binding's words for a builder that could not be made
        raise EnvironmentLackError(f"TensorRT cannot start here: {sentence_from_errors(said)}") from error
    # The flag is accepted and without effect from 11.0 on; its number changed, so it is always asked for by name.
    strongly_typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = made(builder.create_network(strongly_typed), "network", said)
    failures = [] if plan.kernel is None else register_kernel(plan.kernel)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(plan.onnx)
    raise_first(failures)
    if not parsed:
        raise InputError(
            f"TensorRT {trt.__version__} cannot read the model: {_faults(parser) or sentence_from_errors(said)}"
        )
    kept = []
    if plan.native is not None:
        codes = trt.DataType.FP8 if plan.fp8 else trt.DataType.INT8
        kept = insert_attention(
            network, parser, plan.probs_scales, layers=plan.layers, packed=plan.native == "packed", codes=codes
        )
    config = _config(builder, network, plan, progress, said)
    timings = None if plan.cache is None else plan.cache / f"tensorrt-{trt.__version__}-sm{device.capability}.timing"
    give_timings(config, timings, progress)
    serialized = builder.build_serialized_network(network, config)
    raise_first(failures)
    if serialized is None:
        raise InputError(
            f"TensorRT {trt.__version__} cannot build an engine on {device.name}: {sentence_from_errors(said)}"
        )
    del kept  # only now: TensorRT reads its constants where they lie, while it builds
    if timings is not None:
        keep_timings(config, timings, progress)
    return bytes(serialized)


def _config(
    builder: trt.Builder, network: trt.INetworkDefinition, plan: Plan, progress: Progress, said: list[str]
) -> trt.IBuilderConfig:
    """Return how to build: memory, level, profiles, what is kept for the inspector, and who hears of the progress."""
    import tensorrt as trt

    config = made(builder.create_builder_config(), "configuration", said)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.builder_optimization_level = OPTIMIZATION_LEVEL
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # FP32 layers of the head are FP32, not TF32: the report compares with a float model.
    config.clear_flag(trt.BuilderFlag.TF32)
    if plan.sparse:
        config.set_flag(trt.BuilderFlag.SPARSE_WEIGHTS)
    config.progress_monitor = _monitor(progress)
    inputs = [made(network.get_input(number), "input", said).name for number in range(network.num_inputs)]
    for wanted in plan.profiles:
        profile = made(builder.create_optimization_profile(), "optimization profile", said)
        _set_shapes(profile, inputs, wanted)
        if config.add_optimization_profile(profile) < 0:
            raise InputError(f"TensorRT refuses the profile of {_said(wanted)}: {sentence_from_errors(said)}")
    return config


def _set_shapes(profile: trt.IOptimizationProfile, inputs: Sequence[str], wanted: Profile) -> None:
    """Give every input the shapes of a profile: the least, the usual and the largest."""
    least, usual, most = zip(wanted.batch, wanted.length, strict=True)
    for name in inputs:
        try:
            profile.set_shape(name, least, usual, most)
        except (RuntimeError, ValueError) as error:  # documented is the second, and raised the first
            raise InputError(f"TensorRT refuses the profile of {_said(wanted)} for {name}: {error}") from error


def _said(profile: Profile) -> str:
    return f"at most {profile.batch[2]} texts of {profile.length[2]} tokens"


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
        if error is None:
            continue
        where = f"{error.node_operator()} {error.node_name()}".strip()
        faults.append(f"{where}: {error.desc()}" if where else error.desc())
    return "; ".join(dict.fromkeys(" ".join(fault.split()) for fault in faults))
