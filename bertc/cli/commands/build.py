"""Compile a checkpoint to a validated INT8 engine.

Everything from reading the checkpoint to the verdict, by flags or a recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertc.artefact.kinds import ARTEFACT
from bertc.cli.columns import column_option
from bertc.cli.command import Command, option
from bertc.cli.int8_request import check_precision
from bertc.cli.output import Output, printable
from bertc.cli.request import Request, out_option, recipe_command
from bertc.cli.results import conclude_build, conclude_builds
from bertc.cli.workers_option import workers_option
from bertc.errors import EXIT_PASSED
from bertc.recipe import AUTO_TARGET, Recipe
from bertc.recipe.setting import title_of

if TYPE_CHECKING:
    from bertc.core.workers import Workers

VALIDATION = title_of("validation")


@click.command("build", cls=Command)
@out_option(ARTEFACT, "OUT", "The folder of the artefact.")
@recipe_command("task", "calibration", "sparsity", "quantization", "validation", "search", "early_exit", "engine")
@column_option("columns", "A column of both the calibration and the validation data. Repeatable.", section=VALIDATION)
@workers_option()
@option(
    "--schema",
    is_flag=True,
    section=VALIDATION,
    help="Say which columns the checkpoint's task reads and how --validation-data, if named, is read, and stop.",
)
def command(
    output: Output,
    request: Request,
    out: Path | None,
    columns: tuple[tuple[str, str], ...],
    workers: Workers,
    schema: bool,
) -> int:
    """Compile CHECKPOINT (a Hugging Face folder or hub id) to an INT8 engine in the folder OUT and prove its accuracy.

    \b
      bertc build CHECKPOINT -o OUT --calibration-data train.tsv --validation-data dev.tsv --max-drop 1%
      bertc build --recipe recipe.toml -o OUT

    Exit code 0 if the engine passes its gates, 1 if not; in both cases OUT holds the engine and its report. Of several
    targets (--target native,openvino) every engine has to pass.
    """
    recipe = request.with_columns(columns).recipe()
    check_precision(recipe, request.flags)
    if schema:
        return _print_schema(output, recipe)
    if out is None:
        raise click.UsageError("name the folder of the artefact with -o OUT")
    from bertc.jobs.build import build
    from bertc.jobs.fastest import build_fastest  # numpy and onnx_ir: not for --help
    from bertc.jobs.several import build_several

    if len(recipe.engine.targets) > 1:
        with request.work(workers) as work:
            every = build_several(recipe, out, work=work, command=output.command_line)
        return conclude_builds(output, [built.report for built in every], out)
    make = build_fastest if recipe.engine.target == AUTO_TARGET else build
    with request.work(workers) as work:
        line = output.command_line
        report = make(recipe, out, work=work, command=line).report
    return conclude_build(output, report, out)


def _print_schema(output: Output, recipe: Recipe) -> int:
    from bertc.checkpoint import checkpoint_from_path
    from bertc.jobs.inputs import reading_of_validation
    from bertc.tasks import task_from_name

    head = checkpoint_from_path(recipe.checkpoint, task=recipe.task).head
    text = task_from_name(head.task).schema(head)
    reading = reading_of_validation(recipe.validation, head)
    if output.json:
        read = {} if reading is None else {"validation": reading.as_dict()}
        output.print_json({"task": head.task, "labels": list(head.labels), "schema": text, **read})
    else:
        click.echo(text)
        if reading is not None:
            click.echo(f"{recipe.validation.data} is read as {printable(reading.sentence())}")
    return EXIT_PASSED
