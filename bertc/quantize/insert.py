"""Insert the Q/DQ pairs of a scheme and store the GEMM weights as INT8 codes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.calibrate.method import RangeMethod
from bertc.calibrate.needs import check_needs
from bertc.calibrate.smoothing import CONSUMERS
from bertc.calibrate.table import CalibrationTable
from bertc.core.keys import Key
from bertc.errors import InputError
from bertc.ir.affine import codes_from_weights, grid_from_range, scale_from_amax
from bertc.ir.attention import attention_function, inputs_of
from bertc.ir.edit import insert_after, layers_of_graph, remove_unused, set_constant, values_by_name
from bertc.ir.emit import DOMAIN, Emitter, array_of
from bertc.ir.graph_digest import digest_of_graph
from bertc.ir.one_sided import lower_bounds
from bertc.ir.scheme import Scheme
from bertc.ir.sites import GEMM_INPUTS, GEMM_OUTPUTS, Role, Site
from bertc.quantize.correction import NO_CORRECTION, Correction, weight_scales
from bertc.quantize.smooth import UNSMOOTHED, smooth_graph
from bertc.quantize.split import split_graph, split_table, splits_from_table

Array = NDArray[np.float32]
TIES = ((Role.QUERY_GEMM, Role.KEY_GEMM, Role.VALUE_GEMM), (Role.QUERY, Role.KEY, Role.VALUE))
"""Roles that have one scale where Q, K and V are tied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """A Q/DQ graph, how many sites of each role (and weights) it quantizes, and each site's scale.

    `zero_points` has the sites whose zero point is not 0; `added_channels` of the feed-forwards are parts of outliers.
    """

    graph: ir.Model
    counts: Mapping[str, int]
    scales: Mapping[Site, Array]
    zero_points: Mapping[Site, int]
    added_channels: int = 0

    def cache_key(self) -> Key:
        """Return the digest of the graph, in which everything else stands too."""
        return digest_of_graph(self.graph)


def quantize_graph(
    graph: ir.Model,
    table: CalibrationTable,
    scheme: Scheme,
    method: RangeMethod,
    *,
    correction: Correction = NO_CORRECTION,
) -> Quantized:
    """Return the graph with Q/DQ on the scheme's sites and INT8 weights; the argument stays as it is.

    `method` chooses the ranges; `correction` is how the weights are rounded, made for this graph, table and scheme.

    Raises `InputError` when the table does not belong to the graph, or a range would collapse the model.
    """
    layers = layers_of_graph(graph)
    _check_table(graph, table, layers)
    check_needs(table, scheme, layers=layers)
    splits = splits_from_table(graph, table, scheme)
    graph, table = split_graph(graph, splits), split_table(table, splits)
    minima = lower_bounds(graph) if scheme.one_sided else {}
    ranges = _Ranges(table, scheme, method, minima)
    model = smooth_graph(graph, table, scheme)
    pass_ = _Insertion(model, scheme, ranges, correction)
    for layer in range(layers):
        pass_.layer(layer)
    remove_unused(model)
    return Quantized(
        graph=model,
        counts=pass_.counts,
        scales=pass_.scales,
        zero_points=pass_.zero_points,
        added_channels=sum(split.added for split in splits.values()),
    )


def _check_table(graph: ir.Model, table: CalibrationTable, layers: int) -> None:
    """Refuse a table with a site that the graph lacks, or a vector that has another width than the graph's GEMM."""
    channels = {site: found.channel_amax for site, found in table.sites.items()}
    for site, vector in [*channels.items(), *table.smoothing.items()]:
        gemm, axis = (site.role, 1) if site.role in GEMM_OUTPUTS else (CONSUMERS.get(site.role, (None,))[0], 0)
        weight = graph.graph.initializers.get(f"{Site(site.layer, gemm).name}.weight") if gemm else None
        wrong = gemm is None and site in table.smoothing
        if weight is not None and vector is not None:
            wrong = vector.size != array_of(weight).shape[axis]
        if wrong or site.layer >= layers:
            raise InputError(f"{site} of the calibration table does not fit the model; calibrate again with this one")


