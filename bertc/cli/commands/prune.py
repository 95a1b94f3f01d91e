"""Prune a checkpoint to 2:4 sparsity.

The result is a checkpoint again: recover its accuracy with bertc finetune, or build it as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertc.artefact.kinds import PRUNED
from bertc.cli.command import Command
from bertc.cli.output import Output
from bertc.cli.request import Request, out_option, recipe_command
from bertc.errors import EXIT_PASSED

if TYPE_CHECKING:
    from bertc.prune.layers import PrunedGemm


@click.command("prune", cls=Command)
@out_option(PRUNED, "OUT", "The folder to write.", required=True)
@recipe_command(
    "task",
    "calibration.data",
    "calibration.columns",
    "calibration.samples",
    "calibration.seed",
    "sparsity.criterion",
    "sparsity.skip",
    "sparsity.permute",
    "engine.max_length",
)
def command(output: Output, request: Request, out: Path) -> int:
    """Set two of four weights of CHECKPOINT's encoder to zero and write it as a Hugging Face folder OUT.

    \b
      bertc prune CHECKPOINT --calibration-data train.tsv -o OUT
      bertc build OUT --calibration-data train.tsv --validation-data dev.tsv -o ENGINE

    Nothing is validated: pruning alone costs accuracy, which bertc finetune recovers with the zeros in place.
    """
    recipe = request.recipe()
    from bertc.jobs.prune import prune_checkpoint

    with request.work() as work:
        pruned = prune_checkpoint(recipe, out, work=work)
    output.tell(
        {"checkpoint": str(out), "tensors": len(pruned.masks), "unvalidated": True},
        *(f"{gemm.site.name:<28}{_told(gemm)}" for gemm in pruned.gemms),
        f"{out}: unvalidated, {len(pruned.masks)} of {len(pruned.gemms)} GEMMs are 2:4",
    )
    return EXIT_PASSED


def _told(gemm: PrunedGemm) -> str:
    """Say what became of a GEMM."""
    if gemm.kept_energy is None:
        return f"{gemm.state}: {gemm.reason}"
    error = "" if gemm.output_error is None else f", output error {gemm.output_error:.4f}"
    return f"{gemm.state}: energy kept {gemm.kept_energy:.4f}{error}"
