"""Delimited text: TSV without quoting, CSV with it. The delimiter is read from the content, not from the name."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from bertc.data.columns import Table
from bertc.data.decode import decoded_lines
from bertc.errors import InputError

SNIFFED_LINES = 50
LONGEST_CELL = 2**31 - 1

NumberedFields = tuple[int, list[str]]


def table_from_delimited(path: Path, is_header: Callable[[Sequence[str]], bool], *, blank: bool = False) -> Table:
    """Open a TSV or CSV file. `is_header` judges the first line.

    With a header every line must have as many fields; without one only the fields that are asked for must exist.
    A line without any character is no row; one of empty cells is where `blank` asks for it.
    """
    delimiter = sniff_delimiter(path)
    every = _tab_fields(path) if delimiter == "\t" else _quoted_fields(path, delimiter)
    fields = (item for item in every if blank or any(cell.strip() for cell in item[1]))
    first = next(fields, None)
    if first is None:
        raise InputError(f"{path}: the file is empty; give a file with at least one row")
    headed = is_header(first[1])
    names = tuple(cell.strip() for cell in first[1]) if headed else tuple(str(i + 1) for i in range(len(first[1])))
    if len(set(names)) < len(names):
        raise InputError(f"{path}, line {first[0]}: two columns have the same name; rename one")
    body = fields if headed else chain([first], fields)
    records = _headed_records(path, names, body) if headed else _plain_records(body)
    return Table("tsv" if delimiter == "\t" else "csv", names, headed, records, tuple(first[1]))


def sniff_delimiter(path: Path) -> str:
    """Return the delimiter: a tab if every one of the first lines has one, else the commoner of comma and semicolon."""
    lines = [line for _, line in islice(decoded_lines(path), SNIFFED_LINES) if line.strip()]
    if lines and all("\t" in line for line in lines):
        return "\t"
    header = lines[0] if lines else ""
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    return ";" if header.count(";") > header.count(",") else ","


def _tab_fields(path: Path) -> Iterator[NumberedFields]:
    # No quoting: GLUE's files hold lone quotation marks, which a CSV reader would take for the start of a field.
    for number, line in decoded_lines(path):
        text = line.rstrip("\r\n")
        if text:
            yield number, text.split("\t")


def _quoted_fields(path: Path, delimiter: str) -> Iterator[NumberedFields]:
    csv.field_size_limit(LONGEST_CELL)  # Python's own limit is 131072 characters, of the whole process
    reader = csv.reader((line for _, line in decoded_lines(path)), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}, line {start}: not valid CSV ({error}); mend the quoting") from None
        if fields:
            yield start, fields


def _headed_records(
    path: Path, names: tuple[str, ...], body: Iterator[NumberedFields]
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, cells in body:
        if len(cells) != len(names):
            raise InputError(
                f"{path}, line {number}: has {len(cells)} fields where the header has {len(names)}; mend the line"
            )
        yield number, dict(zip(names, cells, strict=True))


def _plain_records(body: Iterator[NumberedFields]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, cells in body:
        yield number, {str(index): cell for index, cell in enumerate(cells, 1)}
