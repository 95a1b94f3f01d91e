"""report.html: the report as one self-contained page, in the order in which its reader asks.

In: a `Report`. Out: the text of a file that needs no network, no script and no other file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bertc.report.html.charts import HistogramChart, chart_from_histogram
from bertc.report.html.environment import page_from_template
from bertc.report.html.figures import moment
from bertc.report.html.heat import heat_from_sites
from bertc.report.html.pareto import chart_from_search
from bertc.report.html.verdict import accuracy_from_report, mean_speed, outcome, sentences
from bertc.report.schema import Report, SitePart


def html_from_report(report: Report) -> str:
    """Return the report as one HTML document. All text of the report is escaped."""
    name = report.checkpoint.name or report.checkpoint.family
    mode = report.quantization.mode
    details = (report.engine.target, f"INT8 mode {mode}" if mode is not None else "", moment(report.created))
    return page_from_template(
        "report.html",
        title=f"{name}: bertc report",
        name=name,
        details=" \N{MIDDLE DOT} ".join(filter(None, details)),
        report=report,
        outcome=outcome(report),
        sentences=sentences(report),
        speed=mean_speed(report.latency),
        others=sorted({name for row in report.latency for name in row.others}),
        accuracy=accuracy_from_report(report),
        chart=chart_from_search(report.search),
        heat=heat_from_sites(report.sites),
        ranges=_ranges(report),
        float_sites=_float_sites(report),
    )


def _ranges(report: Report) -> Sequence[tuple[SitePart, HistogramChart]]:
    """Return the sites whose magnitudes were kept, the worst first."""
    order = {name: index for index, name in enumerate(report.worst_sites)}
    sites = sorted(report.sites, key=lambda site: (order.get(site.site, len(order)), -(site.error or 0.0)))
    return [(site, chart_from_histogram(site.histogram, site.amax)) for site in sites if site.histogram is not None]


def _float_sites(report: Report) -> Sequence[tuple[str, Sequence[str], str]]:
    """Group the sites that stayed in float by reason: (`role (6 layers)`, their names, the reason), a role one line."""
    by_reason: dict[str, list[str]] = {}
    for site in report.quantization.sites_float:
        by_reason.setdefault(site.reason, []).append(site.site)
    groups = []
    for reason, names in by_reason.items():
        roles = Counter(name.rpartition(".")[2] for name in names)
        text = ", ".join(role if count == 1 else f"{role} ({count} layers)" for role, count in roles.items())
        groups.append((names[0] if len(names) == 1 else text, names, reason))
    return groups
