"""The head of a masked language model in a checkpoint: which tensors it reads, and the tokens that it scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bertc.checkpoint.adapters import AdaptedWeights
from bertc.checkpoint.text_encoder import TextEncoder
from bertc.checkpoint.weights import MappedWeights
from bertc.core.head import Head
from bertc.errors import InputError
from bertc.ir.architecture import Architecture


def names_of_token_scores(architecture: Architecture) -> tuple[str, ...]:
    """Return the tensors that the head may have; the decoder's may be the embedding table instead."""
    found = architecture.token_scores
    assert found is not None, "the task has refused a family without"
    modules = (found.dense, found.norm)
    return (*(f"{module}.{leaf}" for module in modules for leaf in ("weight", "bias")), found.decoder, *found.biases)


def with_token_scores(
    head: Head,
    folder: Path,
    weights: MappedWeights | AdaptedWeights,
    encoder: TextEncoder,
    architecture: Architecture,
) -> tuple[tuple[str, ...], Head]:
    """Let the weights have the head's tensors; return those, and the head with what the tokenizer knows.

    Its labels are the tokens of the embedding table, which may be more than the tokenizer has; its mask is that of a
    head that reads a text's mask. Raises `InputError` where that is needed, and the tokenizer has none.
    """
    names = names_of_token_scores(architecture)
    weights.include(names)
    head = replace(head, labels=encoder.names_of_ids(architecture.vocabulary))
    if head.pooling is not None:  # of every token's scores
        return names, head
    if encoder.mask_id < 0:
        raise InputError(
            f"{folder}: the tokenizer has no mask token, which {head.task} needs; name it as mask_token in "
            "tokenizer_config.json"
        )
    return names, replace(head, mask=encoder.mask_id)
