"""Train a checkpoint for INT8 or sparsity with a teacher.

The result is a checkpoint again, with the ranges it was trained with: build it, and prove it there.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bertc.cli import options
from bertc.cli.cache import cache_from_options
from bertc.cli.command import Command, all_of, option
from bertc.cli.output import Output
from bertc.cli.progress import shown_progress, time_text
from bertc.cli.tables import print_facts
from bertc.errors import EXIT_PASSED

TRAINING, LEARNT = "Training", "What is learnt"


def weighted_names(value: str) -> dict[str, float]:
    """Read logits,hidden=0.5: names with weights, 1 where none is given.

    >>> weighted_names("logits,hidden=0.5")
    {'logits': 1.0, 'hidden': 0.5}
    """
    found: dict[str, float] = {}
    for item in filter(None, (part.strip() for part in value.split(","))):
        name, _, weight = item.partition("=")
        try:
            found[name] = float(weight or 1)
        except ValueError:
            raise click.BadParameter(f"'{item}' is not of the form NAME=WEIGHT, for example hidden=0.5") from None
    return {} if list(found) == ["none"] else found


training_options = all_of(
    option("--train-data", "training__data", metavar="FILE", section=TRAINING, help="The labelled training data."),
    options.columns_option("--train-column", "training__columns", "the training data", TRAINING),
    option(
        "--epochs",
        "training__epochs",
        type=click.FloatRange(0, min_open=True),
        metavar="N",
        section=TRAINING,
        help="Passes over the data; or give --steps or --minutes.",
    ),
    option(
        "--steps",
        "training__steps",
        type=click.IntRange(min=1),
        metavar="N",
        section=TRAINING,
        help="Optimizer steps. Default: 1500.",
    ),
    option(
        "--minutes",
        "training__minutes",
        type=click.FloatRange(0, min_open=True),
        metavar="N",
        section=TRAINING,
        help="Train for about so long: the first steps are timed, then the number of steps is fixed.",
    ),
    option(
        "--batch-size",
        "training__batch_size",
        type=click.IntRange(min=1),
        metavar="N",
        section=TRAINING,
        help="Texts of a batch, over all processes. Default: 32.",
    ),
    option(
        "--accumulate",
        "training__accumulate",
        type=click.IntRange(min=1),
        metavar="N",
        section=TRAINING,
        help="Batches of a step. Default: 1.",
    ),
    option(
        "--learning-rate",
        "training__learning_rate",
        type=click.FloatRange(0, min_open=True),
        metavar="N",
        section=TRAINING,
        help="The largest learning rate. Default: 5e-5.",
    ),
    option(
        "--held-out",
        "training__held_out",
        type=click.IntRange(min=0),
        metavar="N",
        section=TRAINING,
        help="Rows of the training data that decide when to stop, at most a tenth; 0: none. Default: 512.",
    ),
    option(
        "--precision",
        "training__precision",
        type=click.Choice(["auto", "fp32", "bf16"]),
        section=TRAINING,
        help="How products are computed. Default: auto, bf16 where the processor has it.",
    ),
    option(
        "--device",
        "training__device",
        type=click.Choice(["auto", "cpu", "cuda"]),
        section=TRAINING,
        help="Where to train. Default: auto.",
    ),
    option(
        "--seed",
        "training__seed",
        type=click.IntRange(min=0),
        metavar="N",
        section=TRAINING,
        help="Seed of the data's order and of what is held out. Default: 0.",
    ),
    option("--resume", is_flag=True, section=TRAINING, help="Go on with the run that was interrupted."),
)

learning_options = all_of(
    option(
        "--float",
        "floating",
        is_flag=True,
        section=LEARNT,
        help="Train the float model: a sparse checkpoint, whose zeros stay.",
    ),
    option(
        "--teacher",
        "training__teacher",
        metavar="CHECKPOINT",
        section=LEARNT,
        help="A checkpoint to learn from, in float. Default: CHECKPOINT itself.",
    ),
    option(
        "--distill",
        "training__distill",
        type=weighted_names,
        metavar="NAMES",
        section=LEARNT,
        help="What is learnt from the teacher, with weights: logits, hidden, attention; or none. "
        "Default: logits,hidden=10.",
    ),
    option(
        "--replace",
        "training__replace",
        type=click.FloatRange(0, 1),
        metavar="N",
        section=LEARNT,
        help="Up to this share of a text's tokens is random, and the teacher says what it makes of it. Default: 0.4.",
    ),
    option(
        "--labels",
        "training__labels",
        type=click.FloatRange(0),
        metavar="N",
        section=LEARNT,
        help="Weight of the data's labels. Default: 0.",
    ),
    option(
        "--learned-scales/--fixed-scales",
        "learned",
        default=None,
        section=LEARNT,
        help="Train the ranges of activations, or keep those of the calibration. Default: train.",
    ),
)

calibration_choices = all_of(
    option(
        "--calibration-data",
        "calibration__data",
        metavar="FILE",
        section=options.CALIBRATION,
        help="Text for the ranges to start from. Default: the training data.",
    ),
    option(
        "--calibration-samples",
        "calibration__samples",
        type=click.IntRange(min=1),
        metavar="N",
        section=options.CALIBRATION,
        help="Rows of it. Default: 256.",
    ),
)


@click.command("finetune", cls=Command)
@options.checkpoint_argument
@option("-o", "--out", type=click.Path(path_type=Path), metavar="OUT", required=True, help="The folder to write.")
@options.model_options
@training_options
@learning_options
@options.quantization_options
@calibration_choices
@options.table_option
@options.calibrator_options
@options.target_option
@options.attention_option
@options.threads_option
@options.length_option
@options.cache_options
def command(
    output: Output,
    checkpoint: str | None,
    out: Path,
    recipe: str | None,
    cache_dir: Path | None,
    no_cache: bool,
    resume: bool,
    floating: bool,
    learned: bool | None,
    **flags: Any,
) -> int:
    """Train CHECKPOINT as it will run in INT8, with a teacher, and write a checkpoint and its ranges into OUT.

    \b
      bertc finetune CHECKPOINT --train-data train.tsv --int8-mode 2 -o OUT
      bertc build OUT --calibration OUT/calibration.json --int8-mode 2 --validation-data dev.tsv -o ENGINE
      torchrun --nproc-per-node 4 --no-python bertc finetune CHECKPOINT --train-data train.tsv -o OUT

    Early stopping looks at a part of the training data. A run that was interrupted goes on with --resume.
    """
    wanted = options.recipe_from_flags(checkpoint, recipe, flags)
    switches = {"quantize": False} if floating else {}
    switches |= {} if learned is None else {"learned_scales": learned}
    wanted = wanted.model_copy(update={"training": wanted.training.model_copy(update=switches)})
    from bertc.artefact.stages import Work
    from bertc.finetune import finetune  # numpy and onnx_ir: not for --help

    with (
        shown_progress(output) as progress,
        cache_from_options(cache_dir, no_cache=no_cache, progress=progress) as cache,
    ):
        line = shlex.join(["bertc", *output.arguments])
        found = finetune(wanted, out, resume=resume, work=Work(cache, progress), command=line)
    if found.speaks and output.json:
        output.print_json(found.report)
    if found.speaks:
        print_facts(output, _facts(found.report, out))
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
