"""report.html says the verdict, is one file, and cannot be injected into."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from bertc.report.html import environment
from bertc.report.html.charts import Axis, axis_around, chart_from_histogram
from bertc.report.html.environment import page_from_template
from bertc.report.html.figures import duration, fraction, interval, moment, significant, size
from bertc.report.html.heat import heat_from_sites
from bertc.report.html.page import html_from_report
from bertc.report.html.timings import TimingRow, html_from_timings
from bertc.report.schema import HistogramPart, Report, report_from_json, report_to_json

sys.path.insert(0, str(Path(__file__).parents[3]))  # so that `tests.evaluate` is found whatever the import mode

from tests.report.sample_report import failed_report, sample_report

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;</style></title>{{ 7 * 7 }}{% x %}{# y #}"
TEMPLATES = sorted((Path(environment.__file__).parent / "templates").glob("*.html"))


class Page(HTMLParser):
    """Collects what the browser would see, and fails on elements that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "line", "rect", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def drawings(page: Page) -> int:
    """Count the pictures; an svg inside another is a part of it."""
    return page.attributes.count(("role", "img"))


def changed(**update: object) -> Report:
    return sample_report().model_copy(update=update)


def test_it_is_one_file_without_script() -> None:
    text = html_from_report(sample_report())
    page = Page(text)
    assert text.startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(page.tags)
    assert not re.search(r"url\(|@import|https?://", text)
    assert not any(name in ("src", "href") or name.startswith("on") for name, _ in page.attributes)


def test_the_verdict_says_by_how_much() -> None:
    passed = Page(html_from_report(sample_report())).words
    assert "Passed" in passed and "0.0023 lost (0.26 % of it)" in passed and "0.0066 is to spare" in passed
    failed = Page(html_from_report(failed_report())).words
    assert "Failed" in failed and "0.0656 more than the 0.0089 that the gate allows" in failed
    assert "The largest errors are at layer.1.gelu" in failed and "Passed" not in failed


def test_other_outcomes() -> None:
    report = sample_report()
    gate = report.gates[0].model_copy(
        update={"verdict": "inconclusive", "decide": "bound", "reason": "accuracy is unsure", "rows_needed": 3100}
    )
    words = Page(html_from_report(changed(gates=(gate,), passed=False))).words
    assert "Inconclusive" in words and "Accuracy is unsure." in words
    nothing = changed(accuracy=None, metrics=(), gates=(), operating_points=(), unvalidated=True)
    words = Page(html_from_report(nothing)).words
    assert "Not validated" in words and "no validation data" in words
    report = changed(accuracy=report.accuracy.model_copy(update={"drop": -0.0011})) if report.accuracy else report
    assert "nothing lost, 0.0011 won" in Page(html_from_report(report)).words


def test_a_failed_gate_on_another_metric_is_said_too() -> None:
    gates = tuple(gate.model_copy(update={"verdict": "fail"}) for gate in sample_report().gates[1:])
    words = Page(html_from_report(changed(gates=gates, passed=False))).words
    assert "Failed" in words and "Agreement: 0.9943 of the answers are float's" in words


def test_a_minimal_report_has_no_empty_sections() -> None:
    nothing: dict[str, Any] = dict.fromkeys(("metrics", "gates", "operating_points", "latency", "stages", "sites"), ())
    report = changed(**nothing, worst_sites=(), warnings=(), passed=True)
    words = Page(html_from_report(report)).words
    assert "Error by layer" not in words and "Stages" not in words and "Gates" not in words and "Warnings" not in words


def test_hostile_text_is_only_text() -> None:
    report = sample_report()
    content = report_to_json(report)
    for harmless in (
        "minilm-sst2 -o",
        '"minilm-sst2"',
        "872 rows cannot",
        "sst2/dev.tsv",
        "lost 0.0023",
        "AMD EPYC",
        '"positive"',
    ):
        assert harmless in content
        escaped = HOSTILE.replace('"', '\\"')
        content = content.replace(harmless, f'"{escaped}"' if harmless.startswith('"') else escaped)
    content = content.replace("layer.0.gelu", "layer.0.<script>gelu").replace("skip_layer_norm", "<script>norm")
    content = (
        content.replace("a1a1a1a1", "<script>").replace("dynamic INT8", "<script>x").replace('"f1"', '"<script>f1"')
    )
    hostile = html_from_report(report_from_json(content))
    page = Page(hostile)
    assert "script" not in page.tags and "img" not in page.tags
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert "<script" not in hostile and HOSTILE in page.words
    assert page.tags.count("style") == 1 and page.tags.count("title") - drawings(page) == 1


