"""Whether the disk has room for what a command is about to write, asked before anything slow."""

from __future__ import annotations

import shutil
from pathlib import Path

from bertc.errors import FULL_DISK, EnvironmentLackError

BUILD_BYTES = 5
"""Per weight of a checkpoint: the float reference in float32, and at the least an engine of INT8 codes."""

STATE_BYTES = 16
"""Per weight of a network in training: the weights, the optimizer's two moments and the best weights, in float32."""


def full_disk(path: Path) -> EnvironmentLackError:
    """Return the error of a file or folder that found no space while it was written."""
    return EnvironmentLackError(f"{path}: {FULL_DISK}")


def check_space(folder: Path, needed: int, work: str) -> None:
    """Raise `EnvironmentLackError` if the disk of the folder has less than `needed` bytes free for the work."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentLackError(
            f"the disk of the output folder has {free / 1e6:,.1f} MB free and {work} needs about "
            f"{needed / 1e6:,.1f} MB; free some space, or write to another disk"
        )
