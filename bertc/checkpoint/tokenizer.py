"""The tokenizer's files: read, put in order, and turned into a `TextEncoder`.

tokenizer.json, or vocab.txt of a WordPiece tokenizer, with tokenizer_config.json; no code is taken from them. What is
kept here is also what an artefact gets, so that transformers opens it and tokenizes alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from bertc.checkpoint.files import read_bytes, read_object_if_there
from bertc.checkpoint.text import TextEncoder
from bertc.errors import InputError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "sentence_bert_config.json",
)
SPECIAL_TOKENS = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
INSANE_LENGTH = 10**9  # transformers writes about 1e30 for "no limit"
# Entries that are no part of the tokenizer's meaning: code to run, and the places of somebody else's machine.
UNSAVED = ("auto_map", "name_or_path", "is_local", "local_files_only", "tokenizer_file", "special_tokens_map_file")


def text_encoder_from_path(folder: Path, config: Mapping[str, Any], *, sentences: bool = False) -> TextEncoder:
    """Read the tokenizer in a folder (of a checkpoint or of an artefact).

    `config` is the model's; of it the sizes of the vocabulary and of the positions are used. With `sentences` the
    limit of sentence_bert_config.json is the default length. Raises `InputError` if files are missing or damaged, or
    if the tokenizer has ids beyond the model's embedding table.
    """
    settings = {**read_object_if_there(folder / "special_tokens_map.json")}
    settings |= read_object_if_there(folder / "tokenizer_config.json")
    of_sentences = read_object_if_there(folder / "sentence_bert_config.json")
    if settings.get("truncation_side", "right") != "right":
        raise InputError(f"{folder}/tokenizer_config.json cuts texts at the left, which bertc cannot; train without it")
    tokenizer = _read(folder, settings)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    _apply_case(tokenizer, settings, lower=of_sentences.get("do_lower_case") is True)
    _check_ids(folder, tokenizer, config)
    positions = int(config.get("max_position_embeddings") or INSANE_LENGTH)
    limits = [settings.get("model_max_length"), of_sentences.get("max_seq_length") if sentences else None, positions]
    length = min(int(limit) for limit in limits if limit is not None and _sane(limit))
    pad = tokenizer.token_to_id(_special(settings, "pad"))
    pad = config.get("pad_token_id", 0) if pad is None else pad
    files = _files(folder, tokenizer, settings, length)
    try:
        return TextEncoder(tokenizer, files=files, max_length=length, positions=positions, pad_id=int(pad or 0))
    except BaseException as error:
        # The library raises plain Exception, or a Rust panic that is not even one.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise InputError(f"{folder}: the tokenizer cannot encode ({error}); save it again with transformers") from error


def _sane(limit: object) -> bool:
    return isinstance(limit, int | float) and not isinstance(limit, bool) and 0 < limit <= INSANE_LENGTH


def _special(settings: Mapping[str, Any], role: str) -> str:
    """Return a special token's text; files hold it plain or as an object with `content`."""
    value = settings.get(f"{role}_token")
    if isinstance(value, Mapping):
        value = value.get("content")
    return value if isinstance(value, str) else SPECIAL_TOKENS[role]


def _read(folder: Path, settings: Mapping[str, Any]) -> Tokenizer:
    path = folder / "tokenizer.json"
    if path.is_file():
        try:
            tokenizer = Tokenizer.from_str(read_bytes(path).decode("utf-8"))
        except InputError:
            raise
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{path} is damaged ({error}); download or save the tokenizer again") from error
        if tokenizer.post_processor is None:
            _add_frame(path, tokenizer, settings)
        return tokenizer
    path = folder / "vocab.txt"
    if path.is_file():
        return _word_piece(path, settings)
    raise InputError(f"{folder} holds neither tokenizer.json nor vocab.txt; save the tokenizer beside the model")


def _word_piece(path: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """Build BERT's WordPiece tokenizer from vocab.txt and the settings in tokenizer_config.json."""
    if (path.parent / "added_tokens.json").is_file():
        raise InputError(f"{path.parent} has added_tokens.json but no tokenizer.json; save the fast tokenizer as well")
    try:
        lines = read_bytes(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}); download the vocabulary again") from error
    lines = lines[:-1] if lines[-1] == "" else lines
    vocab = {line.rstrip("\r"): index for index, line in enumerate(lines)}
    if len(vocab) < len(lines):
        raise InputError(f"{path} has {len(lines) - len(vocab)} tokens twice; download the vocabulary again")
    names = {role: _special(settings, role) for role in SPECIAL_TOKENS}
    missing = [names[role] for role in ("unk", "sep", "pad", "cls") if names[role] not in vocab]
    if missing:
        raise InputError(f"{path} lacks the special token {missing[0]}; name it in tokenizer_config.json or add it")
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=names["unk"], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens([token for token in names.values() if token in vocab])
    _add_frame(path, tokenizer, settings)
    return tokenizer


def _add_frame(path: Path, tokenizer: Tokenizer, settings: Mapping[str, Any]) -> None:
    """Add BERT's special tokens around texts, which vocab.txt and some tokenizer.json leave to the code."""
    first, last = _special(settings, "cls"), _special(settings, "sep")
    ids = {token: tokenizer.token_to_id(token) for token in (first, last)}
    for token, number in ids.items():
        if number is None:
            raise InputError(f"{path} lacks the special token {token}; name it in tokenizer_config.json or add it")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1", special_tokens=list(ids.items())
    )


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


def _check_ids(folder: Path, tokenizer: Tokenizer, config: Mapping[str, Any]) -> None:
    size = config.get("vocab_size")
    largest = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
    if largest < 0:
        raise InputError(f"{folder}: the tokenizer has no tokens; download or save it again")
    unknown = str(getattr(tokenizer.model, "unk_token", None))
    if isinstance(tokenizer.model, models.WordPiece) and tokenizer.model.token_to_id(unknown) is None:
        raise InputError(f"{folder}: the vocabulary lacks the unknown token {unknown}; save the tokenizer again")
    if size is not None and largest >= size:
        raise InputError(
            f"{folder}: the tokenizer has ids up to {largest}, but config.json says vocab_size {size}; "
            "use the tokenizer that the model was trained with"
        )


def _files(folder: Path, tokenizer: Tokenizer, settings: Mapping[str, Any], length: int) -> dict[str, bytes]:
    """Return the content of the files to keep with the model, by name."""
    saved = {key: value for key, value in settings.items() if key not in UNSAVED}
    saved.setdefault("tokenizer_class", "PreTrainedTokenizerFast")
    special = {
        f"{role}_token": _special(settings, role)
        for role in SPECIAL_TOKENS
        if tokenizer.token_to_id(_special(settings, role)) is not None
    }
    saved |= special | {"model_max_length": length}
    normalizer = tokenizer.normalizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        saved |= {
            "do_lower_case": normalizer.lowercase,
            "strip_accents": normalizer.strip_accents,
            "tokenize_chinese_chars": normalizer.handle_chinese_chars,
        }
        if saved["tokenizer_class"] == "PreTrainedTokenizerFast" and isinstance(tokenizer.model, models.WordPiece):
            saved["tokenizer_class"] = "BertTokenizer"
    files = {
        "tokenizer.json": tokenizer.to_str().encode(),
        "tokenizer_config.json": (json.dumps(saved, indent=2, ensure_ascii=False) + "\n").encode(),
        "special_tokens_map.json": (json.dumps(special, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    if (folder / "vocab.txt").is_file():
        files["vocab.txt"] = read_bytes(folder / "vocab.txt")
    return files
