"""Exact match and F1 of answers, with the normalisation of SQuAD's official script (Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bertc.data.rows import UNANSWERABLE
from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, Metric

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=1 << 16)
def normalize_answer(text: str) -> str:
    """Return an answer in lower case without punctuation, articles and superfluous white space."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def answer_f1(given: str, truth: str) -> float:
    """Return the F1 of the words (as a multiset) of an answer and one reference answer; "" is: there is none."""
    if truth == UNANSWERABLE:
        return exact_match(given, truth)
    words, true_words = normalize_answer(given).split(), normalize_answer(truth).split()
    common = sum((Counter(words) & Counter(true_words)).values())
    return 2.0 * common / (len(words) + len(true_words)) if common else 0.0


def exact_match(given: str, truth: str) -> float:
    """Return 1 if both answers are equal after normalisation, else 0."""
    return float(normalize_answer(given) == normalize_answer(truth))


def answer_metrics(
    texts: Callable[[Any], Sequence[str]], null_scores: Callable[[Any], Array]
) -> tuple[Metric, Metric, Metric]:
    """Return (f1, exact_match, best_f1): the best over a question's answers. `gold` has the answers of each row.

    On data with unanswerable questions an output is "no answer" where its null score is above 0; `best_f1` is F1 at the
    threshold that is best on these rows, as `find_best_thresh` of SQuAD 2.0's official script finds it. On other data
    every question is answered, and `best_f1` is F1.
    """

    def best(gold: Any, outputs: Any) -> Array:
        answered = _scores(answer_f1, gold, texts(outputs))
        unanswered = _scores(answer_f1, gold, [UNANSWERABLE] * len(answered))
        nulls = null_scores(outputs) if _is_squad2(gold) else np.zeros(len(answered))
        return np.stack([answered, unanswered, nulls], -1)

    return (
        Metric(name="f1", direction=HIGHER, statistics=_served(answer_f1, texts, null_scores), formula="ratio"),
        Metric(
            name="exact_match", direction=HIGHER, statistics=_served(exact_match, texts, null_scores), formula="ratio"
        ),
        Metric(name="best_f1", direction=HIGHER, statistics=best, formula="best_threshold"),
    )


def _is_squad2(gold: Sequence[tuple[str, ...]]) -> bool:
    return any(truths == (UNANSWERABLE,) for truths in gold)


def _served(
    score: Callable[[str, str], float], texts: Callable[[Any], Sequence[str]], null_scores: Callable[[Any], Array]
) -> Callable[[Any, Any], Array]:
    def statistics(gold: Any, outputs: Any) -> Array:
        given = texts(outputs)
        if _is_squad2(gold):
            pairs = zip(given, null_scores(outputs), strict=True)
            given = [UNANSWERABLE if null > 0 else text for text, null in pairs]
        found = _scores(score, gold, given)
        return np.stack([found, np.ones(len(found))], -1)

    return statistics


def _scores(score: Callable[[str, str], float], gold: Any, given: Sequence[str]) -> Array:
    pairs = zip(given, gold, strict=True)
    return np.array([max(score(text, truth) for truth in truths) for text, truths in pairs], np.float64)
