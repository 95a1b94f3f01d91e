"""Every form gives its rows."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bertc.data import dataset
from bertc.data.dataset import form_from_path
from bertc.errors import EnvironmentLackError, InputError
from tests.data.reading import dataset_of

CLASSIFY = "sequence-classification"


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def texts(path: Path, **options: Any) -> list[tuple[str, ...]]:
    return [row.texts for row in dataset_of(path, task=options.pop("task", CLASSIFY), **options).rows]


def test_tsv_has_no_quoting(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", 'label\tsentence\r\n1\t" lone quote\r\n\r\n0\tfine "\r\n')
    data = dataset_of(path, task=CLASSIFY)
    assert [row.texts for row in data.rows] == [('" lone quote',), ('fine "',)]
    assert [row.label for row in data.rows] == ["1", "0"]
    assert [row.line for row in data.rows] == [2, 4]
    assert dict(data.columns) == {"text": "sentence", "label": "label"} and data.form == "tsv"


def test_csv_is_quoted_and_may_span_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", 'text,label\n"one, two\nthree","4"\n"say ""hi""",5\n')
    data = dataset_of(path, task=CLASSIFY)
    assert [row.texts[0] for row in data.rows] == ["one, two\nthree", 'say "hi"']
    assert [row.line for row in data.rows] == [2, 4] and data.form == "csv"


def test_csv_with_semicolons_and_a_byte_order_mark(tmp_path: Path) -> None:
    assert texts(written(tmp_path, "a.csv", b"\xef\xbb\xbftext;label\na, b;1\n")) == [("a, b",)]


def test_a_csv_of_tabs_without_header_takes_numbers(tmp_path: Path) -> None:
    line = "captions\tf\t2012\t0001\t5.000\tA plane.\tAn air plane.\n"
    path = written(tmp_path, "sts.csv", line + line.rstrip("\n") + "\tmore\tfields\n")
    columns = {"text_a": "6", "text_b": "7", "score": "5"}
    data = dataset_of(path, task="feature-extraction", columns=columns)
    assert [row.texts for row in data.rows] == [("A plane.", "An air plane.")] * 2
    assert [row.label for row in data.rows] == ["5.000"] * 2 and data.form == "tsv"


@pytest.mark.parametrize(
    ("names", "roles"),
    [
        ("sentence1,sentence2,label", ("text_a", "text_b", "label")),
        ("premise,hypothesis,gold", ("text_a", "text_b", "label")),
        ("question,sentence,label", ("text_a", "text_b", "label")),
        ("intent,utterance", ("label", "text")),
        ("Stars,Review", ("label", "text")),
        ("question,class", ("text", "label")),
        ("id,body,target", ("id", "text", "label")),
    ],
)
def test_usual_names_are_found(tmp_path: Path, names: str, roles: tuple[str, ...]) -> None:
    cells = ",".join("x" for _ in names.split(","))
    data = dataset_of(written(tmp_path, "a.csv", f"{names}\n{cells}\n"), task=CLASSIFY)
    assert dict(data.columns) == dict(zip(roles, names.split(","), strict=True))


def test_a_header_is_told_from_a_first_row(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", "a great film\tpositive\nboring\tnegative\n")
    data = dataset_of(path, task=CLASSIFY, columns={"text": "1", "label": "2"})
    assert [row.label for row in data.rows] == ["positive", "negative"]
    for header in ("label\tfoo", "bar\ttext"):
        headed = written(tmp_path, "b.tsv", f"{header}\n1\ta great film\n")
        assert len(dataset_of(headed, task=CLASSIFY, columns={"text": "2", "label": "1"})) == 1
    named = written(tmp_path, "c.tsv", "foo\tbar\n1\ta great film\n")
    assert len(dataset_of(named, task=CLASSIFY, columns={"text": "bar", "label": "foo"})) == 1


def test_a_first_line_of_unusual_names_is_a_header_when_one_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "review_text,stars_given\na fine film,4\n")
    for columns in (
        {"text": "review_text"},
        {"text": "review_text", "label": "2"},
        {"text": "1", "label": "stars_given"},
    ):
        data = dataset_of(path, task=CLASSIFY, columns=columns)
        assert [row.texts for row in data.rows] == [("a fine film",)] and data.header is True
    numbered = dataset_of(path, task=CLASSIFY, columns={"text": "1"})
    assert [row.texts[0] for row in numbered.rows] == ["review_text", "a fine film"] and numbered.header is False


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_cells_may_be_of_any_length(tmp_path: Path, name: str) -> None:
    comma = "," if name == "a.csv" else "\t"
    long = "word " * 100_000 + "end"
    data = dataset_of(written(tmp_path, name, f"text{comma}label\n{long}{comma}1\nb{comma}0\n"), task=CLASSIFY)
    assert [row.texts[0] for row in data.rows] == [long, "b"]