@dataclass(frozen=True, slots=True)
class _Ranges:
    """The grid of every site under a scheme; `minima` are the lower bounds of those that get a zero point."""

    table: CalibrationTable
    scheme: Scheme
    method: RangeMethod
    minima: Mapping[Site, float]

    def smoothed(self, site: Site) -> bool:
        """Say whether the site's values are changed by smoothing."""
        carrier = Role.CONTEXT if site.role in (Role.VALUE, Role.VALUE_GEMM) else site.role
        return (
            self.scheme.smoothing is not None
            and carrier in GEMM_INPUTS
            and self.scheme.quantizes(Site(site.layer, carrier))
        )

    def one_sided(self, site: Site) -> bool:
        """Say whether the site's grid has a zero point. A range that was given or trained stays symmetric."""
        return site in self.minima and site not in self.table.overrides

    def amax(self, site: Site) -> float:
        method = self.method
        if method.percentile is None and self.one_sided(site):
            method = replace(method, percentile=100.0)  # a finer grid need not clip (docs/decisions/0009-one-sided.md)
        return self.table.amax(site, method, smoothed=self.smoothed(site))

    def grid(self, site: Site) -> tuple[Array, NDArray[np.int8]]:
        """Return scale and zero point of a site: [] or, for a GEMM output in channel granularity, [columns]."""
        if not self.one_sided(site):
            scale = self.scale(site)
            return scale, np.zeros(scale.shape, np.int8)
        smallest = float(self.table.smoothing[site].min()) if self.smoothed(site) else 1.0
        return grid_from_range(self.minima[site] / smallest, self.amax(site))

    def scale(self, site: Site) -> Array:
        """Return the scale of a symmetric site."""
        if site.role in GEMM_OUTPUTS and self.scheme.per_channel and site not in self.table.overrides:
            channels = self.table.statistics(site, smoothed=self.smoothed(site)).channel_amax
            assert channels is not None
            return scale_from_amax(channels)
        for group in TIES:
            if self.scheme.tie_qkv and site.role in group:
                return scale_from_amax(max(self.amax(Site(site.layer, role)) for role in group))
        return scale_from_amax(self.amax(site))


