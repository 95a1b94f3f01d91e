"""The tokenizer's files: which are read, which setting wins, what is refused, and what an artefact gets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertc.checkpoint.text_encoder import TextEncoder
from bertc.checkpoint.tokenizer import text_encoder_from_path
from bertc.errors import InputError
from tests.checkpoint.encoded import encoded
from tests.fixtures import edit_json, tiny_vocab, write_tiny_bert, write_tokenizer
from tests.fixtures import tiny_sentence as sentence

CONFIG = {"model_type": "bert", "vocab_size": 1000, "max_position_embeddings": 128}


def encoder_of(path: Path, **config: int) -> TextEncoder:
    return text_encoder_from_path(path, {**CONFIG, **config})


@pytest.fixture
def encoder(tiny: Path) -> TextEncoder:
    return encoder_of(tiny)


def test_the_library_s_threads_change_nothing(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [sentence(seed, 30) for seed in range(300)]
    results = []
    for setting in ("true", "false"):
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", setting)
        results.append([found.ids.tolist() for found in encoder_of(tiny).encode_batch(texts)])
    assert results[0] == results[1]


def test_vocab_txt_alone_is_the_same(tiny: Path, encoder: TextEncoder) -> None:
    texts = [sentence(seed, 40) for seed in range(50)] + ["Ünï [MASK] 日本 x"]
    (tiny / "tokenizer.json").unlink()
    again = encoder_of(tiny)
    for first, second in zip(encoder.encode_batch(texts), again.encode_batch(texts), strict=True):
        assert first.ids.tolist() == second.ids.tolist()
        assert first.offsets.tolist() == second.offsets.tolist()
    (tiny / "tokenizer_config.json").unlink()
    assert encoded(encoder_of(tiny), texts[0]).ids.tolist() == encoded(encoder, texts[0]).ids.tolist()
    assert again.vocab_size == len(tiny_vocab())


@pytest.mark.parametrize("fast", [True, False])
def test_case_and_accents_follow_tokenizer_config(tiny: Path, fast: bool) -> None:
    words = [*tiny_vocab(), "Good", "ü"]
    write_tokenizer(tiny, words, fast=fast)
    assert encoded(encoder_of(tiny), "Good").ids.tolist()[1] == words.index("good")
    edit_json(tiny / "tokenizer_config.json", do_lower_case=False)
    assert encoded(encoder_of(tiny), "Good ü").ids.tolist()[1:3] == [words.index("Good"), words.index("ü")]
    edit_json(tiny / "tokenizer_config.json", strip_accents=True)
    assert encoded(encoder_of(tiny), "Good ü").ids.tolist()[1:3] == [words.index("Good"), words.index("u")]


def test_sentence_transformers_lower_case(tiny: Path) -> None:
    words = [*tiny_vocab(), "Good", "ü"]
    write_tokenizer(tiny, words)
    edit_json(tiny / "tokenizer_config.json", do_lower_case=False)
    (tiny / "sentence_bert_config.json").write_text('{"max_seq_length": 20, "do_lower_case": true}')
    found = encoded(encoder_of(tiny), "Good ü")
    assert found.ids.tolist()[1:3] == [words.index("good"), words.index("ü")]


def test_other_special_tokens(tiny: Path) -> None:
    names = {"[PAD]": "<pad>", "[UNK]": "<unk>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
    words = ["first", *(names.get(word, word) for word in tiny_vocab())]
    write_tokenizer(tiny, words, fast=False)
    with pytest.raises(InputError, match=r"vocab\.txt lacks the special token \[UNK\]"):
        encoder_of(tiny)
    roles = {"pad": "<pad>", "unk": {"content": "<unk>"}, "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
    edit_json(tiny / "tokenizer_config.json", **{f"{role}_token": name for role, name in roles.items()})
    encoder = encoder_of(tiny)
    assert encoded(encoder, "☃").ids.tolist() == [3, 2, 4]


@pytest.mark.parametrize(
    ("limit", "length"), [(64, 64), (10**30, 128), (1e30, 128), (512, 128), (None, 128), ("64", 128), (-1, 128)]
)
def test_the_smallest_sane_limit(tiny: Path, limit: object, length: int) -> None:
    edit_json(tiny / "tokenizer_config.json", model_max_length=limit)
    assert encoder_of(tiny).max_length == length


def test_the_limit_of_sentences(tiny: Path) -> None:
    (tiny / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    assert encoder_of(tiny).max_length == 128
    assert text_encoder_from_path(tiny, CONFIG, sentences=True).max_length == 20
    assert encoded(text_encoder_from_path(tiny, CONFIG, sentences=True), "good " * 90, max_length=90).length == 90


def test_ids_beyond_the_embedding_table(tiny: Path) -> None:
    assert encoder_of(tiny, vocab_size=len(tiny_vocab())).vocab_size == len(tiny_vocab())
    with pytest.raises(InputError, match=rf"ids up to {len(tiny_vocab()) - 1}, but config.json says vocab_size 50"):
        encoder_of(tiny, vocab_size=50)


def break_tokenizer(path: Path, kind: str) -> None:
    keep = {"damaged": "tokenizer.json", "twice": "vocab.txt", "latin": "vocab.txt", "added": "vocab.txt"}
    for name in ("tokenizer.json", "vocab.txt"):
        if name != keep.get(kind):
            (path / name).unlink()
    if kind == "damaged":
        (path / "tokenizer.json").write_text('{"version": "1.0"')
    elif kind == "twice":
        (path / "vocab.txt").write_text("\n".join([*tiny_vocab(), "good"]))
    elif kind == "latin":
        (path / "vocab.txt").write_bytes("\n".join([*tiny_vocab(), "ü"]).encode("latin-1"))
    elif kind == "added":
        (path / "added_tokens.json").write_text("{}")


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("missing", r"neither tokenizer\.json nor vocab\.txt"),
        ("damaged", r"tokenizer\.json is damaged"),
        ("twice", r"vocab\.txt has 1 tokens twice"),
        ("latin", r"vocab\.txt is not UTF-8"),
        ("added", r"has added_tokens\.json but no tokenizer\.json"),
    ],
)
def test_broken_tokenizers(tiny: Path, kind: str, told: str) -> None:
    break_tokenizer(tiny, kind)
    with pytest.raises(InputError, match=told):
        encoder_of(tiny)


def test_truncation_at_the_left_is_refused(tiny: Path) -> None:
    edit_json(tiny / "tokenizer_config.json", truncation_side="left")
    with pytest.raises(InputError, match="cuts texts at the left"):
        encoder_of(tiny)


def test_an_unknown_token_must_exist(tiny: Path) -> None:
    content = json.loads((tiny / "tokenizer.json").read_text())
    content["model"]["vocab"] = {"[CLS]": 2, "[SEP]": 3}
    content["added_tokens"] = []
    (tiny / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"lacks the unknown token \[UNK\]"):
        encoder_of(tiny)


def test_a_tokenizer_that_panics(tiny: Path) -> None:
    content = json.loads((tiny / "tokenizer.json").read_text())
    content["post_processor"]["special_tokens"] = {}
    (tiny / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="the tokenizer cannot encode"):
        encoder_of(tiny)


def test_half_an_emoji_in_a_name(tiny: Path) -> None:
    edit_json(tiny / "tokenizer_config.json", unk_token="\ud83d")
    with pytest.raises(InputError, match=r"tokenizer_config\.json is not valid JSON .*surrogates"):
        encoder_of(tiny)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("lower", [True, False])
def test_saved_files_tokenize_alike(tmp_path: Path, fast: bool, lower: bool) -> None:
    transformers = pytest.importorskip("transformers")
    source, target = write_tiny_bert(tmp_path / "source"), tmp_path / "target"
    write_tokenizer(source, [*tiny_vocab(), "Good", "ü"], 64, fast=fast)
    edit_json(source / "tokenizer_config.json", do_lower_case=lower, name_or_path="/somewhere/else")
    target.mkdir()
    encoder = encoder_of(source)
    saved = encoder.save(target)
    assert [path.name for path in saved] == [
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "vocab.txt",
    ]
    assert "somewhere" not in "".join(path.read_text() for path in saved)
    again = encoder_of(target)
    assert again.max_length == 64
    (target / "config.json").write_text((source / "config.json").read_text())
    library = transformers.AutoTokenizer.from_pretrained(target)
    assert library.model_max_length == 64
    for text in ("Good movie, Ü ü!", sentence(9, 100)):
        found = encoded(encoder, text)
        assert encoded(again, text).ids.tolist() == found.ids.tolist()
        assert library(text, truncation=True)["input_ids"] == found.ids.tolist()
