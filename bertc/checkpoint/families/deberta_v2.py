"""DeBERTa v2 and v3 (He et al. 2020, 2021): BERT's encoder, whose scores also depend on how far apart two tokens are.

A score is the sum of query and key, of the query and an embedding of the distance, and of the key and one
(huggingface/transformers, models/deberta_v2/modeling_deberta_v2.py, `DisentangledSelfAttention`). Most have no position
table beside that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families import bert
from bertc.checkpoint.families._encoder import chosen, encoder_from_config, positive, predictions
from bertc.checkpoint.families.bert import first_position
from bertc.errors import InputError
from bertc.ir.architecture import Activation, Architecture, LayerNames, RelativeEmbeddings, TokenScores

__all__ = ["PREFIX", "architecture_from_config", "first_position"]
PREFIX = "deberta."
POSITIONS = "embeddings.position_embeddings.weight"
DISTANCES = ("encoder.rel_embeddings.weight", "encoder.LayerNorm.weight", "encoder.LayerNorm.bias")
POOLER_ACTIVATIONS = {"gelu": "Gelu", "relu": "Relu", "tanh": "Tanh"}
TERMS = ("c2p", "p2c")


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read DeBERTa's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    _refuse_variants(config)
    terms = _terms(config)
    biased = config.get("position_biased_input", True)
    found = encoder_from_config(config, bert.FIELDS, _layer_names)
    types = positive(config, "type_vocab_size") if config.get("type_vocab_size") else 0
    relative = _relative_embeddings(config, terms, found.layers)
    return replace(
        found,
        epsilon=float(config.get("layer_norm_eps", 1e-7)),
        token_types=types,
        token_type_embeddings="embeddings.token_type_embeddings.weight" if types else None,
        position_embeddings=POSITIONS if biased else None,
        unread=(*(() if biased else (POSITIONS,)), *(DISTANCES if relative is None else ())),
        attention_terms=1 + len(terms),
        relative_embeddings=relative,
        dense=(("pooler.dense", _pooler_activation(config)),),
        token_scores=_token_scores(config, found.activation),
        unseen="their embeddings are zeros and they attend to nothing",
    )


def _refuse_variants(config: Mapping[str, Any]) -> None:
    """Refuse what shares the model type but computes something else."""
    if config.get("conv_kernel_size", 0):
        raise InputError(
            f"config.json: conv_kernel_size is {config['conv_kernel_size']!r}, but bertc does not compute the "
            "convolution beside the first layer, which DeBERTa-v2-xlarge has; take a model without, such as DeBERTa-v3"
        )
    hidden = positive(config, "hidden_size")
    for name in ("embedding_size", "pooler_hidden_size"):
        if config.get(name, hidden) != hidden:
            raise InputError(
                f"config.json: {name} {config[name]!r} is not hidden_size {hidden}; bertc computes DeBERTa of one width"
            )
    heads = positive(config, "num_attention_heads")
    if config.get("attention_head_size", hidden / heads) != hidden / heads:
        raise InputError(
            f"config.json: attention_head_size {config['attention_head_size']!r} times {heads} heads is not "
            f"hidden_size {hidden}; bertc computes heads that share the hidden size"
        )


def _terms(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return which of the two products with positions a score has: a list, or names between bars."""
    given = config.get("pos_att_type") or []
    names = _names(given) if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"config.json: pos_att_type must be names between bars or a list of names, not {given!r}; correct the file"
        )
    return tuple(term for term in TERMS if term in names)


def _relative_embeddings(config: Mapping[str, Any], terms: tuple[str, ...], layers: int) -> RelativeEmbeddings | None:
    """Return where the embeddings of distances are, and how a distance finds its row; None without any."""
    if not config.get("relative_attention", False) or not terms:
        return None
    longest = _count(config, "max_relative_positions") or positive(config, "max_position_embeddings")
    buckets = _count(config, "position_buckets")
    if buckets and (buckets < 4 or longest < buckets // 2 + 2):
        raise InputError(
            f"config.json: position_buckets {buckets} with max_relative_positions {longest} has no buckets for long "
            "distances; correct the file"
        )
    shared = config.get("share_att_key", False)

    def projections(term: str, shared_name: str, own_name: str) -> tuple[str, ...]:
        name = shared_name if shared else own_name
        return tuple(f"encoder.layer.{layer}.attention.self.{name}" for layer in range(layers)) if term in terms else ()

    norms = config.get("norm_rel_ebd", "none")
    if not isinstance(norms, str):
        raise InputError(f"config.json: norm_rel_ebd must be names between bars, not {norms!r}; correct the file")
    return RelativeEmbeddings(
        embeddings=DISTANCES[0],
        norm="encoder.LayerNorm" if "layer_norm" in _names(norms) else None,
        buckets=buckets,
        longest=longest,
        keys=projections("c2p", "key_proj", "pos_key_proj"),
        queries=projections("p2c", "query_proj", "pos_query_proj"),
    )


def _names(given: str) -> list[str]:
    """Return the names between bars."""
    return [name.strip() for name in given.lower().split("|")]


def _count(config: Mapping[str, Any], name: str) -> int:
    """Return a number, 0 where it is below 1, which says that there is none. Raises `InputError` for no number."""
    found = config.get(name, -1)
    if isinstance(found, bool) or not isinstance(found, int):
        raise InputError(f"config.json: {name} must be a whole number, -1 for none, not {found!r}; correct the file")
    return max(found, 0)


def _pooler_activation(config: Mapping[str, Any]) -> str:
    return POOLER_ACTIVATIONS[chosen(config, "pooler_hidden_act", POOLER_ACTIVATIONS, "gelu")]


def _token_scores(config: Mapping[str, Any], activation: Activation) -> TokenScores:
    """Return the masked language model's head: BERT's, or with `legacy` false that of DeBERTa's authors."""
    if config.get("legacy", True):
        return predictions(activation, "cls.predictions.", "cls.predictions.transform.", "LayerNorm")
    return predictions(activation, "lm_predictions.lm_head.", "lm_predictions.lm_head.", "LayerNorm")


def _layer_names(layer: int) -> LayerNames:
    prefix = f"encoder.layer.{layer}"
    return LayerNames(
        query=f"{prefix}.attention.self.query_proj",
        key=f"{prefix}.attention.self.key_proj",
        value=f"{prefix}.attention.self.value_proj",
        attention_output=f"{prefix}.attention.output.dense",
        attention_norm=f"{prefix}.attention.output.LayerNorm",
        intermediate=f"{prefix}.intermediate.dense",
        output=f"{prefix}.output.dense",
        output_norm=f"{prefix}.output.LayerNorm",
    )
