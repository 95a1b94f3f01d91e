"""The embeddings of distances of a checkpoint as its layers meet them: normalised, projected, scaled, once for all."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bertc.ir.architecture import Architecture, RelativeEmbeddings
from bertc.ir.disentangled import Tables

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
