"""Two artefacts, or two calibration tables, side by side. In: their paths. Out: plain values for printing and JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bertc.artefact.layout import REPORT_FILE
from bertc.artefact.manifest import verify_artefact
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import CalibrationTable, table_from_path
from bertc.errors import InputError
from bertc.evaluate.regression import Regression, Sides, Terms, regression_from_rows
from bertc.evaluate.rows_file import rows_from_report
from bertc.jobs.engine_choice import ANY, EngineWish, chosen_engine
from bertc.jobs.inspect import bytes_of_artefact, kind_of_path, report_of_artefact
from bertc.report.schema import Report

Facts = dict[str, Any]
NO_LIMIT = "1000000abs"
"""A comparison judges nothing, but the regression needs a limit."""

SIDES = Sides(
    current="the second artefact",
    baseline="the first",
    remedy="rows are paired where both were built for one task, with the same validation data",
)


def compare_paths(first: str, second: str, method: RangeMethod, wish: EngineWish = ANY) -> Facts:
    """Compare two artefacts or two tables. Raises `InputError` for anything else, or one of each.

    Of several engines in a folder it is the one of the wish.
    """
    for path in (first, second):
        if not Path(path).exists():
            raise InputError(f"{path} does not exist; name two artefacts or two tables")
    kinds = (kind_of_path(first), kind_of_path(second))
    if kinds == ("artefact", "artefact"):
        return compare_artefacts(Path(first), Path(second), wish)
    if kinds == ("table", "table"):
        tables = (table_from_path(Path(first)), table_from_path(Path(second)))
        return compare_tables(*tables, method)
    raise InputError(
        f"{first} ({kinds[0]}) and {second} ({kinds[1]}) cannot be compared; name two artefacts or two tables"
    )


def compare_artefacts(first: Path, second: Path, wish: EngineWish = ANY) -> Facts:
    """Put two artefacts' figures side by side; rows that both validated are paired."""
    chosen = [chosen_engine(path, wish) for path in (first, second)]
    folders = [each.folder for each in chosen]
    manifests = [verify_artefact(folder) for folder in folders]
    reports = [report_of_artefact(folder) for folder in folders]
    notes = [
        f"the {which} is engine {each.reason}"
        for which, each in zip(("first", "second"), chosen, strict=True)
        if each.reason
    ]
    if reports[0].checkpoint.digest != reports[1].checkpoint.digest:
        notes.append("the artefacts are of different checkpoints")
    paired = None
    try:
        paired = _paired(*folders)
    except InputError as error:
        notes.append(f"rows are not paired: {error}")
    return {
        "kind": "artefacts",
        "targets": [manifest.target for manifest in manifests],
        "bytes": [bytes_of_artefact(manifest) for manifest in manifests],
        "engine_bytes": [report.engine.bytes for report in reports],
        "passed": [report.passed for report in reports],
        "unvalidated": [report.unvalidated for report in reports],
        "rows": [None if report.accuracy is None else report.accuracy.samples for report in reports],
        "metrics": _metrics(reports),
        "paired": None if paired is None else _facts_of_pairing(paired),
        "latency": _latency(reports),
        "sites": _sites(*({site.site: site.amax for site in report.sites} for report in reports)),
        "notes": notes,
    }


def compare_tables(first: CalibrationTable, second: CalibrationTable, method: RangeMethod) -> Facts:
    """Put the sites' ranges under a method side by side, those that differ most first."""
    ranges = [_ranges(table, method) for table in (first, second)]
    notes = [] if first.checkpoint == second.checkpoint else ["the tables are of different checkpoints"]
    return {
        "kind": "tables",
        "calibrator": method.calibrator,
        "rows": [table.origin.get("rows") for table in (first, second)],
        "data": [table.origin.get("data") for table in (first, second)],
        "sites": _sites(*ranges),
        "notes": notes,
    }


def _ranges(table: CalibrationTable, method: RangeMethod) -> dict[str, float | None]:
    ranges: dict[str, float | None] = {}
    for site in table.sites:
        try:
            ranges[site.name] = table.amax(site, method, smoothed=True)
        except InputError:  # a range that would collapse the model
            ranges[site.name] = None
    return ranges


def _paired(first: Path, second: Path) -> Regression:
    """Pair the rows; the first artefact's engine is the reference."""
    rows = [rows_from_report(folder / REPORT_FILE) for folder in (first, second)]
    return regression_from_rows(rows[1], rows[0], Terms(limit=NO_LIMIT), sides=SIDES)


def _facts_of_pairing(pairing: Regression) -> Facts:
    return {
        "rows": pairing.paired,
        "flipped": list(pairing.flipped),
        "only_first": len(pairing.vanished),
        "only_second": len(pairing.added),
        "relabelled": len(pairing.changed),
        "metrics": [score.as_dict() for score in pairing.scores],
    }


def _metrics(reports: list[Report]) -> list[Facts]:
    """Return each metric's float and engine values of both reports, None where one does not have it."""
    named: list[Mapping[str, Any]] = [
        {metric.metric: metric for metric in (*([report.accuracy] if report.accuracy else ()), *report.metrics)}
        for report in reports
    ]
    names = list(dict.fromkeys(name for metrics in named for name in metrics))
    return [
        {
            "metric": name,
            "reference": [metrics[name].reference if name in metrics else None for metrics in named],
            "engine": [metrics[name].engine if name in metrics else None for metrics in named],
        }
        for name in names
    ]


def _latency(reports: list[Report]) -> list[Facts]:
    """Return the milliseconds of the shapes that both reports measured, each on its own machine."""
    measured = [{(row.batch, row.length): row.milliseconds for row in report.latency} for report in reports]
    shared = [shape for shape in measured[0] if shape in measured[1]]
    return [
        {"batch": batch, "length": length, "milliseconds": [milliseconds[batch, length] for milliseconds in measured]}
        for batch, length in shared
    ]


def _sites(first: Mapping[str, float | None], second: Mapping[str, float | None]) -> list[Facts]:
    """Return the sites of both with their ranges, those that differ most first; a site of one only comes last."""
    sites: list[Facts] = []
    for name in dict.fromkeys((*first, *second)):
        amax = [first.get(name), second.get(name)]
        sites.append({"site": name, "amax": amax, "ratio": amax[1] / amax[0] if amax[0] and amax[1] else None})
    return sorted(sites, key=lambda site: -abs(math.log(site["ratio"])) if site["ratio"] else math.inf)
