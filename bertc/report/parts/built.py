"""What a build found, put into the report's words. Computes nothing that another stage should have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from bertc.cache.stages import StageTime
from bertc.calibrate.carried import notes_of_ranges
from bertc.calibrate.histogram import bin_values
from bertc.calibrate.needs import has_histograms
from bertc.calibrate.table import DEFAULT_PERCENTILE, CalibrationTable, Statistics
from bertc.checkpoint import Checkpoint
from bertc.core.versions import __version__
from bertc.data.encoded import Encoded
from bertc.evaluate.gates import Verdict
from bertc.evaluate.rows_file import ROWS_FILE
from bertc.evaluate.scores import Comparison
from bertc.export.embeddings import StoredEmbeddings
from bertc.ir.affine import CODE_MAX
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.prune.stage import VerifiedSparsity
from bertc.quantize.correction import NO_CORRECTION, Correction
from bertc.quantize.insert import Quantized
from bertc.quantize.quantization import Quantization
from bertc.recipe import Recipe
from bertc.report.parts.search import reasons_from_search, search_part, warnings_from_search
from bertc.report.parts.sparsity import sparsity_part
from bertc.report.schema import (
    CandidatePart,
    CheckpointPart,
    DataPart,
    DataSource,
    EnginePart,
    EnvironmentPart,
    FloatSite,
    GatePart,
    HistogramPart,
    LatencyPart,
    MetricPart,
    OperatingPoint,
    QuantizationPart,
    ReadingPart,
    Report,
    SitePart,
    StagePart,
)
from bertc.runtime.latency import Latency
from bertc.runtime.machine.cpu import Cpu, usable_cores
from bertc.runtime.optimized import INT8_ATTENTION, Optimized
from bertc.search.run import SearchResult
from bertc.targets import Target

WORST = 3
HISTOGRAM_BINS = 48
NOTEWORTHY_BYTES = 2**20
"""Fewer ignored bytes than this are position ids and the like, which nobody has to know of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """Everything that a build knows when it is done."""

    recipe: Recipe
    command: str
    created: datetime
    checkpoint: Checkpoint
    max_length: int
    row_length: int | None = None
    """Tokens of a row that several texts share; None where the target packs nothing."""
    target: Target
    quantization: Quantization | None
    """How it was quantized; None for a target without static INT8."""
    quantized: Quantized | None
    correction: Correction = NO_CORRECTION
    stored: StoredEmbeddings | None
    sparsity: VerifiedSparsity | None = None
    optimized: Optimized
    engine_bytes: Mapping[str, int]
    """Bytes of each file that the engine needs."""
    reference_bytes: int
    validation: Encoded | None
    comparison: Comparison | None
    verdict: Verdict | None
    sensitivity: Mapping[Site, float]
    latency: tuple[Latency, ...]
    search: SearchResult | None = None
    candidates: tuple[CandidatePart, ...] = ()
    stages: tuple[StageTime, ...]
    cpu: Cpu
    versions: Mapping[str, str]

    @property
    def scheme(self) -> Scheme | None:
        """The scheme, if there is one."""
        return None if self.quantization is None else self.quantization.scheme

    @property
    def table(self) -> CalibrationTable | None:
        """The calibration table, if there is one."""
        return None if self.quantization is None else self.quantization.table

    @property
    def layers(self) -> int:
        """Number of encoder layers."""
        return self.checkpoint.architecture.layers


def report_from_facts(facts: BuildFacts) -> Report:
    """Write the report of a build."""
    comparison, verdict = facts.comparison, facts.verdict
    return Report(
        bertc=__version__,
        created=facts.created.isoformat(timespec="seconds"),
        command=facts.command,
        checkpoint=_checkpoint(facts),
        quantization=_quantization(facts),
        sparsity=None if facts.sparsity is None else sparsity_part(facts.sparsity, facts.recipe.sparsity, facts.target),
        engine=EnginePart(
            target=facts.target.name,
            bytes=sum(facts.engine_bytes.values()),
            onnx_bytes=facts.engine_bytes.get("model.onnx", 0),
            features=facts.target.demands,
            reference_bytes=facts.reference_bytes,
            note=facts.target.note or None,
        ),
        accuracy=None if comparison is None else MetricPart.model_validate(comparison.accuracy.as_dict()),
        metrics=tuple(MetricPart.model_validate(score.as_dict()) for score in comparison.metrics) if comparison else (),
        gates=tuple(GatePart.model_validate(gate.as_dict()) for gate in verdict.gates) if verdict else (),
        operating_points=_points(comparison),
        passed=verdict is not None and verdict.passed and (facts.search is None or facts.search.passed),
        unvalidated=comparison is None,
        rows=None if comparison is None else ROWS_FILE,
        latency=tuple(
            LatencyPart(
                batch=found.batch,
                length=found.length,
                milliseconds=found.milliseconds["engine"],
                reference_milliseconds=found.milliseconds["float"],
            )
            for found in facts.latency
        ),
        stages=tuple(
            StagePart(name=time.name, seconds=time.seconds, cached=time.cached, peak_rss_mib=time.peak_rss_mib)
            for time in facts.stages
        ),
        search=None if facts.search is None else search_part(facts.search),
        candidates=facts.candidates,
        sites=_sites(facts),
        worst_sites=worst_sites(facts.sensitivity),
        data=_data(facts),
        environment=EnvironmentPart(
            cpu=facts.cpu.model,
            features=tuple(sorted(facts.cpu.features)),
            versions=dict(facts.versions),
            threads=facts.recipe.engine.threads or usable_cores(),
            system=facts.cpu.machine,
        ),
        warnings=_warnings(facts),
    )


