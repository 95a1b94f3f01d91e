"""The tokenizer's files: read, put in order, and turned into a `TextEncoder`.

tokenizer.json, or vocab.txt of a WordPiece tokenizer, or vocab.json and merges.txt of a byte-level BPE, with
tokenizer_config.json; no code is taken from them. What is kept here is also what an artefact gets, so that transformers
opens it and tokenizes alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bertc.checkpoint.config_json import family_from_config, positions_from_config
from bertc.checkpoint.declared_tokens import (
    DECODER,
    EXTRA,
    add_declared_tokens,
    extra_contents,
    has_token_types,
    tokenizer_settings,
)
from bertc.checkpoint.files import read_bytes, read_object_if_there
from bertc.checkpoint.google_folder import lower_case_from_vocabulary
from bertc.checkpoint.text_encoder import Pairs, Placeholders, TextEncoder
from bertc.checkpoint.vocabulary import (
    BERT_TOKENS,
    TOKENS,
    add_frame,
    byte_level_from_files,
    word_piece_from_file,
)
from bertc.errors import InputError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentence_bert_config.json",
)
SENTENCEPIECE_FILES = ("spm.model", "spiece.model", "sentencepiece.bpe.model")
"""SentencePiece's own files by the names of DeBERTa, ALBERT and XLM-RoBERTa, of which tokenizer.json has all."""

PADDING_SIDES = {"xlnet": "left"}
"""Where the tokenizers of a family pad unless their files say it. transformers' examples and pipelines put a question
behind its context where padding is at the left; an engine is never padded there."""

INSANE_LENGTH = 10**9  # transformers writes about 1e30 for "no limit"
# Entries that are no part of the tokenizer's meaning: code to run, and the places of somebody else's machine.
UNSAVED = ("auto_map", "name_or_path", "is_local", "local_files_only", "tokenizer_file", "special_tokens_map_file")


