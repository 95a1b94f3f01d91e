"""report.json is read back as it was written, and nothing else is."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bertc.errors import InputError
from bertc.report.schema import HistogramPart, Report, report_from_json, report_to_json

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that `tests.evaluate` is found whatever the import mode

from tests.report.sample_report import failed_report, sample_report


@pytest.mark.parametrize("make", [sample_report, failed_report])
def test_round_trip(make: Any) -> None:
    report = make()
    text = report_to_json(report)
    assert report_from_json(text) == report
    assert report_from_json(text.encode()) == report
    assert report_to_json(report_from_json(text)) == text


def test_the_fields_of_the_design() -> None:
    content = json.loads(report_to_json(sample_report()))
    wanted = {
        "checkpoint": {"digest", "family", "layers", "hidden", "heads", "parameters"},
        "quantization": {"mode", "calibrator", "weights", "sites_int8", "sites_float", "fused"},
        "engine": {"target", "bytes", "onnx_bytes", "features"},
        "accuracy": {
            *("metric", "direction", "samples", "truncated", "reference", "engine", "drop", "drop_ci95"),
            *("agreement", "logit_mse"),
        },
    }
    assert content["schema"] == 1 and content["sparsity"] is None and content["rows"] == "rows.parquet"
    assert all(fields <= content[part].keys() for part, fields in wanted.items())
    assert {"metric", "limit", "decide", "verdict", "reason"} <= content["gates"][0].keys()
    assert {"batch", "length", "milliseconds", "reference_milliseconds"} <= content["latency"][0].keys()
    assert {"name", "seconds", "cached", "peak_rss_mib"} <= content["stages"][0].keys()


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", "{", '{"schema": 2}', b"\xff\xfe", "null", "[" * 50_000],
    ids=["empty", "object", "list", "cut", "newer", "binary", "null", "deep"],
)
def test_something_else_is_no_report(text: str | bytes) -> None:
    with pytest.raises(InputError, match=r"baseline\.json is no bertc report of schema 1") as refusal:
        report_from_json(text, source="baseline.json")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("accuracy", "engine"), "much"),
        (("accuracy", "agreement"), 99.4),
        (("accuracy", "direction"), "sideways"),
        (("gates", 0, "verdict"), "maybe"),
        (("surprise",), 1),
        (("accuracy",), None),
        (("sites", 0, "error"), -1),
        (("worst_sites",), ["a", "b", "c", "d"]),
    ],
)
def test_a_wrong_field_is_named(path: tuple[str | int, ...], value: object) -> None:
    content: Any = json.loads(report_to_json(sample_report()))
    place = content
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(InputError, match="is no bertc report"):
        report_from_json(json.dumps(content))


def test_a_number_that_is_none_is_refused() -> None:
    report = sample_report()
    assert report.accuracy is not None
    with pytest.raises(ValidationError, match="finite"):
        report.accuracy.model_validate({**report.accuracy.model_dump(), "drop": float("nan")})


def test_it_cannot_have_passed_with_a_failed_gate() -> None:
    with pytest.raises(ValidationError, match="has not passed"):
        Report.model_validate({**failed_report().model_dump(by_alias=True), "passed": True})


def test_it_cannot_have_passed_unvalidated() -> None:
    nothing = {"accuracy": None, "metrics": (), "gates": (), "unvalidated": True}
    said = sample_report().model_dump(by_alias=True) | nothing
    with pytest.raises(ValidationError, match="that nothing proved has not passed"):
        Report.model_validate(said | {"passed": True})
    assert Report.model_validate(said | {"passed": False}).unvalidated


def test_a_histogram_has_one_edge_more() -> None:
    HistogramPart(edges=(0.0, 1.0), counts=(3,))
    with pytest.raises(ValidationError, match="rising edges"):
        HistogramPart(edges=(0.0, 1.0), counts=(3, 4))
