"""Exact match and F1 of answers, with the normalisation of SQuAD's official script (Rajpurkar et al. 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from bertc.evaluate.formulas import Array
from bertc.evaluate.metric import HIGHER, Metric

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


@lru_cache(maxsize=1 << 16)
def normalize_answer(text: str) -> str:
    """Return an answer in lower case without punctuation, articles and superfluous white space."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


def answer_f1(given: str, truth: str) -> float:
    """Return the F1 of the words (as a multiset) of an answer and one reference answer."""
    words, true_words = normalize_answer(given).split(), normalize_answer(truth).split()
    common = sum((Counter(words) & Counter(true_words)).values())
    return 2.0 * common / (len(words) + len(true_words)) if common else 0.0


def exact_match(given: str, truth: str) -> float:
    """Return 1 if both answers are equal after normalisation, else 0."""
    return float(normalize_answer(given) == normalize_answer(truth))


def answer_metrics(texts: Callable[[Any], Sequence[str]]) -> tuple[Metric, Metric]:
    """Return (f1, exact_match): the best over a question's answers. `gold` holds the tuple of answers of each row."""
    return (
        Metric(name="f1", direction=HIGHER, statistics=_best(answer_f1, texts), formula="ratio"),
        Metric(name="exact_match", direction=HIGHER, statistics=_best(exact_match, texts), formula="ratio"),
    )


def _best(score: Callable[[str, str], float], texts: Callable[[Any], Sequence[str]]) -> Callable[[Any, Any], Array]:
    def statistics(gold: Any, outputs: Any) -> Array:
        pairs = zip(gold, texts(outputs), strict=True)
        best = [max(score(given, truth) for truth in truths) for truths, given in pairs]
        return np.stack([np.array(best, np.float64), np.ones(len(best))], -1)

    return statistics
