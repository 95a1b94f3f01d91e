"""T5's encoder (Raffel et al. 2020): RMSNorm first, no bias in any product, and a bias of attention by distance.

The first block has the table of that bias for all of them, and scores are not divided by the root of the head size
(huggingface/transformers, models/t5/modeling_t5.py). Version 1.1 and FLAN-T5 have a gated feed-forward. A decoder that
lies in the same files is left out, as T5EncoderModel leaves it; a model whose head reads the decoder is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bertc.checkpoint.families._encoder import activation, epsilon, positive
from bertc.checkpoint.families.bert import first_position
from bertc.errors import InputError
from bertc.ir.architecture import Activation, Architecture, LayerNames, Norm, RelativeBias

__all__ = ["LONGEST_TEXT", "PREFIX", "architecture_from_config", "first_position"]
PREFIX = "transformer."
LONGEST_TEXT = 2048
"""Tokens that a text may have: T5 has no table that would say, and was trained with 512."""

DECODING = ("T5ForSequenceClassification", "T5ForQuestionAnswering", "T5Model")
GATED = "gated-"
DISTANCES = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read the encoder's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    _refuse_variants(config)
    layers, heads, head = (positive(config, name) for name in ("num_layers", "num_heads", "d_kv"))
    gated, function = _feed_forward(config)
    names = tuple(_layer_names(layer, layers) for layer in range(layers))
    return Architecture(
        hidden=positive(config, "d_model"),
        layers=layers,
        layers_field="num_layers",
        heads=heads,
        head_width=head,
        intermediate=positive(config, "d_ff"),
        vocabulary=positive(config, "vocab_size"),
        positions=positive({"max_position_embeddings": LONGEST_TEXT, **config}, "max_position_embeddings"),
        token_types=0,
        epsilon=epsilon(config, "layer_norm_epsilon", 1e-6),
        activation=function,
        word_embeddings="shared.weight",
        position_embeddings=None,
        token_type_embeddings=None,
        embeddings_norm="encoder.block.0.layer.0.layer_norm",
        layer_names=names,
        dense=(),
        classifier="classifier",
        norm_first=True,
        bare_residual=True,
        norm=Norm.RMS,
        scaled=False,
        gated=gated,
        without_bias=frozenset(_without_bias(names)),
        stacked={each.intermediate: (f"{each.intermediate}_0", f"{each.intermediate}_1") for each in names if gated},
        relative_bias=_relative_bias(config),
        unread=("encoder.embed_tokens.weight",),
    )


def _refuse_variants(config: Mapping[str, Any]) -> None:
    """Refuse what shares the model type but reads a decoder."""
    named = config.get("architectures")
    found = [name for name in named if name in DECODING] if isinstance(named, list) else []
    if found:
        raise InputError(
            f"config.json: {found[0]} reads T5's decoder, which bertc does not compute; save the encoder with "
            "T5EncoderModel, or train T5ForTokenClassification"
        )
    if config.get("is_decoder"):
        raise InputError("config.json: is_decoder is set, but bertc compiles encoders only")


def _feed_forward(config: Mapping[str, Any]) -> tuple[bool, Activation]:
    """Return whether the feed-forward is gated, and its activation.

    `is_gated_act` and `dense_act_fn`, which transformers writes beside it, go before `feed_forward_proj`, as there.
    """
    forward = str(config.get("feed_forward_proj", "relu"))
    # transformers takes "gated-gelu", and this alone, for the form with tanh.
    usual = "gelu_new" if forward == "gated-gelu" else forward.removeprefix(GATED)
    gated = config.get("is_gated_act", forward.startswith(GATED))
    if not isinstance(gated, bool):
        raise InputError(f"config.json: is_gated_act must be true or false, not {gated!r}; correct the file")
    if "dense_act_fn" in config:
        return gated, activation(config, "dense_act_fn")
    return gated, activation({"feed_forward_proj": usual}, "feed_forward_proj")


def _relative_bias(config: Mapping[str, Any]) -> RelativeBias:
    """Read how distances share the table's rows. Raises `InputError` for numbers of which transformers makes none."""
    given = {"relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, **config}
    buckets, longest = (positive(given, f"relative_attention_{name}") for name in ("num_buckets", "max_distance"))
    if buckets < 4 or longest <= buckets // 4:
        raise InputError(
            f"config.json: relative_attention_num_buckets {buckets} and relative_attention_max_distance {longest} "
            "leave no buckets for far tokens; correct the file"
        )
    return RelativeBias(weight=DISTANCES, buckets=buckets, longest=longest)


def _without_bias(names: tuple[LayerNames, ...]) -> Iterator[str]:
    for each in names:
        yield from (each.query, each.key, each.value, each.attention_output, each.intermediate, each.output)


def _layer_names(layer: int, layers: int) -> LayerNames:
    attention, forward = (f"encoder.block.{layer}.layer.{place}" for place in (0, 1))
    last = layer + 1 == layers
    return LayerNames(
        query=f"{attention}.SelfAttention.q",
        key=f"{attention}.SelfAttention.k",
        value=f"{attention}.SelfAttention.v",
        attention_output=f"{attention}.SelfAttention.o",
        attention_norm=f"{forward}.layer_norm",
        intermediate=f"{forward}.DenseReluDense.wi",
        output=f"{forward}.DenseReluDense.wo",
        output_norm="encoder.final_layer_norm" if last else f"encoder.block.{layer + 1}.layer.0.layer_norm",
    )
