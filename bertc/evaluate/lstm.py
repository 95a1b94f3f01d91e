"""The scores that a long short-term memory gives tags behind an encoder's vectors, in float32 for many texts at once.

As torch.nn.LSTM on packed sequences computes it (Hochreiter and Schmidhuber 1997, with forget gates):

    i, f, g, o = W x_t + U h_(t-1) + b
    c_t = sigmoid(f) c_(t-1) + sigmoid(i) tanh(g)
    h_t = sigmoid(o) tanh(c_t)

Nothing is padded: a text's backward direction begins at its own last token. Sorted by length, texts that are still
going on at a step are the first ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from bertc.core.lstm import Direction, Lstm

Array = NDArray[np.float32]

MOST_TOKENS = 1 << 12
"""Tokens that are computed at once, but for a longer text; bounds the memory (about 50 MiB of gates of 768 units)."""


def scores_from_vectors(lstm: Lstm, vectors: Sequence[Array]) -> list[Array]:
    """Return the scores of the tags of each text's places, [length, tags]; vectors: [length, inputs] each."""
    layers, weight, bias = _unpacked(lstm)
    found: list[Array] = [np.empty((0, len(bias)), np.float32)] * len(vectors)
    for places in _parts([len(each) for each in vectors]):
        lengths = np.array([len(vectors[place]) for place in places])
        values = np.concatenate([vectors[place] for place in places]).astype(np.float32)
        for layer in layers:
            both = [_states(weights, values, lengths, back=number == 1) for number, weights in enumerate(layer)]
            values = np.concatenate(both, 1)
        scores = values @ weight + bias
        for place, part in zip(places, np.split(scores, np.cumsum(lengths)[:-1]), strict=True):
            found[place] = part
    return found


@lru_cache(maxsize=4)
def _unpacked(lstm: Lstm) -> tuple[list[list[_Weights]], Array, Array]:
    """Return the arrays of all layers' directions, and of the linear layer [in, tags] and [tags]."""
    layers = [[_Weights(direction) for direction in layer] for layer in lstm.layers]
    return layers, np.ascontiguousarray(lstm.weight.array().T), lstm.bias.array()


class _Weights:
    """A direction's arrays, as products read them."""

    def __init__(self, direction: Direction) -> None:
        self.inputs = np.ascontiguousarray(direction.inputs.array().T)
        self.states = np.ascontiguousarray(direction.states.array().T)
        self.bias = direction.bias.array()


def _parts(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the places of texts that have any tokens, longest first, a bounded number of tokens at once."""
    part: list[int] = []
    tokens = 0
    for place in sorted((place for place, length in enumerate(lengths) if length), key=lambda place: -lengths[place]):
        if part and tokens + lengths[place] > MOST_TOKENS:
            yield part
            part, tokens = [], 0
        part.append(place)
        tokens += lengths[place]
    if part:
        yield part


def _states(weights: _Weights, values: Array, lengths: NDArray[np.int64], *, back: bool) -> Array:
    """Return a direction's states [tokens, width]; values: [tokens, in], texts of falling lengths one after another."""
    gates = values @ weights.inputs + weights.bias
    begins = np.cumsum(lengths) - lengths
    firsts, turn = (begins + lengths - 1, -1) if back else (begins, 1)
    width = weights.states.shape[0]
    found = np.empty((len(values), width), np.float32)
    state, cell = (np.zeros((len(lengths), width), np.float32) for _ in range(2))
    for step in range(int(lengths[0])):
        count = int(np.count_nonzero(lengths > step))
        here = firsts[:count] + turn * step
        i, f, g, o = np.split(gates[here] + state[:count] @ weights.states, 4, axis=1)
        cell = _sigmoid(f) * cell[:count] + _sigmoid(i) * np.tanh(g)
        state = _sigmoid(o) * np.tanh(cell)
        found[here] = state
    return found


def _sigmoid(values: Array) -> Array:
    return np.asarray(0.5 * np.tanh(0.5 * values) + 0.5)  # exp would overflow
