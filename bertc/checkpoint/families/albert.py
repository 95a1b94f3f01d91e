"""ALBERT (Lan et al. 2019): BERT with narrow embeddings and a projection behind them, and layers that share weights.

The layers stand in groups, each with `inner_group_num` layers of its own weights that run one after the other; each of
`num_hidden_layers` runs one group (huggingface/transformers, models/albert/modeling_albert.py, `AlbertTransformer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families import bert
from bertc.checkpoint.families._encoder import positive, predictions
from bertc.checkpoint.families.bert import first_position
from bertc.errors import InputError
from bertc.ir.architecture import Architecture, LayerNames

__all__ = ["PREFIX", "architecture_from_config", "first_position"]
PREFIX = "albert."
DEFAULTS = {"embedding_size": 128, "num_hidden_groups": 1, "inner_group_num": 1, "hidden_act": "gelu_new"}
"""Of transformers' AlbertConfig, where config.json leaves them out."""


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read ALBERT's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    config = {**DEFAULTS, **config}
    found = bert.architecture_from_config(config)
    groups, inner = positive(config, "num_hidden_groups"), positive(config, "inner_group_num")
    if groups > found.layers:
        raise InputError(
            f"config.json: num_hidden_groups {groups} is more than num_hidden_layers {found.layers}; correct the file"
        )
    runs = [int(layer / (found.layers / groups)) for layer in range(found.layers)]  # as transformers rounds it
    names = [_layer_names(group, place) for group in runs for place in range(inner)]
    return replace(
        found,
        layers=len(names),
        layer_names=tuple(names),
        embedding=positive(config, "embedding_size"),
        embedding_projection="encoder.embedding_hidden_mapping_in",
        dense=(("pooler", "Tanh"),),
        token_scores=predictions(found.activation, "predictions.", "predictions.", "LayerNorm"),
    )


def _layer_names(group: int, place: int) -> LayerNames:
    prefix = f"encoder.albert_layer_groups.{group}.albert_layers.{place}"
    return LayerNames(
        query=f"{prefix}.attention.query",
        key=f"{prefix}.attention.key",
        value=f"{prefix}.attention.value",
        attention_output=f"{prefix}.attention.dense",
        attention_norm=f"{prefix}.attention.LayerNorm",
        intermediate=f"{prefix}.ffn",
        output=f"{prefix}.ffn_output",
        output_norm=f"{prefix}.full_layer_layer_norm",
    )
