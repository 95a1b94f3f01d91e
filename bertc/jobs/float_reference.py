"""The float model that an engine is compared with: the checkpoint itself, or the one that it was trained from.

A checkpoint that was fine-tuned for INT8 or pruned has float weights that nobody runs; what its user wants to know is
what was lost against the model he started with.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.same_tokens import COMPARED_ROWS, same_tokens
from bertc.data.encoded import Streamed
from bertc.errors import InputError
from bertc.tasks import task_from_name

SHOWN = 4
"""Differences of two heads that are named."""


def reference_from_path(
    path: str | None, checkpoint: Checkpoint, validation: Streamed | None, *, max_length: int
) -> Checkpoint | None:
    """Read the checkpoint of the float reference; None for the checkpoint itself.

    Raises `InputError` when it has another head, say other labels, or makes other tokens of the validation text.
    """
    if path is None:
        return None
    reference = checkpoint_from_path(path, task=checkpoint.head.task)
    differences = _differences("", reference.head.without_exits, checkpoint.head.without_exits)
    if differences:
        raise InputError(
            f"the reference {path} has another head than {checkpoint.path} "
            f"({'; '.join(differences[:SHOWN])}); name the checkpoint that this one was trained from"
        )
    rows = () if validation is None else validation.rows[:COMPARED_ROWS]
    task = task_from_name(checkpoint.head.task)
    if not same_tokens(checkpoint, reference, lambda encoder: task.features_from_rows(rows, encoder, max_length)):
        raise InputError(
            f"the reference {path} makes other tokens of the validation text than {checkpoint.path}; name the "
            "checkpoint that this one was trained from"
        )
    return reference


def _differences(name: str, theirs: Any, ours: Any) -> list[str]:
    """Say what two values do not have alike, with its place in them: "projections[0].sizes[1] 48 and 32"."""
    if theirs == ours:
        return []
    if isinstance(theirs, tuple) and isinstance(ours, tuple):
        if len(theirs) != len(ours):
            return [f"{name} {_shown(theirs)} and {_shown(ours)}"]
        parts = [(f"{name}[{place}]", *both) for place, both in enumerate(zip(theirs, ours, strict=True))]
    elif is_dataclass(theirs) and type(theirs) is type(ours):
        names = [each.name for each in fields(theirs)]
        parts = [(f"{name}.{each}".lstrip("."), getattr(theirs, each), getattr(ours, each)) for each in names]
    else:
        return [f"{name} {_shown(theirs)} and {_shown(ours)}"]
    return [found for part in parts for found in _differences(*part)]


def _shown(value: Any) -> str:
    """Return a value for a message; of several their number, and of plain ones the first."""
    if value is None or value == ():
        return "none"
    if not isinstance(value, tuple):
        return "one" if is_dataclass(value) else str(value)
    if is_dataclass(value[0]):
        return str(len(value))
    return f"{len(value)} ({', '.join(map(str, value[:10]))})"
