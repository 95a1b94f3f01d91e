"""TensorRT: whether it is there, in which version, and what it says.

It is an extra: what needs it raises `EnvironmentLackError` where it is not installed. Nobody has executed it on a GPU
yet (docs/tensorrt.md); the tests drive it against a double that knows the names of 10.x and 11.x.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Literal, TypeVar

from bertc.errors import EnvironmentLackError
from bertc.ir.fused import AttentionNeeds
from bertc.runtime.tensorrt.cuda_memory import current_device

if TYPE_CHECKING:
    import tensorrt as trt

Made = TypeVar("Made")

REQUIREMENTS = ("tensorrt>=10.12,<12", "cuda-bindings>=12,<14")
ELSEWHERE = {"INT8": "another attention", "FP8": "--target tensorrt, which is INT8"}
MISSING = 'TensorRT is not installed; on a machine with an NVIDIA GPU, install it with pip install "bertc[tensorrt]"'


def check_installed() -> None:
    """Raise `EnvironmentLackError` where TensorRT is not installed, without importing it."""
    if find_spec("tensorrt") is None or find_spec("cuda") is None:
        raise EnvironmentLackError(MISSING)


def check_attention_here(name: str, needs: AttentionNeeds, codes: Literal["INT8", "FP8"]) -> None:
    """Raise `EnvironmentLackError` where TensorRT's version, a package or the GPU is not what an attention needs."""
    found = installed_version()
    if not needs.since <= version_from_text(found) < needs.until:
        since, until = (".".join(map(str, each)) for each in (needs.since, needs.until))
        raise EnvironmentLackError(
            f"--attention {name} needs TensorRT {since} or later, before {until}, and {found} is installed; "
            "install another or choose another attention"
        )
    if needs.package and find_spec(needs.package) is None:
        raise EnvironmentLackError(
            f"--attention {name} needs {needs.package}, which is not installed; install it with pip install "
            f'"bertc[{needs.package}]"'
        )
    device = current_device()
    known = needs.capabilities or {device.capability}
    if device.capability < needs.least_capability or device.capability not in known:
        wanted = ", ".join(map(_dotted, sorted(needs.capabilities))) or f"{_dotted(needs.least_capability)} or more"
        raise EnvironmentLackError(
            f"{device.name} has compute capability {_dotted(device.capability)}, and --attention {name} has {codes} "
            f"kernels for {wanted}; choose {ELSEWHERE[codes]}, or another GPU"
        )


def _dotted(capability: int) -> str:
    return f"{capability // 10}.{capability % 10}"


def installed_version() -> str:
    """Return TensorRT's version, from its package where that says it, else from the library itself."""
    try:
        return version("tensorrt")
    except PackageNotFoundError:
        open_library()
        import tensorrt as trt

        return trt.__version__


def version_from_text(text: str) -> tuple[int, int]:
    """Return major and minor number of a version.

    >>> version_from_text("10.13.3.9.post1")
    (10, 13)
    """
    major, minor = re.findall(r"\d+", text)[:2]
    return int(major), int(minor)


def open_library() -> None:
    """Load TensorRT with its plugins. Raises `EnvironmentLackError` where it is missing or cannot be loaded."""
    try:
        import tensorrt as trt
    except ImportError as error:
        reason = f" (it is there and cannot be loaded: {error})" if find_spec("tensorrt") else ""
        raise EnvironmentLackError(f"{MISSING}{reason}") from error
    trt.init_libnvinfer_plugins(listener([]), "")


def quick_plugins() -> ModuleType:
    """Return the module in which quick plugins are written: the front package of 10.12 to 10.13 does not show it."""
    try:
        return import_module("tensorrt.plugin")
    except ModuleNotFoundError:
        return import_module("tensorrt_bindings.plugin")


@contextmanager
def stdout_on_stderr() -> Iterator[None]:
    """Send what C++ prints on stdout to stderr: TensorRT warns there, where a caller of `--json` reads its answer."""
    if sys.stdout is None or sys.stderr is None:  # closed by whoever started the process: nobody reads them
        yield
        return
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(kept, 1)
        os.close(kept)


def made(value: Made | None, what: str, errors: Sequence[str]) -> Made:
    """Return what TensorRT made. Raises `EnvironmentLackError` for None, which stands for a null pointer."""
    if value is None:
        raise EnvironmentLackError(f"TensorRT gives no {what}: {sentence_from_errors(errors)}")
    return value


def listener(errors: list[str]) -> trt.ILogger:
    """Return a logger that puts errors into a list, for the sentence in which they are told, and prints nothing."""
    import tensorrt as trt

    class Listener(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                errors.append(" ".join(msg.split()))

    return Listener()


def sentence_from_errors(errors: Sequence[str]) -> str:
    """Return what went wrong, each error once."""
    return "; ".join(dict.fromkeys(errors))[:400] or "it gives no reason"
