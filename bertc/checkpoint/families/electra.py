"""ELECTRA's discriminator (Clark et al. 2020): BERT's encoder, and a classifier with a dense layer and GELU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from bertc.checkpoint.families import bert
from bertc.checkpoint.families.bert import first_position
from bertc.errors import InputError
from bertc.ir.architecture import Architecture

__all__ = ["PREFIX", "architecture_from_config", "first_position"]
PREFIX = "electra."


def architecture_from_config(config: Mapping[str, Any]) -> Architecture:
    """Read ELECTRA's dimensions. Raises `InputError` naming the field that is missing, absurd or not supported."""
    found = bert.architecture_from_config(config)
    embedding = config.get("embedding_size", found.hidden)
    if embedding != found.hidden:
        raise InputError(
            f"config.json: embedding_size {embedding!r} is not hidden_size {found.hidden}; bertc does not compute the "
            "projection between them, which the small ELECTRA has"
        )
    return replace(found, dense=(("classifier.dense", "Gelu"),), classifier="classifier.out_proj")
