"""The rows file beside a report (`rows.npz`): what a later run needs to be paired with this one, row by row.

Plain arrays in NumPy's zip form, never pickled, the same bytes for the same rows.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.evaluate.bootstrap import groups_from_names
from bertc.evaluate.formulas import FORMULAS, Array
from bertc.evaluate.metric import HIGHER, LOWER, UNBOUNDED, Bounds, value_of
from bertc.evaluate.row_table import KeptNumbers, MetricRows, RowTable

SCHEMA = 1
REPORT_SCHEMA = 1
"""The schema of the report.json whose rows are read: `bertc.report`'s, which this room does not import."""
VERSION = "version "
"""What the key of a library's version begins with in an origin."""
REFERENCE = "reference"
"""The key in an origin of the float model's digest, where that is not the checkpoint that was compiled."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedRows:
    """The rows of an evaluation as read back, and where they come from (cpu, versions, digests, target)."""

    table: RowTable
    origin: Mapping[str, str]


def write_rows(path: Path, table: RowTable, origin: Mapping[str, str]) -> None:
    """Write the rows file. `origin` is what a later comparison should note when it differs: cpu, bertc, target, ..."""
    path.write_bytes(bytes_from_rows(table, origin))


def bytes_from_rows(table: RowTable, origin: Mapping[str, str]) -> bytes:
    """Return the content of the rows file."""
    arrays, meta = arrays_from_table(table, origin)
    encoded = np.frombuffer(json.dumps(meta, sort_keys=True).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, meta=encoded, **arrays)
    return buffer.getvalue()


def rows_from_path(path: Path) -> SavedRows:
    """Read a rows file. Raises `InputError` if it is missing, damaged or of another kind."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        return saved_from_arrays(arrays, meta)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; validate again to write it") from None
    except Exception:  # noqa: BLE001 - numpy's reader lets the errors of zipfile, zlib, tokenize and ast through
        raise InputError(f"{path}: is damaged or no rows file of bertc; validate again to write it") from None


def rows_from_report(path: Path) -> SavedRows:
    """Read the rows file that a report.json names.

    Raises `InputError` where there is none, for a report of another schema, and for rows of another build: the two
    files are exchanged one by one by caches and copies, and then the verdict would be about an engine that is not here.
    """
    no_report = InputError(f"{path}: is no report of bertc; give the report.json of a build")
    try:
        report = json.loads(path.read_bytes())
        name, schema = report["rows"], report["schema"]
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; give the report.json of a build") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise no_report from None
    if schema != REPORT_SCHEMA:
        raise InputError(
            f"{path}: is of schema {schema!r} and this bertc reads {REPORT_SCHEMA}; use the bertc that built it, or "
            "build it again"
        )
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise InputError(f"{path}: names no rows file in its folder; build it with validation data")
    saved = rows_from_path(path.parent / name)
    try:
        differs = _other_build(report, saved)
    except (KeyError, TypeError, AttributeError):
        raise no_report from None
    if differs:
        raise InputError(
            f"{path}: {name} beside it is of another build ({differs}); take both files from the same one, or build it "
            "again"
        )
    return saved


def _other_build(report: Mapping[str, Any], saved: SavedRows) -> str:
    """Say by what the rows are not those of a report, or nothing. Raises `KeyError` or `TypeError` for no report."""
    said = {
        "target": report["engine"]["target"],
        "checkpoint": report["checkpoint"]["digest"],
        "validation": report["data"]["validation"]["digest"],
    }
    for fact, value in said.items():
        if saved.origin.get(fact, value) != value:  # a digest would not help anybody
            return f"target {saved.origin[fact]} instead of {value}" if fact == "target" else f"another {fact}"
    name, engine = report["accuracy"]["metric"], report["accuracy"]["engine"]
    found = [value_of(rows.formula, rows.engine) for rows in saved.table.metrics if rows.name == name]
    if not found:
        return f"without {name}"
    alike = math.isnan(found[0]) if engine is None else math.isclose(found[0], engine, rel_tol=1e-4, abs_tol=1e-6)
    return "" if alike else f"{name} {found[0]:.4f} instead of {engine}"


