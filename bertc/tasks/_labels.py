"""What both classifications read of a checkpoint: how many scores its head gives, and their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.evaluate.metrics.classification import truth
from bertc.evaluate.numbering import better_numberings
from bertc.evaluate.reference import Reading
from bertc.evaluate.task import HeadFiles, Task

CLASSIFIERS = ("classifier.weight", "classifier.out_proj.weight", "logits_proj.weight")
"""The last matrix of a classifier, of texts or of tokens, in all families."""

NUMBERED = "the labels are numbered differently"


def labels_from_files(files: HeadFiles, task: Task) -> tuple[str, ...]:
    """Return the scores' names in order; LABEL_0, ... where config.json gives none, or another number of names than
    its num_labels, as transformers does.

    Raises `InputError` where configuration and weights disagree.
    """
    _, rows = files.scores(task)
    counted = files.config.get("num_labels")
    named = files.config.get("id2label")
    unnamed = named is None
    labels = tuple(f"LABEL_{index}" for index in range(counted or rows)) if unnamed else _named(named, files.folder)
    if counted == rows != len(labels):  # configurations of 2019 count the classes and name the default's two
        return tuple(f"LABEL_{index}" for index in range(rows))
    if len(labels) != rows or counted not in (None, rows):
        told = len(labels) if len(labels) != rows else counted
        raise InputError(
            f"{files.folder}: config.json says {told} labels but the classifier's weight has {rows} rows; correct "
            "config.json or use the weights that belong to it"
        )
    return labels


def label_readings(gold: NDArray[Any], given: NDArray[np.bool_], labels: Sequence[str]) -> list[Reading]:
    """Return gold, ids [n] or bool [n, labels], under the other numberings that fit decisions [n, labels] better."""
    confusion = truth(gold, len(labels)).astype(np.float64).T @ given
    found = []
    for words, numbers in better_numberings(labels, confusion):
        read = numbers[gold] if gold.ndim == 1 else gold[:, np.argsort(numbers)]
        found.append(Reading(cause=NUMBERED, words=words, gold=read))
    return found


def _named(named: Any, folder: Path) -> tuple[str, ...]:
    path = f"{folder}/config.json"
    if not isinstance(named, Mapping) or not all(isinstance(label, str) for label in named.values()):
        raise InputError(f"{path}: id2label is no object of names; write it as {{'0': 'negative', ...}}")
    try:
        by_id = {int(key): label for key, label in named.items()}
    except ValueError as error:
        raise InputError(f"{path}: id2label has a key that is no whole number ({error}); correct it") from error
    if sorted(by_id) != list(range(len(named))):
        raise InputError(f"{path}: the ids of id2label are {sorted(by_id)[:20]}, not 0 to {len(named) - 1}; correct it")
    labels = tuple(by_id[index] for index in range(len(by_id)))
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise InputError(f"{path}: id2label has the label {min(twice)!r} twice; give each score its own name")
    return labels
