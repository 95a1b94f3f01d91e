"""Why ONNX Runtime leaves a product in float, or makes of it what is slow or wrong: rules, each found by experiment.

Each rule is checked against ONNX Runtime's own optimized graph by tests/runtime/ort/test_products.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx_ir as ir

from bertc.runtime.ort.product_forms import (
    QUANTIZE,
    SIGNED,
    UNSIGNED,
    Form,
    array_of,
    code_type,
    form_from_nodes,
    is_constant,
)

Rule = Callable[[Form], str | None]

UNKNOWN = "for a reason that bertc does not know"
BYTES = (UNSIGNED, SIGNED)
GEMMS = ("Gemm", "FusedGemm")
REFUSING = "it became an integer product that refuses this when it runs"
MISTAKING = "it became an integer product that takes one for the other: wrong answers, and no error"
WANTS_UNSIGNED = "on x86 only unsigned ones are fused; quantize activations to UINT8"
SAME_SCALE = 1e-3
"""Relative; a bias that was written with the product of the two scales has it to float's precision."""


def why_float(form: Form) -> str:
    """Say why a product runs in float."""
    return _first(FLOAT_RULES, form) or UNKNOWN


def why_broken(form: Form) -> str | None:
    """Say why an integer product refuses to run, or answers otherwise than the file; None for one that is right."""
    return _first(BROKEN_RULES, form)


def why_slow(form: Form) -> str | None:
    """Say why an integer product is slow on x86; None for one that is not. `form` is of what runs, not of the file."""
    return _first(SLOW_RULES, form)


def _first(rules: Iterable[Rule], form: Form) -> str | None:
    return next((reason for rule in rules if (reason := rule(form)) is not None), None)


def _plain(form: Form) -> str | None:
    if any(each.dequantize is not None or each.between is not None for each in form.operands):
        return None
    return "it is float in the file: neither operand comes from a DequantizeLinear"


def _not_from_codes(form: Form) -> str | None:
    left, right = form.operands
    for each, side in ((left, "left"), (right, "right")):
        if each.between is not None:
            return f"{each.between} stands between DequantizeLinear and its {side} operand; quantize behind it"
    if left.dequantize is not None and right.dequantize is not None:
        return None
    if not right.constant:
        lacking, other = ("left", "right") if left.dequantize is None else ("right", "left")
        return f"its {lacking} operand is float and only the {other} one quantized; quantize both"
    if left.dequantize is None:
        kind = "quantized" if right.codes is None else right.codes.name
        return f"its weights are {kind} and its activations float; put Q/DQ in front of them"
    return "its activations are quantized and its weights float; quantize them"


def _other_types(form: Form) -> str | None:
    names = [each.codes.name for each in form.operands if each.codes is not None and each.codes not in BYTES]
    return f"its codes are {names[0]}, and the integer products take INT8 and UINT8 alone" if names else None


def _half_floats(form: Form) -> str | None:
    for each in form.operands:
        scale = each.dequantize.inputs[1] if each.dequantize is not None else None
        kind = None if scale is None else scale.dtype or (scale.const_value.dtype if scale.const_value else None)
        if kind in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16):
            return f"its scales are {kind.name}, so it is a {kind.name} product; the CPU has fused ones for FLOAT alone"
    return None


def _constant_first(form: Form) -> str | None:
    if form.left.constant and form.left.codes == SIGNED:
        return "its left operand is a constant with signed codes, which stay signed; on x86 that one has to be unsigned"
    return None


def _signed(form: Form) -> str | None:
    # As optimized: there codes that could be made unsigned are, and equal QuantizeLinear nodes are one.
    running = form_from_nodes(form.runs, form.runs)
    if running.left.codes == SIGNED:
        return f"its activations are signed{_because_shared(running.left.readers)}; {WANTS_UNSIGNED}"
    for reader in running.readers:
        if reader.op_type == QUANTIZE and code_type(reader.outputs[0]) == SIGNED:
            shared = _because_shared(len(reader.outputs[0].uses()))
            return f"its output's codes are signed{shared}, and its activations' are not; {WANTS_UNSIGNED}"
    return None


def _because_shared(readers: int) -> str:
    """Say why codes were left signed: ONNX Runtime makes unsigned what one node reads."""
    return " and several nodes read them, so that ONNX Runtime leaves them so" if readers > 1 else ""


def _gemm_factors(form: Form) -> str | None:
    if (
        form.runs.op_type in GEMMS
        and form.bias is not None
        and (form.number("alpha", 1), form.number("beta", 1)) != (1, 1)
    ):
        return "its alpha or beta is not 1 and it has a bias; fold them into the weights and the bias"
    return None


