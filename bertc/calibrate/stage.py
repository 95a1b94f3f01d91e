"""The stage `calibrate`: a table of a text, observed or taken from the cache."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from bertc.cache.stages import Stage, Work
from bertc.calibrate.collect import ranges_from_batches
from bertc.calibrate.gram import grams_from_batches
from bertc.calibrate.table import TABLE_FILE, CalibrationTable, table_from_path, text_from_table
from bertc.core.progress import Progress
from bertc.data.encoded import Encoded
from bertc.ir.edit import layers_of_graph
from bertc.ir.sites import GEMM_INPUTS, Site


def calibrated_table(
    graph: ir.Model, texts: Encoded, *, checkpoint: str, exponent: float, per_site: tuple[str, ...], work: Work
) -> CalibrationTable:
    """Observe every site of a float graph over a text, or take what was observed from the cache.

    `checkpoint` is the digest that the table is bound to. `exponent` is that of its smoothing factors, `per_site` what
    is chosen for each site by itself (`bertc.calibrate.collect`).
    """
    seen = work.kept(CALIBRATE, graph, texts, exponent, tuple(sorted(per_site)))
    return replace(seen, checkpoint=checkpoint, origin={**texts.origin, "rows": seen.origin["rows"]})


def _observe(
    progress: Progress, graph: ir.Model, texts: Encoded, exponent: float, per_site: tuple[str, ...]
) -> CalibrationTable:
    grams = None
    if per_site:
        sites = [Site(layer, role) for layer in range(layers_of_graph(graph)) for role in GEMM_INPUTS]
        grams = grams_from_batches(graph, texts.features, sites, progress=progress)
    return ranges_from_batches(
        graph,
        texts.features,
        exponent=exponent,
        progress=progress,
        per_site=per_site,
        grams=grams,
    )


def _write(table: CalibrationTable, folder: Path) -> None:
    (folder / TABLE_FILE).write_text(text_from_table(table), encoding="utf-8")


def _read(folder: Path) -> CalibrationTable:
    return table_from_path(folder / TABLE_FILE)


CALIBRATE = Stage(name="calibrate", function=_observe, write=_write, read=_read)
