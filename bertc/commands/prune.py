"""Prune a checkpoint to 2:4 sparsity.

The result is a checkpoint again: recover its accuracy with bertc finetune, or build it as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.cli import options
from bertc.cli.cache import cache_from_options
from bertc.cli.command import Command, option
from bertc.cli.output import Output
from bertc.cli.progress import shown_progress
from bertc.errors import EXIT_PASSED

if TYPE_CHECKING:
    from bertc.sparsity.prune import PrunedGemm


@click.command("prune", cls=Command)
@options.checkpoint_argument
@option("-o", "--out", type=click.Path(path_type=Path), metavar="OUT", required=True, help="The folder to write.")
@options.model_options
@options.calibration_options
@options.sparsity_choices
@options.length_option
@options.cache_options
def command(
    output: Output,
    checkpoint: str | None,
    out: Path,
    recipe: str | None,
    cache_dir: Path | None,
    no_cache: bool,
    **flags: Any,
) -> int:
    """Set two of four weights of CHECKPOINT's encoder to zero and write it as a Hugging Face folder OUT.

    \b
      bertc prune CHECKPOINT --calibration-data train.tsv -o OUT
      bertc build OUT --calibration-data train.tsv --validation-data dev.tsv -o ENGINE

    Nothing is validated: pruning alone costs accuracy, which bertc finetune recovers with the zeros in place.
    """
    wanted = options.recipe_from_flags(checkpoint, recipe, flags)
    from bertc.artefact.stages import Work
    from bertc.pruning import prune_checkpoint

    with (
        shown_progress(output) as progress,
        cache_from_options(cache_dir, no_cache=no_cache, progress=progress) as cache,
    ):
        pruned = prune_checkpoint(wanted, out, work=Work(cache, progress))
    if output.json:
        output.print_json({"checkpoint": str(out), "tensors": len(pruned.masks), "unvalidated": True})
    for gemm in pruned.gemms:
        output.say(f"{gemm.site.name:<28}{_told(gemm)}")
    output.say(f"{out}: unvalidated, {len(pruned.masks)} of {len(pruned.gemms)} GEMMs are 2:4")
    return EXIT_PASSED


def _told(gemm: PrunedGemm) -> str:
    """Say what became of a GEMM."""
    if gemm.kept_energy is None:
        return f"{gemm.state}: {gemm.reason}"
    error = "" if gemm.output_error is None else f", output error {gemm.output_error:.4f}"
    return f"{gemm.state}: energy kept {gemm.kept_energy:.4f}{error}"
