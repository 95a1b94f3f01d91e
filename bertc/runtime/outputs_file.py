"""Engine outputs on disk: ragged arrays, each output as one flat array and its shapes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Outputs = Mapping[str, list[NDArray[np.float32]]]
FILE = "outputs.npz"


def write_outputs(outputs: Outputs, folder: Path) -> None:
    """Write outputs into a folder."""
    arrays: dict[str, Any] = {}
    for name, values in outputs.items():
        arrays[f"{name}.values"] = np.concatenate([value.ravel() for value in values])
        arrays[f"{name}.shapes"] = np.array([value.shape for value in values], np.int64)
    np.savez(folder / FILE, allow_pickle=False, **arrays)


def read_outputs(folder: Path) -> Outputs:
    """Read what `write_outputs` wrote."""
    with np.load(folder / FILE, allow_pickle=False) as arrays:
        names = [name.removesuffix(".shapes") for name in arrays.files if name.endswith(".shapes")]
        found = {}
        for name in names:
            shapes = arrays[f"{name}.shapes"]
            ends = np.cumsum(shapes.prod(axis=1))
            parts = np.split(arrays[f"{name}.values"], ends[:-1])
            found[name] = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
        return found
