"""Entities from tags and their counts, as `conlleval` (Tjong Kim Sang and Buchholz 2000) and seqeval's default do.

Lenient: an I- without its B-, or after another type, begins an entity as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, Metric

Entity = tuple[str, int, int]  # type, first word, last word

STARTS = frozenset({("E", "E"), ("E", "I"), ("S", "E"), ("S", "I"), ("O", "E"), ("O", "I")})
ENDS = frozenset({("B", "B"), ("B", "S"), ("B", "O"), ("I", "B"), ("I", "S"), ("I", "O")})


def entities_from_tags(tags: Sequence[str]) -> list[Entity]:
    """Return (type, first word, last word) of each entity, of tags in IOB2, IOBES or without prefixes."""
    found: list[Entity] = []
    previous, kind, begin = "O", "", 0
    for index, tag in enumerate([*tags, "O"]):
        prefix, name = _split(tag)
        if _ends(previous, prefix, kind, name):
            found.append((kind, begin, index - 1))
        if _starts(previous, prefix, kind, name):
            begin = index
        previous, kind = prefix, name
    return found


def _split(tag: str) -> tuple[str, str]:
    if tag == "O":
        return "O", ""
    prefix, dash, name = tag.partition("-")
    if dash and prefix in ("B", "I", "E", "S"):
        return prefix, name
    return "I", tag  # no prefix: neighbours of one type are one entity


def _ends(previous: str, prefix: str, kind: str, name: str) -> bool:
    return previous in ("E", "S") or (previous, prefix) in ENDS or (previous != "O" and kind != name)


def _starts(previous: str, prefix: str, kind: str, name: str) -> bool:
    return prefix in ("B", "S") or (previous, prefix) in STARTS or (prefix != "O" and kind != name)


def entity_counts(gold: Sequence[str], given: Sequence[str], kind: str | None = None) -> tuple[int, int, int]:
    """Return (right, given, true) numbers of entities, of one type or of all."""
    true, found = (
        {entity for entity in entities_from_tags(tags) if kind in (None, entity[0])} for tags in (gold, given)
    )
    return len(true & found), len(found), len(true)


def entity_metric(base: str, tags: Callable[[Any], list[list[str]]], kind: str | None = None) -> Metric:
    """Return precision, recall or f1 of whole entities, micro-averaged. `gold` and `tags(outputs)` are tags per row."""

    def statistics(gold: Any, outputs: Any) -> Array:
        pairs = zip(gold, tags(outputs), strict=True)
        counts = np.array([entity_counts(true, given, kind) for true, given in pairs], np.float64).reshape(-1, 3)
        right, given, true = counts.T
        columns = {"precision": (right, given), "recall": (right, true), "f1": (2 * right, given + true)}
        return np.stack(columns[base], -1)

    # Recall of what never occurs is not defined; precision and F1 without any entity are 0, as in conlleval.
    return Metric(
        name=base if kind is None else f"{base}[{kind}]",
        direction=HIGHER,
        statistics=statistics,
        formula="ratio" if base == "recall" else "ratio_or_zero",
        label=kind,
    )
