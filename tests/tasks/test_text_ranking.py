"""Rankings: which rows make one, relevances and queries, what a random order scores, and metrics by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.core.head import Squash
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import Row, row_from_texts
from bertc.errors import InputError
from bertc.evaluate.gates import gates_from_options, judge
from bertc.evaluate.metric import metric_from_name
from bertc.evaluate.reference import check_rows_tell
from bertc.evaluate.scores import compare_outputs
from bertc.report.text import facts_from_score
from bertc.tasks import head_of_rows, layout_from_head, task_from_name
from tests.evaluate.toy import INTENT, RANK, STARS, GateChoice, ToyEncoder
from tests.fixtures import write_tiny_bert

TASK = task_from_name("text-ranking")


def rows_of(queries: int = 6, each: int = 5, **fields: Any) -> list[Row]:
    return [
        row_from_texts(f"query {q}", f"text {q} {t}", **{"label": int(t == 2), "group": f"q{q}"} | fields)
        for q in range(queries)
        for t in range(each)
    ]


def compared(scores: Any, engine: Any, rows: list[Row] | None = None) -> Any:
    checked = TASK.check_rows(rows or rows_of(), RANK)
    features = TASK.features_from_rows(checked, ToyEncoder(), 24)
    raw = [{"logits": [np.float32([value]) for value in values]} for values in (scores, engine)]
    return compare_outputs(TASK, RANK, checked, features, *raw, resamples=200)


def write_rows(path: Path, header: str, lines: list[str]) -> Path:
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("header", "ranked"),
    [
        ("query_id\tsentence1\tsentence2\tlabel", True),
        ("qid\tquery\tpassage\tlabel", True),
        ("x\tquery\tpassage\tlabel", True),
        ("x\tsentence1\tsentence2\tlabel", False),
    ],
)
def test_a_score_of_several_rows_of_a_query_ranks_them(tmp_path: Path, header: str, ranked: bool) -> None:
    path = write_rows(tmp_path / "a.tsv", header, [f"{i // 2}\tquery {i // 2}\ttext {i}\t{i % 2}" for i in range(8)])
    dataset = dataset_from_path(path, layout=layout_from_head(STARS))
    assert head_of_rows(STARS, dataset.rows).task == ("text-ranking" if ranked else "sequence-classification")
    assert "group" not in layout_from_head(INTENT).columns


def test_queries_of_one_row_each_and_other_heads_rank_nothing() -> None:
    assert head_of_rows(STARS, rows_of(each=1)) == STARS
    assert head_of_rows(INTENT, rows_of()) == INTENT


def test_a_query_may_be_the_number_0_and_is_found_by_its_text_without_one() -> None:
    named = TASK.check_rows([row_from_texts("a", "b"), row_from_texts("a", "c")], RANK)
    assert [row.group for row in named] == ["a", "a"]


def test_a_json_query_0_is_a_query(tmp_path: Path) -> None:
    lines = [json.dumps({"qid": i // 2, "query": "q", "passage": f"p{i}", "label": i % 2}) for i in range(4)]
    dataset = dataset_from_path(write_rows(tmp_path / "a.jsonl", lines[0], lines[1:]), layout=TASK.layout)
    assert [row.group for row in dataset.rows] == ["0", "0", "1", "1"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (row_from_texts("q", "t", label=-1, group="q"), "the relevance -1 is negative"),
        (row_from_texts("q", "t", label="much", group="q"), "is no number"),
        (row_from_texts("q", "t", label="nan", group="q"), "is no number"),
        (row_from_texts("q", "t", label=1), "has no query though other rows have one"),
        (row_from_texts("t", label=1, group="q"), "takes 2"),
    ],
)
def test_bad_rows_are_refused(row: Row, told: str) -> None:
    with pytest.raises(InputError, match=told):
        TASK.check_rows([row_from_texts("q", "u", label=0, group="q"), row], RANK)


@pytest.mark.parametrize("label", [0, 1])
def test_rows_without_any_order_tell_nothing(label: int) -> None:
    rows = TASK.check_rows(rows_of(label=label), RANK)
    with pytest.raises(InputError, match="0 queries have rows of more and of less relevance"):
        check_rows_tell("a.tsv", TASK, RANK, rows)
    check_rows_tell("a.tsv", TASK, RANK, TASK.check_rows(rows_of(), RANK))


def test_what_a_random_order_scores_is_the_floor_and_a_turned_scale_is_named() -> None:
    rows = rows_of(queries=40)
    right = np.array([float(t == 2) + 0.01 * t for _ in range(40) for t in range(5)])
    assert compared(right, right, rows).doubt is None
    doubt = compared(-right, -right, rows).doubt
    assert doubt is not None and doubt.grave and "of a random order" in doubt.reason
    assert "the scale is turned round" in doubt.reason
    assert doubt.floor == pytest.approx(np.mean(1 / np.log2(np.arange(2, 7))))


def test_a_ruined_order_fails_where_the_scores_are_near() -> None:
    right = np.array([float(t == 2) for _ in range(6) for t in range(5)]) * 1e-3
    found = compared(right, -right)
    gates = gates_from_options(GateChoice(), TASK, RANK, labelled=True)
    assert found.accuracy.metric == gates[0].metric == "ndcg@10"
    assert found.accuracy.logit_mse < 1e-5 and not judge(found.scores, gates).passed
    assert judge(compared(right, right * 5).scores, gates).passed, "the same order by other scores"


def test_queries_are_the_samples_and_the_warning_says_which_do_not_count() -> None:
    rows = rows_of()
    rows[2] = replace(rows[2], label=0)
    found = compared(np.arange(30.0), np.arange(30.0), rows)
    assert (found.accuracy.samples, found.accuracy.unit) == (5, "queries")
    assert "1 of 6 queries do not count in ndcg@10" in found.warnings[0]
    facts = dict(facts_from_score(found.accuracy))
    assert facts["metric"].endswith("5 queries") and "first rows of a query" in facts["agreement"]
    assert not compared(np.arange(30.0), np.arange(30.0)).warnings


def test_scores_that_a_sigmoid_would_blur_keep_their_order() -> None:
    head = replace(RANK, squash=Squash.SIGMOID)
    rows = TASK.check_rows(rows_of(queries=1, each=2), head)
    features = TASK.features_from_rows(rows, ToyEncoder(), 24)
    found = TASK.row_outputs(rows, features, {"logits": [np.float32([30]), np.float32([40])]}, head)
    assert found["score"][0] < found["score"][1]
    assert TASK.predictions(rows, found, head) == [{"score": 1.0}, {"score": 1.0}]


@pytest.mark.parametrize("name", ["ndcg@5", "ndcg", "mrr@1", "map@100"])
def test_metrics_over_any_number_of_ranks(name: str) -> None:
    assert metric_from_name(TASK, RANK, name).name == name


@pytest.mark.parametrize("name", ["ndcg@0", "ndcg@1.5", "mrr@-1", "map@", "ndcg@ten"])
def test_a_number_of_ranks_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="whole number from 1"):
        metric_from_name(TASK, RANK, name)


def test_ranking_metrics_of_rows_without_queries_are_refused() -> None:
    with pytest.raises(InputError, match="'ndcg' ranks the rows of a query; name the column of queries"):
        metric_from_name(task_from_name(STARS.task), STARS, "ndcg@10")


def test_a_limit_takes_whole_queries_or_none(tmp_path: Path) -> None:
    lines = [f"{i // 4}\ta\tb{i}\t{int(i % 4 == 0)}" for i in range(40)]
    path = write_rows(tmp_path / "a.tsv", "qid\tquery\tpassage\tlabel", lines)
    rows = dataset_from_path(path, layout=layout_from_head(STARS), limit=10).rows
    assert len(rows) == 8 and [row.group for row in rows].count(rows[0].group) == 4
    with pytest.raises(InputError, match="less than one query has"):
        dataset_from_path(path, layout=layout_from_head(STARS), limit=3)


def test_a_limit_takes_whole_queries_that_no_column_names(tmp_path: Path) -> None:
    """Of a ranking the first text is the query then; of pairs that are scored it is no more than a text."""
    lines = [f"a{i // 4}\tb{i}\t{int(i % 4 == 0)}" for i in range(40)]
    path = write_rows(tmp_path / "a.tsv", "text_a\ttext_b\tlabel", lines)
    rows = dataset_from_path(path, layout=layout_from_head(RANK), limit=10).rows
    assert len(rows) == 8 and [row.texts[0] for row in rows].count(rows[0].texts[0]) == 4
    assert len(dataset_from_path(path, layout=layout_from_head(STARS), limit=10).rows) == 10


def test_more_than_one_score_orders_nothing(tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path / "one", labels=("LABEL_0",))
    assert checkpoint_from_path(path, task="text-ranking").head.labels == ("LABEL_0",)
    with pytest.raises(InputError, match="gives 2 scores, and texts are ranked by one"):
        checkpoint_from_path(write_tiny_bert(tmp_path / "two"), task="text-ranking")
