"""BERT (Devlin et al. 2018): absolute positions, token types, post-LayerNorm, a pooler before the classifier."""

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
    """Read BERT's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    hidden, heads = widths(config, "hidden_size", "num_attention_heads")
    refuse_variants(config)
    layers = positive(config, "num_hidden_layers")
    return Architecture(
        hidden=hidden,
        layers=layers,
        heads=heads,
        intermediate=positive(config, "intermediate_size"),
        vocabulary=positive(config, "vocab_size"),
        positions=positive(config, "max_position_embeddings"),
        token_types=positive(config, "type_vocab_size"),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=activation(config, "hidden_act"),
        word_embeddings="embeddings.word_embeddings.weight",
        position_embeddings="embeddings.position_embeddings.weight",
        token_type_embeddings="embeddings.token_type_embeddings.weight",
        embeddings_norm="embeddings.LayerNorm",
        layer_names=tuple(_layer_names(layer) for layer in range(layers)),
        dense=(("pooler.dense", "Tanh"),) if head.task == "sequence-classification" else (),
        classifier=CLASSIFIERS[head.task],
    )


def first_position(config: Mapping[str, Any]) -> int:
    """Return the row of the position table that belongs to a text's first token: here 0."""
    return 0


def _layer_names(layer: int) -> LayerNames:
    prefix = f"encoder.layer.{layer}"
    return LayerNames(
        query=f"{prefix}.attention.self.query",
        key=f"{prefix}.attention.self.key",
        value=f"{prefix}.attention.self.value",
        attention_output=f"{prefix}.attention.output.dense",
        attention_norm=f"{prefix}.attention.output.LayerNorm",
        intermediate=f"{prefix}.intermediate.dense",
        output=f"{prefix}.output.dense",
        output_norm=f"{prefix}.output.LayerNorm",
    )