def test_named_columns_win(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "text,other,label,y2\nt,o,l,y\n")
    data = dataset_of(path, task=CLASSIFY, columns={"text": "other", "label": "y2"})
    assert data.rows[0].texts == ("o",) and data.rows[0].label == "y"
    numbered = dataset_of(path, task=CLASSIFY, columns={"text": "2", "label": "4"})
    assert numbered.rows == data.rows


def test_jsonl_and_a_json_array(tmp_path: Path) -> None:
    items = [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": None}]
    lines = written(tmp_path, "a.jsonl", "\n".join(map(json.dumps, items)))
    array = written(tmp_path, "b.json", json.dumps(items))
    misnamed = written(tmp_path, "c.json", "\n".join(map(json.dumps, items)) + "\n")
    for path, form in ((lines, "jsonl"), (array, "json"), (misnamed, "jsonl")):
        data = dataset_of(path, task=CLASSIFY)
        assert [row.label for row in data.rows] == [["x", "y"], None] and data.form == form


def test_tokens_from_json_lists(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"tokens": ["Mary", "runs"], "ner_tags": [1, 0]}\n')
    row = dataset_of(path, task="token-classification").rows[0]
    assert row.words == ("Mary", "runs") and row.tags == (1, 0) and row.texts == ("Mary runs",)


def test_questions_from_a_table(tmp_path: Path) -> None:
    item = {
        "id": "q1",
        "question": "who?",
        "context": "it is me",
        "answers": {"text": ["me", "me"], "answer_start": [6, 6]},
    }
    row = dataset_of(written(tmp_path, "a.jsonl", json.dumps(item)), task="question-answering").rows[0]
    assert row.texts == ("who?", "it is me") and row.answers == ("me",) and row.id == "q1"


def test_neighbours_share_their_context(tmp_path: Path) -> None:
    """A table repeats the context of every question; 10,570 questions of SQuAD have 2,067."""
    items = [{"question": f"{number}?", "context": f"it is {number // 2}", "answers": []} for number in range(4)]
    lines = "".join(json.dumps(item) + "\n" for item in items)
    rows = dataset_of(written(tmp_path, "a.jsonl", lines), task="question-answering").rows
    assert [row.texts for row in rows] == [(item["question"], item["context"]) for item in items]
    first, second, third, _ = (row.texts[1] for row in rows)
    assert first is second and second is not third


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"sentence": ["a", "b"], "label": [0, 1], "idx": [7, 8]})
    parquet.write_table(table, tmp_path / "a.parquet")
    data = dataset_of(tmp_path / "a.parquet", task=CLASSIFY)
    assert [(row.texts, row.label, row.id) for row in data.rows] == [(("a",), 0, "7"), (("b",), 1, "8")]


def test_parquet_without_pyarrow_is_a_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentLackError, match=r"pip install 'bertc\[parquet\]'"):
        dataset_of(written(tmp_path, "a.parquet", b"PAR1"), task=CLASSIFY)


def test_plain_lines(tmp_path: Path) -> None:
    path = written(tmp_path, "a.txt", "one line\n\n  two \n{not json}\n")
    assert texts(path) == [("one line",), ("two",), ("{not json}",)]


CONLL = "-DOCSTART- -X- O\n\nMary NNP B-person\nruns VB O\n\n\n# . O\n"


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.annotated"])
def test_conll(tmp_path: Path, name: str) -> None:
    data = dataset_of(written(tmp_path, name, CONLL), task="token-classification")
    assert [(row.words, row.tags, row.line) for row in data.rows] == [
        (("Mary", "runs"), ("B-person", "O"), 3),
        (("#",), ("O",), 7),
    ]
    assert data.form == "conll" and data.left_out == {"-DOCSTART- lines": 1}


def test_conll_without_documents_leaves_nothing_out(tmp_path: Path) -> None:
    rest = CONLL.partition("\n\n")[2]
    assert not dataset_of(written(tmp_path, "a.conll", rest), task="token-classification").left_out


def test_conll_without_tags_is_unlabelled(tmp_path: Path) -> None:
    data = dataset_of(written(tmp_path, "a.conll", "Mary\nruns\n"), task="token-classification")
    assert data.rows[0].words == ("Mary", "runs") and data.rows[0].tags is None


