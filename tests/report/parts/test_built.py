"""The report's words for a build as a whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bertc.report.parts.built import report_from_facts
from bertc.report.parts.facts import BuildFacts
from bertc.report.schema import Report
from bertc.targets import target_from_name
from tests.report.sample_facts import facts_of
from tests.tiny import TinyModel


def test_the_facts_are_the_report_s(facts: BuildFacts) -> None:
    report = report_from_facts(facts, rows="rows.npz")
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


def test_a_build_without_a_scheme_has_no_sites(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    facts = facts_of(tiny_classifier, None, engine={"target": "float"})
    report = report_from_facts(replace(facts, target=target_from_name("float")), rows="rows.npz")
    assert report.sites == ()
    assert (report.quantization.mode, report.quantization.calibrator) == (None, None)
    assert report.quantization.weights == "float32"
