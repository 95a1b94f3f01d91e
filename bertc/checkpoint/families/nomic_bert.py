"""nomic-bert (Nussbaum et al. 2024): BERT with rotary positions, a feed-forward gated by SiLU, no bias in products.

config.json has two spellings: the hub's, in GPT-2's words (`n_embd`, `rotary_emb_base`), and that of transformers 5
(`hidden_size`, `rope_parameters`), into which the former is put where the file is read. Weights have one: transformers
writes the hub's names too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families._encoder import encoder_from_config, epsilon, positive, rotary, widths
from bertc.checkpoint.families.bert import FIELDS, first_position
from bertc.errors import InputError
from bertc.ir.architecture import Architecture, LayerNames

__all__ = ["LONGEST_TEXT", "PREFIX", "architecture_from_config", "first_position", "usual_config"]
PREFIX = "nomic_bert."
LONGEST_TEXT = 2048
"""Tokens that a text may have where config.json does not say."""

BASE = 1000.0
RENAMED = {
    "n_embd": "hidden_size",
    "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers",
    "n_inner": "intermediate_size",
    "layer_norm_epsilon": "layer_norm_eps",
}
TWICE = {**RENAMED, "n_positions": "max_position_embeddings"}
"""Entries of one meaning, the hub's and transformers 5's."""

SWIGLU = "swiglu"
OTHERS = (
    *("prenorm", "use_rms_norm", "parallel_block", "causal", "moe_every_n_layers", "num_experts"),
    *("qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias", "scale_attn_by_inverse_layer_idx"),
    *("rotary_emb_interleaved", "rotary_emb_scale_base"),
)
"""What the hub's code can also compute, and is another model when set."""

READ = ("activation_function", "rotary_emb_fraction", "rotary_emb_base", "rotary_scaling_factor", "n_positions")
READ_BESIDE = ("max_trained_positions", "pad_vocab_size_multiple", "scale_attn_weights")
UNREAD = (
    *("attn_pdrop", "embd_pdrop", "resid_pdrop", "summary_first_dropout", "summary_proj_to_labels", "use_xentropy"),
    *("dense_seq_output", "fused_bias_fc", "fused_dropout_add_ln", "parallel_block_tied_norm", "use_flash_attn"),
    "reorder_and_upcast_attn",
)
"""Of training, of heads, or how something is computed."""


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read the dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    given = {"hidden_act": "silu", "max_position_embeddings": LONGEST_TEXT, **usual_config(config)}
    found = encoder_from_config(given, FIELDS, _layer_names)
    head = found.head_size if given.get("head_dim") is None else positive(given, "head_dim")
    if head % 2:
        raise InputError(f"config.json: heads of {head} channels have no pairs to turn; check hidden_size and head_dim")
    turned = rotary(given, given.get("rope_parameters"), "rope_theta", BASE)
    layers = range(found.layers)
    return replace(
        found,
        head_width=head,
        position_embeddings=None,
        embeddings_norm="emb_ln",
        token_types=positive({"type_vocab_size": 2, **given}, "type_vocab_size"),
        token_type_embeddings="embeddings.token_type_embeddings.weight",
        gated=True,
        rotary=(turned,) * found.layers,
        without_bias=frozenset(_without_bias(found)),
        dense=(("pooler.dense", "Tanh"),),
        joined={f"encoder.layers.{layer}.attn.Wqkv": _parts(layer) for layer in layers},
        stacked={
            names.intermediate: (f"encoder.layers.{layer}.mlp.fc12", f"encoder.layers.{layer}.mlp.fc11")
            for layer, names in zip(layers, found.layer_names, strict=True)
        },
    )


def usual_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the hub's entries in transformers 5's words, and those as they are.

    Raises `InputError` for another model, for sizes by the names that the file has, and where both spellings disagree.
    """
    if "n_embd" not in config:
        return config
    _refuse_variants(config)
    named = {name: other if name not in config and other in config else name for name, other in TWICE.items()}
    widths(config, named["n_embd"], named["n_head"])
    for name in ("n_layer", "n_inner"):
        positive(config, named[name])
    epsilon(config, named["layer_norm_epsilon"], 1e-12)
    known = {*RENAMED, *OTHERS, *READ, *READ_BESIDE, *UNREAD}
    found = {RENAMED.get(name, name): value for name, value in config.items() if name in RENAMED or name not in known}
    longest = positive({named["n_positions"]: LONGEST_TEXT, **config}, named["n_positions"])
    if config.get("rotary_scaling_factor"):  # beyond these, the base changes with a text's length
        longest = min(longest, positive({"max_trained_positions": LONGEST_TEXT, **config}, "max_trained_positions"))
    multiple = positive({"pad_vocab_size_multiple": 1, **config}, "pad_vocab_size_multiple")
    words = positive(config, "vocab_size")
    made = {
        "hidden_act": "silu",
        "rope_parameters": {"rope_type": "default", "rope_theta": config.get("rotary_emb_base", BASE)},
    }
    for name, value in made.items():
        if config.get(name, value) != value:
            raise InputError(
                f"config.json: {name} {config[name]!r} stands beside the hub's n_embd, whose model has {value!r}; "
                "correct the file"
            )
    return {**found, **made, TWICE["n_positions"]: longest, "vocab_size": -(-words // multiple) * multiple}


def _refuse_variants(config: Mapping[str, Any]) -> None:
    for name, other in TWICE.items():
        if name in config and config.get(other, config[name]) != config[name]:
            raise InputError(
                f"config.json: {name} {config[name]!r} and {other} {config[other]!r} are two names of one entry and "
                "differ; correct the file"
            )
    for name in OTHERS:
        if config.get(name):
            raise InputError(
                f"config.json: {name} is {config[name]!r}, and bertc computes nomic-bert without; take a model like "
                "nomic-embed-text-v1.5"
            )
    wanted = {"activation_function": SWIGLU, "rotary_emb_fraction": 1, "scale_attn_weights": True}
    for name, value in wanted.items():
        if config.get(name, value) != value:
            raise InputError(
                f"config.json: {name} is {config[name]!r}, and bertc computes nomic-bert with {value!r} alone; take a "
                "model like nomic-embed-text-v1.5"
            )


def _parts(layer: int) -> tuple[str, str, str]:
    prefix = f"encoder.layers.{layer}.attn.Wqkv"
    return f"{prefix}.query", f"{prefix}.key", f"{prefix}.value"


def _layer_names(layer: int) -> LayerNames:
    prefix = f"encoder.layers.{layer}"
    query, key, value = _parts(layer)
    return LayerNames(
        query=query,
        key=key,
        value=value,
        attention_output=f"{prefix}.attn.out_proj",
        attention_norm=f"{prefix}.norm1",
        intermediate=f"{prefix}.mlp.fc1",
        output=f"{prefix}.mlp.fc2",
        output_norm=f"{prefix}.norm2",
    )


def _without_bias(found: Architecture) -> Iterator[str]:
    for each in found.layer_names:
        yield from (each.query, each.key, each.value, each.attention_output, each.intermediate, each.output)