def arrays_from_table(
    table: RowTable, origin: Mapping[str, str], *, engine_only: bool = False
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Return a table as named arrays and its meta data. `engine_only` leaves out the reference and the outputs."""
    arrays: dict[str, NDArray[Any]] = {
        "hashes": table.hashes,
        "labels": table.labels,
        "groups": groups_from_names(table.groups).astype(np.uint32),
        "decisions_engine": _small(table.decisions_engine),
    }
    if not engine_only:
        arrays["decisions_reference"] = _small(table.decisions_reference)
        for name, rows in (("reference", table.outputs_reference), ("engine", table.outputs_engine)):
            arrays[f"outputs_{name}"] = np.concatenate([*rows, np.zeros(0, np.float16)])
            arrays[f"lengths_{name}"] = np.array([len(row) for row in rows], np.uint32)
    for index, metric in enumerate(table.metrics):
        arrays[f"metric_{index}_engine"] = _compact(metric.engine, metric.formula)
        if not engine_only:
            arrays[f"metric_{index}_reference"] = _compact(metric.reference, metric.formula)
    described = [
        {"name": m.name, "direction": m.direction, "formula": m.formula, "bounds": _text_of_bounds(m.bounds)}
        for m in table.metrics
    ]
    meta = {"schema": SCHEMA, "task": table.task, "origin": dict(origin), "metrics": described}
    return arrays, meta


def saved_from_arrays(arrays: Arrays, meta: Mapping[str, Any]) -> SavedRows:
    """Return the rows of arrays and meta data. Raises `ValueError` or `KeyError` if they do not fit together."""
    if meta["schema"] != SCHEMA:
        raise ValueError(f"schema {meta['schema']}")
    hashes = arrays["hashes"].astype(np.uint64)
    rows = len(hashes)
    groups = arrays["groups"]
    own = bool(len(np.unique(groups)) == rows)
    decisions = _sized(arrays["decisions_engine"], rows).astype(np.uint64)
    table = RowTable(
        task=str(meta["task"]),
        hashes=hashes,
        labels=_sized(arrays["labels"], rows).astype(np.uint64),
        groups=tuple("" if own else str(number) for number in _sized(groups, rows)),
        decisions_reference=_sized(arrays.get("decisions_reference", decisions), rows).astype(np.uint64),
        decisions_engine=decisions,
        outputs_reference=_outputs(arrays, "reference", rows),
        outputs_engine=_outputs(arrays, "engine", rows),
        metrics=tuple(_metric(arrays, index, item, rows) for index, item in enumerate(meta["metrics"])),
    )
    return SavedRows(table=table, origin={str(key): str(value) for key, value in meta["origin"].items()})


def _text_of_bounds(bounds: Bounds) -> list[str]:
    """Write bounds as text: JSON has no infinity."""
    return [repr(float(bound)) for bound in bounds]


def _metric(arrays: Arrays, index: int, described: Mapping[str, Any], rows: int) -> MetricRows:
    if described["formula"] not in FORMULAS or described["direction"] not in (HIGHER, LOWER):
        raise ValueError(f"metric {described}")
    low, high = map(float, described.get("bounds", UNBOUNDED))  # files before 0.5 do not have them
    if not low < high:
        raise ValueError(f"metric {described}")
    engine = _sized(arrays[f"metric_{index}_engine"], rows).astype(np.float64)
    return MetricRows(
        name=str(described["name"]),
        direction=described["direction"],
        formula=described["formula"],
        bounds=(low, high),
        reference=_sized(arrays.get(f"metric_{index}_reference", engine), rows).astype(np.float64),
        engine=engine,
    )


def _outputs(arrays: Arrays, system: str, rows: int) -> tuple[KeptNumbers, ...]:
    if f"outputs_{system}" not in arrays:
        return ()
    ends = np.cumsum(_sized(arrays[f"lengths_{system}"], rows))
    values = arrays[f"outputs_{system}"]
    return tuple(np.split(values.astype(np.float32 if values.dtype == np.float32 else np.float16), ends[:-1]))


def _sized(array: NDArray[Any], rows: int) -> NDArray[Any]:
    if not rows or len(array) != rows or array.dtype.kind not in "uif":
        raise ValueError("an array of another length")
    return array


def _compact(statistics: Array, formula: str) -> NDArray[Any]:
    """Return the smallest dtype: counts as uint8, sums as float32, and float64 where ranks must not gain ties."""
    if bool(np.isin(statistics, np.arange(256)).all()):
        return statistics.astype(np.uint8)
    return statistics.astype(np.float32) if FORMULAS[formula].additive else statistics


def _small(decisions: NDArray[np.uint64]) -> NDArray[Any]:
    return decisions.astype(np.uint16) if len(decisions) and decisions.max() < 2**16 else decisions
