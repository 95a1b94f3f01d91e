"""GTE (Zhang et al. 2024, mGTE): BERT with rotary positions and a feed-forward gated by GELU.

gte-base-en-v1.5, gte-multilingual-base and its reranker, snowflake-arctic-embed-m-v2.0. config.json has two spellings:
transformers' (`rope_parameters`), and the hub's, whose model type is `new` or `gte` (`rope_theta`, `rope_scaling`) and
which is put into the former where the file is read. Weights have one, but for the prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families._encoder import (
    LINEAR,
    at_least_one,
    encoder_from_config,
    positive,
    predictions,
    rotary,
    widths,
)
from bertc.checkpoint.families.bert import FIELDS, first_position
from bertc.errors import InputError
from bertc.ir.architecture import Activation, Architecture, LayerNames

__all__ = ["PREFIX", "architecture_from_config", "first_position", "usual_config"]
PREFIX = ("gte.", "new.")
BASE = 160_000.0
HUB_BASE = 10_000.0
"""What the hub's code takes where config.json has no base: it alone reads the type `new` and the scaling `ntk`."""

NTK = "ntk"
WANTED = {"position_embedding_type": "rope", "layer_norm_type": "layer_norm", "pack_qkv": True}
"""What the hub's code can also compute otherwise, and is another model then."""

OTHERS = ("logn_attention_scale",)
UNREAD = ("logn_attention_clip1", "unpad_inputs", "use_memory_efficient_attention")
"""How something is computed."""


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read the dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    given = usual_config(config)
    found = encoder_from_config(given, FIELDS, _layer_names)
    if found.head_size % 2:
        raise InputError(f"config.json: heads of {found.head_size} channels have no pairs to turn; check hidden_size")
    turned = rotary(given, given.get("rope_parameters"), "rope_theta", BASE)
    types = 0 if given.get("type_vocab_size") == 0 else positive({"type_vocab_size": 1, **given}, "type_vocab_size")
    layers = range(found.layers)
    return replace(
        found,
        position_embeddings=None,
        token_types=types,
        token_type_embeddings="embeddings.token_type_embeddings.weight" if types else None,
        gated=True,
        rotary=(turned,) * found.layers,
        without_bias=frozenset(each.intermediate for each in found.layer_names),
        dense=(("pooler.dense", "Tanh"),),
        joined={
            **{f"encoder.layer.{layer}.attention.qkv_proj": _parts(layer) for layer in layers},
            **{f"encoder.layer.{layer}.mlp.up_gate_proj": _halves(layer) for layer in layers},
        },
        stacked={each.intermediate: _halves(layer)[::-1] for layer, each in enumerate(found.layer_names)},
        token_scores=predictions(Activation.GELU, "lm_head.", "lm_head.", "norm"),
    )


def usual_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the hub's entries in transformers' words, and those as they are.

    Raises `InputError` for another model, and for positions that are scaled in a way that bertc does not compute.
    """
    for name in OTHERS:
        if config.get(name):
            raise InputError(f"config.json: {name} is {config[name]!r}, and bertc computes GTE without")
    for name, value in WANTED.items():
        if config.get(name, value) != value:
            raise InputError(f"config.json: {name} is {config[name]!r}, and bertc computes GTE with {value!r} alone")
    scaling = config.get("rope_scaling")
    known = (*WANTED, *OTHERS, *UNREAD, *(("rope_scaling", "rope_theta") if scaling else ()))
    found = {name: value for name, value in config.items() if name not in known}
    if scaling:
        return found | {"rope_parameters": _scaled(config, scaling)}
    bare = config.get("rope_theta") is None and config.get("rope_parameters") is None
    return found | {"rope_theta": HUB_BASE} if bare and config.get("model_type") == "new" else found


def _scaled(config: Mapping[str, Any], scaling: Any) -> Mapping[str, Any]:
    """Return the hub's fixed NTK scaling in transformers' words: another base, and positions by a factor.

    An angle is p / (factor x base)^(2 i / d) / factor^(2 / d): huggingface/transformers, model_doc/gte.md, and
    Alibaba-NLP/new-impl, `NTKScalingRotaryEmbedding` without `mixed_b`.
    """
    kind = scaling.get("type", scaling.get("rope_type")) if isinstance(scaling, Mapping) else None
    if kind != NTK or set(scaling) - {"type", "rope_type", "factor"}:
        raise InputError(
            f"config.json: rope_scaling is {scaling!r:.80}, and bertc computes GTE without it or with the type "
            f"'{NTK}' and its factor alone"
        )
    factor = at_least_one(scaling.get("factor"), "factor of rope_scaling")
    base = at_least_one(HUB_BASE if config.get("rope_theta") is None else config["rope_theta"], "rope_theta")
    hidden, heads = widths(config, FIELDS.hidden, FIELDS.heads)
    found = {"rope_type": LINEAR, "rope_theta": base * factor, "factor": factor ** (2 * heads / hidden)}
    stated = config.get("rope_parameters")
    if stated is not None and not _alike(stated, found):
        raise InputError(
            f"config.json: rope_parameters {stated!r:.120} is beside rope_scaling and rope_theta, which mean {found}; "
            "correct the file"
        )
    return found


def _alike(stated: Any, found: Mapping[str, Any]) -> bool:
    """Say whether rope_parameters are what rope_scaling is, but for rounding."""
    if not isinstance(stated, Mapping) or stated.get("rope_type") != found["rope_type"]:
        return False
    pairs = [(stated.get(name), found[name]) for name in ("rope_theta", "factor")]
    return all(isinstance(a, int | float) and abs(a - b) <= 1e-3 * b for a, b in pairs)


def _parts(layer: int) -> tuple[str, str, str]:
    prefix = f"encoder.layer.{layer}.attention"
    return f"{prefix}.q_proj", f"{prefix}.k_proj", f"{prefix}.v_proj"


def _halves(layer: int) -> tuple[str, str]:
    """Return the two matrices of a gated feed-forward as files have them, the gate's activation in the second."""
    prefix = f"encoder.layer.{layer}.mlp"
    return f"{prefix}.up_proj", f"{prefix}.gate_proj"


def _layer_names(layer: int) -> LayerNames:
    prefix = f"encoder.layer.{layer}"
    query, key, value = _parts(layer)
    return LayerNames(
        query=query,
        key=key,
        value=value,
        attention_output=f"{prefix}.attention.o_proj",
        attention_norm=f"{prefix}.attn_ln",
        intermediate=f"{prefix}.mlp.gate_up_proj",
        output=f"{prefix}.mlp.down_proj",
        output_norm=f"{prefix}.mlp_ln",
    )
