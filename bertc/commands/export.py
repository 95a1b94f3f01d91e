"""Write model.onnx for a target, without validating it."""

from __future__ import annotations

import tempfile
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
    from bertc.partial import Exported
    from bertc.recipe import Recipe


@click.command("export", cls=Command)
@options.checkpoint_argument
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default="model.onnx",
    help="The file to write, or a folder for model.onnx. Default: model.onnx.",
)
@options.model_options
@options.calibration_options
@options.table_option
@options.calibrator_options
@options.quantization_options
@options.target_option
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
    """Write the ONNX file of CHECKPOINT for a target. Nothing proves its accuracy: that is what bertc build is for.

    \b
      bertc export CHECKPOINT --calibration calibration.json -o model.onnx
      bertc export CHECKPOINT --target float -o float.onnx
    """
    wanted = options.recipe_from_flags(checkpoint, recipe, flags)
    path = out / "model.onnx" if out.is_dir() else out
    with shown_progress(output) as progress, cache_from_options(cache_dir, no_cache=no_cache, progress=progress) as cache:
        found = _export(wanted, path, progress=progress, cache=cache)
    quantized = found.quantized
    counts = None if quantized is None else dict(quantized.counts)
    if output.json:
        output.print_json({"model": str(path), "bytes": found.bytes, "counts": counts, "unvalidated": True})
    output.say(f"{path}: {found.bytes / 1e6:.1f} MB for {wanted.engine.target}")
    output.note("unvalidated: nothing proves the accuracy of this model; bertc build does")
    return EXIT_PASSED


def _export(recipe: Recipe, path: Path, **options: Any) -> Exported:
    """Export into a scratch folder, then put the file in its place."""
    from bertc.cli.files import finished_file
    from bertc.partial import export

    with finished_file(path) as work, tempfile.TemporaryDirectory(prefix=".bertc-", dir=work.parent) as scratch:
        found = export(recipe, Path(scratch), **options)
        found.path.replace(work)
    return found
