"""What a build found, put into the report's words. Computes nothing that another stage should have."""

from __future__ import annotations

from dataclasses import asdict

from bertc.core.versions import __version__
from bertc.data.encoded import Encoded, Streamed
from bertc.evaluate.scores import Comparison
from bertc.report.parts.facts import BuildFacts
from bertc.report.parts.lowering import float_gemms, quantization_part
from bertc.report.parts.search import search_part
from bertc.report.parts.site_errors import site_parts, worst_sites
from bertc.report.parts.sparsity import sparsity_part
from bertc.report.parts.warnings import warnings_from_facts
from bertc.report.schema import (
    CheckpointPart,
    DataPart,
    DataSource,
    DoubtPart,
    EnginePart,
    EnvironmentPart,
    GatePart,
    LatencyPart,
    MetricPart,
    OperatingPoint,
    ReadingPart,
    Report,
    StagePart,
)
from bertc.runtime.machine.cpu import usable_cores


def report_from_facts(facts: BuildFacts, *, rows: str) -> Report:
    """Write the report of a build. `rows` is the file beside it that has the outputs of every row."""
    comparison, verdict, data = facts.comparison, facts.verdict, _data(facts)
    return Report(
        bertc=__version__,
        created=facts.created.isoformat(timespec="seconds"),
        command=facts.command,
        checkpoint=_checkpoint(facts),
        quantization=quantization_part(facts),
        sparsity=None
        if facts.sparsity is None
        else sparsity_part(facts.sparsity, facts.recipe.sparsity, facts.target, facts.optimized),
        engine=EnginePart(
            target=facts.target.name,
            bytes=sum(facts.engine_bytes.values()),
            onnx_bytes={**facts.engine_bytes, **facts.companion_bytes}.get("model.onnx", 0),
            features=facts.target.demands,
            reference_bytes=facts.reference_bytes,
            note=facts.target.note or None,
            runtime=facts.optimized.runtime,
            operators=dict(facts.optimized.operators),
            float_gemms=float_gemms(facts),
        ),
        accuracy=None if comparison is None else MetricPart.model_validate(comparison.accuracy.as_dict()),
        metrics=tuple(MetricPart.model_validate(score.as_dict()) for score in comparison.metrics) if comparison else (),
        gates=tuple(GatePart.model_validate(gate.as_dict()) for gate in verdict.gates) if verdict else (),
        operating_points=_points(comparison),
        doubt=_doubt(comparison),
        passed=verdict is not None and verdict.passed and (facts.search is None or facts.search.passed),
        unvalidated=comparison is None,
        rows=None if comparison is None else rows,
        latency=tuple(
            LatencyPart(
                batch=latency.batch,
                length=latency.length,
                milliseconds=latency.milliseconds["engine"],
                reference_milliseconds=latency.milliseconds["float"],
            )
            for latency in facts.latency
        ),
        stages=tuple(
            StagePart(name=time.name, seconds=time.seconds, cached=time.cached, peak_rss_mib=time.peak_rss_mib)
            for time in facts.stages
        ),
        search=None if facts.search is None else search_part(facts.search),
        early_exit=facts.early_exit,
        candidates=facts.candidates,
        sites=site_parts(facts),
        worst_sites=worst_sites(facts.sensitivity),
        data=data,
        environment=EnvironmentPart(
            cpu=facts.cpu.model,
            features=tuple(sorted(facts.cpu.features)),
            versions=dict(facts.versions),
            threads=facts.recipe.engine.threads or usable_cores(),
            system=facts.cpu.machine,
        ),
        warnings=warnings_from_facts(facts, data),
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


def _data(facts: BuildFacts) -> DataPart:
    origin = {} if facts.table is None else facts.table.origin
    seen = set(origin.get("row_hashes", ()))
    calibration = None
    if origin:
        calibration = DataSource(
            path=str(origin["data"]),
            rows=int(origin["rows"]),
            digest=str(origin["digest"]),
            reading=_reading(facts.calibration),
        )
    validation = None
    rows = () if facts.validation is None else facts.validation.rows
    if facts.validation is not None:
        validation = DataSource(
            path=facts.validation.path,
            rows=len(rows),
            digest=facts.validation.digest,
            reading=_reading(facts.validation),
        )
    return DataPart(
        calibration=calibration,
        validation=validation,
        overlap=sum(row.hash in seen for row in rows),
        truncated=0 if facts.comparison is None else facts.comparison.accuracy.truncated,
    )


def _reading(texts: Encoded | Streamed | None) -> ReadingPart | None:
    """Return how a file was read; None for a table's, which was read by another run."""
    return None if texts is None or texts.reading is None else ReadingPart(**texts.reading.as_dict())


def _doubt(comparison: Comparison | None) -> DoubtPart | None:
    doubt = None if comparison is None else comparison.doubt
    return None if doubt is None else DoubtPart.model_validate(asdict(doubt))
