"""The ranges that travel with a checkpoint: a calibration.json beside its weights, or fake quantizers among them.

They are used where the user names neither text nor a table; whoever names one is told that they were not.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bertc.calibrate.histogram import BINS
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.needs import check_needs, has_histograms, source_of_table
from bertc.calibrate.table import TABLE_FILE, CalibrationTable, Statistics, table_from_path
from bertc.checkpoint import Checkpoint
from bertc.checkpoint.quantizers import QuantizerRanges, ranges_from_checkpoint
from bertc.errors import InputError
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role, Site


def source_of_ranges(checkpoint: Checkpoint) -> str | None:
    """Say which ranges travel with a checkpoint: those that are used first, or None."""
    if (checkpoint.path / TABLE_FILE).is_file():
        return TABLE_FILE
    return "its quantizers' buffers" if checkpoint.quantizers else None


def own_table(checkpoint: Checkpoint, scheme: Scheme, method: RangeMethod) -> CalibrationTable | None:
    """Return the table of the checkpoint's own ranges; None where it has none.

    Raises `InputError` when they are damaged, lack what the scheme needs, or leave the method nothing to choose from.
    """
    path = checkpoint.path / TABLE_FILE
    if path.is_file():
        table = given_table(str(path), checkpoint)
        data = table.origin.get("data")
        told = f"{TABLE_FILE} of the checkpoint" + (f" (from {data})" if isinstance(data, str) else "")
        origin = {"rows": 0, "digest": checkpoint.digest, **table.origin, "data": told}
        table = replace(table, origin=origin)
    else:
        ranges = ranges_from_checkpoint(checkpoint)
        if ranges is None:
            return None
        table = table_from_ranges(ranges, checkpoint)
    check_needs(table, scheme, layers=checkpoint.architecture.layers)
    if not has_histograms(table) and method != RangeMethod():
        raise InputError(
            f"{source_of_table(table)} has ranges and no histograms, so a calibrator has nothing to choose from; "
            "leave out --calibrator and --percentile, or name text with --calibration-data"
        )
    return table


def given_table(path: str, checkpoint: Checkpoint) -> CalibrationTable:
    """Read a table and check that it belongs to the checkpoint."""
    table = table_from_path(Path(path))
    if table.checkpoint != checkpoint.digest:
        raise InputError(
            f"calibration table {path} was made for another checkpoint (digest {table.checkpoint[:12]}, this one is "
            f"{checkpoint.digest[:12]}); calibrate this checkpoint"
        )
    return table


def table_from_ranges(ranges: QuantizerRanges, checkpoint: Checkpoint) -> CalibrationTable:
    """Make a table of ranges alone: no histograms, nothing per channel, no smoothing factors.

    The softmax's range is an override, which a calibrator leaves alone: 1 is its bound, not what was trained with.
    """
    empty = np.zeros(BINS, np.int64)
    probs = {Site(layer, Role.PROBS): 1.0 for layer in range(checkpoint.architecture.layers)}
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


def notes_of_ranges(checkpoint: Checkpoint, table: CalibrationTable | None, named: str | None) -> tuple[str, ...]:
    """Say what the user should know of where the ranges come from; `named` is the table or the text that he named.

    Whoever names the checkpoint's own calibration.json gets its ranges.
    """
    source = source_of_ranges(checkpoint)
    notes = tuple(str(note) for note in table.origin.get("notes", ())) if table is not None else ()
    if source is None or table is None or named is None:
        return notes
    if source == TABLE_FILE and Path(named).is_file() and Path(named).samefile(checkpoint.path / TABLE_FILE):
        return notes
    return (*notes, f"the checkpoint has ranges of its own ({source}), which were not used, because {named} was named")
