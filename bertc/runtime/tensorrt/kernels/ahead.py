"""Compile the INT8 attention kernel ahead of time for one compute capability, to the PTX that goes into an engine.

It needs Triton and no GPU: Triton's compiler has the tools for it in its package.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bertc.errors import EnvironmentLackError
from bertc.runtime.tensorrt.kernels.row_attention import LAUNCH, ROWS, attend_int8, constants

THREADS_OF_A_WARP = 32
ALIGNED = ["tt.divisibility", 16]
"""What lets a kernel read 16 bytes at once: TensorRT's tensors begin at multiples of more than that."""

PTX_VERSION = 87
"""PTX 8.7, of CUDA 12.8: the driver turns it into code, so it may be no newer than the driver. Older than what Triton
writes, and the first that has every GPU up to compute capability 12.0."""

PARAMETERS = re.compile(r"(\.entry\s+(\w+)\s*\()(.*?)(\))", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledKernel:
    """A kernel as TensorRT takes it: its name in the PTX, threads of a block, bytes of dynamic shared memory.

    The grid is (longest / rows, rounded up; heads; texts). Its parameters are pointers: inputs, then the output.
    """

    name: str
    ptx: str
    threads: int
    shared: int
    rows: int


def compiled_attention(capability: int, *, size: int, half_scales: bool = False) -> CompiledKernel:
    """Compile attention for heads of a size and a compute capability times ten (89 is 8.9); the context is INT8.

    `half_scales` takes the scales as float16. Raises `EnvironmentLackError` where Triton gives the kernel memory that
    TensorRT does not pass.
    """
    types = dict.fromkeys(("query", "key", "value", "context"), "*i8")
    types |= {"ends": "*i32", "longest": "*i32", "scales": "*fp16" if half_scales else "*fp32"}
    fixed = constants(size)
    signature = {name: types.get(name, "constexpr") for name in attend_int8.arg_names}
    tensors = [place for place, name in enumerate(attend_int8.arg_names) if name in types]
    source = ASTSource(
        fn=attend_int8, signature=signature, constexprs=fixed, attrs={(place,): [ALIGNED] for place in tensors}
    )
    target = GPUTarget("cuda", capability, THREADS_OF_A_WARP)
    compiled = triton.compile(source, target=target, options=LAUNCH | {"ptx_version": PTX_VERSION})
    if compiled.metadata.global_scratch_size:
        raise EnvironmentLackError(
            f"Triton {triton.__version__} gives the attention kernel scratch memory, which TensorRT does not pass; "
            "install another version of Triton"
        )
    return CompiledKernel(
        name=compiled.metadata.name,
        ptx=drop_scratch_parameters(compiled.asm["ptx"], len(tensors)),
        threads=compiled.metadata.num_warps * THREADS_OF_A_WARP,
        shared=compiled.metadata.shared,
        rows=ROWS,
    )


def drop_scratch_parameters(ptx: str, count: int) -> str:
    """Return PTX whose kernel declares the first `count` parameters only.

    Triton ends each kernel's parameters with pointers to scratch memory, also where the kernel never reads them, and
    TensorRT passes a plugin's inputs and outputs and nothing else. Raises `EnvironmentLackError` if one is read.
    """
    found = PARAMETERS.search(ptx)
    assert found is not None, "the PTX has no kernel"
    declared = found[3].split(",")
    body = ptx[found.end() :]
    for declaration in declared[count:]:
        name = declaration.split()[-1]
        if re.search(rf"\b{name}\b", body):
            raise EnvironmentLackError(
                f"Triton {triton.__version__} compiles the attention kernel with a parameter of its own ({name}), "
                "which TensorRT does not pass; install another version of Triton"
            )
    kept = ",".join(declared[:count])
    return f"{ptx[: found.start(3)]}{kept}\n{ptx[found.end(3) :]}"
