"""Parquet files, read batch by batch. Needs the extra `parquet` (pyarrow).

Where `datasets` wrote the file, its numbers of labels (ClassLabel) are read with the names that the file gives them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertc.data.columns import Table
from bertc.data.labels import ClassLabel
from bertc.errors import EnvironmentLackError, InputError

BATCH_ROWS = 1024
FEATURES = b"huggingface"
"""Where `datasets` keeps what it knows of the columns, in the schema's metadata."""


def table_from_parquet(path: Path) -> Table:
    """Open a Parquet file. A row's number stands for its line. Raises `EnvironmentLackError` without pyarrow."""
    try:
        import pyarrow as pa  # heavy and optional: belongs to this file alone
        import pyarrow.parquet as pq
    except ImportError:
        raise EnvironmentLackError(
            f"{path}: reading Parquet needs pyarrow, which is not installed; run: pip install 'bertc[parquet]'"
        ) from None
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a valid Parquet file ({_first_line(error)}); write it again") from None
    schema = file.schema_arrow
    if len(set(schema.names)) < len(schema.names):
        raise InputError(f"{path}: two columns have the same name; rename one")
    classes = _classes_of_columns((schema.metadata or {}).get(FEATURES, b""))
    return Table("parquet", tuple(schema.names), True, _records(path, file, classes, pa.ArrowException))


def _records(
    path: Path, file: Any, classes: Mapping[str, tuple[str, ...]], arrow_error: type[Exception]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            for record in batch.to_pylist():
                number += 1
                named = {column: _named(record[column], names) for column, names in classes.items() if column in record}
                yield number, {**record, **named}
    except (arrow_error, OSError) as error:
        raise InputError(f"{path}: damaged after row {number} ({_first_line(error)}); write the file again") from None


def _classes_of_columns(metadata: bytes) -> dict[str, tuple[str, ...]]:
    """Return the names of the labels of each column that has numbers of them, or lists of such numbers."""
    try:
        features = json.loads(metadata)["info"]["features"]
        columns = list(features.items())
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}  # other programs' notes, or none: numbers are then what they are without
    found = {}
    for column, feature in columns:
        inner = feature[0] if isinstance(feature, list) and len(feature) == 1 else feature
        if isinstance(inner, dict) and isinstance(inner.get("feature"), dict):
            inner = inner["feature"]
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel":
            names = inner.get("names")
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                found[column] = tuple(names)
    return found


def _named(value: Any, names: tuple[str, ...]) -> Any:
    """Return a number, or the numbers of a list, with their names; what is none of the names' stays as it is."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return ClassLabel(value, names[value]) if is_number and 0 <= value < len(names) else value


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
