"""Observe a checkpoint's ranges over text and write a table.

One table serves every mode, granularity and calibrator.
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


@click.command("calibrate", cls=Command)
@options.checkpoint_argument
@option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE",
    default="calibration.json",
    help="The table to write. Default: calibration.json.",
)
@options.model_options
@options.calibration_options
@options.per_site_option
@options.smoothing_option
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
    """Run the float model of CHECKPOINT over text and write what was seen at every site.

    \b
      bertc calibrate CHECKPOINT --calibration-data train.tsv -o calibration.json
      bertc build CHECKPOINT --calibration calibration.json --validation-data dev.tsv -o OUT
    """
    wanted = options.recipe_from_flags(checkpoint, recipe, flags)
    from bertc.artefact.stages import Work
    from bertc.calibrate.table import text_from_table
    from bertc.cli.files import write_file
    from bertc.partial import calibrate

    with (
        shown_progress(output) as progress,
        cache_from_options(cache_dir, no_cache=no_cache, progress=progress) as cache,
    ):
        table = calibrate(wanted, work=Work(cache, progress))
    write_file(out, text_from_table(table))
    rows, sites = table.origin.get("rows"), len(table.sites)
    if output.json:
        output.print_json({"table": str(out), "rows": rows, "sites": sites, "checkpoint": table.checkpoint})
    output.say(f"{out}: {sites} sites over {rows} rows of {table.origin.get('data')}")
    return EXIT_PASSED
