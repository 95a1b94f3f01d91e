"""What became of the graph, in the report's words: INT8, float, and what was fused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from bertc.calibrate.needs import has_histograms
from bertc.calibrate.table import DEFAULT_PERCENTILE
from bertc.ir.segments import NUMBERS
from bertc.ir.sites import Role, Site
from bertc.quantize.quantization import Quantization
from bertc.report.parts.facts import BuildFacts
from bertc.report.parts.search import reasons_from_search
from bertc.report.schema import FloatGemm, FloatSite, QuantizationPart
from bertc.runtime.optimized import INT8_ATTENTION, Optimized

OPERANDS = {
    **dict.fromkeys(("query", "key", "value"), Role.HIDDEN),
    "attention": Role.CONTEXT,
    **dict.fromkeys(("intermediate", "gelu"), Role.ATTENTION_NORM),
    "output": Role.ACTIVATION,
}
"""What the product behind a value of a layer multiplies, by the value's first word."""


def quantization_part(facts: BuildFacts) -> QuantizationPart:
    """Write what was quantized, fused and left in float."""
    scheme, quantized, layers = facts.scheme, facts.quantized, facts.layers
    embeddings = None
    if facts.stored is not None:
        before, after = facts.stored.bytes_before / 2**20, facts.stored.bytes_after / 2**20
        embeddings = f"INT8 with a scale per row, {before:.1f} MiB to {after:.1f} MiB"
    int8_attention = facts.optimized.fused.get(INT8_ATTENTION, 0)
    return QuantizationPart(
        mode=None if scheme is None else int(scheme.mode.name),
        calibrator=None if facts.quantization is None else _calibrator(facts.quantization),
        weights=_weights(facts),
        sites_int8=0 if quantized is None else len(quantized.scales),
        sites_float=_float_sites(facts),
        fused=dict(facts.optimized.fused),
        fused_expected=dict(facts.target.implied_fusion(scheme, facts.checkpoint.architecture)),
        # An attention has two products without weights.
        gemms_int8=facts.optimized.gemms_int8 + 2 * int8_attention,
        gemms_float=facts.optimized.gemms_float + 2 * (layers - int8_attention),
        granularity=None if scheme is None else str(scheme.granularity),
        smoothing=None if scheme is None else scheme.smoothing,
        embeddings=embeddings,
        rounding=None if quantized is None else facts.correction.name,
        rounding_errors=dict(facts.correction.errors),
        added_channels=0 if quantized is None else quantized.added_channels,
        roles={} if quantized is None else {str(role): count for role, count in quantized.counts.items()},
    )


def _calibrator(quantization: Quantization) -> str:
    method = quantization.method
    if not has_histograms(quantization.table):
        return "none: the checkpoint's own ranges"
    if method.calibrator != "percentile":
        return method.calibrator
    if method.percentile is None:
        return f"percentile {DEFAULT_PERCENTILE:g}, maximum on the residual stream"
    return f"percentile {method.percentile:g}"


def _weights(facts: BuildFacts) -> str:
    if facts.scheme is not None:
        return "INT8 per output channel" if facts.scheme.per_channel else "INT8 per tensor"
    return "INT8 per output channel" if facts.target.precision == "int8" else facts.target.precision


def _float_sites(facts: BuildFacts) -> tuple[FloatSite, ...]:
    """List the sites that the mode asks for and the engine runs in float."""
    scheme = facts.scheme
    if scheme is None:
        return ()
    float_sites = []
    searched = {} if facts.search is None else reasons_from_search(facts.search)
    for layer in range(facts.layers):
        for role in Role:
            site = Site(layer, role)
            if role not in scheme.mode.roles or scheme.quantizes(site):
                continue
            reason = facts.target.float_roles.get(role) or searched.get(site, "kept in float by the recipe")
            float_sites.append(FloatSite(site=site.name, reason=reason))
    return tuple(float_sites)


def float_gemms(facts: BuildFacts) -> tuple[FloatGemm, ...] | None:
    """Say of each product that the runtime names as float why it is; None where it names none."""
    optimized = facts.optimized
    if optimized.float_gemms is None:
        return None
    reasons = {found.site: found.reason for found in _float_sites(facts)}
    return tuple(
        FloatGemm(gemm=name, precision=_precision(name, optimized), reason=_reason(name, reasons))
        for name in optimized.float_gemms
    )


def _precision(gemm: str, optimized: Optimized) -> Literal["fp32", "bf16", "fp16"]:
    if gemm in optimized.fp16_gemms:
        return "fp16"
    return "bf16" if gemm in optimized.bf16_gemms else "fp32"


def _reason(gemm: str, reasons: Mapping[str, str]) -> str:
    parts = gemm.split(".")
    if parts[0] != "layer":
        return "the head: the scheme has no sites outside of the layers"
    if parts[2] == Role.HIDDEN:  # what gives the first layer its input
        return "the projection behind the embeddings: the scheme has no site for its operand"
    if parts[2] == NUMBERS:
        return "the product of queries with segments: the scheme has no site for its operand"
    site = Site(int(parts[1]), OPERANDS[parts[2].split("_")[0]]).name
    return f"its operand {site} is in float: {reasons.get(site, 'the scheme does not have it')}"
