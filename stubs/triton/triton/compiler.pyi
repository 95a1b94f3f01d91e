from collections.abc import Mapping
from typing import Any

class ASTSource:
    def __init__(
        self,
        fn: Any,
        signature: Mapping[str, str],
        constexprs: Mapping[str, Any] | None = None,
        attrs: Mapping[tuple[int, ...], list[list[Any]]] | None = None,
    ) -> None: ...

class Metadata:
    name: str
    num_warps: int
    shared: int
    global_scratch_size: int

class CompiledKernel:
    asm: Mapping[str, Any]
    metadata: Metadata