def test_hostile_names_of_engines_are_only_text() -> None:
    row = TimingRow(engine=HOSTILE, p50=1, p95=2, p99=3, texts_per_second=9, ratio=1, ratio_range=(1, 1), spread=0.1)
    page = Page(html_from_timings(HOSTILE, HOSTILE, [(HOSTILE, [row])]))
    assert page.words.count(HOSTILE) >= 5 and "script" not in page.tags and "img" not in page.tags


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_no_template_leaves_the_escaping(template: Path) -> None:
    assert not re.search(r"\|\s*safe|autoescape", template.read_text(encoding="utf-8"))


def test_a_value_that_nobody_gave_is_an_error() -> None:
    assert "<title>x</title>" in html_from_timings("x", "", [])
    with pytest.raises(UndefinedError, match="title"):
        page_from_template("timings.html", name="x", details="", works=[])


def test_every_table_has_a_caption_and_heads_and_every_drawing_a_title() -> None:
    page = Page(html_from_report(sample_report()))
    tables = page.tags.count("table")
    assert tables >= 8 and page.tags.count("caption") == tables
    scopes = [value for name, value in page.attributes if name == "scope"]
    assert scopes.count("col") > tables and scopes.count("row") > tables
    assert drawings(page) == page.tags.count("title") - 1


def test_the_labels_of_a_narrow_table_are_its_heads() -> None:
    tables = re.findall(r'<table class="cards">.*?</table>', html_from_report(sample_report()), flags=re.DOTALL)
    assert len(tables) >= 5
    for table in tables:
        heads = re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)
        for row in re.findall(r"<tr>(<th scope=\"row\".*?)</tr>", table, flags=re.DOTALL):
            labels = [re.findall(r'data-head="(.*?)"', cell) for cell in re.findall(r"<td[^>]*>", row)]
            assert labels == [[head] if head else [] for head in heads[1:]]


def test_what_is_true_of_all_metrics_is_said_once() -> None:
    report = sample_report()
    page = Page(html_from_report(report)).words
    assert len(report.metrics) > 1 and page.count("99.43 %") == 1 and page.count("0.00750") == 1
    assert report.accuracy is not None
    unknown = report.accuracy.model_copy(update={"agreement": None, "logit_mse": None})
    page = Page(html_from_report(changed(accuracy=unknown))).words
    assert "same answers" not in page and "Score error" not in page


def test_the_heat_map_shows_every_error_and_what_stayed_float() -> None:
    sites = sample_report().sites
    page = html_from_report(sample_report())
    assert page.count('class="none" title="layer.') == 6  # probs
    steps = re.findall(r'<td class="h(\d)"', page)
    assert len(steps) == 42 and {"0", "6"} <= set(steps) and "no site" not in page
    assert heat_from_sites([site.model_copy(update={"error": None}) for site in sites]) is None
    fewer = tuple(site for site in sites if site.site != "layer.2.query")
    assert "no site" in html_from_report(changed(sites=fewer))
    unmeasured = (sites[0].model_copy(update={"error": None}), *sites[1:])
    assert f"{sites[0].site} was not measured" in html_from_report(changed(sites=unmeasured))


def test_equal_and_zero_errors_have_a_colour() -> None:
    for error in (0.0, 0.02):
        sites = tuple(site.model_copy(update={"error": error}) for site in sample_report().sites)
        heat = heat_from_sites(sites)
        assert heat is not None and 0 <= heat.step(error) <= 6
        assert f'<td class="h{heat.step(error)}"' in html_from_report(changed(sites=sites))


@pytest.mark.parametrize(
    "histogram", [((0.0, 1.0), (0,)), ((0.0, 0.0), (5,)), (tuple(map(float, range(4001))), (1,) * 4000)]
)
def test_odd_histograms_are_drawn(histogram: tuple[tuple[float, ...], tuple[int, ...]]) -> None:
    site = (
        sample_report()
        .sites[0]
        .model_copy(update={"histogram": HistogramPart(edges=histogram[0], counts=histogram[1]), "amax": None})
    )
    assert "NaN" not in html_from_report(changed(sites=(site,)))


@pytest.mark.parametrize("zero_point", [0, -110])
def test_a_zero_point_is_said_where_there_is_one(zero_point: int) -> None:
    site = next(site for site in sample_report().sites if site.histogram is not None)
    words = Page(html_from_report(changed(sites=(site.model_copy(update={"zero_point": zero_point}),)))).words
    assert ("zero point -110" in words) is bool(zero_point) and "zero point 0" not in words