def _checkpoint(facts: BuildFacts) -> CheckpointPart:
    arch = facts.checkpoint.architecture
    return CheckpointPart(
        digest=facts.checkpoint.digest,
        family=facts.checkpoint.family,
        layers=arch.layers,
        hidden=arch.hidden,
        heads=arch.heads,
        parameters=facts.checkpoint.parameters,
        name=facts.checkpoint.path.name,
        task=facts.checkpoint.head.task,
    )


def _points(comparison: Comparison | None) -> tuple[OperatingPoint, ...]:
    points = comparison.operating_points if comparison else ()
    return tuple(OperatingPoint.model_validate(point.as_dict()) for point in points)


def worst_sites(sensitivity: Mapping[Site, float]) -> tuple[str, ...]:
    """Return the three sites whose quantization alone moves the outputs most, worst first."""
    return tuple(site.name for site in sorted(sensitivity, key=lambda site: -sensitivity[site])[:WORST])


def _quantization(facts: BuildFacts) -> QuantizationPart:
    scheme, quantized, layers = facts.scheme, facts.quantized, facts.layers
    embeddings = None
    if facts.stored is not None:
        before, after = facts.stored.bytes_before / 2**20, facts.stored.bytes_after / 2**20
        embeddings = f"INT8 with a scale per row, {before:.1f} MiB to {after:.1f} MiB"
    int8_attention = facts.optimized.fused.get(INT8_ATTENTION, 0)
    return QuantizationPart(
        mode=None if scheme is None else int(scheme.mode.name),
        calibrator=None if facts.quantization is None else _calibrator(facts.quantization),
        weights=_weights(facts),
        sites_int8=0 if quantized is None else len(quantized.scales),
        sites_float=_float_sites(facts),
        fused=dict(facts.optimized.fused),
        fused_expected=dict(facts.target.expected_fusion(scheme, layers)),
        # An attention has two products without weights.
        gemms_int8=facts.optimized.gemms_int8 + 2 * int8_attention,
        gemms_float=facts.optimized.gemms_float + 2 * (layers - int8_attention),
        granularity=None if scheme is None else str(scheme.granularity),
        smoothing=None if scheme is None else scheme.smoothing,
        embeddings=embeddings,
        rounding=None if quantized is None else facts.correction.name,
        rounding_errors=dict(facts.correction.errors),
        added_channels=0 if quantized is None else quantized.added_channels,
        roles={} if quantized is None else {str(role): count for role, count in quantized.counts.items()},
    )


def _calibrator(quantization: Quantization) -> str:
    method = quantization.method
    if not has_histograms(quantization.table):
        return "none: the checkpoint's own ranges"
    if method.calibrator != "percentile":
        return method.calibrator
    if method.percentile is None:
        return f"percentile {DEFAULT_PERCENTILE:g}, maximum on the residual stream"
    return f"percentile {method.percentile:g}"


def _weights(facts: BuildFacts) -> str:
    if facts.scheme is not None:
        return "INT8 per output channel" if facts.scheme.per_channel else "INT8 per tensor"
    return "INT8 per output channel" if facts.target.precision == "int8" else facts.target.precision


def _float_sites(facts: BuildFacts) -> tuple[FloatSite, ...]:
    """List the sites that the mode asks for and the engine runs in float."""
    scheme = facts.scheme
    if scheme is None:
        return ()
    found = []
    searched = {} if facts.search is None else reasons_from_search(facts.search)
    for layer in range(facts.layers):
        for role in Role:
            site = Site(layer, role)
            if role not in scheme.mode.roles or scheme.quantizes(site):
                continue
            reason = facts.target.float_roles.get(role) or searched.get(site, "kept in float by the recipe")
            found.append(FloatSite(site=site.name, reason=reason))
    return tuple(found)


