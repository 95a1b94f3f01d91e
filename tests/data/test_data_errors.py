"""Bad input: one sentence with file, line and remedy; exit code 2."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from bertc.errors import EXIT_INPUT, InputError
from bertc.tasks import task_names
from tests.data.reading import dataset_of

CASES: dict[str, tuple[str, str | bytes, dict[str, Any], str]] = {
    "empty": ("a.tsv", b"", {}, "is empty"),
    "only a header": ("a.tsv", "text\tlabel\n", {}, "no rows"),
    "only blank lines": ("a.txt", "\n \n", {}, "no rows"),
    "unknown column": ("a.csv", "text,label\na,b\n", {"columns": {"text": "body"}}, "the columns text, label"),
    "number too large": ("a.csv", "text,label\na,b\n", {"columns": {"text": "3"}}, "the columns text, label"),
    "unknown role": ("a.csv", "text,label\na,b\n", {"columns": {"colour": "text"}}, "it reads text_a, text_b, text"),
    "ambiguous role": ("a.csv", "text,label\na,b\n", {"columns": {"question": "text"}}, "it reads text_a"),
    "no usual name": ("a.csv", "label,foo\na,b\n", {}, r"columns label, foo; name one with text=NAME \(--column"),
    "no header, no numbers": ("a.tsv", "x\ty\nz\tw\n", {}, "2 columns without a header"),
    "unusual names": (
        "a.csv", "review_text,stars_given\na,4\n", {}, r"a header of unusual names .*: review_text, stars_given",
    ),
    "no such unusual name": (
        "a.csv", "review_text,stars_given\na,4\n", {"columns": {"text": "review"}}, "text=review.*: review_text, stars",
    ),
    "too few fields": ("a.tsv", "text\tlabel\na\tb\nc\n", {}, "line 3: has 1 fields where the header has 2"),
    "too many fields": ("a.csv", "text,label\na,b\nc,d,e\n", {}, "line 3: has 3 fields"),
    "a missing field without header": (
        "a.tsv", "a\tb\nc\n", {"columns": {"text": "2"}}, "line 2: has no column '2'",
    ),
    "bad quoting": ("a.csv", 'text,label\n"a"b,c\n', {}, "line 2: not valid CSV"),
    "same name twice": ("a.csv", "text,text\na,b\n", {}, "two columns have the same name"),
    "same name twice in an object": (
        "a.jsonl", '{"text": "a", "label": 0}\n{"text": "b", "label": 1, "label": 0}\n', {},
        "line 2: an object has 'label' twice; leave one",
    ),
    "same name twice in an array": ("a.json", '[{"text": "a", "text": "b"}]', {}, "an object has 'text' twice"),
    "same name twice within": (
        "a.jsonl", '{"text": "a", "meta": {"x": 1, "x": 2}}\n', {}, "line 1: an object has 'x' twice",
    ),
    "no utf-8": ("a.tsv", b"text\tlabel\na\tb\n\xff\tc\n", {}, "line 3: not valid UTF-8; save the file as UTF-8"),
    "utf-16": ("a.txt", "text".encode("utf-16"), {}, "line 1: not valid UTF-8"),
    "nul": ("a.txt", b"one\ntw\0o\n", {}, "line 2: holds a NUL byte"),
    "bad json line": ("a.jsonl", '{"text": "a"}\n{"text": \n', {}, "line 2: not valid JSON"),
    "unclosed json text": ("a.jsonl", '{"text": "a\tb"}\n', {}, r"valid JSON \(Invalid control character\)"),
    "json line without object": ("a.jsonl", '{"text": "a"}\n[1]\n', {}, "line 2: is no JSON object"),
    "json line without the column": ("a.jsonl", '{"text": "a"}\n{"t": "b"}\n', {}, "line 2: has no column 'text'"),
    "json text is a list": ("a.jsonl", '{"text": ["a"]}\n', {}, "line 1: column 'text' is no text but list"),
    "deep json": ("a.jsonl", "[" * 100_000 + "\n", {}, "line 1: (the JSON is nested|not valid JSON)"),
    "bad json array": ("a.json", '[{"text": "a"},\n{"text" "b"}]', {}, "line 2: not valid JSON"),
    "no data": ("a.json", '{\n"version": "1.1"\n}', {}, "has no list 'data'"),
    "data is no list": ("a.json", '{"data": 3}', {}, "has no list 'data'"),
    "an empty object": ("a.jsonl", "{}\n", {}, "no columns at all"),
    "bad utf-8 in json": ("a.json", b'[{"text":\n "\xff"}]', {}, "line 2: not valid UTF-8"),
    "unbalanced conll": ("a.conll", "a O\nb\n", {}, "line 2: has 1 columns where the lines before have 2"),
    "conll without token": ("a.conll", "a\tO\n\tO\n", {}, "line 2: has no token"),
    "no parquet": ("a.parquet", b"PAR1 and nothing", {}, "not a valid Parquet file"),
    "columns of a form without": ("a.txt", "a\n", {"columns": {"text": "1"}}, "has no columns to name"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_bad_files_get_one_sentence(tmp_path: Path, case: str) -> None:
    name, content, options, message = CASES[case]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if path.suffix == ".parquet":
        pytest.importorskip("pyarrow")
    with pytest.raises(InputError, match=message) as caught:
        dataset_of(path, task="sequence-classification", **options)
    text = str(caught.value)
    assert str(path) in text and "\n" not in text and caught.value.exit_code == EXIT_INPUT
    assert len(text) < 400 and caught.value.__cause__ is None


def test_a_parquet_file_with_two_columns_of_one_name(tmp_path: Path) -> None:
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    columns = [arrow.array(["a", "b"]), arrow.array([0, 1]), arrow.array([1, 0])]
    for names in (["text", "label", "other"], ["text", "label", "label"]):
        parquet.write_table(arrow.Table.from_arrays(columns, names=names), tmp_path / "a.parquet")
        if len(set(names)) == 3:
            assert len(dataset_of(tmp_path / "a.parquet", task="sequence-classification")) == 2
            continue
        with pytest.raises(InputError, match="two columns have the same name; rename one"):
            dataset_of(tmp_path / "a.parquet", task="sequence-classification")


SCRAPS = [
    b"\n", b"\t", b",", b'"', b"{", b"}", b"[", b"]", b"null", b"\0", b"\xff", b"1e999", b" ", b"\r", b'"data"', b":",
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"NaN", b'"\\ud800"', b"true", b"O",
]  # fmt: skip
WHOLE = [
    (".tsv", b'label\ttext\n1\tgood "x\n0\tbad\n'),
    (".csv", b'text,label\n"a, b",1\nc,0\n'),
    (".jsonl", b'{"text":"a","label":1}\n{"text":"b"}\n'),
    (".json", b'[{"text":"a"}]'),
    (".json", b'{"data":[{"paragraphs":[{"context":"c","qas":[{"question":"q","answers":[{"text":"c"}]}]}]}]}'),
    (".conll", b"a O\nb B-x\n\nc O\n"),
    ("", b"one\ntwo\n"),
]


@pytest.mark.parametrize("task", task_names())
def test_random_damage_is_read_or_refused(tmp_path: Path, task: str) -> None:
    chance = random.Random(task)
    read = 0
    for _ in range(300):
        suffix, content = chance.choice(WHOLE)
        damaged = bytearray(content)
        for _ in range(chance.randint(0, 3)):
            place = chance.randint(0, len(damaged))
            damaged[place : place + chance.choice((0, 0, 3))] = chance.choice(SCRAPS)
        path = tmp_path / f"file{suffix}"
        path.write_bytes(bytes(damaged))
        try:
            read += len(dataset_of(path, task=task)) > 0
        except InputError as error:
            assert "\n" not in str(error)
    assert read > 20


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        dataset_of(tmp_path / "nothing.tsv", task="sequence-classification")
    with pytest.raises(InputError, match="is a folder"):
        dataset_of(tmp_path, task="sequence-classification")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data["data"][0].pop("paragraphs"), r"data\[0\]: 'paragraphs' is missing"),
        (lambda data: data["data"][0]["paragraphs"][0].update(context=3), r"paragraphs\[0\]: 'context'"),
        (lambda data: data["data"][0]["paragraphs"][0]["qas"][0].pop("question"), r"qas\[0\]: 'question'"),
        (lambda data: data["data"][0]["paragraphs"][0]["qas"][0].update(answers=[3]), r"qas\[0\]: 'text'"),
        (lambda data: data["data"].append("text"), r"data\[1\]: 'title'|data\[1\]: 'paragraphs'"),
    ],
)
def test_a_squad_file_in_disorder(tmp_path: Path, change: Any, message: str) -> None:
    data: dict[str, Any] = {
        "data": [
            {"title": "t", "paragraphs": [{"context": "c", "qas": [{"question": "q", "answers": [{"text": "c"}]}]}]}
        ]
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    assert len(dataset_of(path, task="question-answering")) == 1
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=message):
        dataset_of(path, task="question-answering")
