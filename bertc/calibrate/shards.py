"""Calibration shared among workers: batches go out in shards, and what was seen at a site is merged in their order.

The batches are those of one process, and each is run as there. Counts are integers and maxima are maxima, so that the
table has the same bits whoever saw what; the shards only decide how much goes out at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.collect import Divisors, Observe, observed_batches, statistics_from_batches
from bertc.calibrate.histogram import BINS
from bertc.calibrate.table import Statistics
from bertc.core.batch import Batch
from bertc.core.feature import Feature
from bertc.core.progress import SILENCE, Progress
from bertc.core.workers import Workers, kept_open
from bertc.ir.interpret import GraphFile, Interpreter, load_library, write_graph_file
from bertc.ir.sites import Site
from bertc.runtime.machine.cpu import threads_of_each

SHARDS = 64
"""At most, of any text: many more than workers, so that none waits long for the last one, and few to be merged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Statistics as they are sent: the occupied bins and their counts, a tenth of the whole histogram."""

    bins: NDArray[np.uint16]
    counts: NDArray[np.int64]
    amax: float
    channel_amax: NDArray[np.float32] | None

    def statistics(self) -> Statistics:
        """Return the statistics."""
        counts = np.zeros(BINS, np.int64)
        counts[self.bins] = self.counts
        return Statistics(counts=counts, amax=self.amax, channel_amax=self.channel_amax)


def ready_to_observe() -> None:
    """Load in a worker what it observes with: this module, and the library that runs a graph."""
    load_library()


def observe_in(workers: Workers, graph: ir.Model, folder: Path, *, threads: int) -> Observe:
    """Return what observes a graph in workers, which share its weights in a file of the folder."""
    file = write_graph_file(graph, folder, threads=threads_of_each(workers.count, threads or workers.threads))

    def observe(features: Sequence[Feature], divisors: Divisors, progress: Progress) -> dict[Site, Statistics]:
        batches = list(observed_batches(features))
        step = max(1, -(-len(batches) // SHARDS))
        shards = [batches[start : start + step] for start in range(0, len(batches), step)]
        begun = [(shard, workers.begin(_seen_in_shard, file, shard, divisors)) for shard in shards]
        merged: dict[Site, Statistics] = {}
        for shard, seen in begun:
            for site, each in seen.result().items():
                found = each.statistics()
                merged[site] = merged[site].merged(found) if site in merged else found
            progress.advance(sum(batch.size for batch in shard))
        return merged

    return observe


def _seen_in_shard(file: GraphFile, shard: Sequence[Batch], divisors: Divisors) -> Mapping[Site, Seen]:
    """Observe a shard in a worker."""
    found = statistics_from_batches(kept_open(Interpreter, file), shard, divisors, SILENCE)
    return {site: _sent(statistics) for site, statistics in found.items()}


def _sent(statistics: Statistics) -> Seen:
    bins = np.flatnonzero(statistics.counts)
    return Seen(
        bins=bins.astype(np.uint16),
        counts=statistics.counts[bins],
        amax=statistics.amax,
        channel_amax=statistics.channel_amax,
    )