def text_encoder_from_path(
    folder: Path, config: Mapping[str, Any], *, sentences: bool = False, built: bool = False
) -> TextEncoder:
    """Read the tokenizer in a folder (of a checkpoint or of an artefact).

    `config` is the model's; of it the sizes of the vocabulary and of the positions are used. With `sentences` the
    limit of sentence_bert_config.json is the default length. `built` says that the folder is a verified artefact: its
    ids were compared with the embedding table when it was built, and listing a vocabulary again would take a third of
    the tokenizer's opening. Raises `InputError` if files are missing or damaged, or if the tokenizer has ids beyond the
    model's embedding table.
    """
    family = family_from_config(config, folder)
    settings = _settings(folder, family)
    of_sentences = read_object_if_there(folder / "sentence_bert_config.json")
    if settings.get("truncation_side", "right") != "right":
        raise InputError(f"{folder}/tokenizer_config.json cuts texts at the left, which bertc cannot; train without it")
    tokenizer = _with_prefix_space(_read(folder, settings, family), settings)
    add_declared_tokens(folder, tokenizer, tokenizer_settings(folder), config.get("vocab_size"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if isinstance(tokenizer.model, models.BPE):
        tokenizer.model.dropout = None  # of training: else the same text gives other tokens at every call
    _apply_case(tokenizer, settings, lower=of_sentences.get("do_lower_case") is True)
    _check_tokens(folder, tokenizer)
    if not built:
        _check_ids(folder, tokenizer, config)
    positions = positions_from_config(config, folder) or INSANE_LENGTH
    limits = [settings.get("model_max_length"), of_sentences.get("max_seq_length") if sentences else None, positions]
    length = min(int(limit) for limit in limits if limit is not None and _sane(limit))
    types = has_token_types(settings, config)
    settings["model_input_names"] = _input_names(types)
    files = _files(folder, tokenizer, settings, length, family)
    try:
        return TextEncoder(
            tokenizer,
            files=files,
            max_length=length,
            positions=positions,
            placeholders=Placeholders(
                unknown=tokenizer.token_to_id(settings["unk_token"]),
                mask=tokenizer.token_to_id(settings["mask_token"]),
            ),
            pairs=Pairs(types=types, context_first=settings.get("padding_side", PADDING_SIDES.get(family)) == "left"),
        )
    except BaseException as error:
        # The library raises plain Exception, or a Rust panic that is not even one.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"{folder}: the tokenizer cannot encode ({error}); save it again with transformers") from error


def _decoder(tokenizer: Tokenizer) -> dict[str, dict[str, Any]]:
    """Return every added token as transformers writes it: where this is there, no other declaration is read."""
    names = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    added = tokenizer.get_added_tokens_decoder()
    return {str(id): {name: getattr(token, name) for name in names} for id, token in sorted(added.items())}


def _input_names(types: bool) -> list[str]:
    return ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]


def _sane(limit: object) -> bool:
    return isinstance(limit, int | float) and not isinstance(limit, bool) and 0 < limit <= INSANE_LENGTH


def _settings(folder: Path, family: str) -> dict[str, Any]:
    """Return what the files say about the tokenizer, with the text of every special token.

    Files hold a special token plain or as an object with `content`, or leave it to transformers' code.
    """
    settings = tokenizer_settings(folder)
    lower = lower_case_from_vocabulary(folder)
    if lower is not None:
        settings["do_lower_case"] = lower
    for role, usual in TOKENS.get(family, BERT_TOKENS).items():
        value = settings.get(role)
        if isinstance(value, Mapping):
            value = value.get("content")
        settings[role] = value if isinstance(value, str) else usual
    return settings


def _read(folder: Path, settings: Mapping[str, Any], family: str) -> Tokenizer:
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            tokenizer = Tokenizer.from_str(read_bytes(path).decode("utf-8"))
        except InputError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{path} is damaged ({error}); download or save the tokenizer again") from error
        if tokenizer.post_processor is None:
            add_frame(path, tokenizer, settings, family)
        return tokenizer
    if family == "roberta" and (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return byte_level_from_files(folder, settings)
    path = folder / "vocab.txt"
    if path.is_file():
        return word_piece_from_file(path, settings, family)
    alone = next((name for name in SENTENCEPIECE_FILES if (folder / name).is_file()), None)
    if alone is not None:
        raise InputError(
            f"{folder} holds {alone} but no tokenizer.json; save the fast tokenizer beside the model, as transformers' "
            "save_pretrained does"
        )
    slow = "vocab.json with merges.txt" if family == "roberta" else "vocab.txt"
    raise InputError(f"{folder} holds neither tokenizer.json nor {slow}; save the fast tokenizer beside the model")


def _with_prefix_space(tokenizer: Tokenizer, settings: Mapping[str, Any]) -> Tokenizer:
    """Apply what tokenizer_config.json says about a text's first word: transformers lets it win over tokenizer.json."""
    wanted = settings.get("add_prefix_space")
    if not isinstance(wanted, bool) or not isinstance(tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        return tokenizer
    state = json.loads(tokenizer.to_str())
    for part in ("pre_tokenizer", "post_processor"):
        if state[part] and "add_prefix_space" in state[part]:
            state[part]["add_prefix_space"] = wanted
    return Tokenizer.from_str(json.dumps(state))


def _apply_case(tokenizer: Tokenizer, settings: Mapping[str, Any], *, lower: bool) -> None:
    """Apply what tokenizer_config.json says about case and accents: transformers lets it win over tokenizer.json.

    `lower`: sentence-transformers lowers the text itself, whatever the tokenizer does.
    """
    normalizer = tokenizer.normalizer
    if not isinstance(normalizer, normalizers.BertNormalizer):
        return
    if isinstance(settings.get("do_lower_case"), bool):
        normalizer.lowercase = settings["do_lower_case"]
    if isinstance(settings.get("strip_accents"), bool):
        normalizer.strip_accents = settings["strip_accents"]
    if isinstance(settings.get("tokenize_chinese_chars"), bool):
        normalizer.handle_chinese_chars = settings["tokenize_chinese_chars"]
    if lower and not normalizer.lowercase:
        # Accents stay: with None they would be stripped because of the new lower case.
        normalizer.strip_accents = bool(normalizer.strip_accents)
        normalizer.lowercase = True
    tokenizer.normalizer = normalizer


def _check_tokens(folder: Path, tokenizer: Tokenizer) -> None:
    if tokenizer.get_vocab_size(with_added_tokens=True) == 0:
        raise InputError(f"{folder}: the tokenizer has no tokens; download or save it again")
    unknown = str(getattr(tokenizer.model, "unk_token", None))
    if isinstance(tokenizer.model, models.WordPiece) and tokenizer.model.token_to_id(unknown) is None:
        raise InputError(f"{folder}: the vocabulary lacks the unknown token {unknown}; save the tokenizer again")


def _check_ids(folder: Path, tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
    size = config.get("vocab_size")
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if size is not None and largest >= size:
        raise InputError(
            f"{folder}: the tokenizer has ids up to {largest}, but config.json says vocab_size {size}; "
            "use the tokenizer that the model was trained with"
        )


def _files(
    folder: Path, tokenizer: Tokenizer, settings: Mapping[str, Any], length: int, family: str
) -> dict[str, bytes]:
    """Return the content of the files to keep with the model, by name; tokenizer.json is the encoder's own."""
    saved = {key: value for key, value in settings.items() if key not in (*UNSAVED, *BERT_TOKENS)}
    saved.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    special = {role: settings[role] for role in BERT_TOKENS if tokenizer.token_to_id(settings[role]) is not None}
    saved |= special | {"model_max_length": length, DECODER: _decoder(tokenizer)}
    if settings.get(EXTRA):
        saved[EXTRA] = extra_contents(settings)
    normalizer = tokenizer.normalizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        saved |= {
            "do_lower_case": normalizer.lowercase,
            "strip_accents": normalizer.strip_accents,
            "tokenize_chinese_chars": normalizer.handle_chinese_chars,
        }
        if saved["tokenizer_class"] == "PreTrainedTokenizerFast" and isinstance(tokenizer.model, models.WordPiece):
            saved["tokenizer_class"] = "MPNetTokenizer" if family == "mpnet" else "BertTokenizer"
    files = {
        "tokenizer_config.json": (json.dumps(saved, indent=2, ensure_ascii=False) + "\n").encode(),
        "special_tokens_map.json": (json.dumps(special, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    kept = (name for name in ("vocab.txt", "vocab.json", "merges.txt") if (folder / name).is_file())
    return files | {name: read_bytes(folder / name) for name in kept}