def _sites(facts: BuildFacts) -> tuple[SitePart, ...]:
    scheme, table, quantized = facts.scheme, facts.table, facts.quantized
    if scheme is None or table is None or quantized is None:
        return ()
    worst = worst_sites(facts.sensitivity)
    parts = []
    for layer in range(facts.layers):
        for role in Role:
            site = Site(layer, role)
            if role not in scheme.mode.roles:
                continue
            scale = quantized.scales.get(site)
            if scale is None:
                parts.append(SitePart(site=site.name, role=role, layer=layer, lowered=False))
                continue
            statistics = table.statistics(site, smoothed=scheme.smoothing is not None)
            largest = float(np.max(scale))
            zero_point = quantized.zero_points.get(site, 0)
            codes = CODE_MAX - zero_point
            parts.append(
                SitePart(
                    site=site.name,
                    role=role,
                    layer=layer,
                    lowered=True,
                    amax=largest * codes,
                    scale=largest,
                    zero_point=zero_point,
                    error=_error(statistics, scale, codes),
                    sensitivity=facts.sensitivity.get(site),
                    histogram=histogram_part(statistics) if site.name in worst and statistics.counts.any() else None,
                )
            )
    return tuple(parts)


def _error(statistics: Statistics, scale: Any, codes: int) -> float | None:
    """Return rms(q(x) - x) / rms(x) from the histogram; with a scale per column, rounding's s^2 / 12 of each.

    `codes` are those above 0.

    None where the table has a range and no histogram.
    """
    if not statistics.counts.any():
        return None
    if np.ndim(scale) == 0:
        return float(np.sqrt(statistics.quantization_error(float(scale) * codes, codes)))
    counts = statistics.counts.astype(np.float64)
    occupied = np.flatnonzero(counts)
    energy = float(counts[occupied] @ bin_values()[occupied] ** 2) / max(float(counts.sum()), 1.0)
    return float(np.sqrt(np.mean(np.asarray(scale, np.float64) ** 2) / 12 / max(energy, 1e-30)))


def histogram_part(statistics: Statistics) -> HistogramPart:
    """Rebin a site's magnitudes into 48 equal bins up to the largest."""
    occupied = np.flatnonzero(statistics.counts)
    largest = max(statistics.amax, 1e-12)
    counts, edges = np.histogram(
        np.minimum(bin_values()[occupied], largest),
        bins=HISTOGRAM_BINS,
        range=(0.0, largest),
        weights=statistics.counts[occupied],
    )
    return HistogramPart(edges=tuple(map(float, edges)), counts=tuple(int(count) for count in counts))


def _data(facts: BuildFacts) -> DataPart:
    origin = {} if facts.table is None else facts.table.origin
    seen = set(origin.get("row_hashes", ()))
    calibration = None
    if origin:
        calibration = DataSource(path=str(origin["data"]), rows=int(origin["rows"]), digest=str(origin["digest"]))
    validation = None
    rows = () if facts.validation is None else facts.validation.rows
    if facts.validation is not None:
        validation = DataSource(
            path=facts.validation.path,
            rows=len(rows),
            digest=facts.validation.digest,
            reading=None if facts.validation.reading is None else ReadingPart(**facts.validation.reading.as_dict()),
        )
    return DataPart(
        calibration=calibration,
        validation=validation,
        overlap=sum(row.hash in seen for row in rows),
        truncated=0 if facts.comparison is None else facts.comparison.accuracy.truncated,
    )


def _warnings(facts: BuildFacts) -> tuple[str, ...]:
    found = list(facts.verdict.warnings) if facts.verdict else []
    if facts.recipe.validation.reference is not None:
        found.append(f"the float reference is {facts.recipe.validation.reference}")
    named = facts.recipe.calibration.table or facts.recipe.calibration.data
    found += notes_of_ranges(facts.checkpoint, facts.table, named)
    data = _data(facts)
    if facts.search is not None:
        found += warnings_from_search(facts.search)
    if data.overlap and data.validation is not None:
        found.append(
            f"{data.overlap} of {data.validation.rows} validation rows also stand in the calibration text; "
            "the accuracy may be flattered"
        )
    if data.truncated:
        found.append(f"{data.truncated} rows were cut to the model's length")
    slower = [
        f"{row.batch}x{row.length}" for row in facts.latency if row.milliseconds["engine"] > row.milliseconds["float"]
    ]
    if slower and facts.target.name != "float":
        found.append(f"the engine is slower than the float engine at {', '.join(slower)} (batch x length)")
    if facts.candidates and facts.target.precision != "int8":
        found.append("the engine is not INT8: no INT8 engine was faster and passed (see the candidates)")
    if facts.target.note:
        found.append(facts.target.note)
    if facts.comparison is not None and not facts.comparison.labelled:
        found.append("the validation data has no labels: the gate compares with the float model only")
    if facts.checkpoint.ignored_bytes >= NOTEWORTHY_BYTES:
        found.append(
            f"{facts.checkpoint.ignored_bytes / 2**20:.1f} MiB of the checkpoint are no part of the model "
            "(an optimizer's slots, heads of pre-training) and were ignored"
        )
    return tuple(found)
