"""Few shapes for OpenVINO: a batch as pieces of 2^k or 3 * 2^k rows whose length is a multiple of 16.

OpenVINO makes kernels for every shape that it meets, keeps them for as long as the model is open (2 to 8 MB a shape for
MiniLM), and prepares all nodes anew where a call has another shape than the one before. Figures: docs/cpu.md.

Padding may stand beyond the last position of the table: OpenVINO's Gather gives zeros there, which the mask hides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bertc.core.batch import Batch

LENGTH_STEP = 16
SPLIT_TOKENS = 64
"""Tokens of padding that take as long as one more call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Rows of a batch on their own, padded to a usual shape: the first `rows` rows and `texts` texts are the batch's.

    `batch` has no `order`: who pads no text needs no place for it.
    """

    batch: Batch
    rows: int
    texts: int


def pieces_from_batch(batch: Batch) -> list[Piece]:
    """Cut a batch into pieces of usual shapes, its rows in their order."""
    rows, length = batch.mask.shape
    columns = max(-(-length // LENGTH_STEP), 1) * LENGTH_STEP
    pieces: list[Piece] = []
    first = 0
    for taken, padded in usual_rows(rows, columns):
        part = slice(first, first + taken)
        mask = _padded(batch.mask[part], padded, columns)
        mask[taken:, 0] = 1  # a row of padding alone would have a softmax over nothing
        whole = Batch(
            input_ids=_padded(batch.input_ids[part], padded, columns),
            token_type_ids=_padded(batch.token_type_ids[part], padded, columns),
            mask=mask,
            order=(),
        )
        starts = mask[:taken] == 1 + np.arange(columns)  # a text's number is 1 + the column of its first token
        pieces.append(Piece(batch=whole, rows=taken, texts=int(starts.sum())))
        first += taken
    return pieces


def usual_rows(rows: int, length: int) -> list[tuple[int, int]]:
    """Return (rows taken, rows they are padded to) until none is left: usual numbers, and as little padding as pays.

    >>> usual_rows(11, 128), usual_rows(7, 16)
    ([(8, 8), (3, 3)], [(7, 8)])
    """
    if not rows:
        return [(0, 1)]  # no rows have an answer of no rows, which not every operator gives of an empty batch
    found: list[tuple[int, int]] = []
    while rows:
        below = _usual_below(rows)
        above = below if below == rows else _usual_below(2 * below - 1)
        if (above - rows) * length <= SPLIT_TOKENS:
            return [*found, (rows, above)]
        found.append((below, below))
        rows -= below
    return found


def _usual_below(rows: int) -> int:
    """Return the largest 2^k or 3 * 2^k that is at most `rows`."""
    power = 1 << (rows.bit_length() - 1)
    return power + power // 2 if power > 1 and rows >= power + power // 2 else power


def _padded(values: NDArray[np.int64], rows: int, columns: int) -> NDArray[np.int64]:
    return np.pad(values, ((0, rows - values.shape[0]), (0, columns - values.shape[1])))
