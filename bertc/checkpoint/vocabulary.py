"""Tokenizers from vocabularies of the time before tokenizer.json, as transformers' code builds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from bertc.checkpoint.files import read_bytes, read_object
from bertc.errors import InputError

BERT_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}
ROBERTA_TOKENS = {
    "unk_token": "<unk>",
    "sep_token": "</s>",
    "pad_token": "<pad>",
    "cls_token": "<s>",
    "mask_token": "<mask>",
}
MPNET_TOKENS = ROBERTA_TOKENS | {"unk_token": "[UNK]"}
ALBERT_TOKENS = BERT_TOKENS | {"unk_token": "<unk>", "pad_token": "<pad>"}
XLNET_TOKENS = {role: f"<{role.removesuffix('_token')}>" for role in BERT_TOKENS}
TOKENS: Mapping[str, Mapping[str, str]] = {
    "roberta": ROBERTA_TOKENS,
    "mpnet": MPNET_TOKENS,
    "albert": ALBERT_TOKENS,
    "t5": ALBERT_TOKENS,
    "xlnet": XLNET_TOKENS,
}
"""What transformers' code calls the special tokens of families that do not call them as BERT does."""

TWO_SEPARATORS = frozenset({"roberta", "mpnet"})
"""Families that put two separators between a text and its pair, and give both the type 0."""

NEEDED = ("unk_token", "sep_token", "pad_token", "cls_token")


def word_piece_from_file(path: Path, settings: Mapping[str, Any], family: str) -> Tokenizer:
    """Build BERT's or MPNet's WordPiece tokenizer from vocab.txt and the settings in tokenizer_config.json."""
    _refuse_added_tokens(path.parent)
    try:
        lines = read_bytes(path).decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text ({error}); download the vocabulary again") from error
    lines = lines[:-1] if lines[-1] == "" else lines
    vocab = {line.rstrip("\r"): index for index, line in enumerate(lines)}
    if len(vocab) < len(lines):
        raise InputError(f"{path} has {len(lines) - len(vocab)} tokens twice; download the vocabulary again")
    _special_ids(path, vocab, settings, NEEDED)
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=settings["unk_token"], max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    there = [role for role in BERT_TOKENS if settings[role] in vocab]
    # As in transformers, MPNet's mask takes the space before it along.
    lstrip = {"mask_token"} if family == "mpnet" else set()
    tokenizer.add_special_tokens([AddedToken(settings[role], lstrip=role in lstrip) for role in there])
    add_frame(path, tokenizer, settings, family)
    return tokenizer


def byte_level_from_files(folder: Path, settings: Mapping[str, Any]) -> Tokenizer:
    """Build RoBERTa's byte-level BPE from vocab.json and merges.txt."""
    _refuse_added_tokens(folder)
    path, merges = folder / "vocab.json", folder / "merges.txt"
    vocab = read_object(path)
    read_bytes(merges)  # its size is checked, and whether it can be read
    try:
        model = models.BPE.from_file(str(path), str(merges), continuing_subword_prefix="", end_of_word_suffix="")
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{path} and merges.txt are damaged ({error}); download the vocabulary again") from error
    ids = _special_ids(path, vocab, settings, NEEDED)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(ids["sep_token"], ids["cls_token"], add_prefix_space=False)
    # As in transformers, the mask takes the space before it along.
    there = [role for role in ROBERTA_TOKENS if settings[role] in vocab]
    tokenizer.add_special_tokens([AddedToken(settings[role], lstrip=role == "mask_token") for role in there])
    return tokenizer


def add_frame(path: Path, tokenizer: Tokenizer, settings: Mapping[str, Any], family: str) -> None:
    """Add the special tokens around texts, which vocab.txt and some tokenizer.json leave to transformers' code."""
    vocab = tokenizer.get_vocab(with_added_tokens=True)
    ids = _special_ids(path, vocab, settings, ("cls_token", "sep_token"))
    first, last = settings["cls_token"], settings["sep_token"]
    pair = f"{last} $B {last}" if family in TWO_SEPARATORS else f"$B:1 {last}:1"
    single, pair = f"{first} $A {last}", f"{first} $A {last} {pair}"
    if family == "xlnet":
        single, pair = f"$A {last} {first}:2", f"$A {last} $B:1 {last}:1 {first}:2"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=single, pair=pair, special_tokens=list(ids.values())
    )


def _refuse_added_tokens(folder: Path) -> None:
    if (folder / "added_tokens.json").is_file():
        raise InputError(f"{folder} has added_tokens.json but no tokenizer.json; save the fast tokenizer as well")


def _special_ids(
    path: Path, vocab: Mapping[str, int], settings: Mapping[str, Any], roles: tuple[str, ...]
) -> dict[str, tuple[str, int]]:
    """Return text and id of special tokens. Raises `InputError` where the vocabulary lacks one."""
    for role in roles:
        if settings[role] not in vocab:
            raise InputError(
                f"{path} lacks the special token {settings[role]}; name it in tokenizer_config.json or add it"
            )
    return {role: (settings[role], vocab[settings[role]]) for role in roles}
