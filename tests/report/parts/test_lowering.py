"""The report's words for what was quantized, and the sites left in float."""

from __future__ import annotations

from typing import Any

import pytest

from bertc.ir.sites import Role, Site
from bertc.report.parts.built import report_from_facts
from bertc.report.parts.facts import BuildFacts
from tests.report.sample_facts import facts_of
from tests.tiny import TinyModel, engine_scheme, tiny_scheme


def test_every_site_of_the_mode_is_in_int8_or_says_why_not(facts: BuildFacts) -> None:
    report = report_from_facts(facts, rows="rows.npz")
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
    found = report_from_facts(facts_of(tiny_classifier, scheme), rows="rows.npz").quantization.sites_float
    reasons = {site.site: site.reason for site in found}
    assert reasons["layer.1.gelu"] == "kept in float by the recipe"
    assert "QAttention" in reasons["layer.0.query"]
    assert "layer.0.gelu" not in reasons


@pytest.mark.parametrize(
    ("mode", "granularity", "words"),
    [("1", None, "INT8 per output channel"), ("2", "tensor", "INT8 per tensor"), ("2", "channel", "INT8 per output")],
)
def test_weights_are_named(tiny_classifier: TinyModel, mode: str, granularity: str | None, words: str) -> None:
    scheme = engine_scheme(tiny_scheme(mode, granularity))
    assert report_from_facts(facts_of(tiny_classifier, scheme), rows="rows.npz").quantization.weights.startswith(words)


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
    assert report_from_facts(found, rows="rows.npz").quantization.calibrator == words
