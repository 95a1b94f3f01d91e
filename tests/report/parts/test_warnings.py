"""The report's warnings."""

from __future__ import annotations

from dataclasses import replace

from bertc.report.parts.built import report_from_facts
from bertc.report.parts.facts import BuildFacts
from bertc.runtime.latency import Latency


def test_an_engine_slower_than_float_is_a_warning(facts: BuildFacts) -> None:
    def latency(batch: int, engine: float) -> Latency:
        return Latency(batch=batch, length=32, milliseconds={"float": 2.0, "engine": engine})

    slow = report_from_facts(replace(facts, latency=(latency(1, 1.0), latency(8, 3.0))), rows="rows.npz")
    assert [text for text in slow.warnings if "slower" in text] == [
        "the engine is slower than the float engine at 8x32 (batch x length)"
    ]
    assert not report_from_facts(replace(facts, latency=(latency(1, 1.0),)), rows="rows.npz").warnings


def test_ignored_weights_are_a_warning_where_they_are_many(facts: BuildFacts) -> None:
    many = replace(facts.checkpoint, ignored_bytes=3 << 20)
    assert any(
        "3.0 MiB" in text for text in report_from_facts(replace(facts, checkpoint=many), rows="rows.npz").warnings
    )
    few = replace(facts.checkpoint, ignored_bytes=4096)
    assert not report_from_facts(replace(facts, checkpoint=few), rows="rows.npz").warnings