def squad(title: str | None = "T", **extra: Any) -> dict[str, Any]:
    answers = [{"text": "me", "answer_start": 0}, {"text": "me", "answer_start": 0}]
    paragraph = {"context": "me", "qas": [{"id": "q", "question": "who?", "answers": answers, **extra}]}
    return {"data": [{**({"title": title} if title else {}), "paragraphs": [paragraph]}]}


@pytest.mark.parametrize("indent", [None, 1])
def test_squad(tmp_path: Path, indent: int | None) -> None:
    path = written(tmp_path, "a.json", json.dumps(squad(), indent=indent))
    row = dataset_of(path, task="question-answering").rows[0]
    assert row.texts == ("who?", "me") and row.answers == ("me",) and (row.group, row.id) == ("T", "q")
    untitled = written(tmp_path, "b.json", json.dumps(squad(None)))
    assert dataset_of(untitled, task="question-answering").rows[0].group == "article 0"


def test_the_form_is_found_by_content_too(tmp_path: Path) -> None:
    assert form_from_path(written(tmp_path, "tabs", "text\tlabel\na\tb\n")) == "delimited"
    assert form_from_path(written(tmp_path, "plain", "just text\nand more\n")) == "lines"
    assert form_from_path(written(tmp_path, "objects", '{"text": "a"}\n{"text": "b"}\n')) == "jsonl"
    assert form_from_path(written(tmp_path, "squad", json.dumps(squad()))) == "squad"


def test_a_limit_keeps_a_seeded_sample_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "a.txt", "\n".join(f"line {i}" for i in range(500)))
    first = dataset_of(path, task=CLASSIFY, limit=20)
    assert first == dataset_of(path, task=CLASSIFY, limit=20)
    monkeypatch.setattr(dataset, "SEED", 2)
    assert first.rows != dataset_of(path, task=CLASSIFY, limit=20).rows
    lines = [row.line for row in first.rows]
    assert lines == sorted(lines) and len(set(lines)) == 20 and max(lines) > 250
    assert len(dataset_of(path, task=CLASSIFY, limit=1000)) == 500
    with pytest.raises(InputError, match="at least 1"):
        dataset_of(path, task=CLASSIFY, limit=0)


def test_the_digest_knows_texts_and_labels(tmp_path: Path) -> None:
    contents = ["text,label\na,1\n", "text,label\na,2\n", "text,label\nb,1\n"]
    sets = [dataset_of(written(tmp_path, f"{i}.csv", content), task=CLASSIFY) for i, content in enumerate(contents)]
    assert len({data.digest for data in sets}) == 3
    assert sets[0].rows[0].hash == sets[1].rows[0].hash != sets[2].rows[0].hash


def test_questions_without_an_answer(tmp_path: Path) -> None:
    impossible = squad(is_impossible=True)
    impossible["data"][0]["paragraphs"][0]["qas"][0]["answers"] = []
    path = written(tmp_path, "a.json", json.dumps(impossible))
    row = dataset_of(path, task="question-answering").rows[0]
    assert row.answers == ("",) and row.labelled
    path = written(tmp_path, "b.json", json.dumps(squad(is_impossible=False)))
    answered = dataset_of(path, task="question-answering")
    assert answered.rows[0].answers == ("me",)
    with pytest.raises(InputError, match="is_impossible is true and there are answers"):
        dataset_of(written(tmp_path, "c.json", json.dumps(squad(is_impossible=True))), task="question-answering")


@pytest.mark.parametrize(
    ("answers", "read"),
    [({"text": [], "answer_start": []}, ("",)), ([], ("",)), (None, ()), ({"text": ["me"]}, ("me",))],
)
def test_an_empty_list_of_answers_is_no_answer_and_a_null_says_nothing(
    tmp_path: Path, answers: Any, read: tuple[str, ...]
) -> None:
    item = {"question": "who?", "context": "me", "answers": answers}
    row = dataset_of(written(tmp_path, "a.jsonl", json.dumps(item)), task="question-answering").rows[0]
    assert row.answers == read


@pytest.mark.parametrize("answers", [5, 1.5, True, {"text": 7}, [5], [["me"]], [{"text": None}]])
def test_answers_that_are_no_texts_are_refused(tmp_path: Path, answers: Any) -> None:
    item = {"question": "who?", "context": "me", "answers": answers}
    with pytest.raises(InputError, match=r"line 1: the answers are no texts; write a text or a list of texts"):
        dataset_of(written(tmp_path, "a.jsonl", json.dumps(item)), task="question-answering")