def _gemm_bias(form: Form) -> str | None:
    bias = form.bias
    if form.runs.op_type not in GEMMS or bias is None:
        return None
    node = bias.producer()
    if node is not None and node.op_type == "DequantizeLinear":
        kind = code_type(bias)
        return None if kind is None or kind == ir.DataType.INT32 else f"its bias has {kind.name} codes; INT32 is wanted"
    if not is_constant(bias):
        return "its bias is computed, not a constant"
    if any(reader.op_type == QUANTIZE for reader in form.readers):
        return None
    made = "a product of two dimensions and its bias became one Gemm, and " if form.added else ""
    return (
        f"{made}a Gemm with a float bias is fused only where its output is quantized too; add Q/DQ behind it, give the "
        'bias INT32 codes, or (MatMul) open the session with disabled_optimizers=["MatMulAddFusion"]'
    )


def _scales(form: Form) -> str | None:
    left, right = form.operands
    if left.blocked or right.blocked:
        return "an operand has a scale per block; the integer products take one scale, or one per output channel"
    if left.axis is not None:
        return "its activations have a scale per channel; fold the scales into the weights and take one"
    if right.axis is not None and right.axis != _output_axis(form):
        return "its weights have a scale per input channel; take one per output channel"
    return None


def _output_axis(form: Form) -> int:
    """Return the weights' axis of output channels."""
    return -2 if form.number("transB", 0) else -1


def _output(form: Form) -> str | None:
    quantizing = [node for node in form.readers if node.op_type == QUANTIZE]
    if not quantizing:
        return _clipped(form)
    if form.output.is_graph_output():
        return "its output is quantized and is an output of the model besides"
    if len(form.readers) > 1:
        return "several nodes read its float output, QuantizeLinear among them; let all read its codes"
    written = code_type(quantizing[0].outputs[0])
    if written is not None and written not in BYTES:
        return f"its output's codes are {written.name}, its operands' of eight bits; take the same"
    return None


def _clipped(form: Form) -> str | None:
    readers = form.readers
    if len(readers) != 1 or readers[0].op_type not in ("Relu", "Clip"):
        return None
    behind = [use.node.op_type for use in readers[0].outputs[0].uses()]
    if behind != [QUANTIZE]:
        return None
    return (
        f"{readers[0].op_type} stands between it and QuantizeLinear, and its codes reach further than it does; choose "
        "a scale and a zero point that reach as far"
    )


def _moved(form: Form) -> str | None:
    for each in form.operands:
        kinds = [kind for kind in each.moved if kind != "Transpose"] if each.constant else list(each.moved)
        if kinds:
            return f"{kinds[0]} stands between DequantizeLinear and the product; put it before QuantizeLinear"
    return None


def _blocks(form: Form) -> str | None:
    if not (form.right.blocked or form.left.blocked):
        return None
    return f"an operand has a scale per block; {REFUSING}: take one scale, or one per output channel"


def _scale_per_activation(form: Form) -> str | None:
    if form.left.axis is None:
        return None
    return f"its activations have a scale per channel; {REFUSING}: fold the scales into the weights and take one"


def _scale_per_input(form: Form) -> str | None:
    scale = form.right.scale
    if scale is None or form.right.axis is None or form.right.axis == _output_axis(form):
        return None
    found = MISTAKING if form.right.sizes == (scale.size, scale.size) else REFUSING
    return f"its weights have a scale per input channel; {found}: take one per output channel"


def _bias_scale(form: Form) -> str | None:
    bias = form.bias
    node = None if bias is None else bias.producer()
    if node is None or node.op_type != "DequantizeLinear" or code_type(bias) != ir.DataType.INT32:
        return None
    scales = [array_of(node.inputs[1]), form.left.scale, form.right.scale]
    if any(scale is None for scale in scales):
        return None
    own, left, right = (np.asarray(scale, np.float64) for scale in scales)
    if np.allclose(own, left.ravel()[0] * right, rtol=SAME_SCALE, atol=0):
        return None
    return f"the scale of its INT32 bias is not that of the activations times that of the weights; {MISTAKING}"


def _signed_kernel(form: Form) -> str | None:
    if form.left.codes != SIGNED:
        return None
    return "its activations are signed: on x86 20 times slower than unsigned ones; quantize activations to UINT8"


def _unsigned_weights(form: Form) -> str | None:
    if form.right.codes != UNSIGNED or not form.right.constant:
        return None
    return "its weights are unsigned: on x86 two to four times slower than signed ones; quantize weights to INT8"


FLOAT_RULES: tuple[Rule, ...] = (
    _plain,
    _not_from_codes,
    _other_types,
    _half_floats,
    _constant_first,
    _scales,
    _gemm_factors,
    _gemm_bias,
    _output,
    _signed,
    _moved,
)
BROKEN_RULES: tuple[Rule, ...] = (_blocks, _scale_per_activation, _scale_per_input, _bias_scale)
SLOW_RULES: tuple[Rule, ...] = (_signed_kernel, _unsigned_weights)
