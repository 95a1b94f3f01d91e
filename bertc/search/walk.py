"""Towards the smallest set of float sites that passes. Pure: whether a set does comes from `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bertc.ir.sites import Site
from bertc.search.cost_model import CostModel

AT_ONCE = 4
"""Sets that are evaluated together. Not the number of processes, on which no result may depend."""

Evaluate = Callable[[Sequence[frozenset[Site]]], Sequence[bool]]


def walk_sites(cost_model: CostModel, evaluate: Evaluate, *, below: float, most: int) -> None:
    """Evaluate sets of float sites that should be faster than `below` ms, about `most` of them.

    First the smallest beginning that passes of the sites in order of sensitivity per millisecond, by sections, beside
    what costs no time in float; then each of its sites is tried back in INT8, the slowest in float first. Finds nothing
    if nothing that is fast enough passes.
    """
    count = _Counted(evaluate, most)
    free = cost_model.free()
    order = cost_model.order()
    beginnings = [cost_model.closed(free.union(order[: n + 1])) for n in range(len(order))]
    order = order[: sum(cost_model.time(sites) < below for sites in beginnings)]
    length = _shortest_passing(
        order, lambda lengths: count([cost_model.closed(free.union(order[:n])) for n in lengths])
    )
    if length is not None:
        _put_back(cost_model, free, list(order[:length]), count)


class _Counted:
    """Counts evaluations. It mutates."""

    def __init__(self, evaluate: Evaluate, most: int) -> None:
        self.left = most
        self._evaluate = evaluate

    def __call__(self, sets: Sequence[frozenset[Site]]) -> Sequence[bool]:
        self.left -= len(sets)
        return self._evaluate(sets)


def _shortest_passing(order: Sequence[Site], passes: Callable[[Sequence[int]], Sequence[bool]]) -> int | None:
    """Return the length of the shortest beginning that passes, if longer ones do not fail; None if none does."""
    fails, good = 0, len(order)
    if not order or not passes([good])[0]:
        return None
    while good - fails > 1:
        step = (good - fails) / (AT_ONCE + 1)
        lengths = sorted({fails + round(step * n) for n in range(1, AT_ONCE + 1)} - {fails, good})
        for length, passed in zip(lengths, passes(lengths), strict=True):
            if passed:
                good = length
                break
            fails = length
    return good


def _put_back(cost_model: CostModel, free: frozenset[Site], kept: list[Site], count: _Counted) -> None:
    """Try each site back in INT8 beside those that already went back; who fails once stays in float."""
    waiting = sorted(kept, key=lambda site: (-cost_model.cost[site.role], cost_model.sensitivity[site], site))
    while waiting and count.left > 0:
        tried, waiting = waiting[:AT_ONCE], waiting[AT_ONCE:]
        sets = [cost_model.closed(free.union(kept) - {site}) for site in tried]
        passed = [site for site, good in zip(tried, count(sets), strict=True) if good]
        if passed:
            kept.remove(passed[0])
            waiting = passed[1:] + waiting
