"""DistilBERT (Sanh et al. 2019): BERT without token types, with a dense layer and ReLU before the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families._encoder import Fields, encoder_from_config
from bertc.checkpoint.families.bert import first_position
from bertc.ir.architecture import Architecture, LayerNames, TokenScores

__all__ = ["PREFIX", "architecture_from_config", "first_position"]
PREFIX = "distilbert."
FIELDS = Fields(hidden="dim", heads="n_heads", layers="n_layers", intermediate="hidden_dim", activation="activation")


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read DistilBERT's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    found = encoder_from_config(config, FIELDS, _layer_names)
    return replace(
        found,
        epsilon=1e-12,  # a constant of huggingface/transformers, models/distilbert/modeling_distilbert.py
        dense=(("pre_classifier", "Relu"),),
        token_scores=TokenScores(
            dense="vocab_transform",
            activation=found.activation,
            norm="vocab_layer_norm",
            decoder="vocab_projector.weight",
            biases=("vocab_projector.bias",),
        ),
    )


def _layer_names(layer: int) -> LayerNames:
    prefix = f"transformer.layer.{layer}"
    return LayerNames(
        query=f"{prefix}.attention.q_lin",
        key=f"{prefix}.attention.k_lin",
        value=f"{prefix}.attention.v_lin",
        attention_output=f"{prefix}.attention.out_lin",
        attention_norm=f"{prefix}.sa_layer_norm",
        intermediate=f"{prefix}.ffn.lin1",
        output=f"{prefix}.ffn.lin2",
        output_norm=f"{prefix}.output_layer_norm",
    )
