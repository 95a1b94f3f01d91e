"""ModernBERT (Warner et al. 2024): rotary positions, local attention in most layers, gated feed-forward, norms first.

Rotary bases and kinds of layers have two spellings: the one that the hub's files have (`global_attn_every_n_layers`,
`global_rope_theta`, `local_rope_theta`), and that of transformers 5 (`layer_types`, `rope_parameters`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families import bert
from bertc.checkpoint.families._encoder import activation, chosen, encoder_from_config, epsilon, positive, rotary
from bertc.checkpoint.families.bert import first_position
from bertc.core.head import Pooling
from bertc.errors import InputError
from bertc.ir.architecture import Activation, Architecture, LayerNames, Rotary, TokenScores

__all__ = ["PREFIX", "architecture_from_config", "first_position"]
PREFIX = "model."
FIELDS = replace(bert.FIELDS, activation="hidden_activation")
FULL, SLIDING = "full_attention", "sliding_attention"
BASES = {FULL: ("global_rope_theta", 160_000.0), SLIDING: ("local_rope_theta", 10_000.0)}
"""The hub's field of each kind of layer's rotary base, and its default."""

HEAD_ACTIVATIONS = {Activation.GELU: "Gelu", Activation.RELU: "Relu"}


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read ModernBERT's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    found = encoder_from_config(config, FIELDS, lambda layer: _layer_names(layer, positive(config, FIELDS.layers)))
    kinds = _kinds(config, found.layers)
    turned = {kind: _rotary(config, kind) for kind in set(kinds)}
    head = activation(config, "classifier_activation")
    if head not in HEAD_ACTIVATIONS:
        raise InputError(
            f"config.json: classifier_activation '{head}' is not supported; bertc computes a head with gelu or relu"
        )
    if found.head_size % 2:
        raise InputError(f"config.json: heads of {found.head_size} channels have no pairs to turn; check hidden_size")
    return replace(
        found,
        epsilon=epsilon(config, "norm_eps", 1e-5),
        word_embeddings="embeddings.tok_embeddings.weight",
        position_embeddings=None,
        embeddings_norm="embeddings.norm",
        norm_first=True,
        gated=True,
        rotary=tuple(turned[kind] for kind in kinds),
        windows=tuple(_window(config) if kind == SLIDING else None for kind in kinds),
        without_bias=frozenset(_without_bias(config, found)),
        dense=(("head.dense", HEAD_ACTIVATIONS[head]),),
        dense_norm="head.norm",
        dense_tokens=True,
        pooling=_pooling(config),
        spans="classifier",
        token_scores=TokenScores(
            dense="head.dense", activation=head, norm="head.norm", decoder="decoder.weight", biases=("decoder.bias",)
        ),
        joined={_joined(layer): _parts(layer) for layer in range(found.layers)},
    )


def _joined(layer: int) -> str:
    return f"layers.{layer}.attn.Wqkv"


def _parts(layer: int) -> tuple[str, str, str]:
    prefix = _joined(layer)
    return f"{prefix}.query", f"{prefix}.key", f"{prefix}.value"


def _layer_names(layer: int, layers: int) -> LayerNames:
    prefix = f"layers.{layer}"
    query, key, value = _parts(layer)
    return LayerNames(
        query=query,
        key=key,
        value=value,
        attention_output=f"{prefix}.attn.Wo",
        attention_norm=f"{prefix}.mlp_norm",
        intermediate=f"{prefix}.mlp.Wi",
        output=f"{prefix}.mlp.Wo",
        output_norm="final_norm" if layer + 1 == layers else f"layers.{layer + 1}.attn_norm",
    )


def _without_bias(config: Mapping[str, Any], found: Architecture) -> Iterator[str]:
    """Give the modules whose bias the configuration switches off, as it does where it says nothing."""
    if not config.get("attention_bias", False):
        for layer in range(found.layers):
            yield from (*_parts(layer), f"layers.{layer}.attn.Wo")
    if not config.get("mlp_bias", False):
        for names in found.layer_names:
            yield from (names.intermediate, names.output)
    if not config.get("norm_bias", False):
        yield from ("embeddings.norm", "head.norm")
        for names in found.layer_names:
            yield from (names.attention_norm, names.output_norm)
    if not config.get("classifier_bias", False):
        yield "head.dense"
    if not config.get("decoder_bias", True):
        yield "decoder"


def _kinds(config: Mapping[str, Any], layers: int) -> list[str]:
    """Return the kind of attention of each layer, in either spelling."""
    kinds = config.get("layer_types")
    if kinds is None:
        every = config.get("global_attn_every_n_layers", 3)
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise InputError(f"config.json: global_attn_every_n_layers must be a positive integer, not {every!r}")
        return [SLIDING if layer % every else FULL for layer in range(layers)]
    if not isinstance(kinds, list) or len(kinds) != layers or not all(kind in (FULL, SLIDING) for kind in kinds):
        raise InputError(
            f"config.json: layer_types must have {layers} entries, each '{FULL}' or '{SLIDING}', and is {kinds!r}"
        )
    return kinds


def _rotary(config: Mapping[str, Any], kind: str) -> Rotary:
    """Return the rotary positions of a kind of layer, in either spelling. Refuses most that are scaled."""
    field, usual = BASES[kind]
    found = config.get("rope_parameters")
    return rotary(config, found.get(kind) if isinstance(found, Mapping) else found, field, usual, f" of {kind}")


def _window(config: Mapping[str, Any]) -> int:
    """Return how many positions a local query sees to each side: half of `local_attention`."""
    return positive({"local_attention": 128, **config}, "local_attention") // 2


def _pooling(config: Mapping[str, Any]) -> Pooling:
    return Pooling(chosen(config, "classifier_pooling", (Pooling.CLS, Pooling.MEAN), Pooling.CLS))
