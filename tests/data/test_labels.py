"""Names first, then ids: the same labels from every form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertc.core.head import Head, Problem
from bertc.data.dataset import dataset_from_path
from bertc.data.labels import LabelIds
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.tasks import task_from_name

TASK = task_from_name("sequence-classification")
ROW = row_from_texts("text", source="a.tsv", line=7)

SIGNS = ("-1", "0", "1")
STARS = ("1", "2", "3", "4", "5")
TRUTH = ("true", "false")
SENTIMENT = ("negative", "positive")

IDS: list[tuple[tuple[str, ...], list[Any], list[int]]] = [
    (SIGNS, [-1, "-1", -1.0, "-1.0"], [0, 0, 0, 0]),
    (SIGNS, [0, "0", 1, "1", 1.0, "1.0", "+1"], [1, 1, 2, 2, 2, 2, 2]),
    (STARS, [1, "2", 3.0, "5.0"], [0, 1, 2, 4]),
    (SENTIMENT, ["Positive", " negative ", 1, "0", 1.0, True, "False", "true"], [1, 0, 1, 0, 1, 1, 0, 1]),
    (TRUTH, [True, False, "True", "FALSE"], [0, 1, 0, 1]),
    (("0.5", "1.5"), [0.5, "1.50", "0.5"], [0, 1, 0]),
    (("A", "a"), ["A", "a"], [0, 1]),
    (("1", "1.0"), ["1", "1.0", 1.0, 1], [0, 1, 1, 0]),
    (("LABEL_0", "LABEL_1", "LABEL_2"), [2, "2", "label_1"], [2, 2, 1]),
]


@pytest.mark.parametrize(("labels", "given", "ids"), IDS)
def test_names_come_first_then_ids(labels: tuple[str, ...], given: list[Any], ids: list[int]) -> None:
    known = LabelIds(labels)
    assert [known.id(ROW, label) for label in given] == ids


@pytest.mark.parametrize(
    ("labels", "label"),
    [
        (SIGNS, 3), (SIGNS, -2), (SIGNS, 0.5), (SENTIMENT, "1_"), (SENTIMENT, "\u0661"), (SENTIMENT, "1e0"),
        (SENTIMENT, 2), (("a", "b", "c"), True), (("A", "a"), "\xc1"), (SENTIMENT, float("nan")), (SENTIMENT, 1e300),
    ],
)  # fmt: skip
def test_what_is_neither_is_refused(labels: tuple[str, ...], label: Any) -> None:
    with pytest.raises(InputError, match=rf"a\.tsv, line 7: the checkpoint does not know .* it knows {labels[0]}"):
        LabelIds(labels).id(ROW, label)


@pytest.mark.parametrize(
    ("labels", "given", "message"),
    [
        (STARS, [0, 1, 4], "'1' is the name of the label with id 0 and the id of the label '2', while '0' is no name"),
        (STARS, [4, 0], "'4' is the name of the label with id 3 and the id of the label '5', while '0'"),
        (SIGNS, ["2", "0"], "'0' is the name of the label with id 1 and the id of the label '-1', while '2'"),
    ],
)
def test_names_and_ids_in_one_file_are_ambiguous(labels: tuple[str, ...], given: list[Any], message: str) -> None:
    known = LabelIds(labels)
    with pytest.raises(InputError, match=message):
        for label in given:
            known.id(ROW, label)


def written(folder: Path, form: str, labels: list[Any]) -> Path:
    path = folder / f"a.{form}"
    items = [{"text": f"text {number}", "label": label} for number, label in enumerate(labels)]
    if form in ("tsv", "csv"):
        separator = "\t" if form == "tsv" else ","
        lines = [separator.join(items[0]), *(separator.join(map(str, item.values())) for item in items)]
        path.write_text("\n".join(lines) + "\n")
    elif form == "parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.Table.from_pylist(items), path)
    else:
        lines = [json.dumps(item) for item in items]
        path.write_text("[" + ",\n".join(lines) + "]" if form == "json" else "\n".join(lines))
    return path


@pytest.mark.parametrize("form", ["tsv", "csv", "jsonl", "json", "parquet"])
@pytest.mark.parametrize("kind", [int, float, str])
@pytest.mark.parametrize(
    ("labels", "given", "ids"), [(SIGNS, [-1, 1, 0], [0, 2, 1]), (STARS, [1, 5], [0, 4]), (SENTIMENT, [1, 0], [1, 0])]
)
def test_every_form_gives_the_same(
    tmp_path: Path, form: str, kind: Any, labels: tuple[str, ...], given: list[int], ids: list[int]
) -> None:
    data = dataset_from_path(written(tmp_path, form, [kind(label) for label in given]), layout=TASK.layout)
    head = Head(task=TASK.name, labels=labels, problem=Problem.SINGLE_LABEL)
    assert [row.label for row in TASK.check_rows(data.rows, head)] == ids


SQUAD = {
    "data": [{"paragraphs": [{"context": "by Ada", "qas": [{"id": "q", "question": "who?", "answers": []}]}]}],
}
ANSWER = {"text": "Ada", "answer_start": 3}


@pytest.mark.parametrize("problem", list(Problem))
@pytest.mark.parametrize("form", ["conll", "json"])
def test_what_other_tasks_learn_from_is_no_label_of_a_text(problem: Problem, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows.{form}"
    squad = json.loads(json.dumps(SQUAD))
    squad["data"][0]["paragraphs"][0]["qas"][0]["answers"] = [ANSWER]
    path.write_text("good O\nfilm O\n" if form == "conll" else json.dumps(squad))
    labels = ("score",) if problem == Problem.REGRESSION else SENTIMENT
    head = Head(task=TASK.name, problem=problem, labels=labels)
    what = "tags of its words" if form == "conll" else "answers within its text"
    with pytest.raises(InputError, match=f"has {what} and no label of the text"):
        TASK.check_rows(dataset_from_path(path, layout=TASK.layout).rows, head)


def test_a_label_that_is_called_none_is_a_label() -> None:
    assert LabelIds(("None", "some")).id(ROW, "None") == 0
    with pytest.raises(InputError, match="does not know the label 'None'"):
        LabelIds(SENTIMENT).id(ROW, "None")
