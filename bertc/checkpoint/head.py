"""What stands on the encoder: the `Head`, from config.json, the weights that exist and sentence-transformers' modules.

Nothing is guessed: where the files disagree or leave a choice open, the user is told what to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertc.checkpoint.checkpoint import Weights
from bertc.checkpoint.sentences import SentenceModules
from bertc.errors import InputError
from bertc.features import Head, Pooling, Problem

SEQUENCE, TOKEN = "sequence-classification", "token-classification"
QUESTION, FEATURE = "question-answering", "feature-extraction"
TASKS = (SEQUENCE, TOKEN, QUESTION, FEATURE)
ARCHITECTURE_ENDINGS = {
    "ForSequenceClassification": SEQUENCE,
    "ForTokenClassification": TOKEN,
    "ForQuestionAnswering": QUESTION,
    "Model": FEATURE,
}
CLASSIFIERS = ("classifier.weight", "classifier.out_proj.weight")  # of all families; [scores, hidden]
SPANS = "qa_outputs.weight"  # [2, hidden]: start and end


def head_from_weights(
    config: Mapping[str, Any],
    weights: Weights,
    modules: SentenceModules | None,
    *,
    folder: Path,
    task: str | None = None,
) -> Head:
    """Return the head of a checkpoint, or of the `task` that the user asks for.

    Raises `InputError` if the task cannot be known, is not supported, or if configuration and weights disagree;
    `folder` is for the messages.
    """
    if task is not None and task not in TASKS:
        raise InputError(f"the task {task!r} is unknown; choose one of {', '.join(TASKS)}")
    task = task or _task(config, weights, modules, folder)
    if task == FEATURE:
        return _feature_head(modules)
    if task == QUESTION:
        rows = _rows(weights, (SPANS,), task, folder)
        if rows != 2:
            raise InputError(f"{folder}: {SPANS} has {rows} rows, not 2 (start and end); use another checkpoint")
        return Head(task=QUESTION)
    rows = _rows(weights, CLASSIFIERS, task, folder)
    labels = _labels(config, rows, folder)
    return Head(task=task, labels=labels, problem=_problem(config, rows, folder) if task == SEQUENCE else None)


def _task(config: Mapping[str, Any], weights: Weights, modules: SentenceModules | None, folder: Path) -> str:
    architectures = config.get("architectures")
    if isinstance(architectures, list) and architectures:
        name = str(architectures[0])
        for ending, task in ARCHITECTURE_ENDINGS.items():
            if name.endswith(ending) and not name.endswith("HeadModel"):  # BertLMHeadModel is no bare encoder
                return task
        if modules is None:
            raise InputError(
                f"{folder}/config.json has the architecture {name}, whose head bertc does not compute; fine-tune the "
                f"checkpoint, or choose a task (of {', '.join(TASKS)})"
            )
    if modules is not None:
        return FEATURE
    if SPANS in weights:
        return QUESTION
    if any(name in weights for name in CLASSIFIERS):  # of sequences or of tokens: both look alike
        raise InputError(f"{folder}/config.json names no architecture; choose the task {SEQUENCE} or {TOKEN}")
    return FEATURE


def _rows(weights: Weights, names: tuple[str, ...], task: str, folder: Path) -> int:
    """Return how many scores the head gives."""
    for name in names:
        if name in weights:
            shape = weights.shape(name)
            if len(shape) != 2 or shape[0] == 0:
                raise InputError(
                    f"{folder}: {name} has the shape {list(shape)}, not [scores, hidden]; convert it again"
                )
            return shape[0]
    raise InputError(
        f"{folder} lacks the tensor {names[0]}, which {task} needs; fine-tune the checkpoint, or choose another task"
    )


def _labels(config: Mapping[str, Any], rows: int, folder: Path) -> tuple[str, ...]:
    """Return the scores' names in order; LABEL_0, ... where config.json gives none, as transformers does."""
    counted = config.get("num_labels")
    named = config.get("id2label")
    labels = tuple(f"LABEL_{index}" for index in range(counted or rows)) if named is None else _named(named, folder)
    if len(labels) != rows or counted not in (None, rows):
        told = len(labels) if len(labels) != rows else counted
        raise InputError(
            f"{folder}: config.json says {told} labels but the classifier's weight has {rows} rows; correct "
            "config.json or use the weights that belong to it"
        )
    return labels


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


def _problem(config: Mapping[str, Any], rows: int, folder: Path) -> Problem:
    named = config.get("problem_type")
    if named is None:
        return Problem.REGRESSION if rows == 1 else Problem.SINGLE_LABEL
    if named not in tuple(Problem):
        known = ", ".join(Problem)
        raise InputError(f"{folder}/config.json: the problem_type {named!r} is unknown; write one of {known}")
    if named == Problem.SINGLE_LABEL and rows == 1:
        raise InputError(f"{folder}/config.json: {named} needs two labels or more, there is 1; correct problem_type")
    return Problem(named)


def _feature_head(modules: SentenceModules | None) -> Head:
    if modules is None:
        return Head(task=FEATURE, pooling=Pooling.MEAN, normalize=False)
    return Head(task=FEATURE, pooling=modules.pooling, normalize=modules.normalize, layer_weights=modules.layer_weights)
