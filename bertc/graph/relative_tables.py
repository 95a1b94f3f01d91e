"""The embeddings of distances of a checkpoint as its layers meet them: normalised, projected, scaled, once for all.

XLNet's are sinusoids (Dai et al. 2019, arXiv:1901.02860, section 3.3); its segments are joined here too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bertc.ir.architecture import Architecture, RelativeEmbeddings, RelativeSinusoids
from bertc.ir.disentangled import Tables
from bertc.ir.segments import SegmentKeys

Array = NDArray[np.float32]
Read = Callable[[str, tuple[int, ...]], Array]
"""Reads a weight by its name, of a shape that is known."""


def tables_from_weights(read: Read, arch: Architecture, relative: RelativeEmbeddings) -> list[Tables]:
    """Project the embeddings for every layer; the projections' biases and the scores' scaling are in them."""
    embeddings = _embeddings(read, arch, relative)

    def projected(prefixes: tuple[str, ...], layer: int) -> Array | None:
        if not prefixes:
            return None
        weight = read(f"{prefixes[layer]}.weight", (arch.hidden, arch.hidden)).astype(np.float64)
        rows = embeddings @ weight.T + read(f"{prefixes[layer]}.bias", (arch.hidden,))
        heads = (rows * arch.scaling).reshape(-1, arch.heads, arch.head_size)  # [rows, heads, head size]
        return np.ascontiguousarray(heads.transpose(1, 0, 2), np.float32)

    return [
        Tables(keys=projected(relative.keys, layer), queries=projected(relative.queries, layer))
        for layer in range(arch.layers)
    ]


def _embeddings(read: Read, arch: Architecture, relative: RelativeEmbeddings) -> NDArray[np.float64]:
    """Return the table [2 span, hidden], normalised where the family does that."""
    table = read(relative.embeddings, (2 * relative.span, arch.hidden)).astype(np.float64)
    if relative.norm is None:
        return table
    gamma, beta = (read(f"{relative.norm}.{part}", (arch.hidden,)) for part in ("weight", "bias"))
    centred = table - table.mean(axis=1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=1, keepdims=True) + arch.epsilon)
    return np.asarray(centred / deviation * gamma + beta, np.float64)


def tables_from_sinusoids(read: Read, arch: Architecture, relative: RelativeSinusoids) -> list[Tables]:
    """Project the sinusoids of all distances, query - key from -longest on, for every layer.

    A layer's queries have the bias `r_w_bias` already, so what is added to them here is the other's difference to it.
    """
    sinusoids = _sinusoids(relative.longest, arch.hidden)
    found = []
    for prefix in relative.attentions:
        weight = read(f"{prefix}.r.weight", (arch.attention_size, arch.hidden)).astype(np.float64)
        rows = (sinusoids @ weight.T * arch.scaling).reshape(-1, arch.heads, arch.head_size)
        keys = np.ascontiguousarray(rows.transpose(1, 0, 2), np.float32)
        offset = _beside_query_bias(read, arch, prefix, "r_r_bias").reshape(-1)
        found.append(Tables(keys=keys, queries=None, offset=offset.astype(np.float32)))
    return found


def segments_from_weights(read: Read, arch: Architecture, relative: RelativeSinusoids) -> list[SegmentKeys]:
    """Return what segments multiply the queries of every layer with, in which `r_w_bias` is already."""
    found, heads = [], (arch.heads, arch.head_size)
    for prefix in relative.attentions:
        own, other = read(f"{prefix}.seg_embed", (2, *heads)).astype(np.float64)
        keys = (own - other) * arch.scaling
        columns = np.zeros((*heads, arch.heads))
        columns[np.arange(arch.heads), :, np.arange(arch.heads)] = keys
        offsets = (_beside_query_bias(read, arch, prefix, "r_s_bias") * keys).sum(axis=1)
        joined = columns.reshape(-1, arch.heads)
        found.append(SegmentKeys(keys=joined.astype(np.float32), offsets=offsets.astype(np.float32)))
    return found


def _beside_query_bias(read: Read, arch: Architecture, prefix: str, name: str) -> NDArray[np.float64]:
    """Return what one of an attention's biases adds to queries that have `r_w_bias`: [heads, head size]."""
    heads = (arch.heads, arch.head_size)
    of_keys = read(f"{prefix}.q.bias", (arch.attention_size,)).astype(np.float64)
    return np.asarray(read(f"{prefix}.{name}", heads) - of_keys.reshape(heads), np.float64)


def _sinusoids(longest: int, hidden: int) -> NDArray[np.float64]:
    """Return sin(d f) and cos(d f) side by side, f = 10000^(-i / hidden) of even i, for d from -longest to longest."""
    frequencies = 1 / 10000 ** (np.arange(0, hidden, 2) / hidden)
    angles = np.arange(-longest, longest + 1)[:, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
