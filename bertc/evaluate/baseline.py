"""The committed baseline: one JSON file with what the regression gate needs of a run, and nothing else.

Arrays are base64 of zlib, so 10,000 rows take a few hundred kilobytes at most and the same rows give the same text.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.array_text import array_from_text, text_from_array
from bertc.errors import InputError
from bertc.evaluate.metric import value_of
from bertc.evaluate.rows_file import SavedRows, arrays_from_table, rows_from_report, saved_from_arrays

KIND = "bertc baseline"
MOST_BYTES = 1 << 30  # an unpacked array larger than this is no baseline


def baseline_from_report(path: Path) -> str:
    """Return the text of a baseline made from a report.json and its rows file."""
    return text_from_rows(rows_from_report(path))


def text_from_rows(saved: SavedRows) -> str:
    """Return the text of a baseline: readable figures first, packed arrays last; it ends in a newline."""
    arrays, meta = arrays_from_table(saved.table, saved.origin, engine_only=True)
    figures = {metric.name: round(value_of(metric.formula, metric.engine), 6) for metric in saved.table.metrics}
    content = {
        "kind": KIND,
        **meta,
        "rows": len(saved.table.hashes),
        "figures": {name: value for name, value in figures.items() if np.isfinite(value)},
        "arrays": {name: _packed(array) for name, array in arrays.items()},
    }
    return json.dumps(content, indent=1, sort_keys=False) + "\n"


def rows_from_baseline(path: Path) -> SavedRows:
    """Read a baseline. Raises `InputError` if it is missing, damaged or of another kind."""
    try:
        content = json.loads(path.read_bytes())
        if content["kind"] != KIND:
            raise ValueError(content["kind"])
        return saved_from_arrays({name: _unpacked(item) for name, item in content["arrays"].items()}, content)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such baseline; make one with --update") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise InputError(f"{path}: is damaged or no baseline of bertc; make a new one with --update") from None


def _packed(array: NDArray[Any]) -> dict[str, Any]:
    return {"dtype": array.dtype.newbyteorder("<").str, "shape": list(array.shape), "data": text_from_array(array)}


def _unpacked(item: Mapping[str, Any]) -> NDArray[Any]:
    array = array_from_text(item["data"], str(item["dtype"]), most=MOST_BYTES)
    return array.reshape([int(size) for size in item["shape"]])
