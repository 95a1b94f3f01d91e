"""report.html: the report as one self-contained page, in the order in which its reader asks.

In: a `Report`. Out: the text of a file that needs no network, no script and no other file.
"""

from __future__ import annotations

from importlib.resources import files

from bertc.evaluate.page.candidates import candidates_section
from bertc.evaluate.page.markup import Markup, join, moment, tag
from bertc.evaluate.page.pareto import search_section
from bertc.evaluate.page.sections import (
    cost_section,
    data_section,
    errors_section,
    lowering_section,
    provenance_section,
    sparsity_section,
    stages_section,
    warnings_section,
)
from bertc.evaluate.page.verdict import accuracy_section, gates_section, verdict_banner
from bertc.evaluate.report import Report

# The page loads nothing and runs nothing, whatever text got into it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def html_from_report(report: Report) -> str:
    """Return the report as one HTML document. All text of the report is escaped."""
    name = report.checkpoint.name or report.checkpoint.family
    sections = (
        warnings_section(report),
        accuracy_section(report),
        gates_section(report),
        cost_section(report),
        candidates_section(report.candidates),
        search_section(report.search),
        errors_section(report),
        lowering_section(report),
        sparsity_section(report),
        data_section(report),
        stages_section(report),
        provenance_section(report),
    )
    main = tag("main", _byline(report, name), verdict_banner(report), *sections)
    return html_page(f"{name}: bertc report", main)


def html_page(title: str, main: Markup) -> str:
    """Return a whole document in the report's style."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup(_style())),
    )
    return "<!doctype html>\n" + tag("html", head, tag("body", main), lang="en") + "\n"


def _style() -> str:
    return files("bertc.evaluate.page").joinpath("report.css").read_text(encoding="utf-8")


def _byline(report: Report, name: str) -> Markup:
    mode = report.quantization.mode
    parts = [report.engine.target, f"INT8 mode {mode}" if mode is not None else None, moment(report.created)]
    details = " \N{MIDDLE DOT} ".join(part for part in parts if part)
    return tag("p", tag("strong", name), join([" ", tag("span", details)]), class_="byline")
