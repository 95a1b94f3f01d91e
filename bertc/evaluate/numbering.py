"""Other numberings of the same labels: what ids mean where a file counts the labels in another order than the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from bertc.evaluate.formulas import Array

ALL_ORDERS = 4
"""Up to so many labels every order is tried; beyond, the best exchange of two, the orders that have a name, and the one
that the decisions suggest, where it halves the errors: a model that knows nothing suggests one as well."""

LISTED = 12

GLUE = (
    ("entailment", "neutral", "contradiction"),
    ("entailment", "not_entailment"),
    ("not_equivalent", "equivalent"),
    ("not_duplicate", "duplicate"),
    ("unacceptable", "acceptable"),
    ("negative", "positive"),
)
"""The labels of GLUE's tasks (Wang et al. 2018, arXiv:1804.07461) in the order of its ids."""

CONLL = ("PER", "ORG", "LOC", "MISC"), ("MISC", "PER", "ORG", "LOC")
"""CoNLL-2003's types of entities in the two orders that are about."""

Numbering = tuple[str, NDArray[np.int64]]
"""In words, and what each id means: id i is the model's label `numbers[i]`."""


def better_numberings(labels: Sequence[str], confusion: Array) -> list[Numbering]:
    """Return the plausible numberings under which more decisions are right, best first.

    `confusion` [labels, labels] counts decisions by true id (downwards) and given id.
    """
    right = float(np.trace(confusion))
    found: dict[tuple[int, ...], tuple[float, str]] = {}
    for words, numbers in _candidates(labels, confusion):
        gained = float(confusion[np.arange(len(labels)), numbers].sum())
        if gained > right:
            found.setdefault(tuple(numbers), (gained, words))
    order = sorted(found, key=lambda numbers: -found[numbers][0])
    return [(found[numbers][1], np.array(numbers, np.int64)) for numbers in order]


def _candidates(labels: Sequence[str], confusion: Array) -> Iterator[tuple[str, Sequence[int]]]:
    """Give numberings, those that are said in the fewest words first."""
    count = len(labels)
    if count < 2:
        return
    yield _best_exchange(confusion)
    for words, order in _named_orders(labels):
        numbers = [labels.index(label) for label in order]
        yield f"the labels in {words}", numbers
        # The model may be the one that is numbered so, and its configuration not.
        yield f"the labels in {words}", [int(place) for place in np.argsort(numbers)]
    if count <= ALL_ORDERS:
        for numbers in map(list, permutations(range(count))):
            yield _in_words(numbers), numbers
    followed = _followed_decisions(confusion)
    missed, left = (
        confusion.sum() - confusion[np.arange(count), numbers].sum() for numbers in (range(count), followed)
    )
    if 2 * left <= missed:
        yield _in_words(followed), followed


def _in_words(numbers: Sequence[int]) -> str:
    """Write what is read as what."""
    moved = [index for index, number in enumerate(numbers) if number != index]
    if len(moved) == 2:
        return f"{moved[0]} and {moved[1]} exchanged"
    more = ", ..." if len(moved) > LISTED else ""
    shown = moved[:LISTED]
    return f"{', '.join(map(str, shown))}{more} read as {', '.join(str(numbers[index]) for index in shown)}{more}"


def _followed_decisions(confusion: Array) -> list[int]:
    """Return the numbering that the decisions themselves suggest: the most frequent pairs of true and given first."""
    count = len(confusion)
    numbers = [-1] * count
    free = set(range(count))
    for place in np.argsort(-confusion, axis=None, kind="stable").tolist():
        true, given = divmod(place, count)
        if numbers[true] < 0 and given in free:
            numbers[true] = given
            free.remove(given)
    return numbers


def _best_exchange(confusion: Array) -> tuple[str, Sequence[int]]:
    """Return the exchange of two labels that makes most decisions right."""
    own = np.diagonal(confusion)
    gains = np.triu(confusion + confusion.T - own[:, None] - own[None, :], 1)
    gains[np.tril_indices(len(gains))] = -np.inf
    first, second = divmod(int(gains.argmax()), len(gains))
    numbers = list(range(len(gains)))
    numbers[first], numbers[second] = second, first
    return f"{first} and {second} exchanged", numbers


def _named_orders(labels: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    lowered = [label.lower().replace("-", "_").replace(" ", "_") for label in labels]
    for known in GLUE:
        if sorted(known) == sorted(lowered):
            yield "GLUE's order", [labels[lowered.index(name)] for name in known]
    yield "alphabetical order", sorted(labels)
    if "O" not in labels:
        return
    tags = [label for label in labels if label != "O"]
    by_type = sorted(tags, key=lambda tag: (tag.partition("-")[2], tag))
    for words, ordered in (("alphabetical order", sorted(tags)), ("the order of their types", by_type)):
        yield f"{words}, O first", ["O", *ordered]
        yield f"{words}, O last", [*ordered, "O"]
    for types in CONLL:
        if {tag.partition("-")[2] for tag in tags} == set(types):
            yield "CoNLL-2003's order", ["O", *sorted(tags, key=lambda tag: (types.index(tag.partition("-")[2]), tag))]
