"""The float model that an engine is compared with: the checkpoint itself, or the one that it was trained from.

A checkpoint that was fine-tuned for INT8 or pruned has float weights that nobody runs; what its user wants to know is
what was lost against the model he started with.
"""

from __future__ import annotations

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.same_tokens import COMPARED_ROWS, same_tokens
from bertc.data.encoded import Streamed
from bertc.errors import InputError
from bertc.tasks import task_from_name


def reference_from_path(
    path: str | None, checkpoint: Checkpoint, validation: Streamed | None, *, max_length: int
) -> Checkpoint | None:
    """Read the checkpoint of the float reference; None for the checkpoint itself.

    Raises `InputError` when it has other labels, or makes other tokens of the validation text.
    """
    if path is None:
        return None
    reference = checkpoint_from_path(path, task=checkpoint.head.task)
    if reference.head.without_exits != checkpoint.head.without_exits:
        raise InputError(
            f"the reference {path} has another head than {checkpoint.path} (labels "
            f"{', '.join(reference.head.labels[:10])} and {', '.join(checkpoint.head.labels[:10])}); name the "
            "checkpoint that this one was trained from"
        )
    rows = () if validation is None else validation.rows[:COMPARED_ROWS]
    task = task_from_name(checkpoint.head.task)
    if not same_tokens(checkpoint, reference, lambda encoder: task.features_from_rows(rows, encoder, max_length)):
        raise InputError(
            f"the reference {path} makes other tokens of the validation text than {checkpoint.path}; name the "
            "checkpoint that this one was trained from"
        )
    return reference
