"""DistilBERT (Sanh et al. 2019): BERT without token types, with a dense layer and ReLU before the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertc.families._fields import activation, positive, refuse_variants, widths
from bertc.features import Head
from bertc.graph.architecture import Architecture, LayerNames

CLASSIFIERS = {
    "sequence-classification": "classifier",
    "token-classification": "classifier",
    "question-answering": "qa_outputs",
    "feature-extraction": None,
}


def architecture_from_config(config: Mapping[str, Any], head: Head) -> Architecture:
    """Read DistilBERT's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    hidden, heads = widths(config, "dim", "n_heads")
    refuse_variants(config)
    layers = positive(config, "n_layers")
    return Architecture(
        hidden=hidden,
        layers=layers,
        heads=heads,
        intermediate=positive(config, "hidden_dim"),
        vocabulary=positive(config, "vocab_size"),
        positions=positive(config, "max_position_embeddings"),
        token_types=0,
        epsilon=1e-12,  # a constant of huggingface/transformers, models/distilbert/modeling_distilbert.py
        activation=activation(config, "activation"),
        word_embeddings="embeddings.word_embeddings.weight",
        position_embeddings="embeddings.position_embeddings.weight",
        token_type_embeddings=None,
        embeddings_norm="embeddings.LayerNorm",
        layer_names=tuple(_layer_names(layer) for layer in range(layers)),
        dense=(("pre_classifier", "Relu"),) if head.task == "sequence-classification" else (),
        classifier=CLASSIFIERS[head.task],
    )


def first_position(config: Mapping[str, Any]) -> int:
    """Return the row of the position table that belongs to a text's first token: here 0."""
    return 0


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
