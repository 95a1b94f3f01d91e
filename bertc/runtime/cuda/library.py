"""What the engine for GPUs needs: torch, Triton and a GPU, or Triton's interpreter, which is for tests."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from bertc.errors import EnvironmentLackError
from bertc.runtime.machine.gpu import driver_of_machine

REQUIREMENTS = ("torch>=2.6,<3", "triton>=3.4,<4")
LEAST_CAPABILITY = {"int8": 80, "float16": 80, "fp8": 89}
"""Compute capability times ten of the first GPUs that multiply a precision's operands in tensor cores."""


def interpreted() -> bool:
    """Say whether kernels run in Triton's interpreter, on the CPU, where time means nothing."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def check_installed() -> None:
    """Raise `EnvironmentLackError` where torch or Triton is not installed, without importing them."""
    for package, name in (("torch", "torch"), ("triton", "Triton")):
        if find_spec(package) is None:
            raise EnvironmentLackError(
                f"{name} is not installed, in which the target's kernels are written; on Linux with an NVIDIA GPU, "
                'install it with pip install "bertc[cuda-native]"'
            )


def check_here(precision: str) -> None:
    """Raise `EnvironmentLackError` where torch, Triton or a GPU that multiplies a precision is missing."""
    check_installed()
    if interpreted():
        check_interpreter(version("triton"), version("numpy"))
        return
    driver = driver_of_machine()
    if driver.lack:
        raise EnvironmentLackError(
            f"the target's kernels have no GPU: {driver.lack}; build on a machine with an NVIDIA GPU, or with --target "
            "native"
        )
    gpu, least = driver.gpus[0], LEAST_CAPABILITY[precision]
    if gpu.capability < least:
        raise EnvironmentLackError(
            f"{gpu.name} has compute capability {gpu.capability / 10}, and the target's kernels need {least / 10} or "
            "more; take another GPU, or --target ort-cuda"
        )
    import torch

    if not torch.cuda.is_available():
        raise EnvironmentLackError(
            f"torch {torch.__version__} sees no GPU, though the driver does; install a torch that was built for CUDA "
            f"up to {driver.cuda} (https://pytorch.org)"
        )


def check_interpreter(triton: str, numpy: str) -> None:
    """Raise `EnvironmentLackError` for versions of which Triton's interpreter fails: it counts loops by arrays of one.

    >>> check_interpreter("3.6.0", "2.3.5"), check_interpreter("3.7.0", "2.4.0")
    (None, None)
    """
    if _numbers(triton) < (3, 7) and _numbers(numpy) >= (2, 4):
        raise EnvironmentLackError(
            f"the interpreter of Triton {triton} does not run with numpy {numpy}; install triton>=3.7 or numpy<2.4"
        )


def _numbers(found: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", found)[:2])


def build_here() -> str:
    """Return the GPU's name and Triton's version, or the interpreter's; empty where there is neither."""
    try:
        found = f"triton {version('triton')}"
    except PackageNotFoundError:
        return ""
    if interpreted():
        return f"{found} interpreter"
    gpus = driver_of_machine().gpus
    return f"{gpus[0].name} {found}" if gpus else ""
