"""MPNet (Song et al. 2020): BERT's encoder without token types, with a bias of attention by distance for all layers.

Positions begin behind the padding's, the classifier has its own dense layer (huggingface/transformers,
models/mpnet/modeling_mpnet.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families._encoder import encoder_from_config, predictions
from bertc.checkpoint.families.bert import FIELDS
from bertc.errors import InputError
from bertc.ir.architecture import Activation, Architecture, LayerNames, RelativeBias

PREFIX = "mpnet."
BUCKETS, LONGEST = 32, 128
"""Constants of transformers' `compute_position_bias` and `relative_position_bucket`, whatever config.json says."""


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read MPNet's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    found = encoder_from_config(config, FIELDS, _layer_names)
    buckets = config.get("relative_attention_num_buckets", BUCKETS)
    if buckets != BUCKETS:
        raise InputError(
            f"config.json: relative_attention_num_buckets {buckets!r} is not supported; transformers computes MPNet's "
            f"buckets for {BUCKETS} whatever this says, so correct the file"
        )
    first = first_position(config)
    return replace(
        found,
        positions=found.positions - first,
        first_position=first,
        relative_bias=RelativeBias(weight="encoder.relative_attention_bias.weight", buckets=BUCKETS, longest=LONGEST),
        dense=(("classifier.dense", "Tanh"),),
        classifier="classifier.out_proj",
        token_scores=predictions(Activation.GELU, "lm_head.", "lm_head.", "layer_norm"),
    )


def first_position(config: Mapping[str, Any]) -> int:
    """Return the row of the position table that belongs to a text's first token: 2, whatever the padding's id is."""
    return 2


def _layer_names(layer: int) -> LayerNames:
    prefix = f"encoder.layer.{layer}"
    return LayerNames(
        query=f"{prefix}.attention.attn.q",
        key=f"{prefix}.attention.attn.k",
        value=f"{prefix}.attention.attn.v",
        attention_output=f"{prefix}.attention.attn.o",
        attention_norm=f"{prefix}.attention.LayerNorm",
        intermediate=f"{prefix}.intermediate.dense",
        output=f"{prefix}.output.dense",
        output_norm=f"{prefix}.output.LayerNorm",
    )
