"""The stage `sensitivity`: each quantized site's share of the error, kept in the cache."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from bertc.cache.stages import Stage
from bertc.calibrate.table import CalibrationTable
from bertc.core.outputs import Output
from bertc.core.progress import Progress
from bertc.data.encoded import Encoded
from bertc.ir.sites import Site, site_from_name
from bertc.quantize.insert import Quantized
from bertc.quantize.sensitivity import sensitivity_from_graph

FILE = "sensitivity.json"


def _measure(
    progress: Progress, quantized: Quantized, table: CalibrationTable, texts: Encoded, outputs: tuple[Output, ...]
) -> Mapping[Site, float]:
    return sensitivity_from_graph(quantized, table, texts.features, outputs, progress=progress)


def _write(errors: Mapping[Site, float], folder: Path) -> None:
    document = {site.name: error for site, error in errors.items()}
    (folder / FILE).write_text(json.dumps(document), encoding="utf-8")


def _read(folder: Path) -> Mapping[Site, float]:
    document = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return {site_from_name(name): error for name, error in document.items()}


SENSITIVITY = Stage(name="sensitivity", function=_measure, write=_write, read=_read)
