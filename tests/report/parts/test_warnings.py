"""The report's warnings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bertc.core.feature import Feature
from bertc.data.encoded import Encoded, Streamed
from bertc.data.reading import Reading
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


def test_what_the_checkpoint_s_reader_noted_is_a_warning(facts: BuildFacts) -> None:
    noted = replace(facts, checkpoint=replace(facts.checkpoint, notes=("the adapter was merged",)))
    assert report_from_facts(noted, rows="rows.npz").warnings == ("the adapter was merged",)
    assert not report_from_facts(facts, rows="rows.npz").warnings


@pytest.mark.parametrize(("unknown", "warned"), [(0, 0), (3, 0), (4, 2)])
def test_unknown_tokens_are_a_warning_where_they_are_many(facts: BuildFacts, unknown: int, warned: int) -> None:
    """Three in a hundred may be rare words."""
    encoder = facts.checkpoint.encoder
    ids = np.array([encoder.unknown_id] * unknown + [encoder.ordinary_ids[0]] * (100 - unknown), np.int64)
    feature = Feature(input_ids=ids, token_type_ids=np.zeros_like(ids), row=0)
    texts = Encoded(path="t", digest="d", rows=(), features=(feature,), max_length=128)
    validation = Streamed(
        path="t", digest="d", rows=(), encode=lambda rows: [], max_length=128, lengths=np.array([100], np.int32),
        unknown=encoder.count_unknown([ids]),
        reading=Reading(form="lines", header=None, columns={}, labels={}, rows=0, labelled=0),
    )  # fmt: skip
    warnings = report_from_facts(replace(facts, calibration=texts, validation=validation), rows="rows.npz").warnings
    told = [text for text in warnings if "unknown to the tokenizer" in text]
    assert len(told) == warned
    assert all(text.startswith(f"{unknown} of 100 tokens of the ") for text in told)
