"""Validate an artefact again, from the artefact alone.

The engine runs over the data; what the float model said comes from the artefact's rows, or from --checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.cli.command import Command, option
from bertc.cli.engine_option import engine_option, told_choice
from bertc.cli.options import overrides_from_flags, recipe_options
from bertc.cli.output import Output
from bertc.cli.paths import Reads
from bertc.cli.progress import shown_progress
from bertc.cli.tables import print_facts
from bertc.cli.workers_option import workers_option
from bertc.errors import EXIT_GATE, EXIT_PASSED
from bertc.recipe.setting import title_of

if TYPE_CHECKING:
    from bertc.core.workers import Workers
    from bertc.jobs.validate import Validation


@click.command("validate", cls=Command)
@click.argument("out", type=Reads())
@recipe_options(
    "validation.data",
    "validation.columns",
    "validation.limit",
    "validation.max_drop",
    "validation.gates",
    "validation.min_agreement",
    "validation.preset",
    "validation.decide",
    "validation.any_reference",
    "engine.threads",
)
@engine_option()
@option(
    "--checkpoint",
    type=Reads(str),
    metavar="CHECKPOINT",
    section=title_of("validation"),
    help="The float model to compare with, for data that is not the build's.",
)
@workers_option()
def command(
    output: Output,
    out: Path,
    checkpoint: str | None,
    engine: str | None,
    allow_failed: bool,
    workers: Workers,
    **flags: Any,
) -> int:
    """Run the engine in the folder OUT over labelled data and judge it by the gates it was built with, or by others.

    \b
      bertc validate OUT --validation-data dev.tsv
      bertc validate OUT --validation-data new.tsv --checkpoint CHECKPOINT --max-drop 2%

    On the data of the build the figures are those of its report. Exit code 0 if the engine passes, 1 if not.
    """
    from bertc.jobs.build_verdict import recipe_of_artefact
    from bertc.jobs.predict import verified_manifest
    from bertc.jobs.validate import validate

    chosen = told_choice(output, out, engine, allow_failed=allow_failed)
    verified_manifest(chosen)
    out = chosen.folder
    recipe = recipe_of_artefact(out, overrides_from_flags(flags))
    with shown_progress(output) as progress, workers:
        found = validate(out, recipe, checkpoint=checkpoint, progress=progress, workers=workers)
    _print(output, found)
    if found.verdict.passed:
        return EXIT_PASSED
    _fail(output, out, found)
    return EXIT_GATE


def _print(output: Output, found: Validation) -> None:
    if output.json:
        output.print_json(found.as_dict())
        return
    from bertc.report.text import fact_of_reading, facts_from_score, verdict_text

    doubt = "" if found.doubt is None else found.doubt.reason
    facts = [("doubt", doubt)] if doubt else []
    facts.append(("verdict", verdict_text(found.verdict.passed)))
    facts += [fact_of_reading(found.data, "to validate", found.reading.sentence()), *facts_from_score(found.accuracy)]
    facts += [("gate", f"{gate.verdict}: {gate.reason}") for gate in found.verdict.gates if gate.reason != doubt]
    facts += [("warning", text) for text in found.verdict.warnings]
    facts += [("note", text) for text in found.notes]
    print_facts(output, facts)


def _fail(output: Output, out: Path, found: Validation) -> None:
    from bertc.artefact.layout import REPORT_FILE
    from bertc.report.schema import report_from_json
    from bertc.report.text import failure_text, worst_sites

    path = out / REPORT_FILE
    worst = worst_sites(report_from_json(path.read_bytes(), source=str(path)))
    output.fail(failure_text(found.verdict.gates, worst, search=found.search))
