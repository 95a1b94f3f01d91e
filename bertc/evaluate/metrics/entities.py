"""Entities from tags and their counts, by the scheme that the label set is written in.

BIO and IOB1 count as in `conlleval` (Tjong Kim Sang and Buchholz 2000) and seqeval's default: an I- without its B-,
or after another type, begins an entity as well. A tag without a prefix counts as an I- of its type, where seqeval takes
its first letter for a prefix. IOBES and BILOU mark an entity's end too and count as in seqeval's strict mode: only what
begins and ends is an entity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, Metric

Entity = tuple[str, int, int]  # type, first word, last word


class Scheme(StrEnum):
    """How tags mark where an entity begins and ends. In IOB1 a B- stands only between neighbours of one type."""

    BIO = "BIO"
    IOB1 = "IOB1"
    IOBES = "IOBES"
    BILOU = "BILOU"
    PLAIN = "without prefixes"


LAST_AND_SINGLE = {Scheme.IOBES: ("E", "S"), Scheme.BILOU: ("L", "U")}

STARTS = frozenset({("E", "E"), ("E", "I"), ("S", "E"), ("S", "I"), ("O", "E"), ("O", "I")})
ENDS = frozenset({("B", "B"), ("B", "S"), ("B", "O"), ("I", "B"), ("I", "S"), ("I", "O")})


def scheme_from_labels(labels: Sequence[str]) -> Scheme:
    """Return the scheme of a whole set of tags.

    Raises `InputError` for tags that end entities in two ways (L- and U- beside E- and S-).
    """
    pairs = [label.partition("-") for label in labels if label != "O"]
    prefixes = {prefix for prefix, dash, _ in pairs if dash}
    if not all(dash and prefix in "BIESLU" and name for prefix, dash, name in pairs) or not prefixes & set("BISU"):
        return Scheme.PLAIN
    ends = [scheme for scheme, marks in LAST_AND_SINGLE.items() if prefixes & set(marks)]
    if len(ends) > 1:
        raise InputError(
            f"the tags {', '.join(sorted(labels)[:20])} are BILOU (L-, U-) and IOBES (E-, S-) at once; correct id2label"
        )
    begun = {name for prefix, _, name in pairs if prefix == "B"}
    inside = {name for prefix, _, name in pairs if prefix == "I"}
    return ends[0] if ends else Scheme.BIO if inside <= begun else Scheme.IOB1


def allowed_neighbours(labels: Sequence[str], scheme: Scheme) -> NDArray[np.bool_]:
    """Return which tag may stand behind which under a scheme, [before, behind], [tags + 1, tags + 1].

    The last row and column are the text's begin and end, which are as O is.

    >>> allowed_neighbours(["O", "I-a"], Scheme.BIO).astype(int).tolist()
    [[1, 0, 1], [1, 1, 1], [1, 0, 1]]
    """
    tags = [(label.partition("-")[0], label.partition("-")[2]) for label in (*labels, "O")]
    return np.array([[_may_follow(before, behind, scheme) for behind in tags] for before in tags])


def _may_follow(before: tuple[str, str], behind: tuple[str, str], scheme: Scheme) -> bool:
    """Say whether a tag (prefix, type) may stand behind another."""
    within = before[0] in ("B", "I")
    goes_on = within and before[1] == behind[1]
    if scheme in LAST_AND_SINGLE:  # an entity goes on until its end, and nothing else is inside
        inner = behind[0] in ("I", LAST_AND_SINGLE[scheme][0])
        return inner == within and (goes_on or not inner)
    if scheme is Scheme.BIO:
        return behind[0] != "I" or goes_on
    return scheme is not Scheme.IOB1 or behind[0] != "B" or goes_on


def entities_from_tags(tags: Sequence[str], scheme: Scheme = Scheme.BIO) -> list[Entity]:
    """Return (type, first word, last word) of each entity."""
    if scheme in LAST_AND_SINGLE:
        return _complete_entities(tags, *LAST_AND_SINGLE[scheme])
    found: list[Entity] = []
    previous, kind, begin = "O", "", 0
    for index, tag in enumerate([*tags, "O"]):
        prefix, name = _split(tag, scheme)
        if _ends(previous, prefix, kind, name):
            found.append((kind, begin, index - 1))
        if _starts(previous, prefix, kind, name):
            begin = index
        previous, kind = prefix, name
    return found


def _complete_entities(tags: Sequence[str], last: str, single: str) -> list[Entity]:
    """Return the entities that are one single tag, or a B-, any number of I- and a last tag, all of one type."""
    found: list[Entity] = []
    begin, kind = -1, ""
    for index, tag in enumerate(tags):
        prefix, _, name = tag.partition("-")
        if prefix == "B":
            begin, kind = index, name
            continue
        within = begin >= 0 and name == kind
        if prefix == single:
            found.append((name, index, index))
        elif prefix == last and within:
            found.append((kind, begin, index))
        if prefix != "I" or not within:
            begin = -1
    return found


def types_of_labels(labels: Sequence[str]) -> set[str]:
    """Return the types of entity that a whole set of tags tells apart.

    >>> sorted(types_of_labels(["O", "B-PER", "I-PER"])), sorted(types_of_labels(["O", "E-mail", "first-name"]))
    (['PER'], ['E-mail', 'first-name'])
    """
    scheme = scheme_from_labels(labels)
    plain = scheme is Scheme.PLAIN
    return {label if plain else label.partition("-")[2] for label in labels if label != "O"}


def _split(tag: str, scheme: Scheme) -> tuple[str, str]:
    if tag == "O":
        return "O", ""
    prefix, dash, name = tag.partition("-")
    if scheme is not Scheme.PLAIN and dash and prefix in ("B", "I", "E", "S"):
        return prefix, name
    return "I", tag  # no prefix: neighbours of one type are one entity


def _ends(previous: str, prefix: str, kind: str, name: str) -> bool:
    return previous in ("E", "S") or (previous, prefix) in ENDS or (previous != "O" and kind != name)


def _starts(previous: str, prefix: str, kind: str, name: str) -> bool:
    return prefix in ("B", "S") or (previous, prefix) in STARTS or (prefix != "O" and kind != name)


def entity_counts(
    gold: Sequence[str], given: Sequence[str], kind: str | None = None, scheme: Scheme = Scheme.BIO
) -> tuple[int, int, int]:
    """Return (right, given, true) numbers of entities, of one type or of all."""
    true, found = (
        {entity for entity in entities_from_tags(tags, scheme) if kind in (None, entity[0])} for tags in (gold, given)
    )
    return len(true & found), len(found), len(true)


def entity_metric(
    base: str, tags: Callable[[Any], list[list[str]]], kind: str | None = None, scheme: Scheme = Scheme.BIO
) -> Metric:
    """Return precision, recall or f1 of whole entities, micro-averaged. `gold` and `tags(outputs)` are tags per row."""

    def statistics(gold: Any, outputs: Any) -> Array:
        pairs = zip(gold, tags(outputs), strict=True)
        counts = np.array([entity_counts(true, given, kind, scheme) for true, given in pairs], np.float64).reshape(
            -1, 3
        )
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
