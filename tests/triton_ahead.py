"""Compile the kernels for a GPU that is not here, and read what they need of it.

Needs Triton and no GPU: its package holds the assembler and the reader of what that writes.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

THREADS_OF_A_WARP = 32
ALIGNED = ["tt.divisibility", 16]
READER = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
USED = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a kernel needs: registers of a thread, bytes of its stack (spills lie there), of a block's shared memory.

    `tensor` is the kind of tensor instruction, "wgmma", "mma" or "".
    """

    registers: int
    stack: int
    shared: int
    tensor: str


def needs_of(
    kernel: Any, types: Mapping[str, str], constants: Mapping[str, Any], options: Mapping[str, Any], capability: int
) -> Needs:
    """Compile a kernel for a compute capability times ten.

    types: of its arguments by name ("*i8", "i32", "fp32", "tensordesc<i8[128, 128]>"); pointers are taken for multiples
    of 16 bytes, integers for multiples of 16. constants: its compile-time arguments.
    """
    signature = {name: types.get(name, "constexpr") for name in kernel.arg_names}
    places = [n for n, name in enumerate(kernel.arg_names) if types.get(name, "").startswith(("*", "i32"))]
    source = ASTSource(
        fn=kernel, signature=signature, constexprs=dict(constants), attrs={(place,): [ALIGNED] for place in places}
    )
    target = GPUTarget("cuda", capability, THREADS_OF_A_WARP)
    compiled = triton.compile(source, target=target, options=dict(options))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(compiled.asm["cubin"])
        file.flush()
        told = subprocess.run(
            [READER, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = USED.search(told)
    assert found is not None, told
    registers, stack = int(found[1]), int(found[2])
    ptx = compiled.asm["ptx"]
    tensor = "wgmma" if "wgmma.mma_async" in ptx else "mma" if "mma.sync" in ptx else ""
    return Needs(registers=registers, stack=stack, shared=compiled.metadata.shared, tensor=tensor)
