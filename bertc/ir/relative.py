"""A bias of attention by the distance between a query and a key, as T5 has it (Raffel et al. 2020, section 2.1).

Distances fall into buckets: half of them for keys behind the query, and of each half one half for single distances, the
other for ranges that grow as a logarithm. Distances are of columns: two tokens of one sentence stand as far apart in
a row of several (`bertc.ir.sentences`), and those of different sentences do not see each other.
"""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.ir.emit import Emitter, array_of

BIAS = "attention.relative_bias"
"""The value's name: float [1, heads, length, length]."""


def buckets_of_distances(buckets: int, longest: int) -> NDArray[np.int64]:
    """Return the bucket of every distance key - query from -longest to longest; longer ones have the end's.

    >>> buckets_of_distances(8, 4).tolist()
    [3, 3, 2, 1, 0, 5, 6, 7, 7]
    """
    side = buckets // 2
    single = side // 2
    far = np.arange(longest + 1)
    # In float32, as transformers computes it: it decides about the distance at which a range begins.
    ranges = np.log(np.maximum(far, 1).astype(np.float32) / np.float32(single)) / np.float32(math.log(longest / single))
    place = single + (ranges * np.float32(side - single)).astype(np.int64)
    place = np.where(far < single, far, np.minimum(place, side - 1))
    return np.concatenate([place[:0:-1], place[:1], place[1:] + side])


def bias_by_distance(bias: ir.Value, longest: int) -> NDArray[np.float32] | None:
    """Read back what `emit_relative_bias` wrote: float32 [heads, 2 longest - 1], by key - query + longest - 1.

    `longest` is the number of tokens of the longest text. None for a bias of another kind.
    """
    node = bias.producer()
    path = []
    while node is not None and node.op_type in ("Unsqueeze", "Transpose") and node.inputs[0] is not None:
        path.append(node.op_type)
        node = node.inputs[0].producer()
    if node is None or path != ["Unsqueeze", "Transpose"] or node.op_type != "Gather":
        return None
    table, bucket = node.inputs
    lookup = None if bucket is None else bucket.producer()
    if table is None or table.const_value is None or lookup is None or lookup.op_type != "Gather":
        return None
    buckets = array_of(lookup.inputs[0])
    end = len(buckets) // 2
    distances = np.clip(np.arange(1 - longest, longest), -end, end)
    return np.ascontiguousarray(array_of(table)[buckets[distances + end]].T, np.float32)


def emit_relative_bias(emit: Emitter, tokens: ir.Value, table: ir.Value, buckets: NDArray[np.int64]) -> ir.Value:
    """Write the bias of all pairs of columns, [1, heads, length, length].

    tokens: the ids, [batch, length]; table: float [buckets, heads]; buckets: as `buckets_of_distances` returns them.
    """
    longest = len(buckets) // 2

    def number(name: str, value: int) -> ir.Value:
        return emit.constant(f"{BIAS}.{name}", np.int64(value))

    def axes(name: str, *values: int) -> ir.Value:
        return emit.constant(f"{BIAS}.{name}", np.array(values, np.int64))

    length = emit.op("Shape", tokens, start=1, end=2, name=f"{BIAS}.length")
    count = emit.op("Squeeze", length, axes("first_axis", 0), name=f"{BIAS}.count")
    columns = emit.op("Range", number("begin", 0), count, number("step", 1), name=f"{BIAS}.columns")
    keys = emit.op("Unsqueeze", columns, axes("key_axis", 0), name=f"{BIAS}.keys")
    queries = emit.op("Unsqueeze", columns, axes("query_axis", 1), name=f"{BIAS}.queries")
    distance = emit.op("Sub", keys, queries, name=f"{BIAS}.distance")  # [S, S]
    near = emit.op("Min", distance, number("longest", longest), name=f"{BIAS}.at_most")
    near = emit.op("Max", near, number("shortest", -longest), name=f"{BIAS}.at_least")
    place = emit.op("Add", near, number("middle", longest), name=f"{BIAS}.place")
    bucket = emit.op("Gather", emit.constant(f"{BIAS}.buckets", buckets), place, axis=0, name=f"{BIAS}.bucket")
    numbers = emit.op("Gather", table, bucket, axis=0, name=f"{BIAS}.numbers")  # [S, S, heads]
    heads = emit.op("Transpose", numbers, perm=[2, 0, 1], name=f"{BIAS}.heads")
    bias = emit.op("Unsqueeze", heads, axes("batch_axis", 0), name=BIAS)
    heads_count = int(array_of(table).shape[1])
    bias.dtype, bias.shape = ir.DataType.FLOAT, ir.Shape((1, heads_count, "sequence", "sequence"))
    return bias
