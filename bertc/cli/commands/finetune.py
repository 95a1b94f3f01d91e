"""Train a checkpoint for INT8 or sparsity with a teacher.

The result is a checkpoint again, with the ranges it was trained with: build it, and prove it there.
"""

from __future__ import annotations

from pathlib import Path

import click

from bertc.artefact.kinds import TRAINED
from bertc.cli.command import Command, force_option, option
from bertc.cli.int8_request import check_single_target, check_trained_precision
from bertc.cli.output import Output
from bertc.cli.request import Request, out_option, recipe_command
from bertc.cli.results import conclude_training
from bertc.errors import EXIT_PASSED
from bertc.recipe.setting import title_of


@click.command("finetune", cls=Command)
@out_option(TRAINED, "OUT", "The folder to write.", required=True)
@force_option(TRAINED)
@recipe_command(
    "task",
    "training",
    "quantization.mode",
    "quantization.granularity",
    "quantization.smoothing",
    "quantization.keep_float",
    "calibration.data",
    "calibration.samples",
    "calibration.table",
    "calibration.calibrator",
    "calibration.percentile",
    "engine",
)
@option("--resume", is_flag=True, section=title_of("training"), help="Go on with the run that was interrupted.")
def command(output: Output, request: Request, out: Path, resume: bool, force: bool) -> int:
    """Train CHECKPOINT as it will run in INT8, with a teacher, and write a checkpoint and its ranges into OUT.

    \b
      bertc finetune CHECKPOINT --train-data train.tsv --int8-mode 2 -o OUT
      bertc build OUT --calibration OUT/calibration.json --int8-mode 2 --validation-data dev.tsv -o ENGINE
      torchrun --nproc-per-node 4 --no-python bertc finetune CHECKPOINT --train-data train.tsv -o OUT

    Ranges start from --calibration-data, or from the training data where there is none. A part of the training data
    (--held-out) decides which state is kept; training goes to its end unless a recipe's patience stops it before. A run
    that was interrupted goes on with --resume.
    """
    recipe = request.recipe()
    check_single_target(recipe)
    check_trained_precision(recipe, request.flags)
    from bertc.jobs.finetune import Place, finetune  # numpy and onnx_ir: not for --help

    with request.work() as work:
        line = output.command_line
        place = Place(out=out, resume=resume, force=force)
        trained = finetune(recipe, place, work=work, command=line)
    return conclude_training(output, trained.report, out) if trained.speaks else EXIT_PASSED
