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
    """Return the task by a CRF or LSTM, sentence-transformers' modules, the architecture's name, or the weights."""
    tasks = [task_from_name(name) for name in task_names()]
    if files.sentences is not None and files.sentences.pooling is None:
        return _only([task for task in tasks if task.has_architecture(LATE_INTERACTION)], files)
    if files.tagger:
        return _only([task for task in tasks if task.crf], files)
    architectures = files.config.get("architectures")
    name = str(architectures[0]) if isinstance(architectures, list) and architectures else None
    named = [task for task in tasks if name is not None and task.has_architecture(name)]
    there = [task for task in tasks if any(tensor in files.weights for tensor in task.head_weights)]
    if files.sentences is not None:
        # The architecture is that of the encoder's origin, often a masked language model whose head is gone. A
        # classifier that is there may have been trained since.
        pooled = [task for task in tasks if task.sentence_modules and not task.has_architecture(LATE_INTERACTION)]
        fitting = [task for task in pooled if task.token_scores == files.sentences.sparse]
        spans = f"{files.spans}.weight" in files.weights  # by the family's own name, which `head_weights` has not
        return _only([*fitting, *(task for task in named if (task in there or spans) and not task.token_scores)], files)
    if name is not None and not named:
        raise InputError(
            f"{files.folder}/config.json has the architecture {name}, whose head bertc does not compute; fine-tune "
            f"the checkpoint, or choose a task (of {', '.join(task_names())})"
        )
    return _only(named or there or [task for task in tasks if not task.head_weights], files)


def _only(found: Sequence[Task], files: HeadFiles) -> Task:
    if len(found) > 1:
        names = " or ".join(task.name for task in found)
        raise InputError(f"{files.folder}: the files fit more than one task; choose the task {names}")
    return found[0]
