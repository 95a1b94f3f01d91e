"""Examples to the batches of every step: the same for any number of processes, seeded, of similar lengths.

A step's rows are known to all processes; each takes its share, cut into parts that fit in memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bertc.core.example import Example

POOL = 50
"""Batches that are sorted by length together: enough that little is padded, too few to order an epoch by length."""

PART_TOKENS = 4096
"""Most padded tokens of one forward and backward pass: bounds the memory, whatever the batch."""

Order = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Units:
    """What the losses of a whole step are divided by: texts, outputs that have a label, all outputs, tokens."""

    rows: int
    labelled: int
    outputs: int
    tokens: int


def steps_of_epoch(
    lengths: Sequence[int], *, rows: int, accumulate: int, seed: int, epoch: int
) -> list[tuple[Order, ...]]:
    """Return the steps of an epoch, each `accumulate` batches of `rows` examples (the last ones may have fewer).

    Shuffled, sorted by length in pools of 50 batches, cut, and the batches shuffled again; all from (seed, epoch).
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(lengths))
    sizes = np.asarray(lengths)
    batches: list[Order] = []
    for start in range(0, len(order), POOL * rows):
        pool = order[start : start + POOL * rows]
        pool = pool[np.argsort(sizes[pool], kind="stable")]
        batches += [tuple(map(int, pool[place : place + rows])) for place in range(0, len(pool), rows)]
    shuffled = [batches[place] for place in generator.permutation(len(batches))]
    return [tuple(shuffled[place : place + accumulate]) for place in range(0, len(shuffled), accumulate)]


def steps_from(
    lengths: Sequence[int], *, rows: int, accumulate: int, seed: int, first: int
) -> Iterator[tuple[Order, ...]]:
    """Give the steps of epoch after epoch without end, beginning with step `first` (from 0)."""
    per_epoch = steps_per_epoch(len(lengths), rows=rows, accumulate=accumulate)
    epoch, place = divmod(first, per_epoch)
    while True:
        steps = steps_of_epoch(lengths, rows=rows, accumulate=accumulate, seed=seed, epoch=epoch)
        yield from steps[place:]
        epoch, place = epoch + 1, 0


def steps_per_epoch(examples: int, *, rows: int, accumulate: int) -> int:
    """Return the number of steps of an epoch.

    >>> steps_per_epoch(100, rows=16, accumulate=2)
    4
    """
    return math.ceil(math.ceil(examples / rows) / accumulate)


def parts_of_share(step: Sequence[Order], lengths: Sequence[int], *, rank: int, world: int) -> list[Order]:
    """Return what one process runs of a step: every `world`-th example of each batch, in parts of bounded size.

    Empty where a batch has fewer examples than there are processes.
    """
    return [part for batch in step for part in _cut(batch[rank::world], lengths)]


def units_of_step(examples: Sequence[Example] | Mapping[int, Example], step: Sequence[Order]) -> Units:
    """Count what a whole step is divided by, so that it weighs the same however it is cut."""
    chosen = [examples[place] for batch in step for place in batch]
    return Units(
        rows=len(chosen),
        labelled=sum(example.labelled for example in chosen),
        outputs=sum(example.outputs for example in chosen),
        tokens=sum(example.feature.length for example in chosen),
    )


def _cut(batch: Order, lengths: Sequence[int]) -> Iterator[Order]:
    ordered = sorted(batch, key=lambda place: (lengths[place], place))
    start = 0
    while start < len(ordered):
        stop = start + 1
        while stop < len(ordered) and lengths[ordered[stop]] * (stop + 1 - start) <= PART_TOKENS:
            stop += 1
        yield tuple(ordered[start:stop])
        start = stop
