"""How a float graph is quantized, as one value: the scheme, the table, and how ranges are chosen from it."""

from __future__ import annotations

from dataclasses import dataclass

from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import CalibrationTable
from bertc.core.keys import Key, key_of_fields
from bertc.ir.scheme import Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """What `quantize_graph` takes beside a graph."""

    scheme: Scheme
    table: CalibrationTable
    method: RangeMethod

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)
