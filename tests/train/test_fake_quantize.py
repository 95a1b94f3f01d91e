"""Fake quantization in torch is the compiler's arithmetic, and its gradients are those of the papers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bertc.ir import affine
from bertc.train import fake_quantize as own
from bertc.train.fake_quantize import (
    fake_quantize,
    has_integer_products,
    product_of_coded,
    quantize_weights,
    scale_of_weights,
)

HALVES = [0.5, 1.5, 2.5, -0.5, -1.5, 126.5, 127.49, 127.5, -128.5, -129.0, 300.0, -300.0]


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("scale", [0.02, 0.25])
def test_values_are_those_of_the_simulator_s_arithmetic(scale: float) -> None:
    values = torch.cat([torch.tensor(HALVES) * scale, random(500)])
    expected = affine.fake_quantize(values.numpy(), np.float32(scale))
    found = fake_quantize(values, torch.tensor(scale), coded=True)
    np.testing.assert_array_equal(found.values.numpy(), expected)
    if found.codes is not None:
        np.testing.assert_array_equal(found.codes.numpy() * np.float32(scale), expected)
    other = fake_quantize(values, torch.tensor(scale * 1.001)).values
    assert not torch.equal(found.values, other)


def test_a_scale_per_column() -> None:
    values, scale = random(2, 5, 4), torch.tensor([0.01, 0.02, 0.5, 3.0])
    found = fake_quantize(values, scale, coded=True)
    np.testing.assert_array_equal(found.values.numpy(), affine.fake_quantize(values.numpy(), scale.numpy()))
    assert found.codes is None, "codes are for products, whose operand has one scale"


@pytest.mark.parametrize("per_channel", [False, True])
def test_weights_have_the_build_s_codes(per_channel: bool) -> None:
    weights = random(16, 8)
    weights[:, 3] = 0
    scale = scale_of_weights(weights, per_channel=per_channel)
    expected = affine.scale_from_amax(affine.weight_amax(weights.numpy(), per_channel=per_channel))
    np.testing.assert_array_equal(scale.numpy(), expected)
    codes = affine.codes_from_weights(weights.numpy(), expected)
    np.testing.assert_array_equal(quantize_weights(weights, scale).values.numpy(), codes * expected)


def test_the_gradient_stops_where_a_value_saturates() -> None:
    values = torch.tensor([0.0, 127.4, 127.6, 300.0, -128.4, -128.6], requires_grad=True)
    fake_quantize(values, torch.tensor(1.0)).values.sum().backward()
    assert values.grad is not None and values.grad.tolist() == [1, 1, 0, 0, 1, 0]


def test_the_scale_s_gradient_is_lsq_s() -> None:
    values, scale = random(300) * 60, torch.tensor(0.4, requires_grad=True)
    outer = random(300, seed=1)
    (fake_quantize(values, scale).values * outer).sum().backward()
    steps = values / 0.4
    inside = (steps > -128.5) & (steps < 127.5)
    assert 0 < inside.sum() < 300
    slope = torch.where(inside, steps.round() - steps, steps.round().clamp(-128, 127))
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(float((outer * slope).sum()) / (300 * 127) ** 0.5, rel=1e-3)


@pytest.mark.skipif(not has_integer_products("cpu"), reason="this CPU's INT8 products are not exact")
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_product_of_codes_is_the_float_one_with_its_gradients(
    per_channel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer = random(2, 7, 24, seed=2)

    def run(integer: bool) -> list[torch.Tensor]:
        monkeypatch.setattr(own, "has_integer_products", lambda device: integer)
        x, weights = random(2, 7, 32).requires_grad_(), random(32, 24, seed=1).requires_grad_()
        scale = torch.tensor(0.02, requires_grad=True)
        left = fake_quantize(x, scale, coded=True)
        right = quantize_weights(weights, scale_of_weights(weights, per_channel=per_channel), coded=True)
        assert (left.codes is not None) is integer and (right.codes is not None) is integer
        product = product_of_coded(left, right)
        (product * outer).sum().backward()
        assert x.grad is not None and weights.grad is not None and scale.grad is not None
        return [product.detach(), x.grad, weights.grad, scale.grad]

    for found, expected in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_forward_pass_under_bfloat16_is_as_exact_as_without() -> None:
    x, weights = random(2, 7, 32).requires_grad_(), random(32, 24, seed=1)

    def product() -> torch.Tensor:
        right = quantize_weights(weights, scale_of_weights(weights, per_channel=False), coded=True)
        return product_of_coded(fake_quantize(x, torch.tensor(0.02), coded=True), right)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = product()
        rough = torch.matmul(x, weights)
    assert rough.dtype is torch.bfloat16
    if has_integer_products("cpu"):
        torch.testing.assert_close(found, product(), rtol=0, atol=0)
    found.float().sum().backward()
    assert x.grad is not None and x.grad.dtype is torch.float32
