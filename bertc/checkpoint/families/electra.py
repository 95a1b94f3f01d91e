"""ELECTRA (Clark et al. 2020): BERT's encoder, and a classifier with a dense layer and GELU.

The discriminator; its generator is a masked language model of the same type. The small ones have narrow embeddings and
a projection behind them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families import bert
from bertc.checkpoint.families._encoder import positive
from bertc.checkpoint.families.bert import first_position
from bertc.ir.architecture import Activation, Architecture, TokenScores

__all__ = ["PREFIX", "architecture_from_config", "first_position"]
PREFIX = "electra."


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read ELECTRA's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    found = bert.architecture_from_config(config)
    embedding = positive({"embedding_size": found.hidden, **config}, "embedding_size")
    return replace(
        found,
        embedding=embedding,
        embedding_projection=None if embedding == found.hidden else "embeddings_project",
        dense=(("classifier.dense", "Gelu"),),
        classifier="classifier.out_proj",
        token_scores=TokenScores(
            dense="generator_predictions.dense",
            activation=Activation.GELU,
            norm="generator_predictions.LayerNorm",
            decoder="generator_lm_head.weight",
            biases=("generator_lm_head.bias",),
        ),
    )
