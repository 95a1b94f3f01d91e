"""The pattern 2:4: of 4 consecutive inputs of a GEMM, each output column reads at most 2.

A weight is [in, out] and the groups lie along its inputs, the dimension that the product sums over: that is what sparse
tensor cores skip (Mishra et al. 2021, arXiv:2104.08378, section 3). A mask is True where a weight is kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.ir.emit import array_of
from bertc.ir.sites import GEMM_OUTPUTS, Role, Site

PATTERN = "2:4"
GROUP = 4
KEPT = 2

Mask = NDArray[np.bool_]


def mask_from_scores(scores: NDArray[Any]) -> Mask:
    """Keep the two largest of every four consecutive scores of a column, the first ones where they are equal.

    `scores` is [in, out] with `in` a multiple of 4; so is the mask.

    >>> mask_from_scores(np.array([[1.0], [3.0], [0.0], [2.0]])).ravel().tolist()
    [False, True, False, True]
    """
    groups = scores.reshape(-1, GROUP, *scores.shape[1:])
    kept = np.empty(groups.shape, bool)
    for own in range(GROUP):
        larger = np.zeros(groups[:, own].shape, np.int8)
        for other in range(GROUP):
            if other != own:
                beats = np.greater_equal if other < own else np.greater
                larger += beats(groups[:, other], groups[:, own])
        kept[:, own] = larger < KEPT
    return kept.reshape(scores.shape)


def is_sparse(weight: NDArray[Any]) -> bool:
    """Say whether a weight [in, out], or its codes, is 2:4.

    >>> is_sparse(np.array([[1.0], [0.0], [0.0], [2.0]])), is_sparse(np.array([[1.0], [1.0], [0.0], [2.0]]))
    (True, False)
    """
    if weight.shape[0] % GROUP:
        return False
    used = np.count_nonzero(weight.reshape(-1, GROUP, *weight.shape[1:]), axis=1)
    return bool(used.size) and int(used.max()) <= KEPT


def gemms_of_graph(graph: ir.Model) -> dict[Site, NDArray[np.float32]]:
    """Return the weights [in, out] of the encoder layers' GEMMs, layer by layer, by the site of the GEMM's output."""
    weights = {value.name: value for value in graph.graph.initializers.values()}
    found: dict[Site, NDArray[np.float32]] = {}
    layer = 0
    while weight_name(Site(layer, Role.QUERY_GEMM)) in weights:
        for role in GEMM_OUTPUTS:
            site = Site(layer, role)
            found[site] = array_of(weights[weight_name(site)])
        layer += 1
    return found


def weight_name(site: Site) -> str:
    """Return the name of the initializer that holds a GEMM's weight.

    >>> weight_name(Site(0, Role.OUTPUT_GEMM))
    'layer.0.output_gemm.weight'
    """
    return f"{site.name}.weight"


def masks_from_graph(graph: ir.Model) -> dict[str, Mask]:
    """Return the masks [in, out] of the encoder GEMMs that are 2:4 already, by initializer name; empty if none is.

    A mask has exactly two of four: where a group has fewer non-zeros, the first zeros are free as well.
    """
    return {
        weight_name(site): mask_from_scores(np.abs(weight))
        for site, weight in gemms_of_graph(graph).items()
        if is_sparse(weight)
    }
