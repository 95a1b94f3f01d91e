"""What the files of a late-interaction model say of its tokens: markers, lengths, the filler, what is skipped.

Stanford's ColBERT (0.2, infra/config/settings.py, modeling/tokenization) keeps it in artifact.metadata, PyLate (1.6,
models/colbert.py) in config_sentence_transformers.json, each with rules of its own for the same thing.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bertc.checkpoint.cross_encoder import FILE
from bertc.checkpoint.declared_tokens import tokenizer_settings
from bertc.checkpoint.files import read_object, read_object_if_there
from bertc.checkpoint.text_encoder import TextEncoder
from bertc.core.head import Interaction, Projection
from bertc.errors import InputError
from bertc.ir.architecture import Architecture

METADATA = "artifact.metadata"
USUAL_MASKS = ("[MASK]", "<mask>")
LEAST_LENGTH = 4  # a first token, a marker, one of the text, and a last token


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionFiles:
    """What is known of a model in `root`, its encoder in `folder`, before its texts are: the last `projection` of its
    tokens, which PyLate keeps in a folder and Stanford does not."""

    root: Path
    folder: Path
    encoder: TextEncoder
    projection: Projection
    architecture: Architecture


def interaction_from_files(files: InteractionFiles) -> Interaction:
    """Read how a model compares tokens. Raises `InputError` for what is missing, or what bertc does not compute."""
    path, found = _from_modules(files) if files.projection.folder else _from_metadata(files)
    positions = files.encoder.positions
    for name, length in (("query", found.query_length), ("document", found.document_length)):
        if not LEAST_LENGTH <= length <= positions:
            raise InputError(
                f"{path}: a {name} has {length} tokens, and the model takes {LEAST_LENGTH} to {positions}; correct the "
                "file"
            )
    _check_skipped(path, files.encoder, found)
    if found.hides_filler:
        _check_filler(path, files, found)
    return found


def _check_skipped(path: Path, encoder: TextEncoder, found: Interaction) -> None:
    """Refuse a model that may leave nothing of a document: some token that every one has must be kept."""
    (empty,) = encoder.encode_batch([""])
    always = {int(id) for id in empty.ids[empty.sequence_ids < 0]}
    always |= set() if found.document_marker is None else {found.document_marker}
    if found.skipped and always.issubset(found.skipped):
        raise InputError(
            f"{path}: documents go without every special token and without their marker, so that some would have no "
            "token left; take one of them out of what is skipped (skiplist_words)"
        )


def _check_filler(path: Path, files: InteractionFiles, found: Interaction) -> None:
    """Refuse tokens that nothing sees where the model computes them otherwise than the others."""
    family = files.architecture
    if family.unseen is not None:
        entry = "attend_to_expansion_tokens" if files.projection.folder else "attend_to_mask_tokens"
        raise InputError(
            f"{path}: queries are filled up with tokens that no other token sees, and in this model's family "
            f"{family.unseen}, which bertc does not compute; take a model that was trained with {entry} true"
        )
    narrowest = min((each for each in family.windows if each is not None), default=found.query_length)
    if found.query_length > narrowest:
        raise InputError(
            f"{path}: queries are filled up to {found.query_length} tokens, of which the last see nothing of the text "
            f"in this model's windows of {narrowest}; bertc does not compute that, take shorter queries"
        )


def _from_metadata(files: InteractionFiles) -> tuple[Path, Interaction]:
    """Read Stanford's artifact.metadata; what it lacks of later versions has the library's defaults."""
    path, encoder = files.root / METADATA, files.encoder
    if not path.is_file():
        raise InputError(
            f"{files.root} holds no {METADATA}, which says how queries and documents are marked and how long they "
            "are; copy it from the checkpoint"
        )
    settings = read_object(path)
    for name, computed in (("similarity", "cosine"), ("interaction", "colbert")):
        if settings.get(name, computed) != computed:
            raise InputError(
                f"{path}: {name} is {settings[name]!r}, and bertc computes {computed!r}; take such a model"
            )
    dimensions = files.projection.sizes[1]
    if settings.get("dim", dimensions) != dimensions:
        raise InputError(
            f"{path}: dim is {settings['dim']!r}, and linear.weight gives {dimensions} numbers; use the "
            "file that belongs to the weights"
        )
    skipped: list[int] = []
    if _flag(path, settings, "mask_punctuation", None):
        encoded = encoder.encode_batch(list(string.punctuation))
        skipped = [int(each.ids[each.sequence_ids == 0][0]) for each in encoded if (each.sequence_ids == 0).any()]
    return path, Interaction(
        query_marker=_token(path, encoder, settings.get("query_token_id"), "query_token_id"),
        document_marker=_token(path, encoder, settings.get("doc_token_id"), "doc_token_id"),
        query_length=_length(path, settings, "query_maxlen", None),
        document_length=_length(path, settings, "doc_maxlen", None),
        filler=_mask(path, files),
        filler_seen=_flag(path, settings, "attend_to_mask_tokens", False),
        skipped=tuple(sorted(set(skipped))),
    )


def _from_modules(files: InteractionFiles) -> tuple[Path, Interaction]:
    """Read PyLate's entries; its defaults stand for what is missing or null."""
    path, encoder = files.root / FILE, files.encoder
    settings = {name: value for name, value in read_object_if_there(path).items() if value is not None}
    markers = [
        None if name == "" else _token(path, encoder, name, key)
        for key, name in (
            ("query_prefix", settings.get("query_prefix", "[Q] ")),
            ("document_prefix", settings.get("document_prefix", "[D] ")),
        )
    ]
    words = settings.get("skiplist_words", list(string.punctuation))
    if not isinstance(words, list):
        raise InputError(f"{path}: skiplist_words is {words!r:.60}, no list of tokens; correct the file")
    filled = _flag(path, settings, "do_query_expansion", True)
    return path, Interaction(
        query_marker=markers[0],
        document_marker=markers[1],
        query_length=_length(path, settings, "query_length", 32),
        document_length=_length(path, settings, "document_length", 180),
        filler=_mask(path, files) if filled else None,
        filler_seen=filled and _flag(path, settings, "attend_to_expansion_tokens", False),
        skipped=tuple(sorted({_token(path, encoder, word, "skiplist_words") for word in words})),
    )


def _token(path: Path, encoder: TextEncoder, token: Any, entry: str) -> int:
    """Return a token's id. Raises `InputError` for what is none."""
    found = encoder.token_id(token) if isinstance(token, str) else None
    if found is None:
        raise InputError(f"{path}: {entry} has {token!r}, which is no token of the tokenizer; correct the file")
    return found


def _mask(path: Path, files: InteractionFiles) -> int:
    """Return the id of the tokenizer's mask, with which both libraries fill queries up."""
    declared = tokenizer_settings(files.folder).get("mask_token")
    declared = declared.get("content") if isinstance(declared, Mapping) else declared
    for token in USUAL_MASKS if declared is None else (str(declared),):
        found = files.encoder.token_id(token)
        if found is not None:
            return found
    raise InputError(
        f"{path}: queries are filled up with a mask, and the tokenizer has none; save it with its mask_token"
    )


def _length(path: Path, settings: Mapping[str, Any], name: str, usual: int | None) -> int:
    value = settings.get(name, usual)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"{path}: {name} is {value!r}, not a number of tokens; correct the file")
    return value


def _flag(path: Path, settings: Mapping[str, Any], name: str, usual: bool | None) -> bool:
    value = settings.get(name, usual)
    if not isinstance(value, bool):
        raise InputError(f"{path}: {name} is {value!r}, not true or false; correct the file")
    return value
