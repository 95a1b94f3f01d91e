# What bertc uses of TensorRT's quick plugins, written by hand from their public sources
# (https://github.com/NVIDIA/TensorRT, python/packaging/bindings_wheel/tensorrt/plugin).
# tests/contracts/test_tensorrt_names.py compares it with the names that stubs/read_names.py reads there.
from collections.abc import Callable
from typing import Any, TypeVar

import tensorrt as trt

F = TypeVar("F", bound=Callable[..., Any])

op: Any

def register(plugin_id: str) -> Callable[[F], F]: ...
def aot_impl(plugin_id: str) -> Callable[[F], F]: ...
def cdiv(first: SymInt32, second: int) -> SymInt32: ...

class SymInt32:
    def __sub__(self, other: int) -> SymInt32: ...

class ShapeExprs:
    def __getitem__(self, index: int) -> SymInt32: ...

class TensorDesc:
    @property
    def dtype(self) -> trt.DataType: ...
    @property
    def shape_expr(self) -> ShapeExprs: ...
    def like(self) -> TensorDesc: ...

class KernelLaunchParams:
    # Each takes a number as well, and gives an expression.
    grid_x: SymInt32
    grid_y: Any
    grid_z: SymInt32
    block_x: Any
    shared_mem: Any
    def __init__(self) -> None: ...

class SymIntExprs:
    def __init__(self, length: int) -> None: ...
