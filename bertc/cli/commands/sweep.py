"""Build many checkpoints with many schemes, compared on one page.

A build that is there and unchanged is kept, so that a sweep that was ended goes on; one that fails is a row of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertc.artefact.kinds import SWEEP
from bertc.cli.command import Command, option
from bertc.cli.output import Output
from bertc.cli.paths import Reads, destinations_of
from bertc.cli.progress import shown_progress
from bertc.cli.request import cache_directory, cache_options, out_option, sources_from_recipe
from bertc.cli.tables import print_facts, print_table
from bertc.core.number_text import figure
from bertc.recipe import sweep_from_path

if TYPE_CHECKING:
    from bertc.report.sweep import SweepReport

MOST_WORKERS = 256


@click.command("sweep", cls=Command)
@click.argument("sweep", type=Reads())
@out_option(SWEEP, "OUT", "The folder of the builds and their page.", required=True)
@option(
    "--workers",
    type=click.IntRange(1, MOST_WORKERS),
    default=1,
    metavar="N",
    help="Builds side by side, each in a process of its own with its share of the cores. Default: 1.",
)
@option("--force", is_flag=True, help="Build all again, also what is there and unchanged.")
@cache_options()
def command(
    output: Output, sweep: Path, out: Path, workers: int, force: bool, cache_dir: Path | None, no_cache: bool
) -> int:
    """Build every checkpoint of SWEEP (a TOML file, docs/sweep.md) with every scheme into the folder OUT.

    \b
      bertc sweep sweep.toml -o OUT

    OUT/index.html compares them, OUT/sweep.json has the figures. The same command goes on with what is not built yet.
    Exit code 0 if all pass their gates, 1 if one does not, and that of the worst error if one could not be built.
    """
    wanted = sweep_from_path(sweep)
    from bertc.artefact.destination import check_apart
    from bertc.jobs.sweep import Conditions  # numpy and onnx_ir: not for --help
    from bertc.jobs.sweep import sweep as build_all

    destinations = destinations_of(click.get_current_context())
    for build in wanted.builds:
        check_apart(destinations, sources_from_recipe(build.recipe))
    conditions = Conditions(
        workers=workers,
        force=force,
        cache=cache_directory(cache_dir, no_cache=no_cache),
        source=str(sweep),
        command=output.command_line,
    )
    with shown_progress(output) as progress:
        report = build_all(wanted, out, conditions=conditions, progress=progress)
    return _conclude(output, report, out)


def _conclude(output: Output, report: SweepReport, out: Path) -> int:
    """Print what became of every build, and one line if not all passed. Returns the exit code."""
    from bertc.artefact.layout import SWEEP_PAGE
    from bertc.report.html.verdict import mean_speed
    from bertc.report.sweep import WORDS, counts_of_states, sweep_to_json

    if output.json:
        click.echo(sweep_to_json(report), nl=False)
    rows = []
    for row in report.builds:
        speed, metric = mean_speed(row.latency), row.accuracy
        rows.append(
            (
                row.name,
                row.target,
                WORDS[row.state],
                "-" if metric is None else metric.metric,
                "-" if metric is None else figure(metric.drop, sign=True),
                "-" if speed is None else f"{speed:.2f}",
                "-" if row.bytes is None else f"{row.bytes / 1e6:.1f} MB",
            )
        )
    head = ("build", "target", "verdict", "metric", "drop", "times as fast", "size")
    print_table(output, head, rows, numbers=3)
    print_facts(output, [("page", str(out / SWEEP_PAGE))])
    if report.exit_code:
        output.fail(f"not all passed: {counts_of_states(report.builds)}")
    return report.exit_code
