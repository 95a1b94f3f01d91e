"""What tasks with a masked language model's head share: how a checkpoint has one."""

from __future__ import annotations

from bertc.errors import InputError
from bertc.evaluate.task import HeadFiles

BIASES = ("cls.predictions.bias", "lm_head.bias", "vocab_projector.bias", "predictions.bias")
"""The scores' bias, by the names that most families give it.

A head of pre-training is no model's until it is asked for, so no checkpoint is taken for a masked language model by it.
"""


def check_token_scores(files: HeadFiles, task: str) -> None:
    """Raise `InputError` where a checkpoint lacks the head, or its family has none."""
    names = files.token_scores
    if names is None:
        family = files.config.get("model_type")
        raise InputError(
            f"{files.folder}: {family} has no masked language model's head, which {task} needs; choose another task"
        )
    needed = [f"{names.dense}.weight", f"{names.norm}.weight"]
    if files.config.get("tie_word_embeddings", True) is False:
        needed.append(names.decoder)
    for name in needed:
        try:
            files.weights.shape(name)
        except InputError as error:
            raise InputError(
                f"{files.folder} lacks the tensor {name} of a masked language model's head, which {task} needs; give "
                "the checkpoint as it was before its fine-tuning, or choose another task"
            ) from error
