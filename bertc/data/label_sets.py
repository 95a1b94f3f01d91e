"""Several labels of a row -> their ids: a 0/1 for each label, or a list of names and ids. One rule for every form.

A list with an entry for each label, all of them 0 or 1 (or true and false), is a vector; any other list holds names and
ids. What could be either is decided by the other rows of the data set, and refused where they do not tell.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bertc.data.labels import FLAGS, ClassLabel, LabelIds, check_label_of_text, flag_from_label, listed
from bertc.data.rows import Row
from bertc.errors import InputError


def id_sets(rows: Sequence[Row], labels: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the ids of each row's labels, rising; an empty cell or list is none of them.

    Raises `InputError` for a row without any cell, an unknown label, and what can be read in two ways.
    """
    ids = LabelIds(labels)
    cells = [_items(row) for row in rows]
    vectors = _are_vectors(rows, cells, ids, labels)
    found = []
    for row, items in zip(rows, cells, strict=True):
        if vectors:
            chosen = {index for index, item in enumerate(items) if flag_from_label(item)}
        else:
            chosen = {ids.id(row, item) for item in items}
        found.append(tuple(sorted(chosen)))
    return found


def _items(row: Row) -> list[Any]:
    check_label_of_text(row)
    if row.label is None:
        raise InputError(
            f"{row.place}: has no label though other rows have one; add it, leave the cell empty (or write []) where "
            "no label applies, or remove the row"
        )
    if isinstance(row.label, (list, tuple)):
        return list(row.label)
    text = str(row.label).strip()
    if not text.startswith("["):
        return [item.strip() for item in text.split(",") if item.strip()]
    try:
        return list(json.loads(text))
    except (json.JSONDecodeError, RecursionError):
        raise InputError(f'{row.place}: \'{text[:60]}\' is no JSON list of labels; write ["a", "b"]') from None


def _are_vectors(rows: Sequence[Row], cells: Sequence[list[Any]], ids: LabelIds, labels: Sequence[str]) -> bool:
    """Say whether the lists are a 0/1 for each label. Raises `InputError` where that is open or rows differ."""
    vector = listing = either = None
    for row, items in zip(rows, cells, strict=True):
        if not items:
            continue
        flags = not any(isinstance(item, ClassLabel) or flag_from_label(item) is None for item in items)
        as_vector = len(items) == len(labels) and flags
        as_list = _is_list(items, ids, labels)
        if not as_vector and not as_list:
            _refuse(row, items, labels)
        if as_vector and as_list:
            either = either or row
        elif as_vector:
            vector = vector or row
        else:
            listing = listing or row
    if vector is not None and listing is not None:
        raise InputError(
            f"{listing.place}: {_shown(listing)} is a list of labels while {vector.place} has a 0 or 1 for each label, "
            f"{_shown(vector)}; write all rows in one way"
        )
    if either is not None and vector is None and listing is None:
        raise InputError(
            f"{either.place}: {_shown(either)} is ambiguous: a 0 or 1 for each of the labels {listed(labels)}, or a "
            "list of ids; write true and false for the former, the labels' names for the latter"
        )
    return vector is not None


def _is_list(items: Sequence[Any], ids: LabelIds, labels: Sequence[str]) -> bool:
    """Say whether items can be names and ids: no booleans, and neither 0 nor 1 twice."""
    names = {label.lower() for label in labels}
    if any((text := str(item).strip().lower()) in FLAGS and text not in names for item in items):
        return False
    flags = [item for item in items if flag_from_label(item) is not None]
    if len(flags) < len(items):
        return True  # a name, or another number; `LabelIds` says whether it is known
    known = [ids.find(item) for item in items]
    return None not in known and len(set(known)) == len(items)


def _refuse(row: Row, items: Sequence[Any], labels: Sequence[str]) -> None:
    raise InputError(
        f"{row.place}: {_shown(row)} has {len(items)} entries of 0 and 1 where the checkpoint has {len(labels)} labels "
        f"({listed(labels)}); write one for each, or the labels' names"
    )


def _shown(row: Row) -> str:
    return str(row.label)[:60]
