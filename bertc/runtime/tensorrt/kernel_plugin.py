"""The plugin around the compiler's own attention kernel: what it computes on which grid, and its code for this GPU.

TensorRT calls the second function while it builds, and puts the code into the engine: running it takes neither Python
nor Triton. Never executed. Source of the functions' form: the package `tensorrt.plugin` of 10.12 to 11.4, which the
tests run. The plugin has no attributes, and the heads' number and size are in its name: the package up to 11.1 cannot
create one with integer attributes where numpy is 2.4 or later, and all of them hand attributes over by position alone.
"""

# Without `from __future__ import annotations`: TensorRT reads the annotations below, and takes types only, no text.

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bertc.errors import BertcError, EnvironmentLackError
from bertc.runtime.tensorrt.cuda_memory import current_device
from bertc.runtime.tensorrt.library import quick_plugins, stdout_on_stderr

_FAILURES: dict[str, list[Exception]] = {}
"""What the functions of each plugin raised in the current build."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A plugin: `namespace::name`, and for how many heads of which size it is."""

    identifier: str
    heads: int
    size: int


def register_kernel(kernel: Kernel) -> Sequence[Exception]:
    """Make the plugin known to TensorRT, once in a process; returns what its functions raise, as they do.

    TensorRT prints an exception of theirs and goes on with a number instead: look into the list, with `raise_first`.
    Raises `EnvironmentLackError` where Triton is missing.
    """
    try:
        from bertc.runtime.tensorrt.kernels.ahead import compiled_attention
    except ImportError as error:
        raise EnvironmentLackError(
            'Triton is not installed, which --attention kernel needs; install it with pip install "bertc[triton]"'
        ) from error
    import tensorrt as trt

    if TYPE_CHECKING:
        import tensorrt.plugin as trtp
    else:
        with stdout_on_stderr():
            trtp = quick_plugins()
    failures = _FAILURES.setdefault(kernel.identifier, [])
    failures.clear()
    namespace, name = kernel.identifier.split("::")
    if hasattr(getattr(trtp.op, namespace, None), name):
        return failures

    @trtp.register(kernel.identifier)
    def described(
        query: trtp.TensorDesc,
        key: trtp.TensorDesc,
        value: trtp.TensorDesc,
        ends: trtp.TensorDesc,
        longest: trtp.TensorDesc,
        scales: trtp.TensorDesc,
    ) -> trtp.TensorDesc:
        with _kept(failures):
            return query.like()

    @trtp.aot_impl(kernel.identifier)
    def compiled(
        query: trtp.TensorDesc,
        key: trtp.TensorDesc,
        value: trtp.TensorDesc,
        ends: trtp.TensorDesc,
        longest: trtp.TensorDesc,
        scales: trtp.TensorDesc,
        outputs: tuple[trtp.TensorDesc],
        tactic: int,
    ) -> tuple[str, str, trtp.KernelLaunchParams, trtp.SymIntExprs]:
        with _kept(failures):
            half = scales.dtype == trt.DataType.HALF
            code = compiled_attention(current_device().capability, size=kernel.size, half_scales=half)
            launch = trtp.KernelLaunchParams()
            launch.grid_x = trtp.cdiv(longest.shape_expr[0], code.rows)
            launch.grid_y = kernel.heads
            launch.grid_z = ends.shape_expr[0] - 1
            launch.block_x = code.threads
            launch.shared_mem = code.shared
            return code.name, code.ptx, launch, trtp.SymIntExprs(0)

    return failures


@contextmanager
def _kept(failures: list[Exception]) -> Iterator[None]:
    """Keep what is raised, and raise it."""
    try:
        yield
    except Exception as error:
        failures.append(error)
        raise


def raise_first(failures: Sequence[Exception]) -> None:
    """Raise the first of what the functions of a plugin raised, as a sentence where it is none yet."""
    for failure in failures:
        if isinstance(failure, BertcError):
            raise failure
        raise EnvironmentLackError(
            f"the plugin of --attention kernel fails: {type(failure).__name__}: {failure}; choose another attention"
        ) from failure
