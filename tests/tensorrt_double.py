"""A double of TensorRT, for the tests of what uses it on machines without. The CUDA runtime's is beside it.

It has what the compiler uses of TensorRT and nothing else (`tests/tensorrt_api.py`, which the released bindings are
compared with): a name, an argument or a value that is not there fails as it would. It records every call. An "engine"
of it is the ONNX file, which ONNX Runtime runs on the CPU with the memory that it was given the addresses of; a value
that an attention layer replaced is not recomputed.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from bertc.ir.standard import write_zero_points
from bertc.runtime.ort.inference_session import session_options
from tests.cuda_double import CudaDouble
from tests.tensorrt_api import Enumeration, api_of, enumeration, number
from tests.tensorrt_quick_double import QuickDouble

MAGIC = b"double"
TYPES = {onnx.TensorProto.INT32: "INT32", onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.INT64: "INT64"}
QUIET = {"get_layer", "get_input", "get_layer_output_tensor"}
"""What is asked in loops, and is not recorded."""


@dataclass
class Double:
    """One version's modules, all calls so far, and what is to go wrong.

    `refused` names what TensorRT refuses: settings of the attention layer, which it leaves as they are without a word;
    "set_shape", "infer_shapes", "profile"; "create_timing_cache", "set_timing_cache", "get_timing_cache".
    """

    version: str = "v10.14"
    device: bytes = b"NVIDIA Double"
    capability: tuple[int, int] = (8, 9)
    gpus: int = 1
    parse_error: str = ""
    build_error: str = ""
    refused: frozenset[str] = frozenset()
    calls: list[str] = field(default_factory=list)
    monitored: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cuda = CudaDouble(device=self.device, capability=self.capability, gpus=self.gpus, calls=self.calls)

    def modules(self) -> dict[str, ModuleType]:
        """Return the modules to put into `sys.modules`."""
        modules = {"tensorrt": self.tensorrt(), "cuda": ModuleType("cuda"), "cuda.bindings": ModuleType("bindings")}
        self.quick = QuickDouble(self)
        # The front package shows the module of the bindings from 10.14 on.
        shown = "tensorrt.plugin" if number(self.version) >= (10, 14) else "tensorrt_bindings.plugin"
        modules["tensorrt_bindings"] = ModuleType("tensorrt_bindings")
        modules[shown] = self.quick.module()
        modules["cuda.bindings.runtime"] = self.cuda.module()
        modules["cuda.bindings"].runtime = modules["cuda.bindings.runtime"]  # type: ignore[attr-defined]
        for name, module in modules.items():
            module.__spec__ = ModuleSpec(name, None)
        return modules

    def tensorrt(self) -> ModuleType:
        """Make the module `tensorrt` of the version."""
        api = api_of(self.version)
        module = ModuleType("tensorrt")
        self.module: Any = module
        module.__version__ = f"{self.version.removeprefix('v')}.0.1"  # type: ignore[attr-defined]
        behaviour = Behaviour(self)
        for name, (base, members) in api.classes.items():
            setattr(module, name, self._class(name, api.classes[base][1] | members if base else members, behaviour))
        for name, values in api.enumerations.items():
            outer, _, inner = name.rpartition(".")
            setattr(getattr(module, outer) if outer else module, inner, enumeration(inner, values))
        module.init_libnvinfer_plugins = self._method(  # type: ignore[attr-defined]
            "", "init_libnvinfer_plugins", ["logger", "namespace"], lambda *_: True
        )
        return module

    def _class(self, name: str, members: dict[str, list[str] | None], behaviour: Behaviour) -> type:
        if name == "IHostMemory":
            return type(name, (bytes,), {})
        if name == "Dims":
            return type(name, (tuple,), {})
        content: dict[str, Any] = {"_known": frozenset(members), "__setattr__": _guarded}
        for member, arguments in members.items():
            act = getattr(behaviour, f"{name}_{member.strip('_')}", None)
            content[member] = (
                self._value(name, member, act) if arguments is None else self._method(name, member, arguments, act)
            )
        return type(name, (), content)

    def _method(self, owner: str, name: str, known: list[str], act: Callable[..., Any] | None) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            own, given = (arguments[:1], arguments[1:]) if owner else ((), arguments)
            bound = _bound(f"{owner}.{name}", known, given, named)
            if name not in QUIET:
                label = type(own[0]).__name__ if own else ""
                shown = ", ".join(_shown(value) for value in bound)
                self.calls.append(f"{label}.{name.strip('_')}({shown})".lstrip("."))
            return act(*own, *bound) if act is not None else None

        return call

    def _value(self, owner: str, name: str, act: Callable[..., Any] | None) -> property:
        def get(own: Any) -> Any:
            return act(own) if act is not None else own.__dict__.get(f"_{name}")

        def put(own: Any, value: Any) -> None:
            if name not in self.refused:
                own.__dict__[f"_{name}"] = value
            self.calls.append(f"{owner}.{name} = {_shown(value)}")

        return property(get, put)


def _guarded(own: Any, name: str, value: Any) -> None:
    """Refuse a property that the class does not have, as a binding does."""
    if not name.startswith("_") and name not in type(own)._known:
        raise AttributeError(f"{type(own).__name__} has no attribute {name}")
    object.__setattr__(own, name, value)


def _bound(name: str, known: list[str], given: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
    """Return the values in the order of the arguments. Raises `TypeError` where they are others."""
    names = [argument.rstrip("=") for argument in known]
    wanted = {argument for argument in known if not argument.endswith("=")}
    taken = dict(zip(names, given, strict=False)) | named
    if len(given) <= len(names) and set(taken) <= set(names) and wanted <= set(taken):
        return [taken[argument] for argument in names if argument in taken]
    raise TypeError(f"{name}(): incompatible arguments {given} {named}; it takes {known}")


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return f"<{(len(value) > 0 and 'bytes') or 'no bytes'}>"
    if isinstance(value, Enumeration):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, np.ndarray):
        return f"<{value.dtype}{list(value.shape)}>"
    if isinstance(value, (str, int, float, tuple, bool)) or value is None:
        return repr(value)
    return str(getattr(value, "_label", type(value).__name__))


class Behaviour:
    """What a few of the methods do; the others do nothing and give None. Named `<class>_<method>`."""

    def __init__(self, double: Double) -> None:
        self.double = double

    def make(self, kind: str, /, **values: Any) -> Any:
        made = object.__new__(getattr(self.double.module, kind))
        made.__dict__.update({f"_{key}": value for key, value in values.items()})
        return made

    def tensor(self, name: str) -> Any:
        return self.make("ITensor", name=name, label=name)

    # --- network

    def Builder_init(self, own: Any, logger: Any) -> None:
        if not self.double.gpus:
            logger.log(self.double.module.ILogger.Severity.ERROR, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        own._logger = logger

    def Builder_create_network(self, own: Any, flags: int) -> Any:
        wanted = 1 << int(self.double.module.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        assert flags == wanted, "the network is not strongly typed"
        return self.make("INetworkDefinition", layers=[], inputs=[], attentions=[])

    def INetworkDefinition_num_layers(self, own: Any) -> int:
        return len(own._layers)

    def INetworkDefinition_num_inputs(self, own: Any) -> int:
        return len(own._inputs)

    def INetworkDefinition_get_layer(self, own: Any, index: int) -> Any:
        return own._layers[index]

    def INetworkDefinition_get_input(self, own: Any, index: int) -> Any:
        return own._inputs[index]

    def INetworkDefinition_add_constant(self, own: Any, shape: Any, weights: Any) -> Any:
        return self.make("IConstantLayer", output=self.tensor("constant"))

    def INetworkDefinition_add_attention(self, own: Any, query: Any, key: Any, value: Any, *rest: Any) -> Any:
        attention = self.make("IAttention", operands=(query, key, value), output=self.tensor("attention's output"))
        attention.__dict__["_decomposable"] = "decomposable" in self.double.refused
        own._attentions.append(attention)
        return attention

    INetworkDefinition_add_attention_v2 = INetworkDefinition_add_attention

    def INetworkDefinition_add_reduce(self, own: Any, input: Any, *rest: Any) -> Any:
        return self.make("IReduceLayer", output=self.tensor(f"sum of {input.name}"))

    def IAttention_get_output(self, own: Any, index: int) -> Any:
        return own._output

    IConstantLayer_get_output = IReduceLayer_get_output = IAttention_get_output

    def ILayer_num_inputs(self, own: Any) -> int:
        return len(own._inputs)

    def ILayer_get_input(self, own: Any, index: int) -> Any:
        return own._inputs[index]

    def ILayer_set_input(self, own: Any, index: int, tensor: Any) -> None:
        own._inputs[index] = tensor

    def OnnxParser_init(self, own: Any, network: Any, logger: Any) -> None:
        own._network, own._logger = network, logger

    def OnnxParser_parse(self, own: Any, model: bytes) -> bool:
        if self.double.parse_error:
            return False
        graph = onnx.load_from_string(model).graph
        self.double.quick.failed = False
        tensors = {name: self.tensor(name) for node in graph.node for name in [*node.input, *node.output]}
        own._network._inputs = [tensors[value.name] for value in graph.input]
        own._outputs = {node.name: [tensors[name] for name in node.output] for node in graph.node}
        own._network._model = model
        for node in graph.node:
            inputs = [tensors[name] for name in node.input]
            own._network._layers.append(self.make("ILayer", inputs=inputs, label=node.name))
            self.double.quick.build(node, graph)
        return True

    def OnnxParser_get_layer_output_tensor(self, own: Any, name: str, place: int) -> Any:
        return own._outputs[name][place] if name in own._outputs else None

    def OnnxParser_num_errors(self, own: Any) -> int:
        return 1 if self.double.parse_error else 0

    def OnnxParser_get_error(self, own: Any, index: int) -> Any:
        return self.make("ParserError")

    def ParserError_desc(self, own: Any) -> str:
        return self.double.parse_error

    def ParserError_node_name(self, own: Any) -> str:
        return "layer.0.gelu"

    def ParserError_node_operator(self, own: Any) -> str:
        return "Gelu"

    # --- building

    def Builder_create_builder_config(self, own: Any) -> Any:
        return self.make("IBuilderConfig", profiles=[], cache=None)

    def Builder_create_optimization_profile(self, own: Any) -> Any:
        return self.make("IOptimizationProfile", shapes={})

    def IOptimizationProfile_set_shape(self, own: Any, name: str, *shapes: Any) -> None:
        if "set_shape" in self.double.refused:
            raise RuntimeError("Shape provided for min is inconsistent with other shapes.")
        own._shapes[name] = [list(shape) for shape in shapes]

    def IBuilderConfig_add_optimization_profile(self, own: Any, profile: Any) -> int:
        if "profile" in self.double.refused:
            return -1
        own._profiles.append(profile._shapes)
        return len(own._profiles) - 1

    def IBuilderConfig_create_timing_cache(self, own: Any, serialized: bytes) -> Any:
        made = self.make("ITimingCache", content=serialized + b"timed;")
        return None if "create_timing_cache" in self.double.refused else made

    def IBuilderConfig_set_timing_cache(self, own: Any, cache: Any, ignore_mismatch: bool) -> bool:
        if "set_timing_cache" in self.double.refused and len(cache._content) > len(b"timed;"):
            return False
        own._cache = cache
        return True

    def IBuilderConfig_get_timing_cache(self, own: Any) -> Any:
        return None if "get_timing_cache" in self.double.refused else own._cache

    def ITimingCache_serialize(self, own: Any) -> Any:
        return self.double.module.IHostMemory(own._content)

    def Builder_build_serialized_network(self, own: Any, network: Any, config: Any) -> Any:
        monitor = config._progress_monitor
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Timing", "Building", 1)
        self.double.monitored += [monitor.step_complete(name, 0) for name in ("Timing", "Building")]
        monitor.phase_finish("Timing")
        monitor.phase_finish("Building")
        if self.double.quick.failed:  # what a function of a plugin raises is printed, and the build fails without it
            return None
        if self.double.build_error:
            own._logger.log(self.double.module.ILogger.Severity.ERROR, self.double.build_error)
            own._logger.log(self.double.module.ILogger.Severity.WARNING, "of no interest")
            return None
        head = json.dumps([config._profiles, [each._name for each in network._attentions]]).encode()
        return self.double.module.IHostMemory(MAGIC + len(head).to_bytes(4, "little") + head + network._model)

    # --- running

    def Runtime_init(self, own: Any, logger: Any) -> None:
        own._logger = logger

    def Runtime_deserialize_cuda_engine(self, own: Any, content: bytes) -> Any:
        if not content.startswith(MAGIC):
            own._logger.log(self.double.module.ILogger.Severity.ERROR, "The engine plan file is not compatible")
            return None
        size = int.from_bytes(content[len(MAGIC) : len(MAGIC) + 4], "little")
        start = len(MAGIC) + 4
        profiles, attentions = json.loads(content[start : start + size])
        return self.make("ICudaEngine", profiles=profiles, attentions=attentions, model=content[start + size :])

    def _graph(self, engine: Any) -> Any:
        return onnx.load_from_string(engine._model).graph

    def _io(self, engine: Any) -> list[Any]:
        graph = self._graph(engine)
        return [*graph.input, *graph.output]

    def _named(self, engine: Any, name: str) -> Any:
        return next(value for value in self._io(engine) if value.name == name)

    def ICudaEngine_num_io_tensors(self, own: Any) -> int:
        return len(self._io(own))

    def ICudaEngine_num_optimization_profiles(self, own: Any) -> int:
        return len(own._profiles)

    def ICudaEngine_get_tensor_name(self, own: Any, index: int) -> str:
        return str(self._io(own)[index].name)

    def ICudaEngine_get_tensor_mode(self, own: Any, name: str) -> Any:
        mode = self.double.module.TensorIOMode
        return mode.INPUT if name in [value.name for value in self._graph(own).input] else mode.OUTPUT

    def ICudaEngine_get_tensor_dtype(self, own: Any, name: str) -> Any:
        return getattr(self.double.module.DataType, TYPES[self._named(own, name).type.tensor_type.elem_type])

    def ICudaEngine_get_tensor_profile_shape(self, own: Any, name: str, index: int) -> Any:
        return [self.double.module.Dims(shape) for shape in own._profiles[index][name]]

    def ICudaEngine_create_execution_context(self, own: Any) -> Any:
        return self.make("IExecutionContext", engine=own, shapes={}, addresses={}, profile=0, changes=0, ran=-1)

    def ICudaEngine_create_engine_inspector(self, own: Any) -> Any:
        return self.make("EngineInspector", engine=own)

    def EngineInspector_get_engine_information(self, own: Any, kind: Any) -> str:
        return inspected(self._graph(own._engine), own._engine._attentions, self.double.version)

    def IExecutionContext_set_optimization_profile_async(self, own: Any, index: int, stream: int) -> bool:
        own._profile, own._changes = index, own._changes + 1
        return True

    def IExecutionContext_set_input_shape(self, own: Any, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = own._engine._profiles[own._profile][name]
        own._shapes[name], own._changes = tuple(shape), own._changes + 1
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def IExecutionContext_infer_shapes(self, own: Any) -> list[str]:
        if "infer_shapes" in self.double.refused:
            raise RuntimeError("infer_shapes error code: -1")
        return [value.name for value in self._graph(own._engine).input if value.name not in own._shapes]

    def IExecutionContext_get_tensor_shape(self, own: Any, name: str) -> Any:
        sizes = dict(zip(("batch", "sequence"), own._shapes["input_ids"], strict=True))
        dims = self._named(own._engine, name).type.tensor_type.shape.dim
        return self.double.module.Dims(sizes.get(dim.dim_param, dim.dim_value) for dim in dims)

    def IExecutionContext_set_tensor_address(self, own: Any, name: str, memory: int) -> bool:
        own._addresses[name], own._changes = memory, own._changes + 1
        return bool(memory)

    def IExecutionContext_execute_async_v3(self, own: Any, stream_handle: int) -> bool:
        if self.double.cuda.recording is None:
            own._ran = own._changes
            return self._execute(own)
        assert self.double.cuda.recording_stream == stream_handle
        if any(node.op_type == "NonZero" for node in self._graph(own._engine).node):
            return self.double.cuda.spoil()  # the host has to know how many there are
        assert own._ran == own._changes, "the first run of a shape initializes, and was captured"

        def replay(changes: int = own._changes) -> None:
            assert own._changes == changes, "the context was changed after it was captured"
            self._execute(own)

        self.double.cuda.recording.append(replay)
        return True

    def _execute(self, own: Any) -> bool:
        import onnxruntime as ort

        graph = self._graph(own._engine)
        feeds = {}
        for value in graph.input:
            shape = own._shapes[value.name]
            data = ctypes.string_at(own._addresses[value.name], 4 * int(np.prod(shape)))
            feeds[value.name] = np.frombuffer(data, np.int32).reshape(shape)
        model = write_zero_points(ir.from_proto(onnx.load_from_string(own._engine._model)))
        content = ir.to_proto(model).SerializeToString()
        session = ort.InferenceSession(content, session_options(1), providers=["CPUExecutionProvider"])
        for value, found in zip(graph.output, session.run(None, feeds), strict=True):
            ctypes.memmove(own._addresses[value.name], found.tobytes(), found.nbytes)
        return True


def inspected(graph: Any, attentions: list[str], version: str) -> str:
    """Write what an inspector says of the engine: a layer for each node, one for each attention that was put in."""
    codes = {node.output[0] for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    fp8 = any(tensor.data_type == onnx.TensorProto.FLOAT8E4M3FN for tensor in graph.initializer)
    coded = "FP8" if fp8 else "Int8"
    moved = {}
    for node in graph.node:  # what is turned or cut after codes still is codes
        moved[node.output[0]] = node.input[0] if node.op_type in ("Transpose", "Reshape", "Squeeze") else node.output[0]
    layers: list[dict[str, Any]] = [
        {"Name": name, "LayerType": "Attention", "Inputs": [said(coded, version)]} for name in attentions
    ]
    for node in graph.node:
        first = node.input[0] if node.input else ""
        source = moved.get(moved.get(first, first), first)
        layers.append(
            {
                "Name": node.name,
                "LayerType": "gemm" if node.op_type == "MatMul" else node.op_type,
                "Inputs": [said(coded if source in codes else "Half", version)],
                "TacticName": "",
                "Metadata": f"[ONNX Layer: {node.name}]",
            }
        )
    return json.dumps({"Layers": layers})


def said(kind: str, version: str) -> dict[str, str]:
    """Write a tensor's type as 10.x does, or 11.x."""
    return {"Datatype": kind, "Format": "Row"} if version.startswith("v11") else {"Format/Datatype": f"{kind} Row"}
