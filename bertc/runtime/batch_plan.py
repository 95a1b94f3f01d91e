"""Losing padding: which texts share a row, and whether that beats batches sorted by length.

In: lengths in tokens. Out: batches whose rows hold one text each, or several, each seeing only itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bertc.core.batch import Batch, batch_from_features, groups_by_length, packed_batch_from_features
from bertc.core.feature import Feature

USUAL_ROW_LENGTH = 128
"""Where no text shows how long texts are."""

ROW_LENGTH_STEP = 32
ARRIVING_TOGETHER = 32
"""Texts of one call, for which a row length is chosen."""

ATTENTION_LENGTH = 512
"""Row length at which attention, whose cost per token grows with it, costs as much as the GEMMs, whose cost does not.

From the latencies of MiniLM-L6 (384 wide) in INT8 at lengths 128 and 384, 530 to 640; wider models have a larger one.
"""

RUN_TOKENS = 16
"""Tokens that take as long as the fixed part of a run: from the same model's latency at 1 x 32, 14 to 22."""

FEW = 64
"""Texts of a call that fill rows badly, so that shorter rows are tried as well."""

SHARES = (8, 7, 6, 5, 4)
"""Eighths of the row length that are tried for few texts."""

Group = list[list[int]]
"""A batch: for each row the places of its texts."""


def planned_batches(features: Sequence[Feature], tokens: int, *, row_length: int | None) -> Iterator[Batch]:
    """Put features into batches of about `tokens` tokens at most, sorted by length or packed, whichever costs less.

    `row_length` is what a packed row holds at most; None packs nothing, and so do features with tokens that nothing
    sees.
    """
    if any(feature.seen is not None for feature in features):
        row_length = None
    lengths = [feature.length for feature in features]
    for group in cheapest_groups(lengths, tokens, row_length=row_length):
        if all(len(row) == 1 for row in group):
            yield batch_from_features(features, [place for row in group for place in row])
        else:
            yield packed_batch_from_features(features, group)


def cheapest_groups(lengths: Sequence[int], tokens: int, *, row_length: int | None) -> list[Group]:
    """Return the sorted or the packed batches, whichever are expected to take less time."""
    plans = [sorted_groups(lengths, tokens)]
    if row_length is not None:
        shares = SHARES if len(lengths) <= FEW else SHARES[:1]
        plans += [packed_groups(lengths, tokens, row_length=row_length * share // 8) for share in shares]
    return min(plans, key=lambda found: cost(found, lengths))


def sorted_groups(lengths: Sequence[int], tokens: int) -> list[Group]:
    """Return batches of texts of similar length, one in a row."""
    return [[[place] for place in places] for places in groups_by_length(lengths, tokens)]


def packed_groups(lengths: Sequence[int], tokens: int, *, row_length: int) -> list[Group]:
    """Return batches of packed rows, then those of the texts that are longer than a row, sorted by length."""
    short = [place for place, length in enumerate(lengths) if length <= row_length]
    long = [place for place, length in enumerate(lengths) if length > row_length]
    rows = [[short[number] for number in row] for row in packed_rows([lengths[place] for place in short], row_length)]
    count = max(1, tokens // row_length)
    packed = [rows[start : start + count] for start in range(0, len(rows), count)]
    apart = groups_by_length([lengths[place] for place in long], tokens)
    return packed + [[[long[number]] for number in group] for group in apart]


def packed_rows(lengths: Sequence[int], row_length: int) -> Group:
    """Pack by best fit, longest first: each text into the row that it leaves least free. No length above `row_length`.

    Takes at most 11/9 of the fewest possible rows, and one (Johnson et al. 1974).

    >>> packed_rows([3, 5, 2, 6], 8)
    [[3, 2], [1, 0]]
    """
    rows: Group = []
    by_free: list[list[int]] = [[] for _ in range(row_length + 1)]
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        free = next((free for free in range(lengths[place], row_length + 1) if by_free[free]), None)
        if free is None:
            rows.append([])
            by_free[row_length].append(len(rows) - 1)
            free = row_length
        row = by_free[free].pop()
        rows[row].append(place)
        by_free[free - lengths[place]].append(row)
    return rows


def cost(groups: Sequence[Group], lengths: Sequence[int]) -> float:
    """Estimate the time of batches, in tokens of a short row: a token costs more the longer its row is."""
    total = 0.0
    for group in groups:
        length = max(sum(lengths[place] for place in row) for row in group)
        total += RUN_TOKENS + len(group) * length * (1 + length / ATTENTION_LENGTH)
    return total


def row_length_from_lengths(lengths: Sequence[int], longest: int) -> int:
    """Choose the row length that makes calls of texts so long cheapest, at most `longest`, from a sample in any order.

    Long rows leave less free, short rows have the cheaper attention.
    """
    if not lengths:
        return min(USUAL_ROW_LENGTH, longest)
    calls = [lengths[start : start + ARRIVING_TOGETHER] for start in range(0, len(lengths), ARRIVING_TOGETHER)]
    candidates: list[int] = [*range(ROW_LENGTH_STEP, longest, ROW_LENGTH_STEP), longest]

    def expected(row_length: int) -> float:
        return sum(
            cost(packed_groups(call, ARRIVING_TOGETHER * longest, row_length=row_length), call) for call in calls
        )

    return min(reversed(candidates), key=expected)  # of equals the longest
