"""Objects of JSON have keys of their own: what the first one has not is refused where it would be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertc.data.dataset import dataset_from_path, rows_from_path
from bertc.errors import InputError
from bertc.tasks import task_from_name

CLASSIFY, TAG, ANSWER = "sequence-classification", "token-classification", "question-answering"
TEXT = {"text": "a"}


def written(folder: Path, form: str, items: list[dict[str, Any]]) -> Path:
    lines = [json.dumps(item) for item in items]
    path = folder / f"a.{form}"
    path.write_text("[" + ",".join(lines) + "]" if form == "json" else "\n".join(lines))
    return path


@pytest.mark.parametrize("form", ["jsonl", "json"])
@pytest.mark.parametrize(
    ("task", "first", "later", "message"),
    [
        (CLASSIFY, TEXT, {"text": "b", "label": 0}, "line 2: has 'label' for label, which the first row has not"),
        (CLASSIFY, TEXT, {"text": "b", "stars": 3}, "line 2: has 'stars' for label"),
        (CLASSIFY, {"question": "a"}, {"question": "b", "sentence": "c"}, "line 2: has '.*' for text_[ab]"),
        (TAG, {"tokens": ["a"]}, {"tokens": ["b"], "ner_tags": ["O"]}, "line 2: has 'ner_tags' for tags"),
        (ANSWER, {"question": "a", "context": "b"}, {"question": "a", "context": "b", "answers": ["b"]}, "for answers"),
        (CLASSIFY, {"text": "a", "score": 1}, {"text": "b", "score": 2, "label": 0}, "line 2: has 'label' for label"),
    ],
)
def test_what_only_later_rows_have_is_not_left_out_in_silence(
    tmp_path: Path, form: str, task: str, first: dict[str, Any], later: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, form, [first, later])
    with pytest.raises(InputError, match=message):
        dataset_from_path(path, layout=task_from_name(task).layout)


@pytest.mark.parametrize(
    "later",
    [
        {"text": "b", "label": 1, "source": "web"},
        {"text": "b", "label": 1, "score": 0.5},  # label is found before score in any row
        {"text": "b", "label": 1, "title": "c"},
        {"text": "b", "label": 1, "id": 7},
        {"text": "b", "label": 1, "text_b": None},
        {"label": 1, "text": "b"},
    ],
)
def test_what_no_role_needs_may_come_later(tmp_path: Path, later: dict[str, Any]) -> None:
    path = written(tmp_path, "jsonl", [{"text": "a", "label": 0}, later, later])
    rows = dataset_from_path(path, layout=task_from_name(CLASSIFY).layout).rows
    assert [(row.texts, row.label) for row in rows] == [(("a",), 0), (("b",), 1), (("b",), 1)]


def test_a_named_column_is_that_of_all_rows(tmp_path: Path) -> None:
    path = written(tmp_path, "jsonl", [{"text": "a", "score": 1}, {"text": "b", "score": 2, "label": 0}])
    rows = dataset_from_path(path, layout=task_from_name(CLASSIFY).layout, columns={"label": "score"}).rows
    assert [row.label for row in rows] == [1, 2]


def test_predict_needs_no_label_and_all_texts(tmp_path: Path) -> None:
    layout = task_from_name(CLASSIFY).layout
    path = written(tmp_path, "jsonl", [TEXT, {"text": "b", "label": 0}])
    assert [row.texts for row in rows_from_path(path, layout=layout)] == [("a",), ("b",)]
    path = written(tmp_path, "jsonl", [{"question": "a"}, {"question": "b", "sentence": "c"}])
    with pytest.raises(InputError, match="line 2: has"):
        list(rows_from_path(path, layout=layout))
