"""A path -> `Dataset`: finds the form, the columns and the rows, and says what is wrong with a file that has none."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from bertc.data.columns import Layout, Table, resolve_columns, role_of_key
from bertc.data.conll import columns_of_conll, looks_like_conll, rows_from_conll
from bertc.data.decode import decoded_lines
from bertc.data.jsonl import table_from_json_array, table_from_jsonl
from bertc.data.lines import rows_from_lines
from bertc.data.parquet import table_from_parquet
from bertc.data.record import READ_ROLES, row_from_record
from bertc.data.rows import Dataset, Row, digest_rows
from bertc.data.squad import rows_from_squad
from bertc.data.tsv import table_from_delimited
from bertc.data.usual import ID
from bertc.errors import InputError

Item = TypeVar("Item")

SEED = 0
"""Of the sample that a limit keeps."""

GROUP = "group"
"""The role of the column that says which rows belong together."""

DELIMITED = frozenset({".tsv", ".csv", ".tab"})
CONLL = frozenset({".conll", ".iob", ".iob2", ".bio"})


def dataset_from_path(
    path: Path | str,
    *,
    layout: Layout,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> Dataset:
    """Read a data file; `layout` says which roles a task's columns have.

    `columns` maps a role to a column's name or, from 1, its number ("text" -> "sentence", "score" -> "5"); what it
    leaves out is chosen by the usual names. With `limit` a seeded uniform sample of that many rows is kept, in the
    file's order and in bounded memory; where the layout has whole groups, of groups, with at most that many rows.
    Raises `InputError` with file, line and remedy, and `EnvironmentLackError`
    where a form needs a library that is not installed.
    """
    path = Path(path)
    if limit is not None and limit < 1:
        raise InputError(f"{path}: a limit of {limit} rows leaves nothing; give a limit of at least 1")
    opened = _open_rows(path, layout, columns or {}, labelled=True)
    source = _sharing_contexts(opened.rows)
    whole = layout.whole_groups and (GROUP in opened.columns or layout.groups_by_text)
    rows = _take_groups(source, limit, path, layout) if whole and limit is not None else _take(source, limit)
    if not rows:
        raise InputError(f"{path}: holds no rows; give a file with at least one")
    return Dataset(
        rows=tuple(rows),
        name=path.name,
        digest=digest_rows(rows),
        form=opened.form,
        columns=MappingProxyType(dict(opened.columns)),
        header=opened.header,
        left_out=MappingProxyType(dict(opened.left_out)),
    )


def rows_from_path(path: Path | str, *, layout: Layout, columns: Mapping[str, str] | None = None) -> Iterator[Row]:
    """Read a data file row by row, as `predict` does: memory does not grow with TSV, CSV, JSON Lines and plain text.

    Labels do not matter, and every text keeps its place: an empty one, or a blank line of plain text, is a row without
    text. Raises `InputError` with file, line and remedy, for the columns at once and for a row when it is reached.
    """
    return _open_rows(Path(path), layout, columns or {}, labelled=False).rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Opened:
    """A file's rows, which column fills which role, and the counts of what is left out, final after the last row."""

    rows: Iterator[Row]
    form: str
    columns: Mapping[str, str] = field(default_factory=dict)
    header: bool | None = None
    left_out: Counter[str] = field(default_factory=Counter)


def _open_rows(path: Path, layout: Layout, columns: Mapping[str, str], *, labelled: bool) -> _Opened:
    form, left_out = form_from_path(path), Counter[str]()
    if form == "conll":
        found = columns_of_conll(path, _numbered_columns(path, layout, columns), labelled=labelled)
        rows = rows_from_conll(path, found, left_out)
        return _Opened(rows=rows, form=form, columns=found.used, left_out=left_out)
    if form in ("lines", "squad"):
        if columns:
            raise InputError(f"{path}: the form {form} has no columns to name; leave the columns away")
        rows = rows_from_squad(path) if form == "squad" else rows_from_lines(path, left_out, blank=not labelled)
        return _Opened(rows=rows, form=form, left_out=left_out)
    table = _table_from_path(path, form, layout, columns, blank=not labelled)
    used = resolve_columns(layout, table, columns, str(path))
    resolve = partial(resolve_columns, layout, wanted=columns, where=str(path))
    records = _of_one_kind(path, table, used, resolve, labelled=labelled)
    rows = (row_from_record(record, used, path, line) for line, record in records)
    header = table.headed if form == "delimited" else None
    return _Opened(rows=rows, form=table.form, columns=used, header=header)


def _numbered_columns(path: Path, layout: Layout, columns: Mapping[str, str]) -> dict[str, int]:
    """Return the columns of a CoNLL file that a user names: those of words and tags, by number from 1."""
    found = {}
    for key, name in columns.items():
        role = role_of_key(layout, key, str(path))
        if role not in ("words", "tags") or not name.isdecimal():
            raise InputError(
                f"{path}: '{key}={name}': the columns of a CoNLL file are named by number, words=NUMBER and "
                "tags=NUMBER, from 1"
            )
        found[role] = int(name)
    return found


