"""What stands on the encoder: which task's head a checkpoint has, as its files tell.

Nothing is guessed: where the files disagree or leave a choice open, the user is told what to say.
"""

from __future__ import annotations

from collections.abc import Sequence

from bertc.core.head import Head
from bertc.errors import InputError
from bertc.evaluate.task import HeadFiles, Task
from bertc.tasks import task_from_name, task_names

LATE_INTERACTION = "HF_ColBERT"
"""What Stanford's ColBERT calls its class in config.json; PyLate's modules say the same without a name."""


def head_from_files(files: HeadFiles, *, task: str | None = None) -> Head:
    """Return the head of a checkpoint, or of the `task` that the user asks for.

    Raises `InputError` if the task cannot be known, is not supported, or if configuration and weights disagree.
    """
    if task is None:
        return _task(files).head_from_files(files)
    if task not in task_names():
        raise InputError(f"the task {task!r} is unknown; choose one of {', '.join(task_names())}")
    return task_from_name(task).head_from_files(files)


def _task(files: HeadFiles) -> Task:
    """Return the task by a CRF or LSTM, the architecture's name, sentence-transformers' modules, or the weights."""
    tasks = [task_from_name(name) for name in task_names()]
    if files.sentences is not None and files.sentences.pooling is None:
        return _only([task for task in tasks if task.has_architecture(LATE_INTERACTION)], files)
    if files.tagger:
        return _only([task for task in tasks if task.crf], files)
    architectures = files.config.get("architectures")
    sparse = files.sentences is not None and files.sentences.sparse
    if isinstance(architectures, list) and architectures and not sparse:
        name = str(architectures[0])
        found = [task for task in tasks if task.has_architecture(name)]
        if found:
            return _only(found, files)
        if files.sentences is None:
            raise InputError(
                f"{files.folder}/config.json has the architecture {name}, whose head bertc does not compute; fine-tune "
                f"the checkpoint, or choose a task (of {', '.join(task_names())})"
            )
    if files.sentences is not None:
        pooled = [task for task in tasks if task.sentence_modules and not task.has_architecture(LATE_INTERACTION)]
        return _only([task for task in pooled if task.token_scores == sparse], files)
    found = [task for task in tasks if any(name in files.weights for name in task.head_weights)]
    return _only(found or [task for task in tasks if not task.head_weights], files)


def _only(found: Sequence[Task], files: HeadFiles) -> Task:
    if len(found) > 1:
        names = " or ".join(task.name for task in found)
        raise InputError(f"{files.folder}: the files fit more than one task; choose the task {names}")
    return found[0]
