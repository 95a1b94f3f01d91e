"""config.json: read, and checked as far as no model family needs to be known.

A folder comes in, a read-only mapping goes out. Whether the weights have the configured shapes is for the family.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bertc.checkpoint.files import read_object
from bertc.checkpoint.google_folder import (
    CONFIG,
    FILES_BESIDE,
    config_from_google,
    index_from_folder,
    is_google_folder,
)
from bertc.core.plugins import FAMILIES
from bertc.errors import InputError

CONFIG_FILE = "config.json"

# Smallest and largest size that is believable: beyond them the file is damaged, and memory would run out later.
SIZES = {
    "vocab_size": (1, 10_000_000),
    "hidden_size": (1, 65_536),
    "num_hidden_layers": (1, 1_000),
    "num_attention_heads": (1, 4_096),
    "intermediate_size": (1, 1_000_000),
    "max_position_embeddings": (1, 10_000_000),
    "type_vocab_size": (0, 65_536),
    "num_labels": (1, 1_000_000),
    "dim": (1, 65_536),
    "n_layers": (1, 1_000),
    "n_heads": (1, 4_096),
    "hidden_dim": (1, 1_000_000),
    "d_model": (1, 65_536),
    "num_layers": (1, 1_000),
    "num_heads": (1, 4_096),
    "d_kv": (1, 65_536),
    "d_ff": (1, 1_000_000),
    "head_dim": (1, 65_536),
    "num_key_value_heads": (1, 4_096),
    "n_layer": (1, 1_000),
    "n_head": (1, 4_096),
    "d_inner": (1, 1_000_000),
    "n_embd": (1, 65_536),
    "n_inner": (1, 1_000_000),
}
RECURRENT = re.compile(r"lstm|gru\b|rnn", re.IGNORECASE)
"""What the model type of a tagger without an encoder has in its name."""

SYNONYMS = {
    "qdqbert": "bert",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
    "data2vec-text": "roberta",
    "new": "gte",
}
"""Model types that compute what a family computes: transformers' QDQBERT is BERT with fake quantizers, `new`
is what the hub's files call GTE."""


def config_from_path(folder: Path) -> Mapping[str, Any]:
    """Read and check `folder`/config.json, or what Google's bert_config.json says in its words.

    Raises `InputError` if it is missing, damaged or absurd.
    """
    google = is_google_folder(folder)
    path = folder / (CONFIG if google else CONFIG_FILE)
    if not path.is_file():
        raise InputError(f"{folder} holds no config.json; {_where_it_may_be(folder)}")
    given = config_from_google(read_object(path)) if google else read_object(path)
    for name, (least, most) in SIZES.items():
        _check_size(path, given, name, least, most)
    config = given if google else _in_usual_words(given)
    hidden, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if hidden is not None and heads is not None and hidden % heads != 0:
        raise InputError(
            f"{path}: hidden_size {hidden} is no multiple of num_attention_heads {heads}; correct the file"
        )
    epsilon = config.get("layer_norm_eps", 1e-12)
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < 1:
        raise InputError(f"{path}: layer_norm_eps is {epsilon!r}, not a number between 0 and 1; correct the file")
    return MappingProxyType(config)


def _where_it_may_be(folder: Path) -> str:
    """Return what to do about a folder without config.json: a Trainer's output has checkpoints as folders in it."""
    if index_from_folder(folder) is not None:
        return FILES_BESIDE
    within = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG_FILE}") if _names_a_model(path))
    if not within:
        return "give the folder of a Hugging Face checkpoint"
    rest = f" and {len(within) - 5} more" if len(within) > 5 else ""
    return f"give the folder of a Hugging Face checkpoint, of which there is one in {', '.join(within[:5])}{rest}"


def _names_a_model(path: Path) -> bool:
    return path.is_file() and os.access(path, os.R_OK) and b'"model_type"' in path.read_bytes()


def _in_usual_words(config: dict[str, Any]) -> dict[str, Any]:
    """Return config.json in the words of transformers, where a family has others as well and puts them into those."""
    name = str(config.get("model_type"))
    family = SYNONYMS.get(name, name).replace("_", "-")
    module = FAMILIES.module(family) if family in FAMILIES.names() else None
    usual = getattr(module, "usual_config", None)
    return config if usual is None else dict(usual(config))


def family_from_config(config: Mapping[str, Any], folder: Path) -> str:
    """Return the model family (a name of `bertc.checkpoint.families`). Raises `InputError` if it is none of them."""
    families = FAMILIES.names()
    known = ", ".join(sorted({*families, *SYNONYMS}))
    name = config.get("model_type")
    if not isinstance(name, str) or not name:
        raise InputError(f"{folder}/config.json has no model_type; add it (supported: {known})")
    family = SYNONYMS.get(name, name).replace("_", "-")
    if family not in families and RECURRENT.search(name):
        raise InputError(
            f"{folder}/config.json has the model_type {name!r}: a recurrent model has no transformer layers, whose "
            "products are what bertc quantizes; an LSTM and a CRF are computed behind the encoders it supports "
            f"({known})"
        )
    if family not in families:
        raise InputError(f"{folder}/config.json has the model_type {name!r}; bertc supports only: {known}")
    return family


def positions_from_config(config: Mapping[str, Any], folder: Path) -> int | None:
    """Return how many tokens a text of the model may have; None where neither config.json nor the family says.

    Raises `InputError` where the position table has no row for a text.
    """
    rows = config.get("max_position_embeddings")
    family = FAMILIES.module(family_from_config(config, folder))
    first = int(family.first_position(config))
    if rows is None:
        longest: int | None = getattr(family, "LONGEST_TEXT", None)
        return longest
    if rows <= first:
        raise InputError(
            f"{folder}/config.json: max_position_embeddings {rows} leaves no position for a text, whose first token "
            f"has the number {first}; correct the file"
        )
    return int(rows) - first


def _check_size(path: Path, config: Mapping[str, Any], name: str, least: int, most: int) -> None:
    value = config.get(name)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"{path}: {name} is {value!r}, not a whole number from {least} to {most}; correct the file")
