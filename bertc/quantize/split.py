"""Split the feed-forward's outlier channels (Zhao et al. 2019, arXiv:1901.09504).

A few channels of the activation are a hundred times larger than the others. Smoothing moves them into the rows of the
second GEMM's weights, where the scales of the columns then are theirs. A channel that is computed k times and whose row
is divided by k gives the same sum, and its codes no longer drown those of the other rows.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.table import CalibrationTable, Statistics
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site

SHARE = 96
"""One channel is added for so many: about one percent of the feed-forward's work."""


@dataclass(frozen=True, slots=True)
class Split:
    """The channels of a layer's activation, split.

    source: int64 [channels + added], which channel each one is; parts: int64 [channels], how many each became.
    """

    source: NDArray[np.int64]
    parts: NDArray[np.int64]

    @property
    def added(self) -> int:
        """How many channels more there are."""
        return self.source.size - self.parts.size

    def columns(self, width: int) -> NDArray[np.int64]:
        """Return the source of each column of what has `width` of them: the channels, or twice so many of a gate."""
        return np.concatenate([self.source + start for start in range(0, width, self.parts.size)])


def splits_from_table(graph: ir.Model, table: CalibrationTable, scheme: Scheme) -> dict[Site, Split]:
    """Choose the channels of each layer's activation, by its site; layers without smoothing factors have none.

    A range that was given or trained belongs to the weights as they are, and 2:4 weights to their groups of four.
    """
    if not scheme.split_outliers or scheme.smoothing is None:
        return {}
    splits = {}
    for site, factors in table.smoothing.items():
        if site.role is not Role.ACTIVATION or site in table.overrides:
            continue
        weight = array_of(graph.graph.initializers[_weight(site, Role.OUTPUT_GEMM)])
        if np.count_nonzero(weight) > weight.size / 2:
            splits[site] = split_from_sizes(np.abs(weight).max(axis=1) * factors)
    return splits


def split_from_sizes(sizes: NDArray[np.floating]) -> Split:
    """Divide the largest part again and again, until there is one channel more for every `SHARE`. sizes: [channels]."""
    parts = np.ones(sizes.size, np.int64)
    largest = [(-size, channel) for channel, size in enumerate(sizes.tolist())]
    heapq.heapify(largest)
    added = []
    for _ in range(max(1, sizes.size // SHARE)):
        _, channel = largest[0]
        added.append(channel)
        parts[channel] += 1
        heapq.heapreplace(largest, (-float(sizes[channel]) / parts[channel], channel))
    return Split(np.concatenate([np.arange(sizes.size), np.sort(added)]), parts)


def split_graph(graph: ir.Model, splits: Mapping[Site, Split]) -> ir.Model:
    """Return a float graph that computes the same with the channels split."""
    if not splits:
        return graph
    model = graph.clone()
    initializers = model.graph.initializers
    for site, split in splits.items():
        for name in (_weight(site, Role.INTERMEDIATE_GEMM), f"{Site(site.layer, Role.INTERMEDIATE_GEMM)}.bias"):
            array = array_of(initializers[name])
            set_constant(initializers[name], array[..., split.columns(array.shape[-1])])
        rows = initializers[_weight(site, Role.OUTPUT_GEMM)]
        set_constant(rows, (array_of(rows) / split.parts[:, None]).astype(np.float32)[split.source])
    return model


def split_table(table: CalibrationTable, splits: Mapping[Site, Split]) -> CalibrationTable:
    """Return the table of the split graph: copies have what their source has, smoothing factors too."""
    of_sites = {
        site: split
        for activation, split in splits.items()
        for site in (activation, Site(activation.layer, Role.INTERMEDIATE_GEMM))
    }

    def widened(sites: Mapping[Site, Statistics]) -> dict[Site, Statistics]:
        return {
            site: found
            if site not in of_sites or found.channel_amax is None
            else replace(found, channel_amax=found.channel_amax[of_sites[site].columns(found.channel_amax.size)])
            for site, found in sites.items()
        }

    factors = {site: each[splits[site].source] if site in splits else each for site, each in table.smoothing.items()}
    return replace(table, sites=widened(table.sites), smoothed=widened(table.smoothed), smoothing=factors)


def _weight(site: Site, gemm: Role) -> str:
    return f"{Site(site.layer, gemm)}.weight"
