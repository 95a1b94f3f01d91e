"""The page of a sweep: what stands on it, where circles and labels lie, and that nothing in it can be injected."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from bertc.report.html.sweep import html_from_sweep
from bertc.report.schema import LatencyPart, MetricPart
from bertc.report.sweep import SweepReport, SweepRow

TIMES = "\N{MULTIPLICATION SIGN}"
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7 * 7 }}"


def row(scheme: str, drop: float = 0.001, speed: float = 3.0, *, checkpoint: str = "a", **changes: Any) -> SweepRow:
    metric = MetricPart(
        metric="entity_f1",
        direction="higher",
        samples=100,
        truncated=0,
        reference=0.9,
        engine=0.9 - drop,
        drop=drop,
        drop_ci95=(drop - 0.01, drop + 0.01),
        agreement=0.98,
    )
    facts: dict[str, Any] = {
        "checkpoint": checkpoint,
        "scheme": scheme,
        "state": "pass",
        "target": "native",
        "accuracy": metric,
        "drop_limit": 0.009,
        "bytes": 25_000_000,
        "reference_bytes": 100_000_000,
        "latency": (LatencyPart(batch=1, length=32, milliseconds=1.0, reference_milliseconds=speed),),
        "artefact": f"builds/{checkpoint}/{scheme}",
    }
    return SweepRow(**facts | changes)


def page(*rows: SweepRow) -> str:
    return html_from_sweep(SweepReport(bertc="1", sweep="sweep.toml", cpu="a CPU", versions={}, builds=rows))


def circles(text: str) -> dict[str, tuple[float, float, float, str]]:
    """Return x (%), y and radius (px) and kind of every circle by its label."""
    found = re.findall(
        r'<svg x="([\d.]+)%" y="([\d.]+)"[^>]*><circle r="([\d.]+)" class="(\w+)">.*?class="told">([^<]+)<', text, re.S
    )
    return {label: (float(x), float(y), float(radius), kind) for x, y, radius, kind, label in found}


def test_every_build_has_its_figures_and_a_link_to_its_report() -> None:
    text = page(row("one", 0.0012, 2.5), row("two", -0.0023, 3.5))
    assert "2 of 2 passed" in text and 'class="verdict pass"' in text
    for words in (
        "+0.0012",
        "\N{MINUS SIGN}0.0023",
        f"2.50{TIMES}",
        f"3.50{TIMES}",
        "25.0 MB",
        "float 100.0 MB",
        "entity f1",
    ):
        assert words in text
    assert 'href="builds/a/one/report.html"' in text
    assert f"The fastest that passes is two: 3.50{TIMES} float&#39;s speed, drop -0.0023." in text


def test_an_interval_of_no_width_is_put_in_words() -> None:
    accuracy = row("one", 0.0).accuracy
    assert accuracy is not None
    text = page(row("one", accuracy=accuracy.model_copy(update={"drop_ci95": (0.0, 0.0)})), row("two"))
    assert text.count("no row gains or loses") == 1 and "0.0000 to 0.0000" not in text


def test_better_is_further_up_and_to_the_right_and_larger_is_larger() -> None:
    drawn = circles(page(row("one", 0.004, 2.0), row("two", 0.001, 4.0, bytes=50_000_000, state="fail")))
    one, two, reference = drawn["one"], drawn["two"], drawn["float"]
    assert reference[0] < one[0] < two[0]
    assert reference[1] < two[1] < one[1]
    assert reference[2] == pytest.approx(2 * one[2], abs=0.1) and two[2] == pytest.approx(2**0.5 * one[2], abs=0.1)
    assert (one[3], two[3], reference[3]) == ("pass", "fail", "float")


def test_the_limit_is_drawn_where_it_is_near_and_one() -> None:
    assert "limit 0.0090" in page(row("one", 0.004))
    assert "limit 0.0090" not in page(row("one", 0.001)), "nine times as far as the largest drop"
    assert "limit 0.0" not in page(row("one", 0.004), row("two", 0.004, drop_limit=0.008))
    assert "limit 0.0" not in page(row("one", 0.004, drop_limit=None))


def test_labels_of_circles_in_one_place_do_not_cover_each_other() -> None:
    text = page(*(row(f"scheme-{number}", 0.001, 3.0) for number in range(8)))
    ends = re.findall(r'<svg x="[\d.]+%" y="([\d.]+)"[^>]*>.*?<text x="[-\d.]+" y="([-\d.]+)"', text, re.S)
    heights = sorted(float(y) + float(label) for y, label in ends)
    assert len(heights) == 9
    assert all(below - above >= 14.8 for above, below in pairwise(heights))


def test_the_worst_is_said_first_and_failures_stand_apart() -> None:
    failed = row("two", state="error", accuracy=None, latency=(), artefact="", reason="no model there", exit_code=2)
    text = page(row("one", state="fail", reason="it lost too much"), failed)
    assert 'class="verdict fail"' in text and "2 builds: 1 not passed, 1 could not be built." in text
    assert "None passes its gates." in text and "it lost too much" in text
    apart = text.partition("Could not be built</h2>")[2]
    assert "no model there" in apart and 'href="failed/a/two.json"' in apart and "two" not in circles(text)
    assert "Could not be built" not in page(row("one"))


def test_what_is_not_built_yet_is_said() -> None:
    waiting = SweepRow(checkpoint="b", scheme="two", target="native")
    text = page(row("one"), waiting)
    assert 'class="verdict none"' in text and "b/two" in text.partition("Not built yet</h2>")[2]
    assert "Not built yet" not in page(row("one"))


@pytest.mark.parametrize(
    "changes", [{"accuracy": None, "state": "none", "drop_limit": None}, {"latency": ()}, {"reference_bytes": None}]
)
def test_figures_that_are_not_there_are_dashes(changes: dict[str, Any]) -> None:
    text = page(row("one", **changes))
    assert ("<circle" in text) is ("reference_bytes" in changes)
    assert "float" not in circles(text)


def test_nothing_can_be_injected() -> None:
    metric = row("one").accuracy
    assert metric is not None
    hostile = row(
        HOSTILE,
        checkpoint=HOSTILE,
        target=HOSTILE,
        reason=HOSTILE,
        accuracy=metric.model_copy(update={"metric": HOSTILE}),
    )
    failed = row(HOSTILE, state="error", reason=HOSTILE, exit_code=2, artefact="")
    text = page(hostile, failed, row(HOSTILE, state="waiting", artefact=""))
    assert "<script" not in text and "<img" not in text and "{{ 7 * 7 }}" in text
