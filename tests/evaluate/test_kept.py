"""An evaluation in shards gives the figures of one of all rows at once, and holds a shard's windows at a time."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.data.encoded import Streamed
from bertc.data.reading import Reading
from bertc.data.rows import UNANSWERABLE, Row
from bertc.evaluate.kept import Shard
from bertc.evaluate.metrics import similarity, token_vectors
from bertc.evaluate.scores import Comparison, compare_outputs, compare_shards
from bertc.tasks import sparse_embedding, task_from_name
from tests.evaluate.toy import EMBED, HEADS, INTENT, QA, STARS, ToyEncoder, toy_raw, toy_rows

LENGTH = 24
ROWS = 40


def prepared(head: Head, count: int = ROWS, *, labelled: bool = True) -> tuple[Any, tuple[Row, ...]]:
    task = task_from_name(head.task)
    return task, task.check_rows(toy_rows(head, count, labelled=labelled), head)


def whole(head: Head, rows: Sequence[Row], **options: Any) -> Comparison:
    task = task_from_name(head.task)
    features = task.features_from_rows(rows, ToyEncoder(), LENGTH)
    return compare_outputs(task, head, rows, features, *both_raw(head, features), resamples=40, **options)


def both_raw(head: Head, features: Sequence[Feature]) -> list[Any]:
    """Both models' outputs, of a feature's tokens alone, whichever others there are."""
    parts = [[toy_raw(head, [feature], noise=noise) for feature in features] for noise in (0.0, 0.4)]
    return [{name: [part[name][0] for part in parts_of] for name in parts_of[0]} for parts_of in parts]


def shards_of(head: Head, rows: Sequence[Row], size: int) -> Iterator[Shard]:
    task = task_from_name(head.task)
    for start in range(0, len(rows), size):
        some = rows[start : start + size]
        features = task.features_from_rows(some, ToyEncoder(), LENGTH)
        reference, engine = both_raw(head, features)
        yield Shard(rows=some, features=features, reference=reference, engine=engine)


def in_shards(head: Head, rows: Sequence[Row], size: int, **options: Any) -> Comparison:
    return compare_shards(task_from_name(head.task), head, rows, shards_of(head, rows, size), resamples=40, **options)


def assert_same(one: Comparison, other: Comparison) -> None:
    assert one.scores == other.scores or repr(one.scores) == repr(other.scores)  # NaN differs from itself
    assert (one.doubt, one.warnings, one.operating_points) == (other.doubt, other.warnings, other.operating_points)
    for name in ("hashes", "labels", "decisions_reference", "decisions_engine"):
        assert np.array_equal(getattr(one.table, name), getattr(other.table, name))
    for name in ("outputs_reference", "outputs_engine"):
        pairs = zip(getattr(one.table, name), getattr(other.table, name), strict=True)
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    for mine, theirs in zip(one.table.metrics, other.table.metrics, strict=True):
        assert mine.name == theirs.name
        assert np.array_equal(mine.reference, theirs.reference) and np.array_equal(mine.engine, theirs.engine)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("size", [1, 7, ROWS])
@pytest.mark.parametrize("head", HEADS, ids=str)
def test_shards_change_no_figure(head: Head, size: int, labelled: bool) -> None:
    _, rows = prepared(head, labelled=labelled)
    assert_same(in_shards(head, rows, size), whole(head, rows))


def test_shards_change_no_figure_of_metrics_that_gates_name() -> None:
    _, rows = prepared(INTENT)
    extra = ["recall[spam]", "fpr[spam]@0.7"]
    found = in_shards(INTENT, rows, 7, extra=extra)
    assert_same(found, whole(INTENT, rows, extra=extra))
    assert {point.metric for point in found.operating_points} == {"recall[spam]", "false_positive_rate[spam]@0.7"}


def test_shards_change_no_figure_where_some_questions_have_no_answer() -> None:
    _, rows = prepared(QA)
    rows = tuple(replace(row, answers=(UNANSWERABLE,)) if index == 3 else row for index, row in enumerate(rows))
    assert_same(in_shards(QA, rows, 5), whole(QA, rows))


def test_neighbours_are_looked_for_among_the_first_texts_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rows = prepared(EMBED)
    all_texts = whole(EMBED, rows)
    monkeypatch.setattr(similarity, "CORPUS_TEXTS", 22)
    found = in_shards(EMBED, rows, 7)
    assert_same(found, whole(EMBED, rows))
    agreement = next(metric for metric in found.table.metrics if metric.name == "agreement")
    assert agreement.engine[:11, 1].tolist() == [2.0] * 11 and not agreement.engine[11:].any()
    assert repr(found.scores) != repr(all_texts.scores)


def test_the_tolerance_of_scores_is_that_of_all_rows() -> None:
    """A shard of one row has no spread: with its own tolerance nothing would agree."""
    _, rows = prepared(STARS)
    assert in_shards(STARS, rows, 1).accuracy.agreement == whole(STARS, rows).accuracy.agreement


def test_a_doubt_is_the_same_in_shards() -> None:
    _, rows = prepared(INTENT)
    given = [int(np.argmax(logits)) for logits in outputs(INTENT, rows)]
    turned = tuple(replace(row, label=1 - label) for row, label in zip(rows, given, strict=True))
    found = in_shards(INTENT, turned, 7)
    assert found.doubt is not None and "numbered differently" in found.doubt.reason
    assert_same(found, whole(INTENT, turned))
    right = tuple(replace(row, label=1 - row.label) for row in turned)
    assert in_shards(INTENT, right, 7).doubt is None


def outputs(head: Head, rows: Sequence[Row]) -> Any:
    task = task_from_name(head.task)
    features = task.features_from_rows(rows, ToyEncoder(), LENGTH)
    return both_raw(head, features)[0]["logits"]


def test_a_shard_that_is_missing_is_noticed() -> None:
    _, rows = prepared(INTENT)
    shards = list(shards_of(INTENT, rows, 7))
    with pytest.raises(AssertionError):
        compare_shards(task_from_name(INTENT.task), INTENT, rows, shards[:-1])
    assert compare_shards(task_from_name(INTENT.task), INTENT, rows, shards).accuracy.samples == ROWS


def streamed(head: Head, rows: tuple[Row, ...], seen: list[int]) -> Streamed:
    """A text that counts, whenever it encodes a shard, the features there are."""
    task = task_from_name(head.task)

    def encode(some: Sequence[Row]) -> Sequence[Feature]:
        features = task.features_from_rows(some, ToyEncoder(), LENGTH)
        gc.collect()
        seen.append(features_alive())
        return features

    reading = Reading(form="lines", header=None, columns={}, labels={}, rows=len(rows), labelled=0)
    return Streamed(
        path="p", digest="d", rows=rows, encode=encode, max_length=LENGTH, reading=reading,
        lengths=np.zeros(0, np.int32), unknown=(0, 0),
    )  # fmt: skip


@pytest.fixture(scope="module")
def others_set_aside() -> Iterator[None]:
    """Keep the collector from what there was before: with all libraries imported, a look at it takes a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def features_alive() -> int:
    """Count the windows in memory. `type` asks no lazy module of another library what it is, as `isinstance` does."""
    return sum(type(thing) is Feature for thing in gc.get_objects())


