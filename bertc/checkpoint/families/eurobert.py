"""EuroBERT (Boizard et al. 2025): RMSNorm first, rotary positions, a feed-forward gated by SiLU, and no biases.

The larger ones have fewer heads of keys and values than of queries (`bertc.checkpoint.shared_heads`).

The entries of the hub's files (`rope_theta`, `clf_pooling`) and those of transformers 5 (`rope_parameters`,
`classifier_pooling`) are read. Its classifier pools "late": a mean of every token's scores, which is the classifier of
the mean of what stands behind the dense layer, since a linear layer of a mean is the mean of linear layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families._encoder import chosen, encoder_from_config, epsilon, positive, rotary
from bertc.checkpoint.families.bert import FIELDS, first_position
from bertc.core.head import Pooling
from bertc.errors import InputError
from bertc.ir.architecture import Architecture, LayerNames, Norm

__all__ = ["PREFIX", "architecture_from_config", "first_position"]
PREFIX = "model."
BASE = 10_000.0
LATE = "late"
POOLINGS = {LATE: Pooling.MEAN, "mean": Pooling.MEAN, "bos": Pooling.CLS}


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read EuroBERT's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    given = {"hidden_act": "silu", **config}
    found = encoder_from_config(given, FIELDS, lambda layer: _layer_names(layer, positive(config, FIELDS.layers)))
    head = found.head_size if config.get("head_dim") is None else positive(config, "head_dim")
    if head % 2:
        raise InputError(f"config.json: heads of {head} channels have no pairs to turn; check hidden_size and head_dim")
    field = "clf_pooling" if config.get("classifier_pooling") is None else "classifier_pooling"
    pooling = chosen(config if config.get(field) is not None else {}, field, POOLINGS, LATE)
    turned = rotary(config, config.get("rope_parameters"), "rope_theta", BASE)
    return replace(
        found,
        head_width=head,
        shared_heads=_shared_heads(config, found.heads),
        epsilon=epsilon(config, "rms_norm_eps", 1e-5),
        word_embeddings="embed_tokens.weight",
        position_embeddings=None,
        embeddings_norm="layers.0.input_layernorm",
        norm_first=True,
        bare_residual=True,
        norm=Norm.RMS,
        gated=True,
        rotary=(turned,) * found.layers,
        without_bias=frozenset(_without_bias(config, found)),
        stacked={
            each.intermediate: (f"layers.{layer}.mlp.gate_proj", f"layers.{layer}.mlp.up_proj")
            for layer, each in enumerate(found.layer_names)
        },
        dense=(("dense", "Gelu"),),
        pooling=POOLINGS[pooling],
        dense_before_pooling=pooling == LATE,
    )


def _shared_heads(config: Mapping[str, Any], heads: int) -> int:
    """Return how many heads of queries share one of keys and values."""
    if config.get("num_key_value_heads") is None:
        return 1
    own = positive(config, "num_key_value_heads")
    if heads % own:
        raise InputError(
            f"config.json: num_key_value_heads {own} do not divide the {heads} heads of num_attention_heads, which "
            "share them; correct the file"
        )
    return heads // own


def _layer_names(layer: int, layers: int) -> LayerNames:
    prefix = f"layers.{layer}"
    return LayerNames(
        query=f"{prefix}.self_attn.q_proj",
        key=f"{prefix}.self_attn.k_proj",
        value=f"{prefix}.self_attn.v_proj",
        attention_output=f"{prefix}.self_attn.o_proj",
        attention_norm=f"{prefix}.post_attention_layernorm",
        intermediate=f"{prefix}.mlp.gate_up_proj",
        output=f"{prefix}.mlp.down_proj",
        output_norm="norm" if layer + 1 == layers else f"layers.{layer + 1}.input_layernorm",
    )


def _without_bias(config: Mapping[str, Any], found: Architecture) -> Iterator[str]:
    """Give the modules whose bias the configuration switches off, as it does where it says nothing."""
    for each in found.layer_names:
        if not config.get("attention_bias", False):
            yield from (each.query, each.key, each.value, each.attention_output)
        if not config.get("mlp_bias", False):
            yield from (each.intermediate, each.output)
