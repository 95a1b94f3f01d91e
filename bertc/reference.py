"""The float model that an engine is compared with: the checkpoint itself, or the one that it was trained from.

A checkpoint that was fine-tuned for INT8 or pruned has float weights that nobody runs; what its user wants to know is
what was lost against the model he started with.
"""

from __future__ import annotations

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.same_tokens import COMPARED_ROWS, same_tokens
from bertc.errors import InputError
from bertc.inputs import Encoded, length_from_recipe
from bertc.recipe import Recipe
from bertc.tasks import task_from_name


def reference_from_recipe(recipe: Recipe, checkpoint: Checkpoint, validation: Encoded | None) -> Checkpoint:
    """Return the checkpoint of the float reference.

    Raises `InputError` when it has other labels, or makes other tokens of the validation text.
    """
    path = recipe.validation.reference
    if path is None:
        return checkpoint
    reference = checkpoint_from_path(path, task=checkpoint.head.task)
    if reference.head != checkpoint.head:
        raise InputError(
            f"the reference {path} has another head than {recipe.checkpoint} (labels {', '.join(reference.head.labels)}"
            f" and {', '.join(checkpoint.head.labels)}); name the checkpoint that this one was trained from"
        )
    rows = () if validation is None else validation.rows[:COMPARED_ROWS]
    task, length = task_from_name(checkpoint.head.task), length_from_recipe(recipe, checkpoint)
    if not same_tokens(checkpoint, reference, lambda encoder: task.features_from_rows(rows, encoder, length)):
        raise InputError(
            f"the reference {path} makes other tokens of the validation text than {recipe.checkpoint}; name the "
            "checkpoint that this one was trained from"
        )
    return reference
