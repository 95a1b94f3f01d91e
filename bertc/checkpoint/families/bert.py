"""BERT (Devlin et al. 2018): absolute positions, token types, post-LayerNorm, a pooler before the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families._encoder import Fields, encoder_from_config, positive, predictions
from bertc.ir.architecture import Architecture, LayerNames

PREFIX = "bert."
FIELDS = Fields(
    hidden="hidden_size",
    heads="num_attention_heads",
    layers="num_hidden_layers",
    intermediate="intermediate_size",
    activation="hidden_act",
)


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read BERT's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    found = encoder_from_config(config, FIELDS, _layer_names)
    return replace(
        found,
        token_types=positive(config, "type_vocab_size"),
        token_type_embeddings="embeddings.token_type_embeddings.weight",
        dense=(("pooler.dense", "Tanh"),),
        token_scores=predictions(found.activation, "cls.predictions.", "cls.predictions.transform.", "LayerNorm"),
    )


def first_position(config: Mapping[str, Any]) -> int:
    """Return the row of the position table that belongs to a text's first token: here 0."""
    return 0


def _layer_names(layer: int) -> LayerNames:
    prefix = f"encoder.layer.{layer}"
    return LayerNames(
        query=f"{prefix}.attention.self.query",
        key=f"{prefix}.attention.self.key",
        value=f"{prefix}.attention.self.value",
        attention_output=f"{prefix}.attention.output.dense",
        attention_norm=f"{prefix}.attention.output.LayerNorm",
        intermediate=f"{prefix}.intermediate.dense",
        output=f"{prefix}.output.dense",
        output_norm=f"{prefix}.output.LayerNorm",
    )
