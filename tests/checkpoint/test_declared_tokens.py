"""Tokens declared beside tokenizer.json, and token types, are those of transformers' own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertc.checkpoint import TextEncoder, checkpoint_from_path, text_encoder_from_path
from bertc.errors import InputError
from tests.checkpoint.encoded import encoded
from tests.fixtures import edit_json, tiny_vocab, write_json, write_tiny_bert, write_tokenizer
from tests.tiny_families import write_tiny_family

VOCAB = [*tiny_vocab(), "[unused0]"]
ROOM = [*VOCAB, *(f"[row{index}]" for index in range(3))]
TEXT = "the [E1] film [/E1] is [unused0] good [e1] x[E1]y"
E1 = {"content": "[E1]", "lstrip": False, "rstrip": False, "single_word": False, "normalized": False, "special": True}
UNMARKED = {name: value for name, value in E1.items() if name != "special"}
FREE = len(VOCAB)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint whose embedding table has room for three tokens more."""
    write_tiny_bert(tmp_path / "model", vocab=ROOM)
    write_tokenizer(tmp_path / "model", VOCAB)
    return tmp_path / "model"


def library(folder: Path) -> Any:
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(folder)


def encoder_of(folder: Path) -> TextEncoder:
    return text_encoder_from_path(folder, json.loads((folder / "config.json").read_text(encoding="utf-8")))


DECLARATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "additional in the config": ("tokenizer_config.json", {"additional_special_tokens": ["[E1]", "[/E1]"]}),
    "extra in the config": ("tokenizer_config.json", {"extra_special_tokens": ["[E1]", "[unused0]"]}),
    "named in the config": ("tokenizer_config.json", {"extra_special_tokens": {"begin": "[E1]", "end": "[/E1]"}}),
    "an own role": ("tokenizer_config.json", {"entity_token": "[E1]"}),
    "additional in the map": ("special_tokens_map.json", {"additional_special_tokens": ["[E1]", "[/E1]"]}),
    "extra in the map": ("special_tokens_map.json", {"extra_special_tokens": [UNMARKED, "[/E1]"]}),
    "the decoder": ("tokenizer_config.json", {"added_tokens_decoder": {str(FREE): E1}}),
    "the decoder, with flags": (
        "tokenizer_config.json",
        {"added_tokens_decoder": {str(FREE): E1 | {"lstrip": True, "special": False, "normalized": True}}},
    ),
    "added_tokens.json": ("added_tokens.json", {"[E1]": FREE, "[/E1]": FREE + 1}),
}


@pytest.mark.parametrize("backend", ["BertTokenizer", "PreTrainedTokenizerFast", None])
@pytest.mark.parametrize("kind", DECLARATIONS)
def test_declared_tokens_are_whole(folder: Path, kind: str, backend: str | None, tmp_path: Path) -> None:
    before = encoded(encoder_of(folder), TEXT).ids.tolist()
    edit_json(folder / "tokenizer_config.json", tokenizer_class=backend)
    name, entries = DECLARATIONS[kind]
    write_json(folder / name, (json.loads((folder / name).read_text()) if (folder / name).exists() else {}) | entries)
    encoder = encoder_of(folder)
    found = encoded(encoder, TEXT).ids.tolist()
    assert found == library(folder)(TEXT)["input_ids"]
    assert found != before
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_bytes((folder / "config.json").read_bytes())
    assert encoded(encoder_of(tmp_path / "saved"), TEXT).ids.tolist() == found
    assert library(tmp_path / "saved")(TEXT)["input_ids"] == found


def test_the_decoder_hides_the_other_files(folder: Path) -> None:
    edit_json(folder / "tokenizer_config.json", added_tokens_decoder={str(FREE): E1})
    write_json(folder / "special_tokens_map.json", {"additional_special_tokens": ["[/E1]"]})
    found = encoded(encoder_of(folder), TEXT).ids.tolist()
    assert found == library(folder)(TEXT)["input_ids"]
    assert FREE + 1 not in found


