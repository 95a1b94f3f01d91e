"""The best tags of sequences and each tag's probability under a linear-chain CRF, in float64 for many texts at once.

Texts have different lengths and nothing is padded: sorted by length, those that are still going on at a step are the
first ones. Viterbi's and the forward-backward algorithm (Rabiner 1989, doi:10.1109/5.18626) in log space.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.head import Head
from bertc.evaluate.formulas import Array
from bertc.evaluate.metrics.entities import allowed_neighbours, scheme_from_labels

FORBIDDEN = -1e4
"""What is added for each pair of tags that the scheme forbids: finite, so that a text always has a best sequence."""

Emissions = NDArray[np.floating[Any]]
"""The scores of a text's tags, [length, tags]."""

MOST_PAIRS = 1 << 21
"""Pairs of tags that are compared at once; bounds the memory (16 MiB), whatever the number of tags."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chain:
    """What is added to emissions: `transitions` [from, to], `start` and `end` [tags], all float64."""

    transitions: Array
    start: Array
    end: Array

    @property
    def tags(self) -> int:
        """The number of tags."""
        return len(self.start)


def chain_from_head(head: Head) -> Chain:
    """Return what a head's CRF adds, with what the scheme of its tags forbids if it is constrained."""
    assert head.crf is not None
    transitions, start, end = (
        np.array(scores, np.float64) for scores in (head.crf.transitions, head.crf.start, head.crf.end)
    )
    if head.crf.constrained:
        forbidden = FORBIDDEN * ~allowed_neighbours(head.labels, scheme_from_labels(head.labels))
        transitions += forbidden[:-1, :-1]
        start += forbidden[-1, :-1]
        end += forbidden[:-1, -1]
    return Chain(transitions=transitions, start=start, end=end)


def best_tags(chain: Chain, emissions: Sequence[Emissions]) -> list[NDArray[np.int64]]:
    """Return each sequence's tags with the highest score, [length]; emissions: [length, tags] each.

    Of several such sequences, the one whose last tag comes first among the tags, then whose last but one does, ....
    """
    return _in_parts(chain, emissions, _best_tags)


def tag_chances(chain: Chain, emissions: Sequence[Emissions]) -> list[Array]:
    """Return the probability of each tag at each place, over all sequences of tags: [length, tags] per text."""
    return _in_parts(chain, emissions, _tag_chances)


class _Texts:
    """Texts of falling lengths, their entries behind each other; those that reach a step are the first ones.

    `flat` [entries, tags] are the emissions, `begins` where each text begins; `firsts` and `lasts` are the places of
    the first and the last entries of the texts that have any.
    """

    def __init__(self, emissions: Sequence[Emissions]) -> None:
        lengths = np.array([len(each) for each in emissions])
        self.flat = np.concatenate(emissions).astype(np.float64)
        self.begins = np.cumsum(lengths) - lengths
        self.firsts = self.begins[lengths > 0]
        self.lasts = (self.begins + lengths - 1)[lengths > 0]
        reaching = [np.count_nonzero(lengths > step) for step in range(1, lengths.max())]
        self.steps = [self.begins[:count] + step for step, count in enumerate(reaching, 1)]
        """The places of the second entries, of the third ones, ..., of the texts that have one."""


def _best_tags(chain: Chain, texts: _Texts) -> NDArray[np.int64]:
    score = texts.flat.copy()  # of the best sequence up to each tag
    score[texts.firsts] += chain.start
    before = np.zeros(score.shape, np.int64)  # the tag in front of each tag in that sequence
    for here in texts.steps:
        pairs = score[here - 1, :, None] + chain.transitions
        before[here] = pairs.argmax(1)
        score[here] += pairs.max(1)
    tags = np.zeros(len(score), np.int64)
    tags[texts.lasts] = (score[texts.lasts] + chain.end).argmax(1)
    for here in reversed(texts.steps):
        tags[here - 1] = before[here, tags[here]]
    return tags


def _tag_chances(chain: Chain, texts: _Texts) -> Array:
    forward = texts.flat.copy()  # log of the sum over all sequences up to each tag
    forward[texts.firsts] += chain.start
    for here in texts.steps:
        forward[here] += _log_sum(forward[here - 1, :, None] + chain.transitions, 1)
    backward = np.zeros_like(forward)  # and over all sequences behind it
    backward[texts.lasts] = chain.end
    for here in reversed(texts.steps):
        backward[here - 1] = _log_sum((texts.flat[here] + backward[here])[:, None, :] + chain.transitions, 2)
    both = forward + backward
    return np.asarray(np.exp(both - _log_sum(both, 1)[:, None]))


def _log_sum(values: Array, axis: int) -> Array:
    """Return the logarithm of the sum of exponentials over an axis."""
    largest = values.max(axis, keepdims=True)
    return np.asarray(np.log(np.exp(values - largest).sum(axis)) + largest.squeeze(axis))


def _in_parts(
    chain: Chain, emissions: Sequence[Emissions], function: Callable[[Chain, _Texts], NDArray[Any]]
) -> list[NDArray[Any]]:
    """Apply a function to texts of about the same length, a bounded number at once."""
    rows = max(1, MOST_PAIRS // chain.tags**2)
    order = sorted(range(len(emissions)), key=lambda place: -len(emissions[place]))
    found: list[NDArray[Any]] = [np.empty(0)] * len(emissions)
    for first in range(0, len(order), rows):
        places = order[first : first + rows]
        texts = _Texts([emissions[place] for place in places])
        for place, part in zip(places, np.split(function(chain, texts), texts.begins[1:]), strict=True):
            found[place] = part
    return found
