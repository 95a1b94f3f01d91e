"""Run text through the float graph and observe every site, padding left out.

Two passes: the first sees the plain values and each channel's maximum, the second the values divided by the smoothing
factors that follow from the first. Memory is bounded by one batch and one histogram per site.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.gram import grams_from_batches
from bertc.calibrate.histogram import counts_from_values
from bertc.calibrate.per_site import best_range
from bertc.calibrate.smoothing import consumed_weights, smoothing_factors
from bertc.calibrate.table import CalibrationTable, Statistics
from bertc.core.batch import Batch, batches_from_features
from bertc.core.feature import Feature
from bertc.core.progress import Progress
from bertc.errors import InputError
from bertc.ir.edit import layers_of_graph
from bertc.ir.interpret import Interpreter
from bertc.ir.sites import GEMM_INPUTS, GEMM_OUTPUTS, Role, Site

TOKENS_PER_BATCH = 512
"""Bounds memory: a MiniLM's sites take about 0.15 MiB per token at short lengths."""

Array = NDArray[np.float32]
Divisors = Mapping[Site, Array]

Observe = Callable[[Sequence[Feature], Divisors, Progress], dict[Site, Statistics]]
"""Runs features through a float graph and returns what was seen at all sites, or (given divisors) at those, divided."""


class Observer:
    """Collects the statistics of one site. Mutates while it collects."""

    def __init__(self) -> None:
        self._statistics: Statistics | None = None

    def observe(self, values: Array, *, channels: bool) -> None:
        """Add values [..., channels]."""
        seen = Statistics(
            counts=counts_from_values(values),
            amax=float(np.abs(values).max(initial=0.0)),
            channel_amax=np.abs(values).reshape(-1, values.shape[-1]).max(axis=0, initial=0.0) if channels else None,
        )
        self._statistics = seen if self._statistics is None else self._statistics.merged(seen)

    def statistics(self) -> Statistics:
        """Return what was collected."""
        assert self._statistics is not None
        return self._statistics


def ranges_from_batches(
    graph: ir.Model,
    features: Sequence[Feature],
    *,
    exponent: float,
    progress: Progress,
    per_site: Collection[str] = (),
    observe: Observe | None = None,
) -> CalibrationTable:
    """Observe every site of a float graph over the features, or let `observe` do it.

    `exponent` is the smoothing exponent the table's factors are made with; a scheme without smoothing reads the plain
    statistics. `per_site` names what is chosen for each GEMM input by itself, from some tokens: "smoothing"
    the exponent, "calibrator" the range. The table is bound to no checkpoint, and of its text knows the number of rows
    alone. Raises `InputError` when there is no text, or a site's values are not finite.
    """
    samples = _samples(graph, features, progress) if per_site else {}
    observe = observe or observe_here(graph)
    progress.stage("calibrate", total=2 * len(features))
    plain = plain_from_batches(observe, features, progress=progress)
    factors = smoothing_factors(graph, plain.sites, exponent, samples if "smoothing" in per_site else None)
    table = smoothed_from_batches(observe, features, plain, factors, exponent=exponent, progress=progress)
    return with_chosen_ranges(graph, table, samples) if "calibrator" in per_site else table


def _samples(graph: ir.Model, features: Sequence[Feature], progress: Progress) -> dict[Site, Array]:
    """Return some tokens of every GEMM input."""
    sites = [Site(layer, role) for layer in range(layers_of_graph(graph)) for role in GEMM_INPUTS]
    return {site: gram.sample for site, gram in grams_from_batches(graph, features, sites, progress=progress).items()}


def with_chosen_ranges(graph: ir.Model, table: CalibrationTable, samples: Mapping[Site, Array]) -> CalibrationTable:
    """Return the table with each GEMM input's best range for the layer's output, plain and smoothed."""
    weights = {value.name: value for value in graph.graph.initializers.values()}
    plain, smoothed = dict(table.sites), dict(table.smoothed)
    for site, sample in samples.items():
        found = plain[site]
        matrix = consumed_weights(weights, site, {})
        plain[site] = replace(found, chosen_amax=best_range(sample, matrix, found.amax))
        if site in table.smoothing:
            vector, found = table.smoothing[site], smoothed[site]
            matrix = consumed_weights(weights, site, table.smoothing) * vector[:, None]
            smoothed[site] = replace(found, chosen_amax=best_range(sample / vector, matrix, found.amax))
    return replace(table, sites=plain, smoothed=smoothed)


