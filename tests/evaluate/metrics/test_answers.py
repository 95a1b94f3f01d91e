"""SQuAD's normalisation and scores, and the n-best answer."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.evaluate.metrics.answers import answer_f1, answer_metrics, exact_match, normalize_answer
from bertc.evaluate.metrics.spans import Window, answer_from_windows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Eiffel-Tower!", "eiffeltower"),
        ("a  cat and an apple", "cat and apple"),
        ("theatre", "theatre"),
        (" $1,000 ", "1000"),
        ("U.S.", "us"),
        ("the", ""),
    ],
)
def test_normalisation(text: str, expected: str) -> None:
    assert normalize_answer(text) == expected


@pytest.mark.parametrize(
    ("given", "truth", "f1", "exact"),
    [
        ("Denver Broncos", "The Denver Broncos", 1.0, 1.0),
        ("Broncos", "Denver Broncos", 2 / 3, 0.0),
        ("in 1973", "October 1973", 0.5, 0.0),
        ("a a b b", "b b b", 2 * 2 / 5, 0.0),  # articles go: "b b" and "b b b" share two words of five
        ("green", "blue", 0.0, 0.0),
        ("", "blue", 0.0, 0.0),
    ],
)
def test_scores(given: str, truth: str, f1: float, exact: float) -> None:
    assert answer_f1(given, truth) == pytest.approx(f1)
    assert exact_match(given, truth) == exact


def test_the_best_reference_answer_counts() -> None:
    f1, exact, _ = answer_metrics(lambda outputs: outputs, lambda outputs: np.zeros(len(outputs)))
    gold = [("red", "dark red"), ("one", "two")]
    assert f1.value(gold, ["dark red", "three"]) == 0.5
    assert exact.value(gold, ["Dark Red.", "two"]) == 1


CONTEXT = "aa bb cc dd ee"
OFFSETS = np.array([[0, 2], [3, 5], [6, 8], [9, 11], [12, 14]], np.int32)


def window(starts: list[float], ends: list[float], first: int = 0) -> Window:
    return Window(np.array(starts, np.float32), np.array(ends, np.float32), OFFSETS[first : first + len(starts)])


def test_a_span_ends_no_earlier_than_it_starts() -> None:
    answer = answer_from_windows(CONTEXT, [window([0, 0, 0, 9, 0], [0, 9, 0, 0, 5])])
    # Start 3 with end 1 would score 18; of the spans in order start 3 with end 4 is the best (14).
    assert (answer.text, answer.start, answer.end) == ("dd ee", 9, 14)
    assert 0.9 < answer.score <= 1


def test_the_best_window_wins_and_equal_spans_count_once() -> None:
    one, two = window([5, 0, 0], [5, 0, 0]), window([0, 7, 0], [0, 7, 0], first=2)
    answer = answer_from_windows(CONTEXT, [one, two])
    assert answer.text == "dd"
    again = answer_from_windows(CONTEXT, [two, one, two])
    assert (again.text, again.score) == (answer.text, pytest.approx(answer.score))
    assert answer.logits.shape == (2, 6)


def test_long_spans_are_left_out() -> None:
    words = 40
    offsets = np.stack([np.arange(words) * 2, np.arange(words) * 2 + 1], -1).astype(np.int32)
    start, end = np.zeros(words, np.float32), np.zeros(words, np.float32)
    start[0], end[29], end[30] = 9, 8, 9
    answer = answer_from_windows("x " * words, [Window(start, end, offsets)])
    assert (answer.start, answer.end) == (0, 2 * 29 + 1)  # 30 tokens, not the 31 that score more


def test_no_context_is_no_answer() -> None:
    empty = Window(np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros((0, 2), np.int32))
    assert answer_from_windows("", [empty]).text == ""


# SQuAD 2.0: what evaluate-v2.0.py (find_best_thresh with null scores as na_probs) gives for these, worked by its steps.
SQUAD2 = [("red",), ("two cars",), ("",), ("",)]


@pytest.mark.parametrize(
    ("texts", "nulls", "f1", "exact", "best"),
    [
        (["red", "two", "x", "y"], [-3, -2, 1, 2], (1 + 2 / 3 + 1 + 1) / 4, 0.75, (1 + 2 / 3 + 2) / 4),
        (["red", "two", "x", "y"], [3, -2, 1, 2], (0 + 2 / 3 + 1 + 1) / 4, 0.5, (0 + 2 / 3 + 2) / 4),
        (["red", "two cars", "x", "y"], [1, 2, 3, 4], 0.5, 0.5, 1.0),  # a threshold of 2 is better than 0
        (["blue", "green", "x", "y"], [-1, -1, -1, -1], 0.0, 0.0, 0.5),  # better to answer nothing
        (["red", "two cars", "x", "y"], [-4, -3, -2, -1], 0.5, 0.5, 1.0),
    ],
)
def test_unanswerable_questions(texts: list[str], nulls: list[float], f1: float, exact: float, best: float) -> None:
    metrics = answer_metrics(lambda outputs: outputs, lambda outputs: np.array(nulls, np.float64))
    assert [metric.value(SQUAD2, texts) for metric in metrics] == pytest.approx([f1, exact, best])


def test_without_unanswerable_questions_every_question_is_answered() -> None:
    metrics = answer_metrics(lambda outputs: outputs, lambda outputs: np.array([9.0, 9.0]))
    assert [metric.value([("a red",), ("b",)], ["red", "c"]) for metric in metrics] == [0.5, 0.5, 0.5]


def test_the_null_score_is_the_least_over_the_windows() -> None:
    one = Window(np.array([0, 4], np.float32), np.array([0, 3], np.float32), OFFSETS[:2], null=6.0)
    two = Window(np.array([1, 0], np.float32), np.array([1, 0], np.float32), OFFSETS[2:4], null=2.0)
    assert answer_from_windows(CONTEXT, [one, two]).null_score == 2.0 - 7.0
