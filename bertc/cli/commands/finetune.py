"""Train a checkpoint for INT8 or sparsity with a teacher.

The result is a checkpoint again, with the ranges it was trained with: build it, and prove it there.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bertc.artefact.kinds import TRAINED
from bertc.cli.command import Command, force_option, option
from bertc.cli.int8_request import check_single_target
from bertc.cli.output import Output
from bertc.cli.progress import time_text
from bertc.cli.request import Request, out_option, recipe_command
from bertc.cli.tables import print_facts
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

    Ranges start from --calibration-data, or from the training data where there is none. Early stopping looks at a part
    of the training data. A run that was interrupted goes on with --resume.
    """
    recipe = request.recipe()
    check_single_target(recipe)
    from bertc.jobs.finetune import finetune  # numpy and onnx_ir: not for --help

    with request.work() as work:
        line = output.command_line
        trained = finetune(recipe, out, resume=resume, force=force, work=work, command=line)
    if trained.speaks and output.json:
        output.print_json(trained.report)
    if trained.speaks:
        print_facts(output, _facts(trained.report, out))
    return EXIT_PASSED


def _facts(report: Mapping[str, Any], out: Path) -> list[tuple[str, str]]:
    facts = [
        ("steps", f"{report['steps']} of {report['planned_steps']}, the best after {report['best_step']}"),
        ("time", f"{time_text(report['seconds'])}, {report['sentences_per_second']:.0f} sentences/s"),
    ]
    held = {name: _change(report["curve"], name) for name in report["curve"][0] if name.startswith("held_out_")}
    facts += [(name.replace("_", " "), told) for name, told in held.items()]
    return [*facts, ("checkpoint", f"{out}, unvalidated: build it with validation data")]


def _change(curve: list[Mapping[str, Any]], name: str) -> str:
    begin, best = curve[0], min(curve, key=lambda look: look["held_out_loss"])
    return " -> ".join("undefined" if look[name] is None else f"{look[name]:.4g}" for look in (begin, best))
