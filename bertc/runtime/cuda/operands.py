"""A plan's arrays as the kernels read them: weights with a row for each column of the result, and vectors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bertc.ir.affine import TO_E4M3
from bertc.runtime.plan.kernel_plan import Op, Step


def rows_of_panels(panels: NDArray[Any]) -> NDArray[Any]:
    """Return packed weights (`bertc.runtime.plan.packing`) as [n padded, k padded]: INT8, or floats with k as it is.

    >>> from bertc.runtime.plan.packing import int8_panels
    >>> rows_of_panels(int8_panels(np.int8([[1, 7], [2, 8], [3, 9]])))[:2, :4].tolist()
    [[1, 2, 3, 0], [7, 8, 9, 0]]
    """
    if panels.dtype == np.int8:
        return np.ascontiguousarray(panels.transpose(0, 2, 1, 3)).reshape(len(panels) * panels.shape[2], -1)
    return np.ascontiguousarray(panels.transpose(0, 2, 1)).reshape(-1, panels.shape[1])


class Operands:
    """The arrays of a plan on a device, each there once."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]], device: torch.device) -> None:
        self.device = device
        self._arrays = arrays
        self._kept: dict[tuple[str, torch.dtype | None], torch.Tensor] = {}

    def array(self, name: str) -> torch.Tensor | None:
        """Return an array as it is; None for the name "", which is no array."""
        if name and (name, None) not in self._kept:
            self._kept[name, None] = torch.from_numpy(np.array(self._arrays[name])).to(self.device)
        return self._kept[name, None] if name else None

    def scaled(self, name: str, factor: float) -> torch.Tensor | None:
        """Return numbers in float32, times a factor; None for no array."""
        key = (f"{name} x {factor}", None)
        if name and key not in self._kept:
            whole = self._arrays[name].astype(np.float64) * factor
            self._kept[key] = torch.from_numpy(whole.astype(np.float32)).to(self.device)
        return self._kept[key] if name else None

    def embeddings(self, name: str, dtype: torch.dtype) -> torch.Tensor:
        """Return embeddings of distances, packed for each head (`packing.float_panels`), as [heads, k, n padded]."""
        if (name, dtype) not in self._kept:
            panels = self._arrays[name].transpose(0, 2, 1, 3)
            rows = torch.from_numpy(np.ascontiguousarray(panels).reshape(*panels.shape[:2], -1))
            self._kept[name, dtype] = rows.to(self.device, dtype)
        return self._kept[name, dtype]

    def weights(self, step: Step, dtype: torch.dtype) -> torch.Tensor:
        """Return a product's weights [n padded, k padded]; INT8 codes as E4M3 are scaled to its range."""
        if (step.weights, dtype) not in self._kept:
            rows = torch.from_numpy(rows_of_panels(self._arrays[step.weights])).to(self.device)
            if step.op is Op.GEMM_INT8 and dtype != torch.int8:
                rows = rows.float() * TO_E4M3
            self._kept[step.weights, dtype] = rows.to(dtype).contiguous()
        return self._kept[step.weights, dtype]
