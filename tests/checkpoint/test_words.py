"""Words of raw text are the tokenizer's own, in every script; text that it does not know is said."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from bertc.checkpoint import TextEncoder
from bertc.checkpoint.tokenizer import text_encoder_from_path
from bertc.core.head import Head
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.tasks import checked_rows, task_from_name
from tests.checkpoint.encoded import encoded
from tests.fixtures import tiny_vocab, write_tokenizer
from tests.tiny_families import write_byte_level

TEXTS = {
    "hindi": ("मेरा नाम राहुल है।", ("मेरा", "नाम", "राहुल", "है", "।")),
    "tamil": ("என் பெயர் குமார்", ("என்", "பெயர்", "குமார்")),
    "thai": ("ผมชื่อ สมชาย", ("ผมชื่อ", "สมชาย")),
    "arabic": ("اِسْمِي مُحَمَّدٌ", ("اِسْمِي", "مُحَمَّدٌ")),
    "nfd": (unicodedata.normalize("NFD", "Zoë à Málaga"), tuple(unicodedata.normalize("NFD", "Zoë à Málaga").split())),
    "english": ("It's an e-mail, Mary!", ("It", "'", "s", "an", "e", "-", "mail", ",", "Mary", "!")),
    "chinese": ("日本x", ("日", "本", "x")),
    "controls": ("\x01good\x02 film\u200b \x03", ("good", "film")),
}
LETTERS = sorted(
    {letter for text, _ in TEXTS.values() for letter in text if not letter.isspace() and ord(letter) > 127}
)


def word_piece(folder: Path) -> TextEncoder:
    """A cased WordPiece tokenizer that can spell the texts."""
    import json

    vocabulary = [*tiny_vocab(), *"ABIMZ", *LETTERS, *(f"##{letter}" for letter in LETTERS)]
    write_tokenizer(folder, list(dict.fromkeys(vocabulary)), 128)
    path = folder / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8")) | {"do_lower_case": False, "strip_accents": False}
    path.write_text(json.dumps(settings), encoding="utf-8")
    return text_encoder_from_path(folder, {"model_type": "bert", "vocab_size": 1000, "max_position_embeddings": 128})


def byte_level(folder: Path) -> TextEncoder:
    write_byte_level(folder, 64)
    config = {"model_type": "roberta", "vocab_size": 1000, "max_position_embeddings": 66, "pad_token_id": 1}
    return text_encoder_from_path(folder, config)


@pytest.mark.parametrize("kind", TEXTS)
def test_words_stay_whole_and_have_the_text_s_tokens(kind: str, tmp_path: Path) -> None:
    text, words = TEXTS[kind]
    encoder = word_piece(tmp_path)
    found = encoder.words_of_text(text)
    if kind == "controls":
        assert [word.strip("\x01\x02\x03\u200b") for word in found] == list(words)
    else:
        assert found == words
    assert encoder.encode_words(found).ids.tolist() == encoded(encoder, text).ids.tolist()


def test_a_byte_level_tokenizer_s_words(tmp_path: Path) -> None:
    assert byte_level(tmp_path).words_of_text(" It is  Mary, good") == ("It", "is", "Mary", ",", "good")


def test_a_long_text_has_all_its_words(tmp_path: Path) -> None:
    words = ("good", "film", ",", "Mary") * 20_000
    assert word_piece(tmp_path).words_of_text(" ".join(words)) == words


def test_rows_of_raw_text_are_split_and_given_words_are_not(tmp_path: Path) -> None:
    encoder, task = word_piece(tmp_path), task_from_name("token-classification")
    head = Head(task=task.name, labels=("O", "B-person"))
    text, words = TEXTS["hindi"]
    (row,) = checked_rows(task, [row_from_texts(text)], head, encoder)
    assert row.words == words
    (kept,) = checked_rows(task, [row], head, encoder)
    assert kept.words == words
    single = task_from_name("sequence-classification")
    (plain,) = checked_rows(single, [row_from_texts(text)], Head(task=single.name, labels=("a", "b")), encoder)
    assert plain.words is None


@pytest.mark.parametrize("text", [" \n", "\x01"])
def test_a_text_without_words(text: str, tmp_path: Path) -> None:
    task = task_from_name("token-classification")
    with pytest.raises(InputError, match=r"no words|empty"):
        checked_rows(task, [row_from_texts(text)], Head(task=task.name, labels=("O", "B-a")), word_piece(tmp_path))


def test_unknown_tokens_are_counted_without_the_special_ones(tmp_path: Path) -> None:
    encoder = word_piece(tmp_path)
    inputs = [encoded(encoder, text).ids for text in ("good ☃ film ☃☃", "good")]
    unknown, total = encoder.count_unknown(inputs)
    assert (unknown, total) == (
        sum(int((ids == encoder.unknown_id).sum()) for ids in inputs),
        sum(map(len, inputs)) - 4,
    )
    assert unknown >= 2
    assert encoder.count_unknown([encoded(encoder, "good film").ids]) == (0, 2)
    assert encoder.count_unknown(np.zeros((0, 0), np.int64)) == (0, 0)
