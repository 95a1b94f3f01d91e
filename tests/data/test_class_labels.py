"""Parquet that `datasets` wrote says what its numbers of labels mean: those names go before the numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertc.core.head import Head, Problem
from bertc.data.dataset import dataset_from_path
from bertc.data.label_sets import id_sets
from bertc.errors import InputError
from bertc.tasks import task_from_name

TASK = task_from_name("sequence-classification")
SENTIMENT = ("negative", "positive")
STARS = ("1", "2", "3", "4", "5")


def written_by_datasets(path: Path, columns: dict[str, list[Any]], features: dict[str, Any]) -> Path:
    """Write Parquet as `datasets` does, with what it knows of the columns in the schema's metadata."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), path)
    return path


def class_label(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def ids_of_classes(folder: Path, given: list[int], names: tuple[str, ...], labels: tuple[str, ...]) -> list[Any]:
    """Return the checkpoint's ids of the numbers in a file that calls them `names`."""
    columns = {"text": [f"text {number}" for number in range(len(given))], "label": given}
    path = written_by_datasets(folder / "a.parquet", columns, {"label": class_label(*names)})
    head = Head(task=TASK.name, labels=labels, problem=Problem.SINGLE_LABEL)
    rows = dataset_from_path(path, layout=TASK.layout).rows
    return [row.label for row in TASK.check_rows(rows, head)]


@pytest.mark.parametrize(
    ("names", "labels", "given", "ids"),
    [
        (SENTIMENT[::-1], SENTIMENT, [0, 1, 1], [1, 0, 0]),
        (SENTIMENT, SENTIMENT, [0, 1, 1], [0, 1, 1]),
        (("neg", "pos"), ("LABEL_0", "LABEL_1"), [0, 1], [0, 1]),  # names that say nothing: ids
        (("1", "2", "3", "4", "5"), STARS, [0, 4, 1], [0, 4, 1]),
    ],
)
def test_the_names_of_parquets_classes_go_before_their_numbers(
    tmp_path: Path, names: tuple[str, ...], labels: tuple[str, ...], given: list[int], ids: list[int]
) -> None:
    assert ids_of_classes(tmp_path, given, names, labels) == ids


def test_classes_of_which_some_names_are_known_in_another_order_are_ambiguous(tmp_path: Path) -> None:
    labels = ("negative", "neutral", "positive")
    assert ids_of_classes(tmp_path, [0, 1, 2], ("negative", "neutral", "good"), labels) == [0, 1, 2]
    message = "the file calls 0 'positive', which is the checkpoint's label 2, and 1 'fair', which the checkpoint does"
    with pytest.raises(InputError, match=message):
        ids_of_classes(tmp_path, [0, 1, 2], ("positive", "fair", "negative"), labels)


def test_a_number_that_is_none_of_the_classes_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2: the checkpoint does not know the label '-1'"):
        ids_of_classes(tmp_path, [0, -1], SENTIMENT, SENTIMENT)


@pytest.mark.parametrize("kind", ["Sequence", "List", None])
def test_the_names_of_parquets_tags_go_before_their_numbers(tmp_path: Path, kind: str | None) -> None:
    inner = class_label("O", "B-place", "I-place")
    feature = [inner] if kind is None else {"feature": inner, "_type": kind}
    columns = {"tokens": [["to", "New", "York"]], "ner_tags": [[0, 1, 2]]}
    task = task_from_name("token-classification")
    head = Head(task=task.name, labels=("B-place", "I-place", "O"))
    path = written_by_datasets(tmp_path / "a.parquet", columns, {"ner_tags": feature})
    (row,) = task.check_rows(dataset_from_path(path, layout=task.layout).rows, head)
    assert row.tags == ("O", "B-place", "I-place")
    path = written_by_datasets(tmp_path / "a.parquet", columns, {})
    (row,) = task.check_rows(dataset_from_path(path, layout=task.layout).rows, head)
    assert row.tags == ("B-place", "I-place", "O")


@pytest.mark.parametrize("metadata", [b"", b"{", b"[]", b'{"info": null}', b'{"info": {"features": []}}'])
def test_other_notes_in_parquet_leave_numbers_as_they_are(tmp_path: Path, metadata: bytes) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"text": ["a", "b"], "label": [0, 1]}).replace_schema_metadata({"huggingface": metadata})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert [row.label for row in dataset_from_path(tmp_path / "a.parquet", layout=TASK.layout).rows] == [0, 1]


def test_files_with_other_names_for_the_same_numbers_are_other_data(tmp_path: Path) -> None:
    columns = {"text": ["a", "b"], "label": [0, 1]}
    digests = [
        dataset_from_path(
            written_by_datasets(tmp_path / "a.parquet", columns, {"label": class_label(*names)}), layout=TASK.layout
        ).digest
        for names in (SENTIMENT, SENTIMENT[::-1], SENTIMENT)
    ]
    assert digests[0] == digests[2] != digests[1]


def test_a_class_is_a_score_by_its_number(tmp_path: Path) -> None:
    columns = {"text": ["a", "b"], "label": [0, 1]}
    path = written_by_datasets(tmp_path / "a.parquet", columns, {"label": class_label("1 star", "2 stars")})
    head = Head(task=TASK.name, labels=("score",), problem=Problem.REGRESSION)
    rows = TASK.check_rows(dataset_from_path(path, layout=TASK.layout).rows, head)
    assert [row.label for row in rows] == [0.0, 1.0]


def test_a_list_of_classes_is_no_vector(tmp_path: Path) -> None:
    columns = {"text": ["a", "b"], "labels": [[0, 1], [1]]}
    feature = {"feature": class_label("loud", "calm"), "_type": "Sequence"}
    path = written_by_datasets(tmp_path / "a.parquet", columns, {"labels": feature})
    assert id_sets(dataset_from_path(path, layout=TASK.layout).rows, ("calm", "loud")) == [(0, 1), (0,)]
    path = written_by_datasets(tmp_path / "a.parquet", columns, {})
    assert id_sets(dataset_from_path(path, layout=TASK.layout).rows, ("calm", "loud")) == [(0, 1), (1,)]
