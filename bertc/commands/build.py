"""Compile a checkpoint to a validated INT8 engine.

Everything from reading the checkpoint to the verdict, by flags or a recipe.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.cli import options
from bertc.cli.cache import cache_from_options
from bertc.cli.command import Command, option
from bertc.cli.options import ENGINE, VALIDATION
from bertc.cli.output import Output
from bertc.cli.precision import check_precision
from bertc.cli.progress import shown_progress
from bertc.cli.tables import print_facts
from bertc.errors import EXIT_GATE, EXIT_PASSED

if TYPE_CHECKING:
    from bertc.evaluate.report import Report
    from bertc.recipe import Recipe

AUTO_TARGET = "auto-cpu"
TARGETS = options.names_of_files("targets")


@click.command("build", cls=Command)
@options.checkpoint_argument
@option("-o", "--out", type=click.Path(path_type=Path), metavar="OUT", help="The folder of the artefact.")
@options.model_options
@options.calibration_options
@options.table_option
@options.calibrator_options
@options.sparsity_options
@options.per_site_option
@options.quantization_options
@options.correction_options
@options.validation_data_options
@options.reference_option
@option(
    "--column",
    "both_columns",
    multiple=True,
    type=options.column_pair,
    metavar="ROLE=NAME",
    section=VALIDATION,
    help="A column of both the calibration and the validation data. Repeatable.",
)
@options.gate_options
@option(
    "--unvalidated",
    "validation__unvalidated",
    is_flag=True,
    default=None,
    section=VALIDATION,
    help="Build without validation data; this is stamped into the artefact.",
)
@options.search_options
@option("--schema", is_flag=True, section=VALIDATION, help="Say which columns the checkpoint's task reads, and stop.")
@option(
    "--target",
    "engine__target",
    type=click.Choice([*TARGETS, AUTO_TARGET]),
    metavar="TARGET",
    section=ENGINE,
    help=f"One of {', '.join(TARGETS)} (bertc doctor describes them), or {AUTO_TARGET}: of those that this processor "
    "runs, the fastest on your texts that passes the gates. Default: ort-cpu.",
)
@options.attention_option
@options.threads_option
@options.length_option
@options.cache_options
def command(
    output: Output,
    checkpoint: str | None,
    out: Path | None,
    recipe: str | None,
    schema: bool,
    cache_dir: Path | None,
    no_cache: bool,
    both_columns: tuple[tuple[str, str], ...],
    **flags: Any,
) -> int:
    """Compile CHECKPOINT (a Hugging Face folder or hub id) to an INT8 engine in the folder OUT and prove its accuracy.

    \b
      bertc build CHECKPOINT -o OUT --calibration-data train.tsv --validation-data dev.tsv --max-drop 1%
      bertc build --recipe recipe.toml -o OUT

    Exit code 0 if the engine passes its gates, 1 if not; in both cases OUT holds the engine and its report.
    """
    for name in ("calibration__columns", "validation__columns"):
        flags[name] = (*both_columns, *flags[name])
    wanted = options.recipe_from_flags(checkpoint, recipe, flags)
    check_precision(wanted, flags)
    if schema:
        return _print_schema(output, wanted)
    if out is None:
        raise click.UsageError("name the folder of the artefact with -o OUT")
    return _build(output, wanted, out, cache_dir, no_cache=no_cache)


def _build(output: Output, recipe: Recipe, out: Path, cache_dir: Path | None, *, no_cache: bool) -> int:
    from bertc.artefact.stages import Work
    from bertc.auto import build_fastest  # numpy and onnx_ir: not for --help
    from bertc.evaluate.report import report_to_json
    from bertc.pipeline import build

    with (
        shown_progress(output) as progress,
        cache_from_options(cache_dir, no_cache=no_cache, progress=progress) as cache,
    ):
        line = shlex.join(["bertc", *output.arguments])
        make = build_fastest if recipe.engine.target == AUTO_TARGET else build
        report = make(recipe, out, work=Work(cache, progress), command=line).report
    if output.json:
        click.echo(report_to_json(report), nl=False)
    return _conclude(output, report, out)


def _conclude(output: Output, report: Report, out: Path) -> int:
    """Print the summary, and the one line of a verdict that is not a pass."""
    from bertc.cli.summary import facts_from_report, failure_text, worst_sites

    warnings = (("warning", text) for text in report.warnings)
    print_facts(output, [*facts_from_report(report), *warnings, ("report", str(out / "report.html"))])
    if report.search is not None and not report.search.passed:
        output.fail(f"not passed: {next(text for text in report.warnings if text.startswith('the search found'))}")
        return EXIT_GATE
    if report.passed or report.unvalidated:
        return EXIT_PASSED
    output.fail(failure_text(report.gates, worst_sites(report)))
    return EXIT_GATE


def _print_schema(output: Output, recipe: Recipe) -> int:
    from bertc.checkpoint import checkpoint_from_path
    from bertc.tasks import task_from_name

    head = checkpoint_from_path(recipe.checkpoint, task=recipe.task).head
    text = task_from_name(head.task).schema(head)
    if output.json:
        output.print_json({"task": head.task, "labels": list(head.labels), "schema": text})
    else:
        click.echo(text)
    return EXIT_PASSED
