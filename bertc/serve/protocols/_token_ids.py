"""Tokens by their ids, which a client made with the artefact's tokenizer: they are run as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bertc.core.feature import Feature
from bertc.jobs.predict import Predictor
from bertc.serve.refused import Reason, RefusalError

Ids = NDArray[np.int64]


def features_from_ids(predictor: Predictor, ids: Sequence[Ids], types: Sequence[Ids] | None = None) -> list[Feature]:
    """Return inputs of a model, of ids and token types (0 without), int64 [length] each.

    Nothing is added and nothing is cut: special tokens are among the ids. Raises `RefusalError` for an id or type that
    the model does not have, for texts that are longer than its length, and for one without the mask that is asked for.
    """
    encoder, head = predictor.encoder, predictor.head
    for number, each in enumerate(ids):
        if not len(each):
            raise RefusalError(Reason.EMPTY, f"text {number} has no token")
        if len(each) > predictor.max_length:
            raise RefusalError(
                Reason.TOO_LARGE,
                f"text {number} has {len(each)} tokens, and the model reads {predictor.max_length}; ids are not cut",
            )
        wrong = each[(each < 0) | (each >= encoder.vocab_size)]
        if wrong.size:
            raise RefusalError(
                Reason.INVALID,
                f"text {number} has the id {int(wrong[0])}, and the vocabulary those from 0 to "
                f"{encoder.vocab_size - 1}; send the ids of the artefact's own tokenizer",
            )
        if head.mask is not None and int((each == head.mask).sum()) != 1:
            raise RefusalError(Reason.INVALID, f"text {number} has not one mask; its id is {head.mask}")
    given = [np.zeros_like(each) for each in ids] if types is None else list(types)
    largest = encoder.largest_type
    for number, each in enumerate(given):
        if each.min() < 0 or each.max() > largest:
            raise RefusalError(Reason.INVALID, f"text {number} has a token type that is not from 0 to {largest}")
    return [
        Feature(input_ids=each, token_type_ids=kinds, row=number)
        for number, (each, kinds) in enumerate(zip(ids, given, strict=True))
    ]


def rows_from_ids(batch: Mapping[str, Ids]) -> tuple[list[Ids], list[Ids] | None]:
    """Return the ids and the token types (None without) of each text, of `input_ids` and its like: [texts, tokens].

    A row ends where its `attention_mask` does. Raises `RefusalError` for arrays that do not fit each other, for none,
    and for a mask that is not ones and then zeros.
    """
    ids = batch["input_ids"]
    for name, each in batch.items():
        if each.shape != ids.shape:
            raise RefusalError(
                Reason.INVALID, f"{name} has the shape {list(each.shape)}, and input_ids {list(ids.shape)}"
            )
    if not ids.shape[0]:
        raise RefusalError(Reason.EMPTY, "there is no text")
    if not ids.shape[1]:  # before a list is made of them: an array without a number may have 2**31 rows
        raise RefusalError(Reason.EMPTY, "text 0 has no token")
    mask = batch.get("attention_mask", np.ones_like(ids))
    lengths = (mask == 1).sum(axis=1)
    if not np.array_equal(mask, np.arange(ids.shape[1]) < lengths[:, None]):
        raise RefusalError(Reason.INVALID, "a row of attention_mask is ones and then zeros: padding stands at the end")
    types = batch.get("token_type_ids")
    kinds = None if types is None else [row[:length] for row, length in zip(types, lengths, strict=True)]
    return [row[:length] for row, length in zip(ids, lengths, strict=True)], kinds
