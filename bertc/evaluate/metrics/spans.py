"""Start and end scores of a question's windows -> the answer: n-best over all windows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_BEST = 20
MAX_ANSWER_TOKENS = 30  # as in BERT's run_squad.py (Devlin et al. 2019)
PLACE = 2**32


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A window's scores, [context tokens] each, the characters [context tokens, 2] of its context's tokens, and the
    score (start + end) of its first token, [CLS]: that there is no answer."""

    start_logits: NDArray[np.float32]
    end_logits: NDArray[np.float32]
    offsets: NDArray[np.int32]
    null: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """The best span: text, characters [start, end), and its probability among the n best. `logits` is [2, tokens]:
    the start and end scores of all windows, one after another. `null_score` is how much the score of no answer (the
    least over the windows) exceeds the span's, as `null_odds` in BERT's run_squad.py."""

    text: str
    start: int
    end: int
    score: float
    logits: NDArray[np.float32]
    null_score: float = 0.0


def answer_from_windows(context: str, windows: Sequence[Window]) -> Answer:
    """Return the best answer over the windows of one question. An empty text if the context has no tokens.

    Of each window the 20 best starts and ends are paired; a span ends no earlier than it starts and has at most 30
    tokens; its score is start + end. The probability is the softmax over the 20 best spans that differ in characters.
    """
    logits = np.concatenate(
        [np.stack([window.start_logits, window.end_logits]) for window in windows] or [np.zeros((2, 0), np.float32)], 1
    ).astype(np.float32)
    spans = [_spans(window) for window in windows if len(window.offsets)]
    if not sum(len(span[0]) for span in spans):
        return Answer(text="", start=0, end=0, score=0.0, logits=logits)
    scores = np.concatenate([span[0] for span in spans])
    places = np.concatenate([span[1] for span in spans])
    # Best first; among equals the earliest, so that the choice never depends on the windows' order.
    order = np.lexsort((places, -scores))[: 4 * N_BEST]  # windows overlap: the same span comes up to three times
    _, first = np.unique(places[order], return_index=True)
    best = order[np.sort(first)][:N_BEST]
    chances = np.exp(scores[best] - scores[best[0]])
    start, end = divmod(int(places[best[0]]), PLACE)
    return Answer(
        text=context[start:end],
        start=start,
        end=end,
        score=float(1.0 / chances.sum()),
        logits=logits,
        null_score=min(window.null for window in windows) - float(scores[best[0]]),
    )


def _spans(window: Window) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the candidate spans of a window: scores [n], and first character * 2^32 + one past the last [n]."""
    starts, ends = _largest(window.start_logits), _largest(window.end_logits)
    length = ends[None, :] - starts[:, None] + 1
    row, column = np.nonzero((length > 0) & (length <= MAX_ANSWER_TOKENS))
    start, end = starts[row], ends[column]
    scores = window.start_logits[start].astype(np.float64) + window.end_logits[end]
    return scores, window.offsets[start, 0].astype(np.int64) * PLACE + window.offsets[end, 1]


def _largest(logits: NDArray[np.float32]) -> NDArray[np.intp]:
    if len(logits) <= N_BEST:
        return np.arange(len(logits))
    return np.argpartition(logits, -N_BEST)[-N_BEST:]
