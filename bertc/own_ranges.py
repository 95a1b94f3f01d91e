"""The ranges that travel with a checkpoint: a calibration.json beside its weights, or fake quantizers among them.

They are used where the user names neither text nor a table; whoever names one is told that they were not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bertc.calibrate.histogram import BINS
from bertc.calibrate.table import CalibrationTable, Statistics
from bertc.checkpoint import Checkpoint
from bertc.checkpoint.quantizers import QuantizerRanges, ranges_from_checkpoint
from bertc.errors import InputError
from bertc.graph.build import architecture_from_checkpoint
from bertc.graph.scheme import Scheme
from bertc.graph.sites import Role, Site
from bertc.inputs import given_table, layers_of
from bertc.quantize.needs import check_needs, has_histograms, source_of_table
from bertc.recipe import Recipe

TABLE_FILE = "calibration.json"
"""A table of the checkpoint that lies in its folder; it is no part of the checkpoint's digest, which it names."""


def source_of_ranges(checkpoint: Checkpoint) -> str | None:
    """Say which ranges travel with a checkpoint: those that are used first, or None."""
    if (checkpoint.path / TABLE_FILE).is_file():
        return TABLE_FILE
    return "its quantizers' buffers" if checkpoint.quantizers else None


def own_table(recipe: Recipe, checkpoint: Checkpoint, scheme: Scheme | None) -> CalibrationTable | None:
    """Return the table of the checkpoint's own ranges; None where it has none, or the recipe names others.

    Raises `InputError` when they are damaged or lack what the scheme needs.
    """
    wanted = recipe.calibration
    if scheme is None or wanted.data is not None or wanted.table is not None:
        return None
    path = checkpoint.path / TABLE_FILE
    if path.is_file():
        table = given_table(str(path), checkpoint)
        data = table.origin.get("data")
        told = f"{TABLE_FILE} of the checkpoint" + (f" (from {data})" if isinstance(data, str) else "")
        origin = {"rows": 0, "digest": checkpoint.digest, **table.origin, "data": told}
        table = replace(table, origin=origin)
    else:
        ranges = ranges_from_checkpoint(checkpoint, architecture_from_checkpoint(checkpoint))
        if ranges is None:
            return None
        table = table_from_ranges(ranges, checkpoint)
    check_needs(table, scheme, layers=layers_of(checkpoint))
    if not has_histograms(table) and (wanted.calibrator != "percentile" or wanted.percentile is not None):
        raise InputError(
            f"{source_of_table(table)} has ranges and no histograms, so a calibrator has nothing to choose from; "
            "leave out --calibrator and --percentile, or name text with --calibration-data"
        )
    return table


def table_from_ranges(ranges: QuantizerRanges, checkpoint: Checkpoint) -> CalibrationTable:
    """Make a table of ranges alone: no histograms, nothing per channel, no smoothing factors.

    The softmax's range is an override, which a calibrator leaves alone: 1 is its bound, not what was trained with.
    """
    empty = np.zeros(BINS, np.int64)
    probs = {Site(layer, Role.PROBS): 1.0 for layer in range(layers_of(checkpoint))}
    return CalibrationTable(
        sites={
            site: Statistics(counts=empty, amax=amax) for site, amax in sorted((probs | dict(ranges.sites)).items())
        },
        checkpoint=checkpoint.digest,
        origin={
            "data": "quantizers' buffers of the checkpoint",
            "digest": checkpoint.digest,
            "rows": 0,
            "notes": list(ranges.notes),
        },
        overrides={site: amax for site, amax in ranges.sites.items() if site.role is Role.PROBS},
    )


def notes_of_ranges(
    recipe: Recipe, checkpoint: Checkpoint, scheme: Scheme | None, table: CalibrationTable | None
) -> tuple[str, ...]:
    """Say what the user should know of where the ranges come from."""
    source, wanted = source_of_ranges(checkpoint), recipe.calibration
    notes = tuple(str(note) for note in table.origin.get("notes", ())) if table is not None else ()
    if source is None or scheme is None or (wanted.data is None and wanted.table is None):
        return notes
    used = wanted.table or wanted.data
    return (*notes, f"the checkpoint has ranges of its own ({source}), which were not used, because {used} was named")
