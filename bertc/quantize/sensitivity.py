"""Which site hurts: the error of the model's outputs when one site alone is quantized.

The Q/DQ graph gets one switch per site, `Where(switch, dequantized, value)`, and runs once per site over a few texts;
with all switches off it is the float graph but for its INT8 weights. Local errors do not tell this: a GEMM output with
two outlier channels has a tiny relative error and ruins the other channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.table import CalibrationTable
from bertc.core.batch import Batch, batch_from_features
from bertc.core.feature import Feature
from bertc.core.outputs import Output, vector_from_values
from bertc.core.progress import Progress
from bertc.ir.edit import insert_after, values_by_name
from bertc.ir.emit import Emitter
from bertc.ir.interpret import Interpreter
from bertc.ir.sites import Site
from bertc.ir.standard import standard_from_graph
from bertc.quantize.insert import Quantized

SWITCHES = "site_switches"
TOKENS = 256
"""Tokens of text that the measurement reads; one run per site, so it bounds the time."""


def sensitivity_from_graph(
    quantized: Quantized,
    table: CalibrationTable,
    features: Sequence[Feature],
    outputs: Sequence[Output],
    *,
    progress: Progress,
) -> dict[Site, float]:
    """Return the mean squared error of the model's outputs per site, quantized alone, against none quantized."""
    sites = sorted(quantized.scales)
    if not sites or not features:
        return {}
    model = _switched(quantized, table, sites)
    interpreter = Interpreter(model)
    batch = _few(features)
    progress.stage("sensitivity", total=len(sites))

    def run(switches: NDArray[np.bool_]) -> NDArray[np.float64]:
        return vector_from_values(outputs, interpreter.run(batch, {SWITCHES: switches}), batch.mask)

    plain = run(np.zeros(len(sites), bool))
    errors = {}
    for number, site in enumerate(sites):
        switches = np.zeros(len(sites), bool)
        switches[number] = True
        errors[site] = float(np.mean((run(switches) - plain) ** 2))
        progress.advance()
    return errors


def _few(features: Sequence[Feature]) -> Batch:
    """Take features of middling length, as many as `TOKENS` allows, at least one."""
    order = sorted(range(len(features)), key=lambda place: features[place].length)
    middle = len(order) // 2
    length = max(features[order[middle]].length, 1)
    count = max(1, TOKENS // length)
    start = max(0, middle + 1 - count)
    return batch_from_features(features, order[start : start + count])


def _switched(quantized: Quantized, table: CalibrationTable, sites: Sequence[Site]) -> ir.Model:
    """Return the graph in standard operators with a switch behind every dequantized value."""
    model = standard_from_graph(quantized.graph)
    switches = ir.val(SWITCHES, dtype=ir.DataType.BOOL, shape=(len(sites),))
    model.graph.inputs.append(switches)
    values = values_by_name(model)
    for number, site in enumerate(sites):
        plain = values[site.name]
        _switch(model, values[f"{site.name}.dequantized"], plain, switches, number)
        residual = values.get(f"{site.name}.residual")
        if residual is not None:
            emit = Emitter()
            factors = emit.constant(f"{site.name}.switch_factors", table.smoothing[site])
            unsmoothed = emit.op("Mul", plain, factors, name=f"{site.name}.switch_plain")
            insert_after(model, plain, emit, unsmoothed, [])
            _switch(model, residual, unsmoothed, switches, number)
    return model


def _switch(model: ir.Model, dequantized: ir.Value, plain: ir.Value, switches: ir.Value, number: int) -> None:
    emit = Emitter()
    place = emit.constant(f"{dequantized.name}.place", np.array(number, np.int64))
    switch = emit.op("Gather", switches, place, name=f"{dequantized.name}.switch")
    chosen = emit.op("Where", switch, dequantized, plain, name=f"{dequantized.name}.chosen")
    insert_after(model, dequantized, emit, chosen, list(dequantized.uses()))
