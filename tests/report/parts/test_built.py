"""The report's words: sites and their errors, the sites left in float, warnings."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.cache.stages import StageTime
from bertc.calibrate.histogram import counts_from_values
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import Statistics
from bertc.core.feature import Feature
from bertc.data.encoded import Encoded
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site
from bertc.quantize.quantization import Quantization
from bertc.recipe import recipe_from_document
from bertc.report.parts.built import HISTOGRAM_BINS, BuildFacts, histogram_part, report_from_facts, worst_sites
from bertc.report.schema import Report
from bertc.runtime.latency import Latency
from bertc.runtime.machine.cpu import Cpu
from bertc.runtime.optimized import Optimized
from bertc.targets import target_from_name
from tests.tiny import TinyModel, engine_scheme, quantized, tiny_scheme

OPTIMIZED = Optimized(
    runtime="onnxruntime 1.23",
    requirement="onnxruntime",
    fused={"attention": 2, "layer_norm": 5, "skip_layer_norm": 0, "gelu": 2},
    gemms_int8=12,
    gemms_float=0,
    operators={},
)


@pytest.fixture
def facts(tiny_classifier: TinyModel) -> BuildFacts:
    """An unvalidated build of the tiny classifier in mode 2 with a scale per column."""
    return facts_of(tiny_classifier, engine_scheme(tiny_scheme("2", "channel")))


def facts_of(model: TinyModel, scheme: Scheme | None, **recipe: Any) -> BuildFacts:
    origin = {"data": "train.tsv", "rows": 48, "digest": "d", "row_hashes": []}
    return BuildFacts(
        recipe=recipe_from_document({"checkpoint": "tiny", **recipe}, "test"),
        command="bertc build",
        created=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        checkpoint=model.checkpoint,
        max_length=64,
        target=target_from_name("ort-cpu"),
        quantization=None
        if scheme is None
        else Quantization(scheme=scheme, table=replace(model.table, origin=origin), method=RangeMethod()),
        quantized=None if scheme is None else quantized(model, scheme),
        stored=None,
        optimized=OPTIMIZED,
        engine_bytes={"model.onnx": 10},
        reference_bytes=40,
        validation=None,
        comparison=None,
        verdict=None,
        sensitivity={},
        latency=(),
        stages=(StageTime(name="read", seconds=1.0, cached=False, peak_rss_mib=100.0),),
        cpu=Cpu(model="a processor", features=frozenset({"avx512_vnni"}), cores=2, machine="x86_64"),
        versions={"numpy": "2"},
    )


def test_the_facts_are_the_report_s(facts: BuildFacts) -> None:
    report = report_from_facts(facts)
    assert report.created == "2026-01-02T03:04:05+00:00"
    assert report.checkpoint.digest == facts.checkpoint.digest
    assert (report.checkpoint.layers, report.checkpoint.hidden, report.checkpoint.heads) == (2, 64, 2)
    assert (report.engine.bytes, report.engine.reference_bytes) == (10, 40)
    assert (report.unvalidated, report.passed, report.accuracy, report.rows) == (True, False, None, None)
    assert report.quantization.fused_expected == {"attention": 2, "layer_norm": 5, "gelu": 2}
    assert report.quantization.gemms_float == 4, "both products in each fused attention run in float"
    assert report.data is not None
    assert report.data.calibration is not None
    assert report.data.calibration.rows == 48
    assert Report.model_validate_json(report.model_dump_json(by_alias=True)) == report


def test_every_site_of_the_mode_is_in_int8_or_says_why_not(facts: BuildFacts) -> None:
    report = report_from_facts(facts)
    assert facts.scheme is not None
    assert {site.site for site in report.sites} == {
        Site(layer, role).name for layer in range(2) for role in Role if role in facts.scheme.mode.roles
    }
    lowered = {site.site for site in report.sites if site.lowered}
    left = {site.site for site in report.quantization.sites_float}
    assert lowered | left == {site.site for site in report.sites}
    assert not lowered & left
    assert report.quantization.sites_int8 == len(lowered)
    roles = dict(report.quantization.roles)
    assert roles.pop("weights") == report.quantization.gemms_int8
    assert sum(roles.values()) == len(lowered)
    assert all(site.reason for site in report.quantization.sites_float)


def test_a_site_that_the_user_kept_has_that_reason(tiny_classifier: TinyModel) -> None:
    scheme = engine_scheme(tiny_scheme("1", keep_float=("layer.1.gelu",)))
    found = report_from_facts(facts_of(tiny_classifier, scheme)).quantization.sites_float
    reasons = {site.site: site.reason for site in found}
    assert reasons["layer.1.gelu"] == "kept in float by the recipe"
    assert "QAttention" in reasons["layer.0.query"]
    assert "layer.0.gelu" not in reasons


def test_errors_are_those_of_an_eight_bit_grid(facts: BuildFacts) -> None:
    errors = {site.site: site.error for site in report_from_facts(facts).sites if site.lowered}
    assert all(error is not None and 0 < error < 0.1 for error in errors.values()), errors


def test_only_the_worst_sites_have_histograms(facts: BuildFacts) -> None:
    some = {
        Site(0, Role.ACTIVATION): 0.5,
        Site(1, Role.HIDDEN): 0.1,
        Site(1, Role.ACTIVATION): 0.9,
        Site(0, Role.HIDDEN): 0.2,
    }
    report = report_from_facts(replace(facts, sensitivity=some))
    assert report.worst_sites == ("layer.1.gelu", "layer.0.gelu", "layer.0.hidden")
    assert {site.site for site in report.sites if site.histogram} == set(report.worst_sites)
    assert {site.site: site.sensitivity for site in report.sites if site.sensitivity} == {
        site.name: value for site, value in some.items()
    }
    assert worst_sites({}) == ()


@pytest.mark.parametrize("values", [[0.0], [0.0, 0.0, 3.0], [1e-20, 1e20], list(np.linspace(0, 1, 1000))])
def test_a_histogram_loses_no_value(values: list[float]) -> None:
    array = np.array(values, np.float32)
    statistics = Statistics(counts=counts_from_values(array), amax=float(array.max()))
    part = histogram_part(statistics)
    assert sum(part.counts) == len(values)
    assert len(part.counts) == HISTOGRAM_BINS


@pytest.mark.parametrize(
    ("mode", "granularity", "words"),
    [("1", None, "INT8 per output channel"), ("2", "tensor", "INT8 per tensor"), ("2", "channel", "INT8 per output")],
)
def test_weights_are_named(tiny_classifier: TinyModel, mode: str, granularity: str | None, words: str) -> None:
    scheme = engine_scheme(tiny_scheme(mode, granularity))
    assert report_from_facts(facts_of(tiny_classifier, scheme)).quantization.weights.startswith(words)


@pytest.mark.parametrize(
    ("calibration", "words"),
    [
        ({}, "percentile 99.99, maximum on the residual stream"),
        ({"percentile": 99.9}, "percentile 99.9"),
        ({"calibrator": "mse"}, "mse"),
        ({"calibrator": "mse", "percentile": 99.9}, "mse"),
    ],
)
def test_the_calibrator_is_named(tiny_classifier: TinyModel, calibration: dict[str, Any], words: str) -> None:
    found = facts_of(tiny_classifier, engine_scheme(tiny_scheme("1")), calibration=calibration)
    assert report_from_facts(found).quantization.calibrator == words


def test_an_engine_slower_than_float_is_a_warning(facts: BuildFacts) -> None:
    def latency(batch: int, engine: float) -> Latency:
        return Latency(batch=batch, length=32, milliseconds={"float": 2.0, "engine": engine})

    slow = report_from_facts(replace(facts, latency=(latency(1, 1.0), latency(8, 3.0))))
    assert [text for text in slow.warnings if "slower" in text] == [
        "the engine is slower than the float engine at 8x32 (batch x length)"
    ]
    assert not report_from_facts(replace(facts, latency=(latency(1, 1.0),))).warnings


def test_ignored_weights_are_a_warning_where_they_are_many(facts: BuildFacts) -> None:
    noted = replace(facts, checkpoint=replace(facts.checkpoint, notes=("the adapter was merged",)))
    assert report_from_facts(noted).warnings == ("the adapter was merged",)
    many = replace(facts.checkpoint, ignored_bytes=3 << 20)
    assert any("3.0 MiB" in text for text in report_from_facts(replace(facts, checkpoint=many)).warnings)
    few = replace(facts.checkpoint, ignored_bytes=4096)
    assert not report_from_facts(replace(facts, checkpoint=few)).warnings


@pytest.mark.parametrize(("unknown", "warned"), [(0, 0), (3, 0), (4, 2)])
def test_unknown_tokens_are_a_warning_where_they_are_many(facts: BuildFacts, unknown: int, warned: int) -> None:
    """Three in a hundred may be rare words."""
    encoder = facts.checkpoint.encoder
    ids = np.array([encoder.unknown_id] * unknown + [encoder.ordinary_ids[0]] * (100 - unknown), np.int64)
    feature = Feature(input_ids=ids, token_type_ids=np.zeros_like(ids), row=0)
    texts = Encoded(path="t", digest="d", rows=(), features=(feature,), max_length=128)
    warnings = report_from_facts(replace(facts, calibration=texts, validation=texts)).warnings
    told = [text for text in warnings if "unknown to the tokenizer" in text]
    assert len(told) == warned
    assert all(text.startswith(f"{unknown} of 100 tokens of the ") for text in told)


def test_a_build_without_a_scheme_has_no_sites(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    facts = facts_of(tiny_classifier, None, engine={"target": "float"})
    report = report_from_facts(replace(facts, target=target_from_name("float")))
    assert report.sites == ()
    assert (report.quantization.mode, report.quantization.calibrator) == (None, None)
    assert report.quantization.weights == "float32"
