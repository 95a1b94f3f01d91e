"""What a scheme needs of a calibration table, asked before anything is built on it.

A table of bertc's own calibration has everything; one made of other tools' ranges has one range per tensor and no more.
"""

from __future__ import annotations

from bertc.calibrate.table import CalibrationTable
from bertc.errors import InputError
from bertc.ir.scheme import Scheme
from bertc.ir.sites import GEMM_OUTPUTS, Role, Site

TEXT = "name text with --calibration-data"


def check_needs(table: CalibrationTable, scheme: Scheme, *, layers: int) -> None:
    """Raise `InputError` when the table lacks ranges, ranges per channel or smoothing factors that the scheme needs."""
    quantized = [Site(layer, role) for layer in range(layers) for role in Role if scheme.quantizes(Site(layer, role))]
    source = source_of_table(table)
    # A softmax is bounded by 1, so its range is known without a table.
    missing = [site for site in quantized if site.role is not Role.PROBS and site not in table.sites]
    if missing:
        more = f" and {len(missing) - 1} more sites" if len(missing) > 1 else ""
        raise InputError(
            f"{source} has no site {missing[0]}{more}, which INT8 mode {scheme.mode.name} quantizes; choose another "
            f"mode, leave the sites in float with --keep-float, or {TEXT}"
        )
    for site in quantized:
        columns = scheme.per_channel and site.role in GEMM_OUTPUTS and site not in table.overrides
        if columns and table.sites[site].channel_amax is None:
            raise InputError(
                f"{source} has one range at {site} and none per channel, which granularity channel needs; choose "
                f"--granularity tensor, or {TEXT}"
            )
    if scheme.smoothing is not None and table.exponent is None and not has_histograms(table):
        raise InputError(
            f"{source} has no smoothing factors, which the smoothing exponent {scheme.smoothing:g} needs; choose "
            f"--smoothing 0, or {TEXT}"
        )


def source_of_table(table: CalibrationTable) -> str:
    """Name a table by where it comes from."""
    data = table.origin.get("data")
    return f"the calibration table (of {data})" if isinstance(data, str) else "the calibration table"


def has_histograms(table: CalibrationTable) -> bool:
    """Say whether values were observed, or the table holds ranges alone, which leave a calibrator nothing to choose."""
    return any(found.counts.any() for found in table.sites.values())
