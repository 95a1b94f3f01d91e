"""Write model.onnx for a target, without validating it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bertc.cli import options
from bertc.cli.cache import cache_from_options
from bertc.cli.command import Command, option
from bertc.cli.output import Output
from bertc.cli.progress import shown_progress
from bertc.errors import EXIT_PASSED


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
@options.per_site_option
@options.quantization_options
@options.correction_options
@options.target_option
@options.attention_option
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
    import onnx_ir as ir

    from bertc.cli.files import finished_file
    from bertc.partial import export

    with (
        shown_progress(output) as progress,
        cache_from_options(cache_dir, no_cache=no_cache, progress=progress) as cache,
    ):
        found = export(wanted, progress=progress, cache=cache)
        with finished_file(path) as work:
            ir.save(found.model, work)
    size = path.stat().st_size
    counts = None if found.quantized is None else dict(found.quantized.counts)
    if output.json:
        output.print_json({"model": str(path), "bytes": size, "counts": counts, "unvalidated": True})
    output.say(f"{path}: {size / 1e6:.1f} MB for {wanted.engine.target}")
    output.note("unvalidated: nothing proves the accuracy of this model; bertc build does")
    return EXIT_PASSED