def plain_from_batches(observe: Observe, features: Sequence[Feature], *, progress: Progress) -> CalibrationTable:
    """Make the first pass: a table without smoothing."""
    if not features:
        raise InputError("there is no calibration text; name a file with --calibration-data")
    return CalibrationTable(
        sites=observe(features, {}, progress),
        checkpoint="",
        origin={"rows": len({feature.row for feature in features})},
    )


def smoothed_from_batches(
    observe: Observe,
    features: Sequence[Feature],
    plain: CalibrationTable,
    factors: Mapping[Site, Array],
    *,
    exponent: float,
    progress: Progress,
) -> CalibrationTable:
    """Make the second pass: add the statistics of the values divided by the factors."""
    smoothed = observe(features, _divisors(factors), progress)
    return replace(plain, smoothed=smoothed, smoothing=dict(factors), exponent=exponent)


def _divisors(factors: Mapping[Site, Array]) -> dict[Site, Array]:
    """Each smoothed site's divisor: its own factors, and the context's for the value it is the average of."""
    divisors = dict(factors)
    for site, vector in factors.items():
        if site.role is Role.CONTEXT:
            divisors[Site(site.layer, Role.VALUE)] = vector
            divisors[Site(site.layer, Role.VALUE_GEMM)] = vector
    return divisors


def observe_here(graph: ir.Model, *, threads: int = 0) -> Observe:
    """Return what observes a graph in this process."""
    interpreter = Interpreter(graph, observe_sites=True, threads=threads)

    def observe(features: Sequence[Feature], divisors: Divisors, progress: Progress) -> dict[Site, Statistics]:
        return statistics_from_batches(interpreter, observed_batches(features), divisors, progress)

    return observe


def observed_batches(features: Sequence[Feature]) -> Iterator[Batch]:
    """Plan the batches that features are observed in, whoever observes them."""
    return batches_from_features(features, TOKENS_PER_BATCH)


def statistics_from_batches(
    interpreter: Interpreter, batches: Iterable[Batch], divisors: Divisors, progress: Progress
) -> dict[Site, Statistics]:
    """Observe all sites, or (given divisors) only those, divided. Raises `InputError` for values that are not finite.

    Counts add and maxima merge exactly, so that batches may be observed in any order, and apart.
    """
    wanted = [site for site in interpreter.sites if not divisors or site in divisors]
    observers = {site: Observer() for site in wanted}
    for batch in batches:
        values = interpreter.run_sites(batch, wanted)
        for site, array in values:
            for part in _unpadded(array, batch.mask):
                if not np.isfinite(part).all():
                    raise InputError(f"{site} is not finite on the calibration text; the checkpoint's weights overflow")
                divisor = divisors.get(site)
                # Of smoothed values only a GEMM's output has scales per channel; of the others the table stays small.
                channels = site.role in GEMM_OUTPUTS if divisors else site.role not in (Role.SCORES, Role.PROBS)
                observers[site].observe(part if divisor is None else part / divisor, channels=channels)
        progress.advance(batch.size)
    return {site: observer.statistics() for site, observer in observers.items()}


def _unpadded(values: Array, mask: NDArray[np.int64]) -> Iterator[Array]:
    """Yield real tokens' values: [tokens, channels], or per row [heads, tokens, seen] of attention's [B, N, S, S]."""
    if values.ndim == 3:
        yield values[mask.astype(bool)]
        return
    if (mask > 0).all():
        yield values
        return
    for row, tokens, seen in zip(values, (mask != 0).sum(axis=1), (mask > 0).sum(axis=1), strict=True):
        yield row[:, :tokens, :seen]
