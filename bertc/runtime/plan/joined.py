"""Products of the same rows as one: their weights beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.runtime.plan.kernel_plan import Rows
from bertc.runtime.plan.patterns import Chain, Quantize, Weights


def signature(chain: Chain, rows: Rows, quantize: Quantize | None) -> tuple[Any, ...]:
    """Return what products must have in common to be one step."""
    assert chain.weights is not None
    return (
        chain.source,
        rows,
        chain.activation,
        chain.weights.scale is None,
        chain.factor is None,
        chain.requant is None,
        chain.bias is None,
        None if quantize is None else quantize.zero,
    )


def joined_chains(chains: Sequence[Chain]) -> Chain:
    """Return one chain for those of one signature, columns in their order."""
    weights = [chain.weights for chain in chains if chain.weights is not None]
    widths = [each.values.shape[1] for each in weights]
    requants = [chain.requant for chain in chains if chain.requant is not None]
    requant = None
    if requants:
        quantized, dequantized = (_joined([pair[side] for pair in requants], widths) for side in (0, 1))
        assert quantized is not None and dequantized is not None
        requant = quantized, dequantized
    return replace(
        chains[0],
        weights=Weights(
            values=np.concatenate([each.values for each in weights], axis=1),
            scale=_joined([each.scale for each in weights], widths),
        ),
        factor=_joined([chain.factor for chain in chains], widths),
        requant=requant,
        bias=_joined([chain.bias for chain in chains], widths),
    )


def joined_quantizes(quantizes: Sequence[Quantize | None], widths: Sequence[int]) -> Quantize | None:
    """Return one quantization for those with one zero point, or None for none."""
    first = quantizes[0]
    if first is None:
        return None
    inverse = _joined([each.inverse for each in quantizes if each is not None], widths)
    assert inverse is not None
    return replace(first, inverse=inverse)


def _joined(vectors: Sequence[NDArray[Any] | None], widths: Sequence[int]) -> NDArray[Any] | None:
    """Put vectors beside each other, a scalar standing for each of its columns."""
    given = [vector for vector in vectors if vector is not None]
    if len(given) != len(widths):
        return None
    return np.concatenate([np.broadcast_to(vector, (width,)) for vector, width in zip(given, widths, strict=True)])
