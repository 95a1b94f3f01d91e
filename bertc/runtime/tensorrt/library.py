"""TensorRT: whether it is there, in which version, and what it says.

It is an extra: what needs it raises `EnvironmentLackError` where it is not installed. Nobody has executed it on a GPU
yet (docs/tensorrt.md); the tests drive it against a double that knows the names of 10.x and 11.x.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bertc.errors import EnvironmentLackError
from bertc.ir.fused import AttentionNeeds
from bertc.runtime.tensorrt.cuda_memory import current_device

if TYPE_CHECKING:
    import tensorrt as trt

REQUIREMENTS = ("tensorrt>=10.12,<12", "cuda-bindings>=12,<14")
MISSING = 'TensorRT is not installed; on a machine with an NVIDIA GPU, install it with pip install "bertc[tensorrt]"'


def check_installed() -> None:
    """Raise `EnvironmentLackError` where TensorRT is not installed, without importing it."""
    if find_spec("tensorrt") is None or find_spec("cuda") is None:
        raise EnvironmentLackError(MISSING)


def check_attention_here(name: str, needs: AttentionNeeds) -> None:
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
            f"{device.name} has compute capability {_dotted(device.capability)}, and --attention {name} has INT8 "
            f"kernels for {wanted}; choose another attention, or another GPU"
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
