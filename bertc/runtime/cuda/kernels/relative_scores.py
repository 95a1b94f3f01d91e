"""What is added to attention's products by how far a key stands behind a query, and by types.

ADDED has a bit for each kind. BIAS: numbers of a head by distance (T5, MPNet). OF_QUERIES and OF_KEYS: products of a
query or a key with embeddings of distances, of which each distance has one (DeBERTa, XLNet). SEGMENTS: a number of a
query, for keys of its own type (XLNet). `unit` is what 1 among the scores is among the products.
"""

from __future__ import annotations

import triton
import triton.language as tl

BIAS = tl.constexpr(1)
OF_QUERIES = tl.constexpr(2)
OF_KEYS = tl.constexpr(4)
SEGMENTS = tl.constexpr(8)


@triton.jit
def with_added(
    raw: tl.tensor, keys: tl.tensor, places: tl.tensor, queries: tl.tensor, distances: tl.tensor, middle: tl.tensor,
    by_query: tl.tensor, by_key: tl.tensor, columns: tl.tensor, types: tl.tensor, own: tl.tensor, unit: tl.tensor,
    ADDED: tl.constexpr,
) -> tl.tensor:  # fmt: skip
    """Return products [queries, keys] with what is added to them.

    keys and places are those of keys and queries in their text, queries rows of by_query. distances: of one head, from
    column `middle` on by key - query, the numbers themselves or columns of by_query and by_key, [rows, columns] each.
    types: of the text's tokens. own: a query's number for keys of its type.
    """
    if (BIAS | OF_QUERIES | OF_KEYS) & ADDED:
        cells = distances + middle + (keys[None, :] - places[:, None])
        if BIAS & ADDED:
            raw += tl.load(cells) * unit
        else:
            cells = tl.load(cells)
            if OF_QUERIES & ADDED:
                raw += tl.load(by_query + queries[:, None] * columns + cells).to(tl.float32) * unit
            if OF_KEYS & ADDED:
                raw += tl.load(by_key + keys[None, :] * columns + cells).to(tl.float32) * unit
    if SEGMENTS & ADDED:
        same = tl.load(types + places)[:, None] == tl.load(types + keys)[None, :]
        raw += tl.where(same, own[:, None] * unit, 0.0)
    return raw
