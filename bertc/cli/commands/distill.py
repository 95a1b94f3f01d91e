"""Train a smaller student, and build its INT8 engine.

The result is a checkpoint again; with --engine it is built as well, and the verdict compares that with the teacher.
"""

from __future__ import annotations

from pathlib import Path

import click

from bertc.artefact.kinds import ARTEFACT, TRAINED
from bertc.cli.command import Command, force_option, option
from bertc.cli.int8_request import check_single_target
from bertc.cli.output import Output
from bertc.cli.paths import Writes
from bertc.cli.request import Request, out_option, recipe_command
from bertc.cli.results import conclude_build, conclude_training
from bertc.errors import EXIT_PASSED
from bertc.recipe.setting import title_of

STUDENT = title_of("student")


@click.command("distill", cls=Command)
@out_option(TRAINED, "STUDENT", "The folder of the student, a checkpoint.", required=True)
@option(
    "--engine",
    type=Writes(ARTEFACT),
    metavar="ENGINE",
    help="Build the student's INT8 engine in this folder too, and judge it against CHECKPOINT.",
)
@force_option(TRAINED)
@recipe_command(
    "task",
    "student",
    "training.data",
    "training.columns",
    "training.held_out",
    "training.precision",
    "training.device",
    "training.seed",
    "training.replace",
    "training.labels",
    "calibration.data",
    "calibration.columns",
    "quantization",
    "validation.data",
    "validation.columns",
    "validation.max_drop",
    "validation.gates",
    "validation.min_agreement",
    "validation.preset",
    "validation.decide",
    "validation.unvalidated",
    "engine",
)
@option("--resume", is_flag=True, section=STUDENT, help="Go on with the run that was interrupted.")
def command(output: Output, request: Request, out: Path, engine: Path | None, resume: bool, force: bool) -> int:
    """Train a smaller student of CHECKPOINT, its teacher, and write it into the folder STUDENT.

    \b
      bertc distill CHECKPOINT --layers 3 --train-data train.tsv -o STUDENT
      bertc distill CHECKPOINT --layers 3 --train-data train.tsv -o STUDENT \\
          --engine ENGINE --validation-data dev.tsv --max-drop 0.02abs
      bertc distill CHECKPOINT --layers 3 --hidden 256 --distill logits,hidden --train-data train.tsv -o STUDENT

    With --engine the exit code is that of the engine's verdict: what it loses against CHECKPOINT in float. A run that
    was interrupted goes on with --resume.
    """
    given = {name.partition("__")[0] for name, value in request.flags.items() if value not in (None, ())}
    if engine is None and "validation" in given:
        raise click.UsageError("what is judged is an engine, and none is built; name its folder with --engine")
    recipe = request.recipe()
    check_single_target(recipe)
    if engine is None and (given & {"calibration", "quantization"} or request.flags["engine__target"] is not None):
        raise click.UsageError("ranges, scheme and target are an engine's, and none is built; name it with --engine")
    from bertc.jobs.distill import distill  # numpy and onnx_ir: not for --help
    from bertc.jobs.finetune import Place

    with request.work() as work:
        line = output.command_line
        place = Place(out=out, resume=resume, force=force)
        done = distill(recipe, place, engine=engine, work=work, command=line)
    if done.built is not None and engine is not None:
        return conclude_build(output, done.built.report, engine)
    return conclude_training(output, done.trained.report, out) if done.trained.speaks else EXIT_PASSED
