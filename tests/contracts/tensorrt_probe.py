"""Drive `register_kernel` through the installed package `tensorrt.plugin` as TensorRT would, and print what came of it.

Run in a process of its own with the bindings on the path, whose libraries are empty: what would come from them, a
registry of plugins and expressions of sizes, is put in here. Prints one line of JSON; anything else on stdout is a
fault.
"""

# Without `from __future__ import annotations`: TensorRT reads the annotations of a plugin's functions.

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import tensorrt as trt

SHAPES = {"query": 3, "key": 3, "value": 3, "ends": 1, "longest": 1, "scales": 1}


class Expression:
    """A size as text."""

    def __init__(self, text: object) -> None:
        self.text = str(text)

    def is_constant(self) -> bool:
        """Say whether it is a number."""
        return self.text.isdigit()

    def get_constant_value(self) -> int:
        """Return the number."""
        return int(self.text)


class Expressions:
    """What makes expressions of others."""

    def constant(self, number: int) -> Expression:
        """Make one of a number."""
        return Expression(number)

    def operation(self, kind: Any, first: Expression, second: Expression) -> Expression:
        """Make one of two; a copy is the sum with 0."""
        if kind.name == "SUM" and second.text == "0":
            return first
        return Expression(f"{kind.name}({first.text}, {second.text})")


class Symbol:
    """An expression as a kernel's launch has it."""

    expr: Expression


class Registry:
    """The plugins' creators by name."""

    def __init__(self) -> None:
        self.creators: dict[str, Any] = {}

    def register_creator(self, creator: Any, namespace: str) -> bool:
        """Take a creator."""
        self.creators[creator.name] = creator
        return True

    def get_creator(self, name: str, version: str, namespace: str) -> Any:
        """Return a creator."""
        assert version == "1"
        return self.creators.setdefault(name, next(iter(self.creators.values()), None))


def created(registry: Registry, name: str) -> Any:
    """Create the plugin of a node with the attribute `aot`, and show it the types and shapes of its inputs."""
    (creator,) = set(registry.creators.values())
    aot = trt.QuickPluginCreationRequest.STRICT_AOT
    plugin = creator.create_plugin(
        name, creator.plugin_namespace, trt.PluginFieldCollection([]), trt.TensorRTPhase.BUILD, aot
    )
    kinds = [trt.DataType.INT8] * 3 + [trt.DataType.INT32] * 2 + [trt.DataType.HALF]
    assert plugin.get_output_data_types(kinds, list(SHAPES.values())) == [trt.DataType.INT8]
    shapes = [[Expression(f"{name}[{place}]") for place in range(rank)] for name, rank in SHAPES.items()]
    (shape,) = plugin.get_output_shapes(shapes, [], Expressions())
    assert [each.text for each in shape] == ["query[0]", "query[1]", "query[2]"]
    return plugin


def launched(plugin: Any) -> dict[str, str]:
    """Ask the plugin for its kernel and its launch."""
    kinds = [trt.DataType.INT8] * 3 + [trt.DataType.INT32] * 2 + [trt.DataType.HALF, trt.DataType.INT8]
    tensors = []
    for kind, rank in zip(kinds, [*SHAPES.values(), 3], strict=True):
        tensor = trt.DynamicPluginTensorDesc()
        tensor.desc.type, tensor.desc.format, tensor.desc.dims = kind, trt.TensorFormat.LINEAR, (1,) * rank
        tensors.append(tensor)
    launch, scalars = SimpleNamespace(), SimpleNamespace()
    plugin.set_tactic(0)
    plugin.get_launch_params(None, tensors, len(SHAPES), launch, scalars, Expressions())
    name, code = plugin.get_kernel([each.desc for each in tensors[:-1]], [tensors[-1].desc])
    assert scalars.nbSymExprs == 0
    return {"name": name, "code": code.decode()} | {key: value.expr.text for key, value in vars(launch).items()}


def takes_attributes(registry: Registry, trtp: Any) -> bool:
    """Whether a plugin with an integer attribute can be created."""
    registry.creators.clear()
    Code = tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]

    @trtp.register("bertc::Attributed")  # type: ignore[untyped-decorator]
    def described(query: trtp.TensorDesc, heads: int) -> trtp.TensorDesc:
        return query.like()

    @trtp.aot_impl("bertc::Attributed")  # type: ignore[untyped-decorator]
    def compiled(query: trtp.TensorDesc, heads: int, outputs: tuple[trtp.TensorDesc], tactic: int) -> Code:
        raise NotImplementedError

    (creator,) = set(registry.creators.values())
    heads = trt.PluginFieldCollection([trt.PluginField("heads", np.array([12], np.int32), trt.PluginFieldType.INT32)])
    aot = trt.QuickPluginCreationRequest.STRICT_AOT
    try:
        creator.create_plugin("Attributed", "bertc", heads, trt.TensorRTPhase.BUILD, aot)
    except TypeError:
        return False
    return True


def sentence_without_library() -> str:
    """Build where TensorRT's library gives nothing; return the error's text."""
    from bertc.core.progress import SILENCE
    from bertc.errors import EnvironmentLackError
    from bertc.runtime.tensorrt.builder import Plan, engine_from_plan
    from bertc.runtime.tensorrt.cuda_memory import Device

    kinds: Any = {"native": None, "kernel": None, "sparse": False, "fp8": False}
    plan = Plan(onnx=b"", profiles=(), layers=0, probs_scales={}, cache=None, **kinds)
    try:
        engine_from_plan(plan, Device(name="none", capability=89, driver=""), SILENCE)
    except EnvironmentLackError as error:
        return str(error)
    return ""


def main() -> None:
    """Register, create, launch; then let the compiler fail."""
    registry = Registry()
    trt.get_plugin_registry = lambda: registry
    trt.IDimensionExpr, trt.DimsExprs, trt.ISymExpr = Expression, lambda count: [None] * count, Symbol
    ahead: Any = ModuleType("bertc.runtime.tensorrt.kernels.ahead")
    asked: list[Any] = []

    def compiled_attention(capability: int, **options: Any) -> SimpleNamespace:
        asked.append({"capability": capability} | options)
        if len(asked) > 1:
            raise ValueError("no such GPU")
        return SimpleNamespace(name="attend", ptx=".entry attend()", threads=128, shared=20480, rows=64)

    ahead.compiled_attention = compiled_attention
    sys.modules[ahead.__name__] = ahead
    from bertc.runtime.tensorrt import kernel_plugin, library

    kernel_plugin.current_device = lambda: SimpleNamespace(capability=89)
    kernel = kernel_plugin.Kernel(identifier="bertc::PackedInt8Attention_12x64", heads=12, size=64)
    failures = kernel_plugin.register_kernel(kernel)
    plugin = created(registry, "PackedInt8Attention_12x64")
    launch = launched(plugin)
    assert not failures and kernel_plugin.register_kernel(kernel) is failures  # registered once
    try:
        launched(plugin)
    except ValueError:
        said = str(failures[0])
    trtp = library.quick_plugins()
    found = {"numpy": np.__version__, "module": trtp.__name__, "asked": asked[0], "launch": launch, "failure": said}
    found["attributes"] = takes_attributes(registry, trtp)
    found["without"] = sentence_without_library()
    found["strongly_typed"] = int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    found["int8_is_a_number"] = int(trt.DataType.INT8) == trt.DataType.INT8
    print(json.dumps(found))


if __name__ == "__main__":
    main()
