"""XLNet (Yang et al. 2019): scores by sinusoids of distances and by segments, no norm behind the embeddings.

What is computed is the content stream: text in its order, without memory and without a target's own stream. A text's
classifier token stands last (huggingface/transformers, models/xlnet/modeling_xlnet.py, `XLNetRelativeAttention`).
Where padding stands makes no difference: a score depends on a distance, and padding is not seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bertc.checkpoint.families._encoder import activation, chosen, positive, widths
from bertc.checkpoint.families.bert import first_position
from bertc.core.head import Pooling
from bertc.errors import InputError
from bertc.ir.architecture import Apart, Architecture, LayerNames, RelativeSinusoids

__all__ = ["LONGEST_TEXT", "PREFIX", "architecture_from_config", "first_position"]
PREFIX = "transformer."
LONGEST_TEXT = 512
"""Tokens that a text may have: XLNet has no table that would say, and was trained with 512. Each layer of an engine has
2 x 511 + 1 projected sinusoids, and twice the tokens would be twice as many."""

SEGMENTS = 3
"""Of a text, of its pair, and of the classifier token behind them."""

POOLINGS = {"last": Pooling.LAST, "cls_index": Pooling.LAST, "first": Pooling.CLS, "mean": Pooling.MEAN}
"""By `summary_type`; transformers' classifier gives no `cls_index`, which then is the last token's."""

ACTIVATIONS = {"": "Identity", "gelu": "Gelu", "relu": "Relu", "tanh": "Tanh"}


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read XLNet's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    hidden, heads = widths(config, "d_model", "n_head")
    _refuse_variants(config, hidden // heads)
    layers = positive(config, "n_layer")
    names = tuple(_layer_names(layer) for layer in range(layers))
    positions = positive({"max_position_embeddings": LONGEST_TEXT, **config}, "max_position_embeddings")
    clamped = config.get("clamp_len", -1)
    attentions = [f"layer.{layer}.rel_attn" for layer in range(layers)]
    return Architecture(
        hidden=hidden,
        layers=layers,
        layers_field="n_layer",
        heads=heads,
        intermediate=positive(config, "d_inner"),
        vocabulary=positive(config, "vocab_size"),
        positions=positions,
        token_types=SEGMENTS,
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=activation(config, "ff_activation"),
        word_embeddings="word_embedding.weight",
        position_embeddings=None,
        token_type_embeddings=None,
        embeddings_norm=None,
        layer_names=names,
        dense=_summary(config),
        classifier="logits_proj",
        pooling=_pooling(config),
        without_bias=frozenset(f"{each}.{name}" for each in attentions for name in ("k", "v", "o", "r")),
        relative_sinusoids=RelativeSinusoids(
            attentions=tuple(attentions), longest=min(positions - 1, clamped) if clamped > 0 else positions - 1
        ),
        apart=dict(pair for each in attentions for pair in _apart(each)),
        unread=("mask_emb",),
        unseen="each of them attends to itself as well",
    )


def _refuse_variants(config: Mapping[str, Any], head: int) -> None:
    """Refuse what shares the model type but computes something else."""
    named = config.get("architectures")
    if isinstance(named, list) and "XLNetForQuestionAnswering" in named:
        raise InputError(
            "config.json: XLNetForQuestionAnswering searches for an answer's end behind its start, which bertc does "
            "not compute; train XLNetForQuestionAnsweringSimple"
        )
    if config.get("attn_type", "bi") != "bi":
        raise InputError(
            f"config.json: attn_type {config['attn_type']!r} is Transformer-XL's, whose tokens do not see what follows "
            "them; bertc compiles encoders only, of attn_type bi"
        )
    if config.get("bi_data"):
        raise InputError(
            "config.json: bi_data is set, with which half of a batch is read backwards in pre-training; correct the "
            "file, in which a fine-tuned model has false"
        )
    if config.get("d_head") not in (None, head):
        raise InputError(
            f"config.json: d_head {config['d_head']!r} is not d_model / n_head, {head}, as transformers wants it; "
            "correct the file"
        )
    clamped = config.get("clamp_len", -1)
    if isinstance(clamped, bool) or not isinstance(clamped, int):
        raise InputError(f"config.json: clamp_len must be a whole number, -1 for none, not {clamped!r}")


def _pooling(config: Mapping[str, Any]) -> Pooling:
    """Return what a classifier reads of a text. A mean is over the text alone, as transformers' is without padding."""
    return POOLINGS[chosen(config, "summary_type", POOLINGS, "last")]


def _summary(config: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the layer behind the vector that a classifier reads. Raises `InputError` for what it may not be."""
    name = str(config.get("summary_activation", "tanh") or "")
    if name not in ACTIVATIONS:
        raise InputError(
            f"config.json: summary_activation '{name}' is not supported; supported are "
            f"{', '.join(filter(None, ACTIVATIONS))} and none"
        )
    if config.get("summary_use_proj", True):
        return (("sequence_summary.summary", ACTIVATIONS[name]),)
    if name:
        raise InputError(
            f"config.json: summary_use_proj is false with the summary_activation '{name}' on the vector itself, which "
            "bertc does not compute; train with a projection, or with summary_activation null"
        )
    return ()


def _layer_names(layer: int) -> LayerNames:
    prefix = f"layer.{layer}"
    return LayerNames(
        query=f"{prefix}.rel_attn.q",
        key=f"{prefix}.rel_attn.k",
        value=f"{prefix}.rel_attn.v",
        attention_output=f"{prefix}.rel_attn.o",
        attention_norm=f"{prefix}.rel_attn.layer_norm",
        intermediate=f"{prefix}.ff.layer_1",
        output=f"{prefix}.ff.layer_2",
        output_norm=f"{prefix}.ff.layer_norm",
    )


def _apart(attention: str) -> Iterator[tuple[str, Apart]]:
    """Give the weights that are stored with their heads apart, by the names of linear layers.

    What is added to queries before they meet keys (`r_w_bias`) is the queries' bias.
    """
    for name in ("q", "k", "v", "r"):
        yield f"{attention}.{name}.weight", Apart(name=f"{attention}.{name}", turned=True)
    yield f"{attention}.o.weight", Apart(name=f"{attention}.o")
    yield f"{attention}.q.bias", Apart(name=f"{attention}.r_w_bias")
