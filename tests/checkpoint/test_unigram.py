"""DeBERTa's tokenizer: a unigram model of SentencePiece, which tokenizer.json holds whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertc.checkpoint import TextEncoder
from bertc.checkpoint.tokenizer import text_encoder_from_path
from bertc.errors import InputError
from tests.checkpoint.encoded import encoded
from tests.fixtures import edit_json, tiny_sentence, write_json
from tests.tiny_families import write_unigram

CONFIG = {"model_type": "deberta-v2", "vocab_size": 1000, "max_position_embeddings": 64, "pad_token_id": 0}
TEXTS = ("good film", " good  film \n", "Ünïcode 日本, zebra's e-mail", "x", tiny_sentence(3, 200), "a [MASK] b")


def encoder_of(path: Path) -> TextEncoder:
    return text_encoder_from_path(path, CONFIG)


@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_pairs_and_words_as_in_transformers(side: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_unigram(tmp_path)
    edit_json(tmp_path / "tokenizer_config.json", padding_side=side)
    write_json(tmp_path / "config.json", CONFIG)
    encoder, library = encoder_of(tmp_path), transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (encoder.positions, encoder.max_length, encoder.unknown_id) == (64, 64, 3)
    for text in TEXTS:
        pair = encoded(encoder, text, "great movie, awful")
        expected = library(text, "great movie, awful", truncation=True, max_length=64, return_offsets_mapping=True)
        assert pair.ids.tolist() == expected["input_ids"], text
        assert pair.type_ids.tolist() == expected["token_type_ids"], text
        assert [tuple(span) for span in pair.offsets.tolist()] == [tuple(s) for s in expected["offset_mapping"]], text
        words = text.split()
        of_words = library(words, is_split_into_words=True, truncation=True, max_length=64)
        found = encoder.encode_words(words)
        assert found.ids.tolist() == of_words["input_ids"]
        assert found.word_ids.tolist() == [-1 if word is None else word for word in of_words.word_ids()]


def test_saved_files_tokenize_alike_and_pad_where_they_did(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
    write_unigram(source)
    edit_json(source / "tokenizer_config.json", padding_side="left")
    encoder = encoder_of(source)
    encoder.save(target)
    settings = json.loads((target / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["padding_side"] == "left"
    again = encoder_of(target)
    for text in TEXTS:
        assert encoded(again, text, "good").ids.tolist() == encoded(encoder, text, "good").ids.tolist()


def test_tokenizer_json_s_normalisation_counts(tmp_path: Path) -> None:
    """transformers 5 builds another for this class, which has no forms of compatibility."""
    write_unigram(tmp_path)
    plain = encoded(encoder_of(tmp_path), "film").ids.tolist()
    assert encoded(encoder_of(tmp_path), "\ufb01lm").ids.tolist() != plain
    file = tmp_path / "tokenizer.json"
    write_json(file, json.loads(file.read_text(encoding="utf-8")) | {"normalizer": {"type": "NFKC"}})
    assert encoded(encoder_of(tmp_path), "\ufb01lm").ids.tolist() == plain


@pytest.mark.parametrize(
    "change, message",
    [
        ({"unk_id": None}, "the tokenizer cannot encode"),
        ({"vocab": []}, r"tokenizer\.json is damaged"),
        ({"vocab": "none"}, r"tokenizer\.json is damaged"),
    ],
)
def test_a_damaged_model_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_unigram(tmp_path)
    file = tmp_path / "tokenizer.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    if change == {"unk_id": None}:
        document["model"]["vocab"] = [entry for entry in document["model"]["vocab"] if "a" not in entry[0]]
    document["model"] |= change
    write_json(file, document)
    with pytest.raises(InputError, match=message):
        encoder_of(tmp_path)


def test_sentencepiece_s_own_file_alone_is_refused_with_what_to_do(tmp_path: Path) -> None:
    write_unigram(tmp_path)
    (tmp_path / "tokenizer.json").rename(tmp_path / "spm.model")
    with pytest.raises(InputError, match=r"holds spm\.model but no tokenizer\.json; save the fast tokenizer"):
        encoder_of(tmp_path)
