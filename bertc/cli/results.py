"""How a build and a training end on the command line: what several commands print of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.cli.output import Output
from bertc.cli.progress import time_text
from bertc.cli.tables import print_facts
from bertc.errors import EXIT_GATE, EXIT_PASSED

if TYPE_CHECKING:
    from bertc.report.schema import Report


def conclude_build(output: Output, report: Report, out: Path) -> int:
    """Print the summary of an engine in the folder `out`, and the one line of a verdict that is not a pass.

    Returns the exit code.
    """
    from bertc.report.schema import report_to_json

    if output.json:
        click.echo(report_to_json(report), nl=False)
    return _conclude(output, report, out)


def _conclude(output: Output, report: Report, out: Path) -> int:
    from bertc.artefact.layout import PAGE_FILE
    from bertc.report.text import facts_from_report, failure_text, search_failure, worst_sites

    warnings = (("warning", text) for text in report.warnings)
    print_facts(output, [*facts_from_report(report), *warnings, ("report", str(out / PAGE_FILE))])
    searched = search_failure(report)
    if not searched and (report.passed or report.unvalidated):
        return EXIT_PASSED
    output.fail(failure_text(report.gates, worst_sites(report), search=searched))
    return EXIT_GATE


def conclude_builds(output: Output, reports: Sequence[Report], out: Path) -> int:
    """Print the summary of each of several engines in the folder `out`. Returns the exit code: 0 where all passed."""
    from bertc.artefact.engines import engine_folder

    if output.json:
        output.print_json({"engines": [report.model_dump(mode="json", by_alias=True) for report in reports]})
    codes = []
    for report in reports:
        target = report.engine.target
        print_facts(output, [("engine", target)])
        codes.append(_conclude(output, report, engine_folder(out, target)))
    return max(codes)


def conclude_training(output: Output, report: Mapping[str, Any], out: Path) -> int:
    """Print what a run did, whose checkpoint is in the folder `out`. Returns the exit code."""
    if output.json:
        output.print_json(report)
    facts = [*facts_from_training(report), ("checkpoint", f"{out}, unvalidated: build it with validation data")]
    print_facts(output, facts)
    return EXIT_PASSED


def facts_from_training(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what a run did: steps, time, and what is held out at the start and at the best."""
    facts = [
        ("steps", f"{report['steps']} of {report['planned_steps']}, the best after {report['best_step']}"),
        ("time", f"{time_text(report['seconds'])}, {report['sentences_per_second']:.0f} sentences/s"),
    ]
    held = {name: _change(report["curve"], name) for name in report["curve"][0] if name.startswith("held_out_")}
    facts += [(name.replace("_", " "), told) for name, told in held.items()]
    teacher = report["teacher"] or {"held_out": {}}
    return [*facts, *((f"teacher's {name}", _value(value)) for name, value in teacher["held_out"].items())]


def _change(curve: list[Mapping[str, Any]], name: str) -> str:
    begin, best = curve[0], min(curve, key=lambda look: look["held_out_loss"])
    return " -> ".join(_value(look[name]) for look in (begin, best))


def _value(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"
