"""Measure the latency and throughput of artefacts side by side.

Rounds are interleaved, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bertc.artefact.kinds import PAGE
from bertc.cli.columns import column_option
from bertc.cli.command import Command, option
from bertc.cli.engine_option import engine_option, told_choice
from bertc.cli.misplaced_flags import refuse_given
from bertc.cli.output import Output
from bertc.cli.paths import Reads, Writes
from bertc.cli.progress import shown_progress
from bertc.cli.result_files import write_file
from bertc.cli.tables import print_table
from bertc.errors import EXIT_PASSED

if TYPE_CHECKING:
    from bertc.jobs.bench import Timing

MOST_CALLERS = 256
BATCH, LIMIT = 32, 512
DEFAULT_SHAPES = ((1, 32), (1, 128), (8, 128))


def shape_from_text(value: str) -> tuple[int, int]:
    """Read BATCHxLENGTH, two positive numbers."""
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", value)
    if match is None:
        raise click.BadParameter(f"'{value}' is no shape; write BATCHxLENGTH, for example 1x32")
    return int(match[1]), int(match[2])


@click.command("bench", cls=Command)
@click.argument("artefacts", nargs=-1, required=True, type=Reads(), metavar="OUT...")
@option(
    "--shape",
    "shapes",
    multiple=True,
    type=shape_from_text,
    metavar="BATCHxLENGTH",
    help="Texts and tokens of each. Repeatable. Default: 1x32, 1x128 and 8x128, or none with --texts.",
)
@option("--texts", type=Reads(), metavar="FILE", help="Time this file's texts, with their lengths.")
@column_option("columns", "The column of that file that fills a role, by name or by number from 1. Repeatable.")
@option("--batch", type=click.IntRange(min=1), metavar="N", help=f"Texts of a call with --texts. Default: {BATCH}.")
@option("--limit", type=click.IntRange(min=1), metavar="N", help=f"A seeded sample of its rows. Default: {LIMIT}.")
@option("--rounds", type=click.IntRange(min=1), metavar="N", default=20, help="Rounds of each. Default: 20.")
@option(
    "--threads",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="Threads, kept on as many cores where the system can; 0 is all cores. Default: 0.",
)
@option(
    "--callers",
    type=click.IntRange(min=1, max=MOST_CALLERS),
    metavar="N",
    default=1,
    help="Time besides N threads that call one session of one thread. Default: 1, one caller alone.",
)
@engine_option()
@option("--plot", type=Writes(PAGE), metavar="FILE", help="Write the figures and a plot as an HTML page.")
def command(
    output: Output,
    artefacts: tuple[Path, ...],
    shapes: tuple[tuple[int, int], ...],
    texts: Path | None,
    columns: tuple[tuple[str, str], ...],
    batch: int | None,
    limit: int | None,
    rounds: int,
    threads: int,
    callers: int,
    engine: str | None,
    allow_failed: bool,
    plot: Path | None,
) -> int:
    """Time the engines in the folders OUT; ratios are to the first of them.

    \b
      bertc bench FLOAT OUT --shape 1x32 --shape 8x384
      bertc bench FLOAT OUT --texts dev.tsv --batch 32 --plot bench.html
      bertc bench OUT --callers 4 --shape 1x32         # what a server with a thread per request gets
    """
    if len(set(artefacts)) < len(artefacts):
        raise click.UsageError("an artefact is named twice")
    if texts is None:
        given = {"--column": columns, "--batch": batch, "--limit": limit}
        refuse_given(given, "the file that --texts names", "give both, or leave it out")
    from bertc.jobs.bench import Conditions, Texts, bench

    workload = (
        None if texts is None else Texts(path=texts, columns=dict(columns), batch=batch or BATCH, limit=limit or LIMIT)
    )
    chosen = shapes or (() if workload else DEFAULT_SHAPES)
    with shown_progress(output) as progress:
        timings = bench(
            [told_choice(output, out, engine, allow_failed=allow_failed).folder for out in artefacts],
            shapes=chosen,
            texts=workload,
            conditions=Conditions(rounds=rounds, threads=threads, callers=callers),
            progress=progress,
        )
    if plot is not None:
        write_file(plot, _page(timings, threads, rounds), PAGE)
    if output.json:
        output.print_json(_document(timings, threads))
    _print(output, timings)
    return EXIT_PASSED


def _print(output: Output, timings: tuple[Timing, ...]) -> None:
    rows = [
        (
            _name(timing),
            timing.work if timing.length else f"{timing.work}, {timing.batch} at a time",
            *(f"{value:.2f}" for value in (timing.p50, timing.p95, timing.p99)),
            f"{timing.texts_per_second:.1f}",
            f"{timing.spread:.1%}",
            f"{timing.ratio:.2f} ({timing.ratio_range[0]:.2f} to {timing.ratio_range[1]:.2f})",
        )
        for timing in timings
    ]
    head = ("artefact", "work", "p50 ms", "p95 ms", "p99 ms", "texts/s", "spread", "times as fast")
    print_table(output, head, rows, numbers=8)


def _name(timing: Timing) -> str:
    """Name what was timed: the artefact, and its callers where they are several."""
    several = f", {timing.callers} callers of one thread" if timing.callers > 1 else ""
    return timing.artefact + several


def _document(timings: tuple[Timing, ...], threads: int) -> dict[str, object]:
    """Return the figures with the machine and the versions."""
    from bertc.core.versions import library_versions
    from bertc.runtime.machine.cpu import cpu_features, thread_count

    cpu = cpu_features()
    return {
        "cpu": cpu.model,
        "features": sorted(cpu.features),
        "threads": thread_count(threads),
        "versions": library_versions(),
        "timings": [timing.as_dict() for timing in timings],
    }


def _page(timings: tuple[Timing, ...], threads: int, rounds: int) -> str:
    from bertc.report.html.timings import TimingRow, html_from_timings
    from bertc.runtime.machine.cpu import cpu_features, thread_count

    works = []
    for work, group in groupby(timings, key=lambda timing: timing.work):
        rows = [
            TimingRow(
                engine=_name(timing),
                p50=timing.p50,
                p95=timing.p95,
                p99=timing.p99,
                texts_per_second=timing.texts_per_second,
                ratio=timing.ratio,
                ratio_range=timing.ratio_range,
                spread=timing.spread,
            )
            for timing in group
        ]
        works.append((work, rows))
    facts = f"{cpu_features().model}, {thread_count(threads)} threads, {rounds} interleaved rounds"
    return html_from_timings("bertc bench", facts, works)
