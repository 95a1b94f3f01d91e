"""Which fields of a step each kernel reads: others keep their defaults."""

from __future__ import annotations

from collections.abc import Mapping

from bertc.runtime.native.kernel_plan import Op

ALWAYS = {"op", "name", "rows", "n", "out", "out_column"}
CODES = {"inverse", "out_zero"}
INPUT = {"inputs", "in_column"}
FINISH = {"k", "scale", "requant", "requant_scale", "bias", "activation", "residual", "residual_zero", "residual_scale"}
SCALES = {"scaling", "scores_requant", "probs_inverse", "probs_high", "context_scale"}
EMBEDDING = {"vocabulary", "positions", "types", "first_position", "word", "position", "type"}
FIELDS: Mapping[Op, set[str]] = {
    Op.EMBED: ALWAYS | EMBEDDING | {"flag", "word_scale", "position_scale"},
    Op.GEMM_INT8: ALWAYS | INPUT | FINISH | CODES | {"in_zero", "flag", "weights", "compensation"},
    Op.GEMM_F32: ALWAYS | INPUT | FINISH | CODES | {"flag", "weights"},
    Op.NORM: ALWAYS | INPUT | CODES | {"out_codes", "gamma", "beta", "epsilon"},
    Op.ATTENTION: ALWAYS | INPUT | SCALES | CODES | {"in_zero", "k", "heads", "flag", "positions", "distance_bias"},
    Op.FINISH: ALWAYS | INPUT | FINISH | CODES | {"in_zero"},
    Op.FIRST: ALWAYS | INPUT,
    Op.POOL: ALWAYS | INPUT | {"flag"},
    Op.UNIT: ALWAYS | INPUT | {"epsilon"},
    Op.EXIT: {"op", "name", "rows", "n", "epsilon"} | INPUT,
}
"""What each kernel reads of its step."""
