"""Reorder channels so that 2:4 keeps more (Pool & Yu 2021, "Channel permutations for N:M sparsity", NeurIPS 34).

Which inputs of a GEMM share a group of four depends on their order, and two orders are free: FC1's outputs, which FC2
reads through an elementwise activation (a gated one's halves in one order), and within a head the channels of value,
which the output projection reads as context. The graph computes the same function before and after.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.gram import Gram
from bertc.ir.edit import set_constant, values_by_name
from bertc.ir.emit import array_of
from bertc.ir.sites import Role, Site
from bertc.prune.pattern import GROUP

ROUNDS = 100
"""Rounds of the search. FC2 of a MiniLM keeps 75.3 % of its magnitude unpermuted, 76.4 % after 50, 76.5 % after 100."""

SEED = 0

PRODUCERS = {Role.OUTPUT_GEMM: Role.INTERMEDIATE_GEMM, Role.ATTENTION_GEMM: Role.VALUE_GEMM}
"""The GEMM whose outputs are the inputs of another, channel by channel."""

Order = NDArray[np.int64]
"""The new order of a GEMM's inputs: input i of the new graph is `order[i]` of the old."""


def order_from_scores(scores: NDArray[np.float64], *, block: int) -> Order:
    """Search an order of the inputs in which the two largest scores of every group of four add up to more.

    `scores` is [in, out] >= 0; inputs stay within their block of `block` consecutive ones. Each round draws pairs of
    groups and divides each pair's eight inputs anew in the best of the 35 ways, so the sum never falls. Returns the
    order as it is where a block is no multiple of 4.
    """
    order = np.arange(len(scores))
    if block % GROUP:
        return order
    generator = np.random.default_rng(SEED)
    small = scores.astype(np.float32)
    groups_per_block = block // GROUP
    for _ in range(ROUNDS if groups_per_block > 1 else 0):
        shuffled = np.argsort(generator.random((len(scores) // block, groups_per_block)), axis=1)
        shuffled += np.arange(len(shuffled))[:, None] * groups_per_block
        pairs = shuffled[:, : groups_per_block // 2 * 2].reshape(-1, 2)
        places = (pairs[:, :, None] * GROUP + np.arange(GROUP)).reshape(len(pairs), 2 * GROUP)
        best = _best_divisions(small[order[places]])
        order[places] = np.take_along_axis(order[places], best, axis=1)
    return order


def _best_divisions(scores: NDArray[np.float32]) -> Order:
    """Return for each pair of groups [pairs, 8, out] the order of its eight inputs with the largest kept sum."""
    eight = range(2 * GROUP)
    larger: dict[tuple[int, ...], NDArray[np.float32]] = {}
    both: dict[tuple[int, ...], NDArray[np.float32]] = {}
    for a, b in combinations(eight, 2):
        larger[a, b] = np.maximum(scores[:, a], scores[:, b])
        both[a, b] = scores[:, a] + scores[:, b]

    def kept(group: tuple[int, ...]) -> NDArray[np.float32]:
        """The sum of each column's two largest: one of each half of the group, or both of one half."""
        left, right = group[:2], group[2:]
        total = np.maximum(larger[left] + larger[right], np.maximum(both[left], both[right]))
        found: NDArray[np.float32] = total.sum(axis=1)
        return found

    divisions = [first for first in combinations(eight, GROUP) if 0 in first]  # the first is the order as it is
    seconds = [tuple(i for i in eight if i not in first) for first in divisions]
    sums = np.stack([kept(first) + kept(second) for first, second in zip(divisions, seconds, strict=True)])
    orders: Order = np.array([first + second for first, second in zip(divisions, seconds, strict=True)])
    best = sums.argmax(axis=0)
    best[sums.max(axis=0) <= sums[0] * (1 + 1e-6)] = 0  # no move for what is only rounding
    chosen: Order = orders[best]
    return chosen


def head_size_of_graph(graph: ir.Model, layer: int) -> int:
    """Return the channels per head of a layer's attention."""
    node = values_by_name(graph)[Site(layer, Role.CONTEXT).name].producer()
    assert node is not None
    return int(node.attributes["split"].as_ints()[3])


def permute_channels(model: ir.Model, gemm: Site, order: Order) -> None:
    """Reorder a GEMM's inputs and the outputs of the GEMM before it, in place."""
    before = Site(gemm.layer, PRODUCERS[gemm.role]).name
    outputs = array_of(model.graph.initializers[f"{before}.bias"]).size
    columns = np.concatenate([order + start for start in range(0, outputs, order.size)])  # a gated activation's halves
    _reorder(model, f"{before}.weight", (slice(None), columns))
    _reorder(model, f"{before}.bias", (columns,))
    _reorder(model, f"{gemm.name}.weight", (order,))


def permuted_gram(gram: Gram, order: Order) -> Gram:
    """Return the moments of the inputs in the new order."""
    return Gram(gram.rows, gram.matrix[np.ix_(order, order)], gram.total[order])


def _reorder(model: ir.Model, name: str, places: tuple[slice | Order, ...]) -> None:
    value = model.graph.initializers[name]
    set_constant(value, array_of(value)[places])