class _Insertion:
    """Inserts layer by layer. Lives for one call of `quantize_graph`."""

    def __init__(self, model: ir.Model, scheme: Scheme, ranges: _Ranges, correction: Correction) -> None:
        self.model = model
        self.scheme = scheme
        self.ranges = ranges
        self.correction = correction
        self.values = values_by_name(model)
        self.counts: dict[str, int] = {}
        self.scales: dict[Site, Array] = {}
        self.zero_points: dict[Site, int] = {}

    def layer(self, layer: int) -> None:
        """Quantize the weights, the attention's inside and the values of one layer."""
        for role, consumers in CONSUMERS.items():
            if self.scheme.quantizes(Site(layer, role)):
                self.weights([Site(layer, gemm) for gemm in consumers])
        self.attention(layer)
        for role in Role:
            site = Site(layer, role)
            if role not in (Role.SCORES, Role.PROBS) and self.scheme.quantizes(site):
                self.site(site)

    def count(self, role: str, number: int = 1) -> None:
        self.counts[role] = self.counts.get(role, 0) + number

    def weights(self, gemms: list[Site]) -> None:
        """Store the weights of GEMMs that read one site as codes."""
        weights = [self.model.graph.initializers[f"{gemm.name}.weight"] for gemm in gemms]
        scales = weight_scales([array_of(weight) for weight in weights], self.scheme)
        for gemm, weight, scale in zip(gemms, weights, scales, strict=True):
            emit = Emitter()
            rounded = self.correction.gemms.get(gemm)
            if rounded is None:
                set_constant(weight, codes_from_weights(array_of(weight), scale))
            else:
                bias = self.model.graph.initializers[f"{gemm.name}.bias"]
                set_constant(bias, array_of(bias) + rounded.shift)
                set_constant(weight, rounded.codes)
            scale_value = emit.constant(f"{gemm.name}.weight_scale", scale)
            axis: dict[str, Any] = {"axis": 1} if scale.ndim else {}
            dequantized = emit.op(
                "DequantizeLinear", weight, scale_value, name=f"{gemm.name}.weight_dequantized", **axis
            )
            uses = list(weight.uses())
            product = self.values[gemm.name].producer()
            assert product is not None
            self.model.graph.insert_before(product, emit.nodes)
            self.model.graph.register_initializer(scale_value)
            for use in uses:
                if use.node is product:
                    product.replace_input_with(use.idx, dequantized)
            self.count("weights")

    def attention(self, layer: int) -> None:
        """Give the attention node its inner scales."""
        inner = [role for role in (Role.PROBS, Role.SCORES) if self.scheme.quantizes(Site(layer, role))]
        if not inner:
            return
        if inner == [Role.SCORES]:
            raise InputError(f"layer.{layer}.scores cannot be INT8 while layer.{layer}.probs stays in float; keep both")
        node = self.values[Site(layer, Role.CONTEXT).name].producer()
        assert node is not None
        emit = Emitter()
        scales = []
        for role in inner:
            site = Site(layer, role)
            self.scales[site], zero_point = self.ranges.grid(site)
            if zero_point.any():  # the softmax's, whose grid begins at 0: its codes are written without a sign
                self.zero_points[site] = int(zero_point)
            scales.append(emit.constant(f"{site.name}.scale", self.scales[site]))
            self.count(role)
        context = node.outputs[0]
        inputs = replace(
            inputs_of(node),
            probs_scale=scales[0],
            scores_scale=scales[1] if len(scales) > 1 else None,
            unsigned=Site(layer, Role.PROBS) in self.zero_points,
        )
        name = str(context.name)
        context.name = f"{name}.replaced"
        attributes = {"split": node.attributes["split"].as_ints(), "scaling": node.attributes["scaling"].as_float()}
        result = emit.op(inputs.op_type(), *inputs.values(), name=name, domain=DOMAIN, **attributes)
        ir.convenience.replace_nodes_and_values(self.model.graph, node, [node], emit.nodes, [context], [result])
        result.name = name
        for value in emit.initializers:
            self.model.graph.register_initializer(value)
        if not any(function.name == inputs.op_type() for function in self.model.functions.values()):
            function = attention_function(inputs.op_type())
            self.model.functions[function.identifier()] = function
        self.values[name] = result

    def site(self, site: Site) -> None:
        """Put a Q/DQ pair behind the site's value."""
        value = self.values[site.name]
        scale, zero_point = self.ranges.grid(site)
        self.scales[site] = scale
        if zero_point.any():
            self.zero_points[site] = int(zero_point)
        self.count(site.role)
        emit = Emitter()
        axis: dict[str, Any] = {"axis": 2} if scale.ndim else {}
        scale_value = emit.constant(f"{site.name}.scale", scale)
        zero = emit.constant(f"{site.name}.zero_point", zero_point)
        codes = emit.op("QuantizeLinear", value, scale_value, zero, name=f"{site.name}.codes", **axis)
        dequantized = emit.op("DequantizeLinear", codes, scale_value, zero, name=f"{site.name}.dequantized", **axis)
        residual = self.values.get(f"{site.name}{UNSMOOTHED}")
        if residual is not None:
            self._residual(site, residual, emit, codes)
        gemms = {Site(site.layer, gemm).name for gemm in CONSUMERS.get(site.role, ())}
        uses = [
            use
            for use in value.uses()
            if use.node.outputs[0].name in gemms or site.role not in GEMM_INPUTS or self.scheme.mode.quantized_residual
        ]
        if site.role in (Role.QUERY, Role.KEY):  # products with positions stay in float
            uses = [use for use in uses if use.node.domain == DOMAIN]
        if residual is not None:
            uses = [use for use in uses if use.node is not residual.producer()]
        insert_after(self.model, value, emit, dequantized, uses)
        if residual is not None and (unsmoothing := residual.producer()) is not None:
            self.model.graph.remove(unsmoothing, safe=True)

    def _residual(self, site: Site, residual: ir.Value, emit: Emitter, codes: ir.Value) -> None:
        """Let the residual read the GEMM's codes with the vector scale s m."""
        factors = self.ranges.table.smoothing[site]
        vector = emit.constant(f"{site.name}.residual_scale", self.scales[site] * factors)
        zero = emit.constant(f"{site.name}.residual_zero_point", np.zeros(factors.shape, np.int8))
        read = emit.op("DequantizeLinear", codes, vector, zero, name=f"{site.name}.residual", axis=2)
        for use in list(residual.uses()):
            use.node.replace_input_with(use.idx, read)
