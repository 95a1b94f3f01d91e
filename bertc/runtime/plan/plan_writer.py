"""The plan while it is written: steps, a buffer of its own for each value, and the arrays by name."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.runtime.plan import packing
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Buffer, Rows, Step, Type, padded
from bertc.runtime.plan.patterns import Chain, Quantize, Table

HIGHEST_CODE = 255
"""Of codes as they are stored."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value lies: columns of a buffer."""

    buffer: int
    columns: int
    column: int = 0

    def read(self) -> dict[str, Any]:
        """Return the fields of a step that reads it alone."""
        return {"inputs": (self.buffer, NO_BUFFER, NO_BUFFER), "in_column": (self.column, 0, 0)}


class PlanWriter:
    """Collects one plan. It mutates until all is written."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.buffers: list[Buffer] = []
        self.arrays: dict[str, NDArray[Any]] = {}
        self._names: dict[Any, str] = {}

    def step(self, kind: Type, *, rows: Rows, n: int, **fields: Any) -> Place:
        """Write a step with a new buffer for what it gives."""
        place = self.buffer(kind, rows, n)
        self.steps.append(Step(rows=rows, n=n, out=place.buffer, **fields))
        return place

    def buffer(self, kind: Type, rows: Rows, columns: int) -> Place:
        """Make a buffer."""
        self.buffers.append(Buffer(type=kind, rows=rows, width=padded(columns)))
        return Place(len(self.buffers) - 1, columns)

    def finish(self, chain: Chain, scale: NDArray[np.float64] | None, n: int, name: str) -> dict[str, Any]:
        """Return the fields of what follows a product but for the residual; `scale` is the product's, None for 1."""
        fields: dict[str, Any] = {"activation": chain.activation}
        if chain.factor is not None:
            scale = np.asarray(chain.factor, np.float64) * (1.0 if scale is None else scale)
        if chain.requant is not None:
            quantized, dequantized = chain.requant
            fields["requant"] = self.vector(name, "requant", (1.0 if scale is None else scale) / quantized, n)
            fields["requant_scale"] = self.vector(name, "requant_scale", dequantized, n)
        elif scale is not None:
            fields["scale"] = self.vector(name, "scale", scale, n)
        if chain.bias is not None:
            fields["bias"] = self.vector(name, "bias", chain.bias, n)
        return fields

    def quantized(self, quantize: Quantize | None, n: int, name: str) -> dict[str, Any]:
        """Return the fields of how a result becomes codes; none where it does not."""
        if quantize is None:
            return {}
        inverse = self.vector(name, "inverse", quantize.inverse, n)
        return {"inverse": inverse, "out_zero": quantize.zero}

    def table(self, name: str, field: str, table: Table) -> dict[str, str]:
        """Keep an embedding table, and return its fields."""
        fields = {field: self.keep(name, field, table.values)}
        if table.scale is not None:
            fields[f"{field}_scale"] = self.keep(name, f"{field}_scale", table.scale)
        return fields

    def vector(self, step: str, field: str, values: Any, n: int) -> str:
        """Keep a number for each column."""
        return self.keep(step, field, packing.float_vector(values, n))

    def keep(self, step: str, field: str, array: NDArray[Any]) -> str:
        """Keep an array under the name of its step and field, and return the name that has this content first."""
        name = f"{step}.{field}"
        assert name not in self.arrays, name
        kept = np.ascontiguousarray(array)
        first = self._names.setdefault((kept.dtype.str, kept.shape, hashlib.sha256(kept.data).digest()), name)
        if first == name:
            self.arrays[name] = kept
        return first
