"""JSON Lines, and a JSON array of objects: one object per row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from bertc.data.columns import Table
from bertc.data.decode import decode_text, decoded_lines
from bertc.errors import InputError

NumberedObject = tuple[int, Mapping[str, Any]]


def table_from_jsonl(path: Path) -> Table:
    """Open a JSON Lines file; it is read one line at a time. The first object's keys are the columns."""
    return _table(path, "jsonl", _objects(path))


def table_from_json_array(path: Path) -> Table:
    """Open a JSON file that holds a list of objects. A row's number stands for its line."""
    content = json_from_path(path)
    if not isinstance(content, list):
        raise InputError(f"{path}: holds no list of objects; give one object per line or a list")
    return _table(path, "json", ((number, _object(item, path, number)) for number, item in enumerate(content, 1)))


def json_from_path(path: Path) -> Any:
    """Return the content of a whole JSON file. Raises `InputError` with the line of the first mistake."""
    try:
        return _loads(decode_text(path.read_bytes(), path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not valid JSON ({_reason(error)}); mend the file") from None
    except _TwiceError as error:
        raise InputError(f"{path}: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: the JSON is nested too deeply; give a list of rows") from None


class _TwiceError(ValueError):
    """An object has two values of one name, of which Python's reader would take the last in silence."""


def _loads(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_distinct)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in found if names.count(name) > 1)
        raise _TwiceError(f"an object has {twice[:60]!r} twice; leave one of them")
    return found


def _reason(error: json.JSONDecodeError) -> str:
    """Return what is wrong; "Invalid control character at" waits for a place that is said elsewhere."""
    return error.msg.removesuffix(" at")


def _table(path: Path, form: str, objects: Iterator[NumberedObject]) -> Table:
    first = next(objects, None)
    if first is None:
        raise InputError(f"{path}: the file is empty; give a file with at least one row")
    return Table(form, tuple(first[1]), True, chain([first], objects))


def _objects(path: Path) -> Iterator[NumberedObject]:
    for number, line in decoded_lines(path):
        if not line.strip():
            continue
        try:
            yield number, _object(_loads(line), path, number)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, line {number}: not valid JSON ({_reason(error)}); each line must be one object"
            ) from None
        except _TwiceError as error:
            raise InputError(f"{path}, line {number}: {error}") from None
        except RecursionError:
            raise InputError(f"{path}, line {number}: the JSON is nested too deeply") from None


def _object(item: Any, path: Path, number: int) -> Mapping[str, Any]:
    if not isinstance(item, dict):
        raise InputError(f"{path}, line {number}: is no JSON object; write each row as {{'text': ...}}")
    return item
