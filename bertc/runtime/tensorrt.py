"""TensorRT: whether it is there.

It is an extra: every function here that needs it raises `EnvironmentLackError` where it is not installed.
"""

from __future__ import annotations

from importlib.util import find_spec

from bertc.errors import EnvironmentLackError

REQUIREMENTS = ("tensorrt>=10.12,<12", "cuda-bindings>=12,<14")
MISSING = 'TensorRT is not installed; on a machine with an NVIDIA GPU, install it with pip install "bertc[tensorrt]"'


def check_installed() -> None:
    """Raise `EnvironmentLackError` where TensorRT is not installed, without importing it."""
    if any(find_spec(name) is None for name in ("tensorrt", "cuda")):
        raise EnvironmentLackError(MISSING)
