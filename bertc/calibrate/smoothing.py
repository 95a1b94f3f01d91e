"""The factors of SmoothQuant (Xiao et al. 2022, arXiv:2211.10438, eq. 4) per GEMM input, in modes.md's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.per_site import EXPONENTS, output_error
from bertc.calibrate.table import Statistics
from bertc.ir.edit import layers_by_weights
from bertc.ir.emit import array_of
from bertc.ir.one_sided import lower_bounds
from bertc.ir.sites import Role, Site

Array = NDArray[np.float32]
CONSUMERS = {
    Role.CONTEXT: (Role.ATTENTION_GEMM,),
    Role.HIDDEN: (Role.QUERY_GEMM, Role.KEY_GEMM, Role.VALUE_GEMM),
    Role.ATTENTION_NORM: (Role.INTERMEDIATE_GEMM,),
    Role.ACTIVATION: (Role.OUTPUT_GEMM,),
}
"""The GEMMs that read each smoothable site, in the order in which the factors are computed."""

SHARE_BELOW = 0.2
"""How much of the typical range of a smoothed activation may lie below 0 (docs/decisions/0009-one-sided.md)."""


def smoothing_vector(amax: Array, weight_amax: Array, exponent: float) -> Array:
    """Return m = amax^a / wmax^(1-a) per channel, 1 where either is 0.

    >>> smoothing_vector(np.float32([4, 0]), np.float32([1, 1]), 0.5).tolist()
    [2.0, 1.0]
    """
    factors = np.ones_like(amax, dtype=np.float64)
    used = (amax > 0) & (weight_amax > 0)
    factors[used] = amax[used].astype(np.float64) ** exponent / weight_amax[used].astype(np.float64) ** (1 - exponent)
    return factors.astype(np.float32)


def raised_factors(factors: Array, amax: Array, lowest: float) -> Array:
    """Return the factors of an activation's output, none so small that its lower bound over m decides the grid.

    A channel that is hardly ever active would be stretched until GELU's -0.17 is as large as the largest values of the
    others. lowest / m is kept above -0.2 times the range x / m that nine channels of ten stay in.

    >>> raised_factors(np.float32([1, 0.01]), np.float32([1, 0.01]), -0.17).round(3).tolist()
    [1.0, 0.8500000238418579]
    """
    typical = float(np.percentile(amax / factors, 90))
    return np.maximum(factors, np.float32(-lowest / (SHARE_BELOW * typical))) if typical > 0 else factors


def smoothing_factors(
    graph: ir.Model,
    plain: Mapping[Site, Statistics],
    exponent: float,
    samples: Mapping[Site, Array] | None = None,
) -> dict[Site, Array]:
    """Return m for the four GEMM inputs of every layer: context, then hidden over the folded value weights, ...

    With `samples` of the sites' tokens, each site has the exponent that is best for its layer's output. Layers that
    share their weights have the same factors, made for what all of them see.
    """
    groups = layers_by_weights(graph)
    for layers in groups:
        plain, samples = _pooled(plain, samples, layers)
    weights = {value.name: value for value in graph.graph.initializers.values()}
    minima = lower_bounds(graph)
    factors: dict[Site, Array] = {}
    for layers in groups:
        for role in CONSUMERS:
            layer = layers[0]
            site = Site(layer, role)
            channel_amax = plain[site].channel_amax
            assert channel_amax is not None
            matrix = consumed_weights(weights, site, factors)
            wmax = np.abs(matrix).max(axis=1)
            chosen = exponent
            if samples is not None:
                chosen = _best_exponent(samples[site], channel_amax, matrix, exponent)
            vector = smoothing_vector(channel_amax, wmax, chosen)
            if role is Role.CONTEXT:
                vector *= _tie(plain, layer, vector)
            if site in minima:
                vector = raised_factors(vector, channel_amax, minima[site])
            factors |= {Site(other, role): vector for other in layers}
    return dict(sorted(factors.items(), key=lambda found: found[0].layer))


def _pooled(
    plain: Mapping[Site, Statistics], samples: Mapping[Site, Array] | None, layers: Sequence[int]
) -> tuple[Mapping[Site, Statistics], Mapping[Site, Array] | None]:
    """Return what was seen, the first layer's sites with what all `layers` see."""
    if len(layers) == 1:
        return plain, samples
    pooled, tokens = dict(plain), None if samples is None else dict(samples)
    for role in sorted({site.role for site in plain if site.layer == layers[0]}):
        sites = [Site(layer, role) for layer in layers]
        pooled[sites[0]] = reduce(Statistics.merged, (plain[site] for site in sites))
        if tokens is not None and samples is not None and sites[0] in samples:
            tokens[sites[0]] = np.concatenate([samples[site] for site in sites])
    return pooled, tokens


def consumed_weights(weights: Mapping[str | None, ir.Value], site: Site, factors: Mapping[Site, Array]) -> Array:
    """Return the weights of the GEMMs that read a site side by side, [in, out]; the context's factors folded in."""
    matrices = [array_of(weights[f"{Site(site.layer, gemm).name}.weight"]) for gemm in CONSUMERS[site.role]]
    if site.role is Role.HIDDEN and Site(site.layer, Role.CONTEXT) in factors:
        matrices[2] = matrices[2] / factors[Site(site.layer, Role.CONTEXT)]
    return np.concatenate(matrices, axis=1)


def _best_exponent(sample: Array, channel_amax: Array, weights: Array, exponent: float) -> float:
    """Return the exponent with the least error at the layer's output; `exponent` where nothing is better."""

    def error(candidate: float) -> float:
        vector = smoothing_vector(channel_amax, np.abs(weights).max(axis=1), candidate)
        amax = float((channel_amax / vector).max())
        return output_error(sample / vector, weights * vector[:, None], amax=amax)

    return min((exponent, *EXPONENTS), key=error)


def _tie(plain: Mapping[Site, Statistics], layer: int, vector: Array) -> np.float32:
    """Return the free factor that gives value' the larger range of query and key, so that a tied scale fits all."""
    value = plain[Site(layer, Role.VALUE)].channel_amax
    assert value is not None
    largest = max(plain[Site(layer, role)].amax for role in (Role.QUERY, Role.KEY))
    reached = float((value / vector).max())
    return np.float32(reached / largest) if largest > 0 and reached > 0 else np.float32(1)
