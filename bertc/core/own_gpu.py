"""A GPU of its own for each of several processes, where a machine has as many."""

from __future__ import annotations

import os
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
DRIVER = Path("/proc/driver/nvidia/gpus")
"""A folder for each GPU, where NVIDIA's driver is loaded."""


def take_own_gpu(number: int) -> None:
    """Let this process, one of several that count from 0, see one of the GPUs that its parent sees: they take turns.

    It has to be asked before a library looks for GPUs. Where there is one at most, nothing changes.
    """
    gpus = visible_gpus()
    if len(gpus) > 1:
        os.environ[VISIBLE] = gpus[number % len(gpus)]


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as the variable names them; without the driver none."""
    given = os.environ.get(VISIBLE)
    if given is not None:
        return [each.strip() for each in given.split(",") if each.strip()]
    return [str(place) for place in range(len(list(DRIVER.iterdir())))] if DRIVER.is_dir() else []
