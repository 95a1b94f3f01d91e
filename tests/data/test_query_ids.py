"""Which cells name the same query."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bertc.errors import InputError
from tests.data.reading import dataset_of

RANKING = "text-ranking"


def groups_of_jsonl(folder: Path, ids: list[Any]) -> list[str]:
    rows = [{"query_id": each, "query": "who", "passage": f"it {row}", "label": 1} for row, each in enumerate(ids)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [row.group for row in dataset_of(path, task=RANKING).rows]


def groups_of_csv(folder: Path, ids: list[str]) -> list[str]:
    path = folder / "rows.csv"
    path.write_text("qid,query,passage,label\n" + "".join(f"{each},who,it,1\n" for each in ids), encoding="utf-8")
    return [row.group for row in dataset_of(path, task=RANKING).rows]


def test_a_whole_number_is_one_query_however_it_is_written(tmp_path: Path) -> None:
    assert groups_of_jsonl(tmp_path, [7, 7.0, "7", "7.0", " 7 ", 0, 0.0, 2**60]) == [*"77777", "0", "0", str(2**60)]
    assert groups_of_csv(tmp_path, ["7", "7.0", "7.00", "-1.0", str(2**60)]) == ["7", "7", "7", "-1", str(2**60)]


def test_other_ids_stay_as_they_are(tmp_path: Path) -> None:
    other = ["7.1", "7.10", "07", "7.0.0", "v7.0", "1e5", "7.", ".0"]
    assert groups_of_jsonl(tmp_path, [*other, 7.1]) == [*other, "7.1"]
    assert groups_of_csv(tmp_path, other) == other


def test_an_empty_cell_makes_a_column_of_parquet_floats(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    columns = {"qid": [7.0, float("nan"), None], "query": ["who"] * 3, "passage": ["a", "b", "c"], "label": [1, 0, 1]}
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    assert [row.group for row in dataset_of(tmp_path / "rows.parquet", task=RANKING).rows] == ["7", "", ""]


@pytest.mark.parametrize("given", [float(2**53), 1.2345678901234568e16, 1e22, "9007199254740994.0", "1e+16"])
def test_a_float_that_several_ids_are_rounded_to_is_refused(tmp_path: Path, given: Any) -> None:
    with pytest.raises(
        InputError, match=r"rows.jsonl, line 2: column 'query_id' has .*several whole numbers are round"
    ):
        groups_of_jsonl(tmp_path, [1, given])
    assert groups_of_jsonl(tmp_path, [1, float(2**53 - 1)]) == ["1", str(2**53 - 1)]


def test_a_rows_own_name_follows_the_same_rule(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 3.0, "text": "a"}\n{"id": 3, "text": "b"}\n{"id": 1e22, "text": "c"}\n', encoding="utf-8")
    assert [row.id for row in dataset_of(path, task="sequence-classification").rows] == ["3", "3", "1e+22"]