def test_zero_measures_do_not_break_the_page() -> None:
    report = sample_report()
    assert report.accuracy is not None
    flat = report.accuracy.model_copy(update={"reference": 0.0, "engine": 0.0, "drop": 0.0, "drop_ci95": (0.0, 0.0)})
    latency = report.latency[0].model_copy(update={"milliseconds": 0.0, "reference_milliseconds": 0.0})
    stage = report.stages[0].model_copy(update={"seconds": 0.0})
    engine = report.engine.model_copy(update={"bytes": 0, "onnx_bytes": 0, "reference_bytes": 0})
    words = Page(html_from_report(changed(accuracy=flat, latency=(latency,), stages=(stage,), engine=engine))).words
    assert "nothing lost" in words and "nan" not in words


def test_the_shaded_side_follows_the_direction() -> None:
    report = sample_report()
    rate = report.metrics[2]
    gate = report.gates[0].model_copy(update={"metric": "false_positive_rate", "drop_limit": 0.01})
    higher = html_from_report(report)
    lower = html_from_report(changed(accuracy=rate, metrics=(), gates=(gate,)))
    assert '<rect x="0" y="0"' in higher and '<rect x="0" y="0" width="' in higher
    assert re.search(r'<text x="[\d.]+%" y="33"[^>]*>limit 0\.8833<', higher)
    assert re.search(r'<text x="[\d.]+%" y="33"[^>]*>limit 0\.1221<', lower)


def test_figures() -> None:
    assert fraction(0.00004, sign=True) == "+4.0e\N{MINUS SIGN}05" and fraction(0.5, sign=True) == "+0.5000"
    assert fraction(1e-17, sign=True) == fraction(0.0) == "0.0000" and fraction(0.00004, digits=2) == "0.00"
    assert significant(0) == "0" and significant(123456.0) == "123000" and significant(1e-7) == "1.00e-07"
    assert size(500) == "0.5 kB" and duration(150) == "2 min 30 s" and moment("yesterday") == "yesterday"
    assert fraction(None) == significant(None) == interval(None) == "\N{EN DASH}"


def test_an_engine_without_a_value_is_said_and_drawn_without_a_dot() -> None:
    report = failed_report()
    assert report.accuracy is not None
    lost = report.accuracy.model_copy(update={"engine": None, "drop": None, "drop_ci95": None})
    page = Page(html_from_report(report.model_copy(update={"accuracy": lost})))
    assert "is not defined for the engine, whose outputs are all alike" in page.words
    assert "is not defined" not in Page(html_from_report(report)).words


def test_axes() -> None:
    axis = axis_around([0.88, 0.9])
    assert axis.low < 0.88 and axis.high > 0.9 and 2 <= len(axis.ticks()) <= 8
    assert Axis(low=0, high=1).share(7) == 1 and Axis(low=1, high=1).share(1) == 0.5


@pytest.mark.parametrize("unit", ["rows", "queries"])
def test_what_was_counted_is_called_by_its_name(unit: str) -> None:
    accuracy = sample_report().accuracy
    assert accuracy is not None
    words = Page(html_from_report(changed(accuracy=accuracy.model_copy(update={"unit": unit})))).words
    assert f"of 872 {unit}" in words and f"on 872 {unit} (" in words and "samples" not in words


@pytest.mark.parametrize(("ends", "unmoved"), [((0.0, 0.0), True), ((0.0, 0.01), False)])
def test_no_interval_where_no_row_gains_or_loses(ends: tuple[float, float], unmoved: bool) -> None:
    accuracy = sample_report().accuracy
    assert accuracy is not None
    report = changed(accuracy=accuracy.model_copy(update={"drop_ci95": ends}), metrics=())
    words = Page(html_from_report(report)).words
    assert words.count("no row gains or loses") == (2 if unmoved else 0) and "0.0000 to 0.0000" not in words
    assert ("95 %: 0.0000 to +0.0100" in words) is not unmoved


def test_the_scale_of_a_histogram_has_room_for_its_numbers() -> None:
    """Three characters fit beside it; "1,000" lost its first ones at the figure's edge."""
    for most in (1, 10, 999, 1_000, 9_999, 10_000, 10**8):
        chart = chart_from_histogram(HistogramPart(edges=(0.0, 1.0, 2.0), counts=(most, 1)), 1.0)
        assert chart.levels[0][1] == "1" and all(len(text) <= 3 for _, text in chart.levels)
