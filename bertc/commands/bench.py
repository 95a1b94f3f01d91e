"""Measure the latency of artefacts side by side.

Rounds are interleaved, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import re
from pathlib import Path

import click

from bertc.cli.command import Command, option
from bertc.cli.output import Output
from bertc.cli.progress import shown_progress
from bertc.cli.tables import print_table
from bertc.errors import EXIT_PASSED

DEFAULT_SHAPES = ((1, 32), (1, 128), (8, 128))


def shape_from_text(value: str) -> tuple[int, int]:
    """Read BATCHxLENGTH, two positive numbers."""
    match = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,5})", value)
    if match is None:
        raise click.BadParameter(f"'{value}' is no shape; write BATCHxLENGTH, for example 1x32")
    return int(match[1]), int(match[2])


@click.command("bench", cls=Command)
@click.argument("artefacts", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="OUT...")
@option(
    "--shape",
    "shapes",
    multiple=True,
    type=shape_from_text,
    metavar="BATCHxLENGTH",
    help="Texts and tokens of each. Repeatable. Default: 1x32, 1x128 and 8x128.",
)
@option("--rounds", type=click.IntRange(min=1), metavar="N", default=20, help="Rounds of each shape. Default: 20.")
@option("--threads", type=click.IntRange(min=0), metavar="N", default=0, help="Threads; 0 is all cores. Default: 0.")
def command(
    output: Output, artefacts: tuple[Path, ...], shapes: tuple[tuple[int, int], ...], rounds: int, threads: int
) -> int:
    """Time the engines in the folders OUT; ratios are to the first of them.

    \b
      bertc bench FLOAT OUT --shape 1x32 --shape 8x384
    """
    if len(set(artefacts)) < len(artefacts):
        raise click.UsageError("an artefact is named twice")
    from bertc.bench import bench

    with shown_progress(output) as progress:
        timings = bench(artefacts, shapes=shapes or DEFAULT_SHAPES, rounds=rounds, threads=threads, progress=progress)
    if output.json:
        output.print_json([timing.as_dict() for timing in timings])
    rows = [
        (
            timing.artefact,
            f"{timing.batch}x{timing.length}",
            f"{timing.p50:.2f}",
            f"{timing.p95:.2f}",
            f"{timing.texts_per_second:.1f}",
            f"{timing.ratio:.2f}",
        )
        for timing in timings
    ]
    print_table(output, ("artefact", "shape", "p50 ms", "p95 ms", "texts/s", "times as fast"), rows, numbers=5)
    return EXIT_PASSED
