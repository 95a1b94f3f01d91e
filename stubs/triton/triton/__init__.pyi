# What bertc uses of Triton 3.4 to 3.9, written by hand from its sources (https://github.com/triton-lang/triton,
# python/triton). In a kernel everything is a tensor or a constant, so that its types say little.
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

R = TypeVar("R")

__version__: str

class JITFunction(Generic[R]):
    arg_names: list[str]
    __name__: str
    def __call__(self, *args: Any) -> R: ...
    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]: ...

def jit(fn: Callable[..., R]) -> JITFunction[R]: ...
def compile(src: ASTSource, target: GPUTarget, options: Mapping[str, Any]) -> CompiledKernel: ...
def cdiv(x: int, y: int) -> int: ...
def next_power_of_2(n: int) -> int: ...
