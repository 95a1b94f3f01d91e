"""Parquet files, read batch by batch. Needs the extra `parquet` (pyarrow)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertc.data.columns import Table
from bertc.errors import EnvironmentLackError, InputError

BATCH_ROWS = 1024


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
    return Table("parquet", tuple(file.schema_arrow.names), True, _records(path, file, pa.ArrowException))


def _records(path: Path, file: Any, arrow_error: type[Exception]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    number = 0
    try:
        for batch in file.iter_batches(batch_size=BATCH_ROWS):
            for record in batch.to_pylist():
                number += 1
                yield number, record
    except (arrow_error, OSError) as error:
        raise InputError(f"{path}: damaged after row {number} ({_first_line(error)}); write the file again") from None


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0]
