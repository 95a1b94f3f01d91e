"""RoBERTa's tokenizers: byte-level BPE with or without tokenizer.json, and XLM-RoBERTa's, which only has that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from bertc.checkpoint import TextEncoder
from bertc.checkpoint.tokenizer import text_encoder_from_path
from bertc.errors import InputError
from tests.checkpoint.encoded import encoded
from tests.fixtures import edit_json, tiny_sentence, write_json
from tests.tiny_families import PADDING_FIRST, write_byte_level, write_unigram

CONFIG = {"model_type": "roberta", "vocab_size": 1000, "max_position_embeddings": 66, "pad_token_id": 1}
TEXTS = (
    "good film",
    " good  film \n",
    "Ünïcode 日本, zebra's \u00a0e-mail",
    "x",
    tiny_sentence(3, 200),
    "\ud800 <mask> a",
)


def encoder_of(path: Path, **config: Any) -> TextEncoder:
    return text_encoder_from_path(path, CONFIG | config)


@pytest.mark.parametrize("prefix_space", [True, False])
@pytest.mark.parametrize("fast", [True, False])
def test_texts_and_pairs_as_in_transformers(fast: bool, prefix_space: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_byte_level(tmp_path, 64, fast=fast, prefix_space=prefix_space)
    write_json(tmp_path / "config.json", CONFIG)
    encoder = encoder_of(tmp_path)
    library = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (encoder.positions, encoder.max_length) == (64, 64)
    for text in TEXTS[:-1]:
        found, expected = encoded(encoder, text), library(text, truncation=True, return_offsets_mapping=True)
        assert found.ids.tolist() == expected["input_ids"], text
        inner = [tuple(pair) for pair in expected["offset_mapping"]]
        assert [tuple(pair) for pair in found.offsets.tolist()] == inner, text
        pair = encoded(encoder, text, "great movie, awful")
        assert pair.ids.tolist() == library(text, "great movie, awful", truncation=True)["input_ids"], text
        assert not pair.type_ids.any()
    assert encoded(encoder, TEXTS[-1]).length > 3


def test_saved_dropout_is_off(tmp_path: Path) -> None:
    """It belongs to training; the library itself goes on with it, so that a text has other tokens at every call."""
    write_byte_level(tmp_path, 64)
    plain = encoded(encoder_of(tmp_path), TEXTS[-2]).ids.tolist()
    file = tmp_path / "tokenizer.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    document["model"]["dropout"] = 0.9
    write_json(file, document)
    library = Tokenizer.from_file(str(file))
    assert len({tuple(library.encode(TEXTS[-2]).ids) for _ in range(20)}) > 1, "the dropout is there"
    encoder = encoder_of(tmp_path)
    assert all(encoded(encoder, TEXTS[-2]).ids.tolist() == plain for _ in range(20))


@pytest.mark.parametrize("fast", [True, False])
def test_saved_files_tokenize_alike(fast: bool, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
    write_byte_level(source, 64, fast=fast, prefix_space=False)
    encoder = encoder_of(source)
    names = {path.name for path in encoder.save(target)}
    assert names == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.json",
        "merges.txt",
    }
    assert json.loads((target / "special_tokens_map.json").read_text())["cls_token"] == "<s>"
    again = encoder_of(target)
    for text in TEXTS:
        assert encoded(again, text, "good").ids.tolist() == encoded(encoder, text, "good").ids.tolist()


@pytest.mark.parametrize("prefix_space", [True, False])
def test_words_are_transformers_with_and_without_the_space_before_them(prefix_space: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_byte_level(tmp_path, 64, prefix_space=prefix_space)
    write_json(tmp_path / "config.json", CONFIG)
    words = [*tiny_sentence(5, 20).split(), "x", "good", "\u00a0"]
    found = encoder_of(tmp_path).encode_words(words)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)(words, is_split_into_words=True)
    assert found.ids.tolist() == theirs["input_ids"]
    assert found.word_ids.tolist() == [-1 if word is None else word for word in theirs.word_ids()]


def test_words_with_the_space_before_them_are_those_of_a_text(tmp_path: Path) -> None:
    write_byte_level(tmp_path, 64)
    words = tiny_sentence(5, 20).split()
    found = encoder_of(tmp_path).encode_words(words)
    assert found.ids.tolist() == encoded(encoder_of(tmp_path), " ".join(words)).ids.tolist()
    assert np.unique(found.word_ids).tolist() == list(range(-1, len(words)))
    edit_json(tmp_path / "tokenizer_config.json", add_prefix_space=False)
    assert encoder_of(tmp_path).encode_words(words).ids.tolist() != found.ids.tolist()


def test_the_setting_wins_over_the_file(tmp_path: Path) -> None:
    write_byte_level(tmp_path, 64)
    one = encoded(encoder_of(tmp_path), "good")
    edit_json(tmp_path / "tokenizer_config.json", add_prefix_space=False)
    other = encoded(encoder_of(tmp_path), "good")
    assert one.ids.tolist() != other.ids.tolist()
    edit_json(tmp_path / "tokenizer_config.json", add_prefix_space=None)
    assert encoded(encoder_of(tmp_path), "good").ids.tolist() == other.ids.tolist(), "tokenizer.json has none"


def test_windows_of_a_long_context_are_those_of_the_whole(tmp_path: Path) -> None:
    write_byte_level(tmp_path, 64)
    encoder = encoder_of(tmp_path)
    context = " ".join(tiny_sentence(seed, 400) for seed in range(75))
    assert len(context) > 2 * 2**16, "it is tokenized in pieces"
    windows = encoder.encode_windows("who", context, stride=0)
    found = np.concatenate([one.ids[one.sequence_ids == 1] for one in windows])
    whole = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    state = json.loads(whole.to_str())
    state["pre_tokenizer"]["add_prefix_space"] = True
    expected = Tokenizer.from_str(json.dumps(state)).encode(context, add_special_tokens=False).ids
    assert found.tolist() == expected


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("vocab.json", "{", r"vocab\.json is not valid JSON"),
        ("vocab.json", "[]", r"vocab\.json holds a JSON list"),
        ("vocab.json", '{"a": "b"}', r"vocab\.json and merges\.txt are damaged"),
        ("vocab.json", '{"<s>": 0, "<pad>": 1, "</s>": 2}', r"damaged|lacks the special token <unk>"),
        ("merges.txt", "#version: 0.2\na\n", r"vocab\.json and merges\.txt are damaged"),
        ("merges.txt", "#version: 0.2\nqq zz\n", r"vocab\.json and merges\.txt are damaged"),
        ("merges.txt", None, r"neither tokenizer\.json nor vocab\.json with merges\.txt; save the fast tokenizer"),
        ("added_tokens.json", "{}", r"has added_tokens\.json but no tokenizer\.json"),
    ],
)
def test_damaged_files_are_refused(file: str, content: str | None, message: str, tmp_path: Path) -> None:
    write_byte_level(tmp_path, 64, fast=False)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message) as caught:
        encoder_of(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"max_position_embeddings": 2}, "max_position_embeddings 2 leaves no position for a text"),
        ({"max_position_embeddings": 1}, "max_position_embeddings 1 leaves no position"),
        ({"pad_token_id": 66}, "whose first token has the number 67"),
        ({"pad_token_id": "one"}, "pad_token_id must be the number of a token"),
    ],
)
def test_a_model_without_positions_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_byte_level(tmp_path, 64)
    with pytest.raises(InputError, match=message):
        encoder_of(tmp_path, **change)


def test_ids_beyond_the_embedding_table_are_refused(tmp_path: Path) -> None:
    size = write_byte_level(tmp_path, 64)
    assert encoder_of(tmp_path, vocab_size=size).vocab_size == size
    with pytest.raises(InputError, match=f"has ids up to {size - 1}, but config.json says vocab_size {size - 1}"):
        encoder_of(tmp_path, vocab_size=size - 1)


def test_xlm_roberta_s_tokenizer_with_words(tmp_path: Path) -> None:
    """A unigram model whose tokens begin with a sign for the space (SentencePiece)."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = list(PADDING_FIRST)
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator((tiny_sentence(seed, 12) for seed in range(200)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_class": "XLMRobertaTokenizer"})
    encoder = encoder_of(tmp_path, model_type="xlm-roberta")
    words = tiny_sentence(7, 12).split()
    assert encoder.encode_words(words).ids.tolist() == encoded(encoder, " ".join(words)).ids.tolist()
    assert encoded(encoder, "good", "film").ids.tolist() == tokenizer.encode("good", "film").ids


def test_a_token_is_shown_as_the_text_that_it_stands_for(tmp_path: Path) -> None:
    """A byte-level vocabulary writes every byte as a letter: a token of others than ASCII's looks like another word."""
    write_byte_level(tmp_path, 64)
    encoder = encoder_of(tmp_path)
    assert encoder.text_of_token("ĠespaÃ±ol") == " español" and encoder.text_of_token("film") == "film"
    assert encoder.text_of_token("Ã") == "\ufffd" and encoder.text_of_token("<mask>") == "<mask>"
    (tmp_path / "unigram").mkdir()
    write_unigram(tmp_path / "unigram")
    spelt = text_encoder_from_path(tmp_path / "unigram", {"model_type": "deberta-v2", "vocab_size": 1000})
    assert spelt.text_of_token("▁español") == " español" and spelt.text_of_token("Ã±") == "Ã±"
    for each, token, mask in ((encoder, "Ġfilm", "<mask>"), (spelt, "▁film", "[MASK]")):
        assert each.text_with_token(f"a {mask} .", mask, token) == "a film ."
