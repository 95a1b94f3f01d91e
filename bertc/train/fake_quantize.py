"""Fake quantization with a straight-through gradient: the arithmetic of `bertc.ir.affine` on torch tensors.

Everything here is float32 whatever the input is, so that a student under bfloat16 autocast quantizes as its build will.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from bertc.ir.affine import ACTIVATION_CODE_MIN, CODE_MAX, SMALLEST_AMAX, WEIGHT_CODE_MIN

Tensor = torch.Tensor


@dataclass(frozen=True, slots=True)
class Coded:
    """Values on an INT8 grid of scale [] or [columns]; `codes` is int8, or None where nobody multiplies in integers.

    `values` are scale * codes; but of weights that have codes they are the float weights, which carry the gradient.
    """

    values: Tensor
    codes: Tensor | None
    scale: Tensor


class _FakeQuantize(torch.autograd.Function):
    """x -> s clip(round(x / s)); the gradient of x passes where nothing saturates, that of s is LSQ's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, coded: bool) -> tuple[Tensor, Tensor | None]:
        """Few elementwise passes over two tensors; what is kept for the gradient is x / s."""
        steps = torch.div(x.float(), scale)
        values = steps.round().clamp_(ACTIVATION_CODE_MIN, CODE_MAX)
        codes = values.to(torch.int8) if coded else None
        values.mul_(scale)
        if codes is not None:
            ctx.mark_non_differentiable(codes)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(steps, *((values, scale) if ctx.needs_input_grad[1] else ()))
        return values, codes

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of x and of the scale.

        LSQ (Esser et al. 2019, arXiv:1902.08153, eq. 3): d y / d s = round(x / s) - x / s inside the grid, its last
        code outside, times 1 / sqrt(numel 127). Both sums are dot products with tensors that exist anyway.
        """
        if gradients[0] is None:
            return None, None, None
        gradient = gradients[0].float().contiguous()
        steps, *rest = ctx.saved_tensors
        passed = torch.ops.aten.hardtanh_backward(gradient, steps, ACTIVATION_CODE_MIN - 0.5, CODE_MAX + 0.5)
        if not rest:
            return passed, None, None
        values, scale = rest
        codes = torch.dot(gradient.flatten(), values.flatten()) / scale
        kept = torch.dot(passed.flatten(), steps.flatten())
        return passed, (codes - kept) / (steps.numel() * CODE_MAX) ** 0.5, None


class _RoundWeights(torch.autograd.Function):
    """w -> s clip(round(w / s)) with the gradient passed on whole: a scale from the maximum saturates nothing."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, scale: Tensor) -> Tensor:
        """Round to codes and back."""
        return _weight_codes(weights, scale).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Pass the gradient on."""
        return gradients[0], None


class _IntegerProduct(torch.autograd.Function):
    """x W of two operands on INT8 grids, computed from their codes: exact, and several times as fast as in float32.

    The gradients are those of the float product; under autocast they are computed in its type, where codes are exact.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weights: Tensor, left: Coded, right: Coded) -> Tensor:
        """Multiply. x and weights are the operands' values, and only carry the gradient."""
        assert left.codes is not None and right.codes is not None
        ctx.save_for_backward(left.codes, right.codes, left.scale, right.scale)
        enabled = torch.is_autocast_enabled(x.device.type)
        ctx.dtype = torch.get_autocast_dtype(x.device.type) if enabled else torch.float32
        sums = torch._int_mm(left.codes.flatten(0, -2), right.codes)
        return sums.float().mul_(left.scale * right.scale).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Return the gradients of x and W."""
        left, right, left_scale, right_scale = ctx.saved_tensors
        gradient = (gradients[0].flatten(0, -2) * right_scale).to(ctx.dtype)
        x = (gradient @ right.to(ctx.dtype).t()).float()
        weights = (left.flatten(0, -2).to(ctx.dtype).t() @ gradient).float() * (left_scale / right_scale)
        return x.view(left.shape), weights, None, None


def fake_quantize(values: Tensor, scale: Tensor, *, coded: bool = False) -> Coded:
    """Quantize activations to codes -128..127 and back, in float32; scale [] or one per last-axis channel.

    A scale that requires a gradient must be []. `coded` keeps the codes where products of integers can use them.
    """
    coded = coded and not scale.ndim and has_integer_products(values.device.type)
    found, codes = _FakeQuantize.apply(values, scale, coded)  # type: ignore[no-untyped-call]
    return Coded(found, codes, scale.detach())


def quantize_weights(weights: Tensor, scale: Tensor, *, coded: bool = False) -> Coded:
    """Quantize weights [in, out] to codes -127..127 and back; scale [] or [out], with no gradient."""
    if coded and has_integer_products(weights.device.type):
        with torch.no_grad():
            return Coded(weights, _weight_codes(weights, scale).to(torch.int8), scale)
    return Coded(_RoundWeights.apply(weights, scale), None, scale)  # type: ignore[no-untyped-call]


def _weight_codes(weights: Tensor, scale: Tensor) -> Tensor:
    return torch.div(weights, scale).round_().clamp_(WEIGHT_CODE_MIN, CODE_MAX)


def scale_of_weights(weights: Tensor, *, per_channel: bool) -> Tensor:
    """Return the scale that `quantize_graph` gives weights [in, out]: amax / 127, [out] or []. It has no gradient."""
    with torch.no_grad():
        lowest, highest = torch.aminmax(weights, dim=0) if per_channel else torch.aminmax(weights)
        # In float64 as `scale_from_amax` computes it, so that both round to the same float32.
        amax = torch.maximum(-lowest, highest).double().clamp_(min=SMALLEST_AMAX)
        return (amax / CODE_MAX).float()


def stored_rows(lookup: Callable[..., Tensor], *inputs: Any, **attributes: Any) -> Tensor:
    """Look up rows [..., columns] of a table, and round each to codes -127..127 of a scale of its own."""
    rows = lookup(*inputs, **attributes)
    scale = scale_of_weights(rows.flatten(0, -2).t(), per_channel=True).view(*rows.shape[:-1], 1)
    rounded: Tensor = _RoundWeights.apply(rows, scale)  # type: ignore[no-untyped-call]
    return rounded


def values_of_coded(coded: Coded) -> Tensor:
    """Return the dequantized values of activations."""
    return coded.values


def rescaled_values(coded: Coded, factors: Tensor) -> Tensor:
    """Return activations dequantized with another scale: factors, one per channel, times their own."""
    return coded.values * factors


def product_of_coded(x: Coded, weights: Coded) -> Tensor:
    """Multiply x [..., in] by weights [in, out]: in integers where both have codes, else in float."""
    if x.codes is not None and weights.codes is not None:
        product: Tensor = _IntegerProduct.apply(x.values, weights.values, x, weights)  # type: ignore[no-untyped-call]
        return product
    if weights.codes is not None:
        weights = quantize_weights(weights.values, weights.scale)
    return torch.matmul(x.values, weights.values)


def float32_product(x: Tensor, y: Tensor) -> Tensor:
    """Multiply dequantized values [..., n, k] and [..., k, m] in float32 on a CPU, whatever the autocast.

    The products inside attention are a few percent of a step's work, and most of what bfloat16 would change in a
    student whose other products are exact. A GPU multiplies them in the autocast's type.
    """
    if x.device.type != "cpu":
        return torch.matmul(x, y)
    with torch.autocast("cpu", enabled=False):
        return torch.matmul(x.float(), y.float())


@cache
def has_integer_products(device: str) -> bool:
    """Say whether a type of device multiplies INT8 codes exactly: a CPU without VNNI saturates sums of two products.

    A GPU is left to its float units, for its integer product refuses most shapes.
    """
    if device != "cpu" or not hasattr(torch, "_int_mm"):
        return False
    signs = torch.tensor([[CODE_MAX], [WEIGHT_CODE_MIN]], dtype=torch.int8)
    left = signs.repeat(16, 256)
    right = signs.repeat_interleave(16, dim=0).t().repeat(256, 1).contiguous()
    return torch.equal(torch._int_mm(left, right).double(), left.double() @ right.double())
