"""Fold smoothing factors into a graph (Xiao et al. 2022, arXiv:2211.10438; docs/modes.md).

The graph computes the same function before and after. A site's name always means the value that is quantized,
x' = x / m.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.smoothing import CONSUMERS
from bertc.calibrate.table import CalibrationTable
from bertc.errors import InputError
from bertc.ir.edit import insert_after, set_constant
from bertc.ir.emit import Emitter, array_of
from bertc.ir.scheme import Scheme
from bertc.ir.sites import PROJECTION, RESIDUALS, Role, Site

Array = NDArray[np.float32]
PROJECTED = (f"{PROJECTION}.weight", f"{PROJECTION}.bias")
UNSMOOTHED = ".unsmoothed"
"""Suffix of the value x = m x' that the residual reads where the LayerNorm itself gives x'."""


def smooth_graph(graph: ir.Model, table: CalibrationTable, scheme: Scheme) -> ir.Model:
    """Return a copy with the table's factors folded in on the sites that the scheme quantizes.

    Raises `InputError` when the table was made with another exponent.
    """
    model = graph.clone()
    if scheme.smoothing is None:
        return model
    if table.exponent != scheme.smoothing:
        raise InputError(
            f"the calibration table was made with the smoothing exponent {table.exponent}, the build asks for "
            f"{scheme.smoothing}; calibrate again with --smoothing {scheme.smoothing}"
        )
    for name, factors in _folded_factors(graph, table, scheme):
        _scale_weight(model, name, factors)
    for site, factors in _smoothed_sites(table, scheme):
        if _is_folded_into_norm(graph, site, scheme):
            if f"{site.name}.gamma" not in graph.graph.initializers and not _projected(graph):
                _divide_embeddings(model, site, factors)
            _restore_residual(model, site, factors)
        elif site.role is not Role.CONTEXT:
            _divide(model, site, factors)
    return model


def unsmoothed_weights(
    graph: ir.Model, weights: Mapping[str, Array], table: CalibrationTable, scheme: Scheme
) -> dict[str, Array]:
    """Return a smoothed graph's weights without their factors, by initializer name: `smooth_graph` backwards.

    `graph` is the float graph that was smoothed; its biases of zeros, which are no weights, need not be there.
    """
    plain = {name: weight.astype(np.float64) for name, weight in weights.items()}
    if scheme.smoothing is not None:
        for name, factors in _folded_factors(graph, table, scheme):
            if name in plain:
                plain[name] = plain[name] / factors
    return {name: weight.astype(np.float32) for name, weight in plain.items()}


def _smoothed_sites(table: CalibrationTable, scheme: Scheme) -> list[tuple[Site, Array]]:
    """Return the sites with their factors, in an order that a table keeps when it is written and read again."""
    return [(site, factors) for site, factors in sorted(table.smoothing.items()) if scheme.quantizes(site)]


def _is_folded_into_norm(graph: ir.Model, site: Site, scheme: Scheme) -> bool:
    """Say whether the norm itself gives x': where the residual reads codes, or where GEMMs alone read the norm."""
    if site.role not in RESIDUALS:
        return False
    return scheme.mode.quantized_residual or not _other_uses(_value(graph, site.name), site)


def _other_uses(value: ir.Value, site: Site) -> list[Any]:
    """Return the uses of a site's value that are no GEMMs of the layer: where norms come last, the residual's."""
    gemms = {Site(site.layer, gemm).name for gemm in CONSUMERS[site.role]}
    return [use for use in value.uses() if use.node.outputs[0].name not in gemms]


def _folded_factors(graph: ir.Model, table: CalibrationTable, scheme: Scheme) -> Iterator[tuple[str, Array]]:
    """Give each initializer that carries smoothing, and what it is multiplied by; one may come twice.

    The first layer's input is a norm's result, a projection's, or the word embeddings themselves, which carry nothing:
    their table may be codes already.
    """
    for site, factors in _smoothed_sites(table, scheme):
        inverse = np.float32(1) / factors
        for gemm in CONSUMERS[site.role]:
            yield f"{Site(site.layer, gemm).name}.weight", factors[:, None]
        if site.role is Role.CONTEXT:
            # The context is an average of values, so dividing the value projection's columns divides it exactly.
            value = Site(site.layer, Role.VALUE_GEMM).name
            yield f"{value}.weight", inverse
            yield f"{value}.bias", inverse
        elif _is_folded_into_norm(graph, site, scheme):
            norm = [part for part in (f"{site.name}.gamma", f"{site.name}.beta") if part in graph.graph.initializers]
            for part in norm or _projected(graph):  # an RMSNorm has no beta
                yield part, inverse


def _projected(graph: ir.Model) -> tuple[str, ...]:
    """Return the weights of the projection behind narrow embeddings, if there is one."""
    return PROJECTED if PROJECTED[0] in graph.graph.initializers else ()


def _divide_embeddings(model: ir.Model, site: Site, factors: Array) -> None:
    """Let the first layer's input be x / m where it is the embeddings as they are."""
    node = _value(model, site.name).producer()
    assert node is not None and node.op_type == "Identity"
    emit = Emitter()
    vector = emit.constant(f"{site.name}.inverse_smoothing", np.float32(1) / factors)
    divided = emit.op("Mul", node.inputs[0], vector, name=f"{site.name}.divided")
    model.graph.insert_before(node, emit.nodes)
    model.graph.register_initializer(vector)
    node.replace_input_with(0, divided)


def _scale_weight(model: ir.Model, name: str, factors: Array) -> None:
    value = model.graph.initializers[name]
    set_constant(value, (array_of(value) * factors).astype(np.float32))


def _restore_residual(model: ir.Model, site: Site, factors: Array) -> None:
    """Where the LayerNorm gives x', let everything that is no GEMM of the layer read m x'."""
    value = _value(model, site.name)
    uses = _other_uses(value, site)
    if not uses:
        return
    emit = Emitter()
    vector = emit.constant(f"{site.name}.smoothing", factors)
    plain = emit.op("Mul", value, vector, name=f"{site.name}{UNSMOOTHED}")
    insert_after(model, value, emit, plain, uses)


def _divide(model: ir.Model, site: Site, factors: Array) -> None:
    """Let the layer's GEMMs read x / m, and everything else x."""
    value = _value(model, site.name)
    producer = value.producer()
    assert producer is not None
    value.name = producer.name = f"{site.name}.plain"
    gemms = {Site(site.layer, gemm).name for gemm in CONSUMERS[site.role]}
    emit = Emitter()
    vector = emit.constant(f"{site.name}.inverse_smoothing", np.float32(1) / factors)
    divided = emit.op("Mul", value, vector, name=site.name)
    insert_after(model, value, emit, divided, [use for use in value.uses() if use.node.outputs[0].name in gemms])


def _value(model: ir.Model, name: str) -> ir.Value:
    return next(value for node in model.graph for value in node.outputs if value.name == name)
