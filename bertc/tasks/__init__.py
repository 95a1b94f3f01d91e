"""A task is one file here, found by its name: a constant `TASK` that obeys the protocol `bertc.task.Task`.

What two tasks share lies in a file whose name begins with an underscore. No file reading belongs here.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from typing import cast

from bertc.errors import InputError
from bertc.features import Head
from bertc.outputs import Output
from bertc.task import Task

MEMBERS = tuple(name for name in vars(Task) if not name.startswith("_"))


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks, sorted."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(name.replace("_", "-") for name in names if not name.startswith("_")))


@cache
def task_from_name(name: str) -> Task:
    """Return the task of that name ("sequence-classification").

    Raises `InputError` listing the tasks there are, or naming what the task's file lacks.
    """
    if name not in task_names():
        raise InputError(f"'{name}' is no task; the tasks are {', '.join(task_names())}")
    module = import_module(f"{__name__}.{name.replace('-', '_')}")
    task = getattr(module, "TASK", None)
    if task is None:
        raise InputError(f"{module.__file__} has no constant TASK; add one that obeys the protocol bertc.task.Task")
    missing = [member for member in MEMBERS if not hasattr(task, member)]
    if missing:
        raise InputError(f"{module.__file__}: TASK lacks {', '.join(missing)}; see the protocol bertc.task.Task")
    if task.name != name:
        raise InputError(f"{module.__file__}: TASK has the name '{task.name}'; give it the file's, '{name}'")
    return cast(Task, task)


def outputs_from_head(head: Head) -> tuple[Output, ...]:
    """Return what a head's graph and engines give out, in the graph's order."""
    return task_from_name(head.task).outputs(head)
