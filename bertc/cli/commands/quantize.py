"""Write the Q/DQ graph that the simulator runs, as ONNX.

Plain operators and one function for attention: any ONNX runtime and Netron open it.
"""

from __future__ import annotations

from pathlib import Path

import click

from bertc.artefact.kinds import MODEL
from bertc.cli.command import Command, force_option
from bertc.cli.output import Output
from bertc.cli.request import Request, out_option, recipe_command
from bertc.errors import EXIT_PASSED


@click.command("quantize", cls=Command)
@out_option(MODEL, "FILE", "The graph to write. Default: quantized.onnx.", default="quantized.onnx")
@force_option(MODEL)
@recipe_command("task", "calibration", "quantization", "engine.max_length")
def command(output: Output, request: Request, out: Path, force: bool) -> int:
    """Quantize CHECKPOINT and write the graph that every target is lowered from. Nothing is validated.

    \b
      bertc quantize CHECKPOINT --calibration calibration.json --int8-mode 2 -o quantized.onnx
    """
    recipe = request.recipe()
    import onnx_ir as ir

    from bertc.cli.result_files import finished_file
    from bertc.jobs.quantize import quantize

    with request.work() as work:
        quantized = quantize(recipe, work=work)
        with finished_file(out, MODEL, force=force) as unfinished:
            ir.save(quantized.graph, unfinished)
    output.tell(
        {"graph": str(out), "counts": dict(quantized.counts), "unvalidated": True},
        *(f"{role:<20}{count:>4}" for role, count in quantized.counts.items()),
        f"{out}: unvalidated, {sum(quantized.counts.values())} values and weights in INT8",
    )
    return EXIT_PASSED
