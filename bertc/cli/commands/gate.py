"""Compare a report with a baseline, row by row, in CI."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.artefact.kinds import BASELINE, JUNIT, SUMMARY
from bertc.cli.command import Command, option
from bertc.cli.output import Output
from bertc.cli.paths import Reads, Writes
from bertc.cli.tables import print_facts
from bertc.errors import EXIT_GATE, EXIT_PASSED, InputError

if TYPE_CHECKING:
    from bertc.evaluate.regression import Regression


@click.command("gate", cls=Command)
@click.argument("report", type=Reads())
@option("--baseline", type=Writes(BASELINE, when="update"), metavar="FILE", required=True, help="The baseline file.")
@option("--limit", metavar="LIMIT", default="0.5%", help="Largest drop of the main metric. Default: 0.5%.")
@option("--gate", "gates", multiple=True, metavar="METRIC:LIMIT", help="Largest drop of any metric. Repeatable.")
@option(
    "--decide",
    type=click.Choice(["point", "bound"]),
    default="point",
    help="Judge by the drop itself or by its 95 % interval. Default: point.",
)
@option("--any-reference", is_flag=True, help="Take a float model that is no better than a guess as it is.")
@option("--update", is_flag=True, help="Write this report's rows as the new baseline; exit code 0.")
@option("--junit", type=Writes(JUNIT), metavar="FILE", help="Write the verdict as JUnit XML.")
@option("--markdown", type=Writes(SUMMARY), metavar="FILE", help="Write a Markdown summary for a pull request.")
def command(
    output: Output,
    report: Path,
    baseline: Path,
    limit: str,
    gates: tuple[str, ...],
    decide: Any,
    any_reference: bool,
    update: bool,
    junit: Path | None,
    markdown: Path | None,
) -> int:
    """Judge REPORT (a report.json, or the folder of an artefact) by the baseline of an earlier build.

    \b
      bertc gate OUT/report.json --baseline baseline.json --update      # once, then commit baseline.json
      bertc gate OUT/report.json --baseline baseline.json --junit out.xml

    Rows are paired by their text, equal texts by their label. Exit code 0 if the engine is no worse than the baseline's
    within the limit, 1 if it is or the build found the float model no better than a guess, 2 if there is no baseline.
    """
    from bertc.artefact.layout import REPORT_FILE

    if report.is_dir():
        _check_one_engine(report)
        report = report / REPORT_FILE
    options: dict[str, Any] = {"limit": limit, "gates": gates, "decide": decide, "any_reference": any_reference}
    found = _compared(output, report, baseline, update=update, **options)
    if found is not None:
        _write_results(found, junit, markdown)
        _print(output, found)
    elif junit is not None or markdown is not None:
        output.note("nothing was compared, so neither --junit nor --markdown is written")
    if update:
        from bertc.cli.result_files import write_file
        from bertc.evaluate.baseline import baseline_from_report

        write_file(baseline, baseline_from_report(report), BASELINE)
        output.say(f"wrote {baseline}")
        if found is None and output.json:
            output.print_json({"passed": True, "updated": str(baseline)})
        return EXIT_PASSED
    assert found is not None
    if found.verdict.passed:
        return EXIT_PASSED
    output.fail(f"not passed: {found.verdict.summary}")
    return EXIT_GATE


def _check_one_engine(artefact: Path) -> None:
    from bertc.artefact.engines import engine_folder, index_of_folder

    index = index_of_folder(artefact)
    if index is not None:
        folders = ", ".join(str(engine_folder(artefact, target)) for target in index.targets)
        raise InputError(f"{artefact} has several engines, each with a baseline of its own; name one of {folders}")


def _compared(output: Output, report: Path, baseline: Path, *, update: bool, **options: Any) -> Regression | None:
    """Compare; with --update a baseline that is missing or cannot be compared is no hindrance."""
    from bertc.evaluate.regression import regression_from_reports

    if update and not baseline.exists():
        return None
    try:
        return regression_from_reports(report, baseline, **options)
    except InputError as error:
        if not update:
            raise
        output.note(f"not compared with the old baseline: {error}")
        return None


def _write_results(found: Regression, junit: Path | None, markdown: Path | None) -> None:
    from bertc.cli.result_files import write_file
    from bertc.report.junit import junit_from_regression
    from bertc.report.markdown import markdown_from_regression

    if junit is not None:
        write_file(junit, junit_from_regression(found), JUNIT)
    if markdown is not None:
        write_file(markdown, markdown_from_regression(found), SUMMARY)


def _print(output: Output, found: Regression) -> None:
    if output.json:
        output.print_json(_document(found))
        return
    from bertc.core.number_text import figure
    from bertc.report.text import interval_text, verdict_text

    facts = [("verdict", verdict_text(found.verdict.passed))]
    facts += [("gate", f"{gate.verdict}: {gate.reason}") for gate in found.verdict.gates]
    for score in found.scores:
        change = f"{figure(score.reference)} -> {figure(score.engine)}, drop {figure(score.drop, sign=True)}"
        facts.append(("metric", f"{score.metric} {change}{interval_text(score.drop_ci95)}"))
    counts = {"paired": found.paired, "decided otherwise": len(found.flipped), "with another label": len(found.changed)}
    counts |= {"vanished": len(found.vanished), "added": len(found.added)}
    listed = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "paired")
    facts.append(("rows", listed))
    facts += [("note", text) for text in (*found.verdict.warnings, *found.notes)]
    print_facts(output, facts)


def _document(found: Regression) -> dict[str, Any]:
    return {
        "passed": found.verdict.passed,
        "summary": found.verdict.summary,
        "gates": [gate.as_dict() for gate in found.verdict.gates],
        "metrics": [score.as_dict() for score in found.scores],
        "paired": found.paired,
        **{name: list(getattr(found, name)) for name in ("flipped", "changed", "vanished", "added", "notes")},
        "warnings": list(found.verdict.warnings),
    }
