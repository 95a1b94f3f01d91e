"""How a vocabulary spells a label that is a token: with its sign for a blank before it, or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bertc.core.head import Head
from bertc.data.rows import Row
from bertc.evaluate.task import Encoder

SIGNS = ("▁", "Ġ")
"""What a vocabulary (SentencePiece's, a byte-level one) writes before a token that stands behind a blank."""

LONGEST_LABEL = 8
"""Tokens of a label, special ones included, that are looked at: one of its own is wanted."""


def first_labels_spelt(rows: Sequence[Row], head: Head, encoder: Encoder) -> tuple[Row, ...]:
    """Return rows in which a label for a mask at a text's beginning has the sign that the tokenizer writes there.

    Tokenizers differ in whether a text begins as if a blank stood before it, and the vocabulary does not say.
    """
    assert head.mask is not None
    mask = head.labels[head.mask]
    asked = [place for place, row in enumerate(rows) if row.label is not None and row.texts[0].startswith(mask)]
    found = list(rows)
    length = min(LONGEST_LABEL, encoder.positions)
    encoded = encoder.encode_batch([str(rows[place].label).strip() for place in asked], max_length=length)
    for place, item in zip(asked, encoded, strict=True):
        given = str(rows[place].label).strip()
        names = [head.labels[id] for id, text in zip(item.ids, item.sequence_ids, strict=True) if text >= 0]
        if any(names == [sign + given] for sign in SIGNS):
            found[place] = replace(rows[place], label=names[0])
    return tuple(found)