@pytest.mark.usefixtures("others_set_aside")
@pytest.mark.parametrize("head", HEADS, ids=str)
def test_the_windows_of_a_shard_or_two_are_there_at_a_time(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bertc.data.encoded.SHARD_ROWS", 4)
    task, rows = prepared(head)
    seen: list[int] = []
    gc.collect()
    before = features_alive()

    def shards(texts: Streamed) -> Iterator[Shard]:
        for text in texts.shards():
            reference, engine = both_raw(head, text.features)
            yield Shard(rows=text.rows, features=text.features, reference=reference, engine=engine)

    compare_shards(task, head, rows, shards(streamed(head, rows, seen)), resamples=20)
    largest = max(len(task.features_from_rows(rows[at : at + 4], ToyEncoder(), LENGTH)) for at in range(0, ROWS, 4))
    assert len(seen) == 10 and max(seen) - before <= 2 * largest
    held: list[int] = []
    kept = list(streamed(head, rows, held).shards())
    assert len(kept) == 10 and held[-1] - before > 2 * largest, "whoever keeps the shards has all windows"


def test_a_sample_is_spread_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    _, rows = prepared(INTENT)
    text = streamed(INTENT, rows, [])
    assert text.sample().rows == rows
    monkeypatch.setattr("bertc.data.encoded.SHARD_ROWS", 15)
    assert text.sample().rows == rows[::3]
    assert [len(shard.rows) for shard in text.shards()] == [15, 15, 10]


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_what_stays_of_a_row_is_small(head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the row itself: statistics, decisions, what labels grade, and what the rows file has."""
    monkeypatch.setattr(similarity, "CORPUS_TEXTS", 22)
    monkeypatch.setattr(sparse_embedding, "CORPUS_ROWS", 11)
    monkeypatch.setattr(token_vectors, "CORPUS_ROWS", 11)
    task = task_from_name(head.task)

    def shards(rows: Sequence[Row]) -> Iterator[Shard]:
        for start in range(0, len(rows), 8):
            some = rows[start : start + 8]
            features = task.features_from_rows(some, ToyEncoder(), LENGTH)
            reference, engine = (toy_raw(head, features, noise=noise) for noise in (0.0, 0.1))
            yield Shard(rows=some, features=features, reference=reference, engine=engine)

    def held(count: int) -> int:
        rows = task.check_rows(toy_rows(head, count), head)
        tracemalloc.start()
        comparison = compare_shards(task, head, rows, shards(rows), resamples=2)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(comparison.table.hashes) == count
        return size

    held(16)
    assert (held(240) - held(40)) / 200 < 2000
