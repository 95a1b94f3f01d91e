"""A report's sentences: what the rows can tell of a drop, and no interval that they cannot."""

from __future__ import annotations

import math

import pytest

from bertc.report.text import facts_from_score, interval_text
from tests.report.sample_report import sample_report


def drop_of(bounds: tuple[float, float]) -> str:
    accuracy = sample_report().accuracy
    assert accuracy is not None
    return dict(facts_from_score(accuracy.model_copy(update={"drop": 0.0, "drop_ci95": bounds})))["drop"]


def test_where_no_row_differs_no_interval_of_no_width_is_shown() -> None:
    assert drop_of((0.0, 0.0)) == drop_of((-0.0, 0.0)) == "0.0000 (no row gains or loses)"


@pytest.mark.parametrize("bounds", [(0.0, 0.0079), (-0.0079, 0.0), (-0.01, 0.01)])
def test_an_interval_of_some_width_is_shown(bounds: tuple[float, float]) -> None:
    assert "(95 % interval " in drop_of(bounds) and "no row" not in drop_of(bounds)


def test_what_is_not_defined_has_none() -> None:
    assert interval_text(None) == interval_text((math.nan, math.nan)) == ""