def form_from_path(path: Path) -> str:
    """Return the form of a file by its ending and, where that says too little, by its content."""
    if not path.exists():
        raise InputError(f"{path}: there is no such file; check the path")
    if not path.is_file():
        raise InputError(f"{path}: is a folder or no ordinary file; give the data file itself")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; give a file with at least one row")
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the permissions") from None
    if suffix in (".parquet", ".pq") or head.startswith(b"PAR1"):
        return "parquet"
    if suffix in (".jsonl", ".ndjson"):
        return "jsonl"
    if suffix in DELIMITED:
        return "delimited"
    return "conll" if suffix in CONLL else _form_from_content(path, head.lstrip(b"\xef\xbb\xbf \t\r\n"))


def _form_from_content(path: Path, head: bytes) -> str:
    if path.suffix.lower() == ".json" and head.startswith(b"["):
        return "json"
    if head.startswith(b"{") and (form := _form_from_object(path)) is not None:
        return form
    if path.suffix.lower() == ".json":
        return "squad"
    if looks_like_conll(path):
        return "conll"
    first_lines = [line for _, line in islice(decoded_lines(path), 20) if line.strip()]
    tabbed = path.suffix.lower() != ".txt" and first_lines and all("\t" in line for line in first_lines)
    return "delimited" if tabbed else "lines"


def _form_from_object(path: Path) -> str | None:
    first = next(line for _, line in decoded_lines(path) if line.strip())
    try:
        content = json.loads(first)
    except (json.JSONDecodeError, RecursionError):
        return None
    return "squad" if isinstance(content, dict) and "data" in content else "jsonl"


def _table_from_path(path: Path, form: str, layout: Layout, columns: Mapping[str, str], *, blank: bool) -> Table:
    if form == "delimited":
        asked = {name for name in columns.values() if not name.isdigit()}
        return table_from_delimited(path, lambda cells: layout.is_header(cells, asked), blank=blank)
    return {"jsonl": table_from_jsonl, "json": table_from_json_array, "parquet": table_from_parquet}[form](path)


def _of_one_kind(
    path: Path, table: Table, used: Mapping[str, str], resolve: Callable[[Table], Mapping[str, str]], *, labelled: bool
) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Give a table's records, whose columns are the first one's: an object of JSON may have others.

    Raises `InputError` for a record with which the file would be read otherwise, so that no label and no text is left
    out in silence. A null says nothing; without `labelled` the texts alone count.
    """
    known = dict.fromkeys(table.names)
    for line, record in table.records:
        others = [name for name in record.keys() - known.keys() if record[name] is not None]
        if others:
            known.update(dict.fromkeys(sorted(others)))
            found = resolve(replace(table, names=tuple(known)))
            roles = [role for role in found if role != ID.role and (labelled or role in READ_ROLES)]
            new = next((role for role in roles if found[role] != used.get(role)), None)
            if new is not None:
                raise InputError(
                    f"{path}, line {line}: has '{found[new]}' for {new}, which the first row has not; give all rows "
                    f"the same columns, or name the right one with {new}=NAME"
                )
        yield line, record


def _sharing_contexts(rows: Iterable[Row]) -> Iterator[Row]:
    """Let neighbours have one and the same second text where it is equal: the questions of a context stand together."""
    context: str | None = None
    for row in rows:
        if len(row.texts) != 2:
            yield row
        elif context is not None and row.texts[1] == context:
            yield replace(row, texts=(row.texts[0], context))
        else:
            context = row.texts[1]
            yield row


def _take(items: Iterable[Item], limit: int | None) -> list[Item]:
    """Return all items, or a uniform sample by Vitter's reservoir (algorithm R, 1985) in the order of the file."""
    if limit is None:
        return list(items)
    chance = random.Random(SEED)
    kept: list[tuple[int, Item]] = []
    for index, item in enumerate(items):
        if index < limit:
            kept.append((index, item))
        elif (place := chance.randrange(index + 1)) < limit:
            kept[place] = (index, item)
    return [item for _, item in sorted(kept, key=lambda pair: pair[0])]


def _take_groups(rows: Iterable[Row], limit: int, path: Path, layout: Layout) -> list[Row]:
    """Return the rows of groups drawn at random, while they are at most `limit`; a row without a group is one."""
    every = list(rows)
    groups: dict[str | int, list[int]] = {}
    for index, row in enumerate(every):
        groups.setdefault(row.group or (row.texts[0] if layout.groups_by_text else index), []).append(index)
    chosen: list[int] = []
    for name in random.Random(SEED).sample(list(groups), len(groups)):
        if len(chosen) + len(groups[name]) > limit:
            break
        chosen += groups[name]
    if every and not chosen:
        raise InputError(
            f"{path}: a limit of {limit} rows is less than one query has; give a limit of some hundred queries' rows"
        )
    return [every[index] for index in sorted(chosen)]
