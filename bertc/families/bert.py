"""BERT (Devlin et al. 2018): absolute positions, token types, post-LayerNorm, a pooler before the classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bertc.errors import InputError
from bertc.features import Head
from bertc.graph.architecture import Activation, Architecture, LayerNames

ACTIVATIONS = {
    "gelu": Activation.GELU,
    "gelu_new": Activation.GELU_TANH,
    "gelu_pytorch_tanh": Activation.GELU_TANH,
    "relu": Activation.RELU,
}
CLASSIFIERS = {
    "sequence-classification": "classifier",
    "token-classification": "classifier",
    "question-answering": "qa_outputs",
    "feature-extraction": None,
}


def architecture_from_config(config: Mapping[str, Any], head: Head) -> Architecture:
    """Read BERT's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    hidden = _positive(config, "hidden_size")
    heads = _positive(config, "num_attention_heads")
    if hidden % heads:
        raise InputError(f"config.json: hidden_size {hidden} is not a multiple of num_attention_heads {heads}")
    _refuse_variants(config)
    activation = str(config.get("hidden_act", "gelu"))
    if activation not in ACTIVATIONS:
        raise InputError(
            f"config.json: hidden_act '{activation}' is not supported; supported are {', '.join(ACTIVATIONS)}"
        )
    layers = _positive(config, "num_hidden_layers")
    return Architecture(
        hidden=hidden,
        layers=layers,
        heads=heads,
        intermediate=_positive(config, "intermediate_size"),
        vocabulary=_positive(config, "vocab_size"),
        positions=_positive(config, "max_position_embeddings"),
        token_types=_positive(config, "type_vocab_size"),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
        activation=ACTIVATIONS[activation],
        word_embeddings="embeddings.word_embeddings.weight",
        position_embeddings="embeddings.position_embeddings.weight",
        token_type_embeddings="embeddings.token_type_embeddings.weight",
        embeddings_norm="embeddings.LayerNorm",
        layer_names=tuple(_layer_names(layer) for layer in range(layers)),
        dense=(("pooler.dense", "Tanh"),) if head.task == "sequence-classification" else (),
        classifier=CLASSIFIERS[head.task],
    )


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


def _positive(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise InputError(f"config.json: {name} must be a positive integer, not {value!r}")
    return value


def _refuse_variants(config: Mapping[str, Any]) -> None:
    """Refuse what shares the model type `bert` but computes something else."""
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise InputError(
            f"config.json: position_embedding_type '{config['position_embedding_type']}' is not supported; "
            "bertc reads BERT with absolute positions"
        )
    for flag in ("is_decoder", "add_cross_attention"):
        if config.get(flag):
            raise InputError(f"config.json: {flag} is set, but bertc compiles encoders only")
