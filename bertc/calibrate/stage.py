"""The stage `calibrate`: a table of a text, observed or taken from the cache."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir

from bertc.cache.stages import Stage, Work
from bertc.calibrate.collect import observe_here, ranges_from_batches
from bertc.calibrate.shards import observe_in
from bertc.calibrate.table import TABLE_FILE, CalibrationTable, table_from_path, text_from_table
from bertc.core.progress import Progress
from bertc.core.workers import Workers
from bertc.data.encoded import Encoded


def calibrated_table(  # noqa: PLR0913 - what is observed, how, and by whom
    graph: ir.Model,
    texts: Encoded,
    *,
    checkpoint: str,
    exponent: float,
    per_site: tuple[str, ...],
    threads: int,
    work: Work,
) -> CalibrationTable:
    """Observe every site of a float graph over a text, or take what was observed from the cache.

    `checkpoint` is the digest that the table is bound to. `exponent` is that of its smoothing factors, `per_site` what
    is chosen for each site by itself (`bertc.calibrate.collect`). The workers of the run share the text, with so many
    `threads` each (0: their share of the cores); who saw what is no part of the key.
    """
    observed = replace(CALIBRATE, function=partial(_observe_with, work.workers, threads))
    seen = work.kept(observed, graph, texts, exponent, tuple(sorted(per_site)))
    return replace(seen, checkpoint=checkpoint, origin={**texts.origin, "rows": seen.origin["rows"]})


def _observe_with(  # noqa: PLR0913 - who observes, and what the stage takes
    workers: Workers,
    threads: int,
    progress: Progress,
    graph: ir.Model,
    texts: Encoded,
    exponent: float,
    per_site: tuple[str, ...],
) -> CalibrationTable:
    with TemporaryDirectory(prefix="bertc-") as folder:
        observe = (
            observe_here(graph, threads=threads)
            if workers.alone
            else observe_in(workers, graph, Path(folder), threads=threads)
        )
        return ranges_from_batches(
            graph, texts.features, exponent=exponent, progress=progress, per_site=per_site, observe=observe
        )


def _observe(
    progress: Progress, graph: ir.Model, texts: Encoded, exponent: float, per_site: tuple[str, ...]
) -> CalibrationTable:
    return _observe_with(Workers(), 0, progress, graph, texts, exponent, per_site)


def _write(table: CalibrationTable, folder: Path) -> None:
    (folder / TABLE_FILE).write_text(text_from_table(table), encoding="utf-8")


def _read(folder: Path) -> CalibrationTable:
    return table_from_path(folder / TABLE_FILE)


CALIBRATE = Stage(name="calibrate", function=_observe, write=_write, read=_read)
