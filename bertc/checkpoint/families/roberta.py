"""RoBERTa (Liu et al. 2019); XLM-RoBERTa and CamemBERT, which are RoBERTa with other vocabularies; data2vec-text.

BERT's encoder. Positions begin behind the padding's (huggingface/transformers, models/roberta/modeling_roberta.py,
`create_position_ids_from_input_ids`), there is one token type, and the classifier has its own dense layer in the place
of the pooler.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families import bert
from bertc.checkpoint.families._encoder import predictions
from bertc.errors import InputError
from bertc.ir.architecture import Activation, Architecture

PREFIX = ("roberta.", "data2vec_text.")


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read RoBERTa's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    found = bert.architecture_from_config(config)
    first = first_position(config)  # `positions_from_config` has refused a table that ends before it
    return replace(
        found,
        positions=found.positions - first,
        first_position=first,
        dense=(("classifier.dense", "Tanh"),),
        classifier="classifier.out_proj",
        token_scores=predictions(Activation.GELU, "lm_head.", "lm_head.", "layer_norm"),
    )


def first_position(config: Mapping[str, Any]) -> int:
    """Return the row of the position table that belongs to a text's first token: the one behind the padding's."""
    padding = config.get("pad_token_id", 1)
    if isinstance(padding, bool) or not isinstance(padding, int) or padding < 0:
        raise InputError(f"config.json: pad_token_id must be the number of a token, not {padding!r}")
    return padding + 1
