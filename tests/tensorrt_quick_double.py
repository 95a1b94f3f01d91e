"""A double of `tensorrt.plugin`: it checks what registers a plugin as TensorRT does, and builds a parsed node with it.

Sizes are expressions here as there: text. The rules are those of TensorRT's public sources
(python/packaging/bindings_wheel/tensorrt/plugin/_validate.py, _lib.py, _plugin_class.py).
"""

from __future__ import annotations

import inspect
import os
import typing
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import onnx

RESERVED = {"", "trt", "tensorrt", "std"}


class SymInt32:
    """An expression of sizes."""

    def __init__(self, text: Any) -> None:
        self.text = text.text if isinstance(text, SymInt32) else str(text)

    def __sub__(self, other: int) -> SymInt32:
        return SymInt32(f"({self.text} - {other})")


class Shape:
    """A tensor's sizes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, index: int) -> SymInt32:
        return SymInt32(f"{self.name}[{index}]")


class TensorDesc:
    """A tensor by name and type."""

    def __init__(self, name: str, dtype: Any) -> None:
        self.name, self.dtype, self.shape_expr = name, dtype, Shape(name)

    def like(self) -> TensorDesc:
        """Give another of the same type."""
        return TensorDesc(f"like {self.name}", self.dtype)


class KernelLaunchParams:
    """Grid, block and shared memory."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("grid_x", "grid_y", "grid_z", "block_x", "block_y", "block_z", "shared_mem"):
            raise AttributeError(f"KernelLaunchParams object has no attribute {name!r}")
        self.__dict__[name] = SymInt32(value)


class SymIntExprs:
    """The scalars that a kernel takes."""

    def __init__(self, length: int) -> None:
        self.length = length


class QuickDouble:
    """The module, what was registered, and what was built: (kernel's name, code, launch as text) of each node."""

    def __init__(self, double: Any) -> None:
        self.double = double
        self.op = SimpleNamespace()
        self.registered: dict[str, Callable[..., Any]] = {}
        self.implemented: dict[str, Callable[..., Any]] = {}
        self.built: list[tuple[str, str, dict[str, str]]] = []
        self.failed = False

    def module(self) -> ModuleType:
        """Make the module `tensorrt.plugin`."""
        module: Any = ModuleType("tensorrt.plugin")
        module.register, module.aot_impl, module.op = self.register, self.aot_impl, self.op
        module.cdiv = lambda first, second: SymInt32(f"ceil({first.text} / {second})")
        for each in (SymInt32, TensorDesc, KernelLaunchParams, SymIntExprs):
            setattr(module, each.__name__, each)
        return module

    def register(self, plugin_id: str) -> Callable[[Any], Any]:
        """Check a plugin's description."""
        self.double.calls.append(f"plugin.register({plugin_id!r})")
        os.write(1, b"[TRT] [W] Functionality provided through tensorrt.plugin module is experimental.\n")
        namespace, name = plugin_id.split("::")
        assert namespace not in RESERVED and "." not in plugin_id
        bound = self.op.__dict__.setdefault(namespace, SimpleNamespace())
        assert not hasattr(bound, name), f"there is already a definition of {plugin_id}"

        def decorate(function: Any) -> Any:
            kinds = [parameter.annotation for parameter in inspect.signature(function).parameters.values()]
            # Attributes may follow there; up to 11.1 such a plugin cannot be created with numpy 2.4 or later.
            assert all(issubclass(kind, TensorDesc) for kind in kinds)
            assert issubclass(inspect.signature(function).return_annotation, TensorDesc)
            setattr(bound, name, function)
            self.registered[name] = function
            return function

        return decorate

    def aot_impl(self, plugin_id: str) -> Callable[[Any], Any]:
        """Check the function that gives the code."""
        self.double.calls.append(f"plugin.aot_impl({plugin_id!r})")
        name = plugin_id.split("::")[1]

        def decorate(function: Any) -> Any:
            described = inspect.signature(self.registered[name]).parameters
            found = inspect.signature(function)
            assert list(found.parameters) == [*described, "outputs", "tactic"]
            assert all(found.parameters[key].annotation == each.annotation for key, each in described.items())
            assert typing.get_args(found.parameters["outputs"].annotation) == (TensorDesc,)
            assert typing.get_args(found.return_annotation) == (str, str, KernelLaunchParams, SymIntExprs)
            self.implemented[name] = function
            return function

        return decorate

    def build(self, node: Any, graph: Any) -> None:
        """Ask for the code of a node that names a plugin's namespace, as the parser and the builder do."""
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        namespace = attributes.pop("plugin_namespace", b"").decode()
        if not namespace or not hasattr(self.op, namespace):
            return
        assert attributes == {"aot": 1, "plugin_version": b"1"}
        types = {tensor.name: tensor.data_type for tensor in graph.initializer}
        kinds = self.double.module.DataType
        half = {onnx.TensorProto.FLOAT16: kinds.HALF, onnx.TensorProto.FLOAT: kinds.FLOAT}
        inputs = [
            TensorDesc(name, half.get(types.get(given), kinds.INT8))
            for name, given in zip(inspect.signature(self.registered[node.op_type]).parameters, node.input, strict=True)
        ]
        try:
            output = self.registered[node.op_type](*inputs)
            name, code, launch, scalars = self.implemented[node.op_type](*inputs, (output,), 0)
        except Exception as error:  # noqa: BLE001  # it is printed, and becomes a number that says nothing more
            os.write(1, f"[ERROR] Exception caught in get_launch_params(): {error}\n".encode())
            self.failed = True
            return
        assert scalars.length == 0
        self.built.append((name, code, {key: value.text for key, value in vars(launch).items()}))