def test_nothing_declared_changes_nothing(folder: Path) -> None:
    assert encoded(encoder_of(folder), TEXT).ids.tolist() == library(folder)(TEXT)["input_ids"]
    edit_json(folder / "tokenizer_config.json", bos_token=None, extra_special_tokens=[])
    assert encoded(encoder_of(folder), TEXT).ids.tolist() == library(folder)(TEXT)["input_ids"]


def test_a_named_token_without_a_row_is_no_obstacle_and_an_extra_one_is(folder: Path) -> None:
    edit_json(folder / "config.json", vocab_size=len(VOCAB))
    edit_json(folder / "tokenizer_config.json", bos_token="<bos>")
    assert encoder_of(folder).vocab_size == len(VOCAB)
    edit_json(folder / "tokenizer_config.json", extra_special_tokens=["[E1]"])
    with pytest.raises(InputError, match=rf"ids up to {FREE}, but config\.json says vocab_size {FREE}"):
        encoder_of(folder)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"added_tokens_decoder": {"999": E1}}, rf"'\[E1\]' with the id 999, but the tokenizer gives it {FREE}"),
        ({"added_tokens_decoder": {"one": E1}}, "added_tokens_decoder is no object of tokens"),
        ({"added_tokens_decoder": [E1]}, "added_tokens_decoder is no object of tokens"),
        ({"extra_special_tokens": [3]}, "declares the special token 3, which is no text"),
        ({"extra_special_tokens": [""]}, "which is no text"),
    ],
)
def test_declarations_that_are_none(folder: Path, entries: dict[str, Any], told: str) -> None:
    edit_json(folder / "tokenizer_config.json", **entries)
    with pytest.raises(InputError, match=told):
        encoder_of(folder)


def test_the_digest_is_of_added_tokens_too(folder: Path) -> None:
    before = checkpoint_from_path(folder).digest
    write_json(folder / "added_tokens.json", {"[E1]": FREE})
    assert checkpoint_from_path(folder).digest != before


@pytest.mark.parametrize(
    ("entries", "second"),
    [
        ({"tokenizer_class": "BertTokenizer"}, 1),
        ({"tokenizer_class": "BertTokenizerFast"}, 1),
        ({"tokenizer_class": "ElectraTokenizer"}, 1),
        ({"tokenizer_class": None}, 1),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, 0),
        ({"tokenizer_class": "TokenizersBackend"}, 0),
        ({"tokenizer_class": "NobodysTokenizer"}, 0),
        ({"model_input_names": ["input_ids", "attention_mask"]}, 0),
        ({"tokenizer_class": "TokenizersBackend", "model_input_names": ["input_ids", "token_type_ids"]}, 1),
    ],
)
def test_types_of_a_pair_are_transformers(tiny: Path, entries: dict[str, Any], second: int, tmp_path: Path) -> None:
    edit_json(tiny / "tokenizer_config.json", **entries)
    encoder = encoder_of(tiny)
    types = encoded(encoder, "good film", "bad film").type_ids.tolist()
    theirs = library(tiny)("good film", "bad film")
    assert types == theirs.get("token_type_ids", [0] * len(types))
    assert max(types) == second
    (tmp_path / "saved").mkdir()
    encoder.save(tmp_path / "saved")
    (tmp_path / "saved" / "config.json").write_bytes((tiny / "config.json").read_bytes())
    assert library(tmp_path / "saved")("good film", "bad film").get("token_type_ids", [0] * len(types)) == types
    assert encoded(encoder_of(tmp_path / "saved"), "good film", "bad film").type_ids.tolist() == types


@pytest.mark.parametrize("family", ["albert", "bert", "deberta-v2", "electra", "mpnet", "nomic-bert", "t5", "xlnet"])
def test_where_no_class_is_named_types_are_those_of_the_family_s_own(family: str, tmp_path: Path) -> None:
    write_tiny_family(tmp_path, family, task="feature-extraction")
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))
    left = {name: value for name, value in settings.items() if name not in ("tokenizer_class", "model_input_names")}
    write_json(tmp_path / "tokenizer_config.json", left)
    types = encoded(encoder_of(tmp_path), "the good", "a b").type_ids.tolist()
    assert types == library(tmp_path)("the good", "a b").get("token_type_ids", [0] * len(types))
