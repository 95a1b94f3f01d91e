"""Several labels: vectors, columns, lists of names and ids, and what is none of them or two at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertc.core.head import Head, Problem
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.tasks import layout_from_head, task_from_name

TOPICS = Head(task="sequence-classification", labels=("sport", "music", "food"), problem=Problem.MULTI_LABEL)
PAIR = Head(task="sequence-classification", labels=("calm", "loud"), problem=Problem.MULTI_LABEL)
ONE = Head(task="sequence-classification", labels=("spam",), problem=Problem.MULTI_LABEL)
TASK = task_from_name("sequence-classification")


def sets(head: Head, *labels: Any) -> list[Any]:
    rows = [row_from_texts(f"text {i}", label=label, source="a", line=i) for i, label in enumerate(labels, 1)]
    return [row.label for row in TASK.check_rows(rows, head)]


@pytest.mark.parametrize(
    ("head", "labels", "ids"),
    [
        (TOPICS, [[1.0, 0.0, 0.0], [False, True, True], [0, 0, 0]], [(0,), (1, 2), ()]),
        (TOPICS, ["[1, 0, 0]", "0,1,1", "[true, false, false]"], [(0,), (1, 2), (0,)]),
        (TOPICS, [["food", "sport"], [2, "music"], [], ""], [(0, 2), (1, 2), (), ()]),
        (TOPICS, ["sport, food", "", '["music"]', "1"], [(0, 2), (), (1,), (1,)]),
        (TOPICS, [[0, 1], [2]], [(0, 1), (2,)]),
        (PAIR, [[0, 1], [1, 1]], [(1,), (0, 1)]),  # the second is no list of ids, so the first is none
        (PAIR, [[0, 1], [0]], [(0, 1), (0,)]),  # the second is no vector
        (PAIR, [[False, True]], [(1,)]),
        (PAIR, [["loud"], [0, 1]], [(1,), (0, 1)]),
        (ONE, [[1], [0]], [(0,), ()]),
    ],
)
def test_sets_of_labels(head: Head, labels: list[Any], ids: list[tuple[int, ...]]) -> None:
    assert sets(head, *labels) == ids


@pytest.mark.parametrize(
    ("head", "labels", "message"),
    [
        (
            PAIR,
            [[0, 1]],
            r"line 1: \[0, 1\] is ambiguous: a 0 or 1 for each of the labels calm, loud, or a list of ids",
        ),
        (PAIR, ["[]", "1,0"], "line 2: 1,0 is ambiguous"),
        (ONE, [[0]], "is ambiguous"),
        (
            TOPICS,
            [[1, 0, 0], ["food"]],
            r"line 2: \['food'\] is a list of labels while a, line 1 has a 0 or 1 for each",
        ),
        (TOPICS, [[1, 0, 0, 1]], "has 4 entries of 0 and 1 where the checkpoint has 3 labels"),
        (TOPICS, [[True, False]], "has 2 entries of 0 and 1"),
        (TOPICS, [["sport", "chess"]], "does not know the label 'chess'"),
        (TOPICS, [[0.5, 0.1, 0.2]], "does not know the label '0.5'"),
        (TOPICS, [["sport"], None], "line 2: has no label though other rows have one; .* leave the cell empty"),
        (TOPICS, ["[sport"], "is no JSON list"),
    ],
)
def test_what_is_no_set_or_two_is_refused(head: Head, labels: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sets(head, *labels)


def test_empty_cells_alone_are_no_labels() -> None:
    assert sets(TOPICS, "", "") == [None, None]


def read(path: Path, head: Head = TOPICS, **columns: str) -> list[Any]:
    data = dataset_from_path(path, layout=layout_from_head(head), columns=columns)
    return [row.label for row in TASK.check_rows(data.rows, head)]


def written(folder: Path, content: str, name: str = "a.csv") -> Path:
    path = folder / name
    path.write_text(content)
    return path


def test_a_column_for_each_label_and_vectors_are_the_same(tmp_path: Path) -> None:
    items = [("long", 1, 0, 0), ("ate", 0, 1, 1), ("none", 0, 0, 0)]
    lines = "\n".join(",".join(map(str, item)) for item in items)
    columns = written(tmp_path, f"text,Sport,music,food\n{lines}\n")
    hot = [json.dumps({"text": text, "labels": labels}) for text, *labels in items]
    assert read(columns) == read(written(tmp_path, "\n".join(hot), "a.jsonl")) == [(0,), (1, 2), ()]
    data = dataset_from_path(columns, layout=layout_from_head(TOPICS))
    assert data.columns["label[sport]"] == "Sport"


def test_columns_of_labels_from_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"text": ["a", "b"], "food": [1.0, 0.0], "music": [True, False], "sport": [0, 1]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [(1, 2), (0,)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text,sport,music\na,1,0\n", "a column for the label sport, music and none for food"),
        ("text,sport,music,food\na,1,0,\n", "line 2: column 'food' has '' where a label applies"),
        ("text,sport,music,food\na,1,0,-1\n", "line 2: column 'food' has '-1'"),
        ("text,labels,sport,music,food\na,sport,1,0,0\n", "in the column labels or in sport, music, food"),
    ],
)
def test_columns_of_labels_that_are_refused(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(written(tmp_path, content))


def test_a_column_of_all_labels_is_named_or_alone(tmp_path: Path) -> None:
    both = written(tmp_path, "text,labels,sport,music,food\na,music,1,0,0\n")
    assert read(both, label="labels") == [(1,)]
    assert read(written(tmp_path, "text,labels,sport\na,music,3\n", "b.csv")) == [(1,)]
    single = Head(task=TOPICS.task, labels=TOPICS.labels, problem=Problem.SINGLE_LABEL)
    assert read(written(tmp_path, "text,sport,music,food\na,1,0,0\n", "c.csv"), single) == [None]
