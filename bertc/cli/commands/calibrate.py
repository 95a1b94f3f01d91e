"""Observe a checkpoint's ranges over text and write a table.

One table serves every mode, granularity and calibrator.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertc.artefact.kinds import TABLE
from bertc.cli.command import Command, force_option
from bertc.cli.output import Output
from bertc.cli.request import Request, out_option, recipe_command
from bertc.cli.workers_option import workers_option
from bertc.errors import EXIT_PASSED

if TYPE_CHECKING:
    from bertc.core.workers import Workers


@click.command("calibrate", cls=Command)
@out_option(TABLE, "FILE", "The table to write. Default: calibration.json.", default="calibration.json")
@force_option(TABLE)
@workers_option()
@recipe_command(
    "task",
    "calibration.data",
    "calibration.columns",
    "calibration.samples",
    "calibration.seed",
    "calibration.per_site",
    "quantization.smoothing",
    "engine.max_length",
    "engine.threads",
)
def command(output: Output, request: Request, out: Path, force: bool, workers: Workers) -> int:
    """Run the float model of CHECKPOINT over text and write what was seen at every site.

    \b
      bertc calibrate CHECKPOINT --calibration-data train.tsv -o calibration.json
      bertc build CHECKPOINT --calibration calibration.json --validation-data dev.tsv -o OUT
    """
    recipe = request.recipe()
    from bertc.calibrate.table import text_from_table
    from bertc.cli.result_files import write_file
    from bertc.jobs.calibrate import calibrate

    with request.work(workers) as work:
        table = calibrate(recipe, work=work)
    write_file(out, text_from_table(table), TABLE, force=force)
    rows, sites = table.origin.get("rows"), len(table.sites)
    output.tell(
        {"table": str(out), "rows": rows, "sites": sites, "checkpoint": table.checkpoint},
        f"{out}: {sites} sites over {rows} rows of {table.origin.get('data')}",
    )
    return EXIT_PASSED
