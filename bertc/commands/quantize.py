"""Write the Q/DQ graph that the simulator runs, as ONNX.

Plain operators and one function for attention: any ONNX runtime and Netron open it.
"""

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


@click.command("quantize", cls=Command)
@options.checkpoint_argument
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default="quantized.onnx",
    help="The graph to write. Default: quantized.onnx.",
)
@options.model_options
@options.calibration_options
@options.table_option
@options.calibrator_options
@options.per_site_option
@options.quantization_options
@options.correction_options
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
    """Quantize CHECKPOINT and write the graph that every target is lowered from. Nothing is validated.

    \b
      bertc quantize CHECKPOINT --calibration calibration.json --int8-mode 2 -o quantized.onnx
    """
    wanted = options.recipe_from_flags(checkpoint, recipe, flags)
    import onnx_ir as ir

    from bertc.artefact.stages import Work
    from bertc.cli.files import finished_file
    from bertc.partial import quantize

    with (
        shown_progress(output) as progress,
        cache_from_options(cache_dir, no_cache=no_cache, progress=progress) as cache,
    ):
        quantized = quantize(wanted, work=Work(cache, progress))
        with finished_file(out) as file:
            ir.save(quantized.graph, file)
    if output.json:
        output.print_json({"graph": str(out), "counts": dict(quantized.counts), "unvalidated": True})
    for role, count in quantized.counts.items():
        output.say(f"{role:<20}{count:>4}")
    output.say(f"{out}: unvalidated, {sum(quantized.counts.values())} values and weights in INT8")
    return EXIT_PASSED
