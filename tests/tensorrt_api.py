"""What the compiler uses of TensorRT's Python API, version by version: what the double has.

`tests/contracts/test_tensorrt_bindings.py` compares it with the released bindings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

Members = dict[str, list[str] | None]
"""Arguments of each method, `=` behind those that may be left out; None for a property."""

CLASSES = """
ILogger: __init__() log(severity, msg)
IProgressMonitor: __init__() phase_start(phase_name, parent_phase, num_steps) step_complete(phase_name, step)
  phase_finish(phase_name)
IHostMemory:
Dims:
ITensor: name
ILayer: name num_inputs get_input(index) set_input(index, tensor) get_output(index)
IConstantLayer(ILayer):
IReduceLayer(ILayer): @11.0
IAttention: @10.14 name mask decomposable normalization_quantize_scale normalization_quantize_to_type get_output(index)
  @11.0 query_form key_value_form query_lengths key_value_lengths
INetworkDefinition: num_layers num_inputs get_layer(index) get_input(index) add_constant(shape, weights)
  add_reduce(input, op, axes, keep_dims)
  @10.14 add_attention(query, key, value, norm_op, causal)
  @11.0 add_attention_v2(query, key, value, norm_op, causal_kind)
ParserError: desc() node_name() node_operator()
OnnxParser: __init__(network, logger) num_errors parse(model, path=) get_error(index) get_layer_output_tensor(name, i)
IOptimizationProfile: set_shape(input, min, opt, max)
ITimingCache: serialize()
IBuilderConfig: builder_optimization_level profiling_verbosity progress_monitor set_memory_pool_limit(pool, pool_size)
  set_flag(flag) clear_flag(flag) add_optimization_profile(profile) create_timing_cache(serialized_timing_cache)
  set_timing_cache(cache, ignore_mismatch) get_timing_cache()
Builder: __init__(logger) create_network(flags=) create_builder_config() create_optimization_profile()
  build_serialized_network(network, config)
EngineInspector: get_engine_information(format)
IExecutionContext: set_optimization_profile_async(profile_index, stream_handle) set_input_shape(name, shape)
  get_tensor_shape(name) set_tensor_address(name, memory) infer_shapes() execute_async_v3(stream_handle)
ICudaEngine: num_io_tensors num_optimization_profiles get_tensor_name(index) get_tensor_mode(name)
  get_tensor_dtype(name) get_tensor_profile_shape(name, profile_index) create_execution_context()
  create_engine_inspector()
Runtime: __init__(logger) deserialize_cuda_engine(serialized_engine)
"""
ENUMERATIONS = """
DataType: FLOAT HALF INT8 INT32 INT64 FP8
TensorIOMode: NONE INPUT OUTPUT
MemoryPoolType: WORKSPACE
ProfilingVerbosity: DETAILED
BuilderFlag: TF32 SPARSE_WEIGHTS
NetworkDefinitionCreationFlag: STRONGLY_TYPED
LayerInformationFormat: JSON
ReduceOperation: SUM
ILogger.Severity: INTERNAL_ERROR ERROR WARNING
AttentionNormalizationOp: @10.14 SOFTMAX
AttentionIOForm: @11.0 PACKED_NHD
CausalMaskKind: @11.0 NONE
"""
NUMBERS = {"STRONGLY_TYPED": {10: 1, 11: 0}}
"""Values whose number is spoken of, by the version's first number."""

PART = re.compile(r"@(\d+)\.(\d+)|(\w+)(\([^)]*\))?")


@dataclass(frozen=True, slots=True)
class Api:
    """One version: each class's base ("" for none) and members, and each enumeration's values with their numbers."""

    classes: dict[str, tuple[str, Members]]
    enumerations: dict[str, dict[str, int]]


def number(version: str) -> tuple[int, int]:
    """Return the first two numbers of a version.

    >>> number("v10.12.0")
    (10, 12)
    """
    major, minor = version.removeprefix("v").split(".")[:2]
    return int(major), int(minor)


def api_of(version: str) -> Api:
    """Return what a version has."""
    own = number(version)
    classes: dict[str, tuple[str, Members]] = {}
    for name, text in _entries(CLASSES):
        kind, _, base = name.rstrip(")").partition("(")
        members = _members(text, own)
        if members is not None:
            classes[kind] = (base, members)
    values = {name: _members(text, own) for name, text in _entries(ENUMERATIONS)}
    return Api(
        classes=classes,
        enumerations={
            name: {value: NUMBERS.get(value, {}).get(own[0], place) for place, value in enumerate(found)}
            for name, found in values.items()
            if found
        },
    )


def _entries(table: str) -> list[tuple[str, str]]:
    lines = table.strip().replace("\n  ", " ").splitlines()
    return [(name, text) for name, _, text in (line.partition(":") for line in lines)]


def _members(text: str, version: tuple[int, int]) -> Members | None:
    """Return what a version has of a line, None where the whole came later."""
    members: Members = {}
    since, lacking = (0, 0), False
    for major, minor, name, arguments in PART.findall(text):
        if major:
            since = (int(major), int(minor))
            lacking = lacking or since > version
        elif since <= version:
            members[name] = [each.strip() for each in arguments[1:-1].split(",") if each.strip()] if arguments else None
    return None if lacking and not members else members


class Enumeration:
    """A value as pybind11 has them: with a name and a number, equal to itself alone; the class is no collection."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self._number = name, number

    def __int__(self) -> int:
        return self._number


def enumeration(name: str, values: dict[str, int]) -> Any:
    """Make an enumeration's class."""
    kind = type(name, (Enumeration,), {})
    for value, place in values.items():
        setattr(kind, value, kind(value, place))
    return kind
