"""Each kernel of each instruction set that this CPU has, against the same plan in numpy: integers are equal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertc.runtime.plan import packing
from bertc.runtime.plan.kernel_plan import Activation, Op, Pooled, Rows, Step, Type
from tests.runtime.native.plan_of_one import LONGEST, PROPERTY, WORDS, Array, PlanOfOne, lengths

pytestmark = pytest.mark.native


def random_codes(generator: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> Array:
    """Return codes, half of them at the edges."""
    inside = generator.integers(low, high + 1, shape)
    return np.where(generator.random(shape) < 0.5, generator.choice([low, high], shape), inside)


def codes_of_weights(generator: np.random.Generator, kind: str, k: int, n: int) -> Array:
    """Return weights [k, n] of a kind that an instruction set may treat in its own way."""
    if kind == "trained":
        return np.clip(np.rint(generator.normal(0, 38, (k, n))), -127, 127).astype(np.int8)
    most, least = {"any": (127, -127), "two fit 16 bits": (64, -64), "all": (127, -128)}[kind]
    return random_codes(generator, (k, n), least, most).astype(np.int8)


@PROPERTY
@given(
    k=st.integers(1, 300),
    n=st.integers(1, 200),
    zero=st.sampled_from([0, 3, 128, 255]),
    kind=st.sampled_from(["any", "trained", "two fit 16 bits", "all"]),
    texts=lengths(),
)
def test_products_of_codes_are_exact(
    instruction_set: str, k: int, n: int, zero: int, kind: str, texts: list[int]
) -> None:
    generator = np.random.default_rng(k * 1000 + n)
    plan = PlanOfOne(random_codes(generator, (WORDS, k), -zero, 255 - zero), texts)
    weights = codes_of_weights(generator, kind, k, n)
    plan.steps.append(
        Step(
            op=Op.GEMM_INT8,
            name="product",
            rows=Rows.TOKENS,
            inputs=(plan.codes(k, zero), -1, -1),
            in_zero=zero,
            k=k,
            n=n,
            out=plan.buffer(Type.F32, n),
            weights=plan.array("weights", packing.int8_panels(weights)),
            compensation=plan.array("compensation", packing.compensation(weights, zero)),
        )
    )
    numpy, ours = plan.outputs(instruction_set, threads=1 + k % 3)
    np.testing.assert_array_equal(ours, numpy)


@pytest.mark.parametrize("columns", [5, 16, 80])
def test_numbers_far_outside_of_the_codes_are_clipped(instruction_set: str, columns: int) -> None:
    """Those too that no 32-bit integer holds."""
    numbers = np.array([0, 0.5, 1.5, 2.5, 254.5, 255.5, 1e6, 1e7, 1e9, 3e9, 1e10, 1e30], np.float32)
    plan = PlanOfOne(np.random.default_rng(0).choice(np.r_[numbers, -numbers], (WORDS, columns)), [30, 30, 1])
    plan.codes(columns, 0)
    numpy, ours = plan.outputs(instruction_set)
    np.testing.assert_array_equal(ours, numpy)
    assert numpy.max() == 255 and numpy.min() == 0


def sparse_codes(generator: np.random.Generator, k: int, n: int) -> Array:
    """Return weights of which each four rows have at most two that are not 0, or fewer."""
    weights = random_codes(generator, (-(-k // 4), 4, n), -128, 127)
    kept = np.argsort(generator.random(weights.shape), axis=1) < generator.integers(0, 3, (len(weights), 1, n))
    return np.asarray(np.where(kept, weights, 0).reshape(-1, n)[:k], np.int8)


@PROPERTY
@given(k=st.integers(1, 300), n=st.integers(1, 200), zero=st.sampled_from([0, 3, 128, 255]), texts=lengths())
def test_products_with_sparse_weights_are_those_with_dense_ones(
    instruction_set: str, k: int, n: int, zero: int, texts: list[int]
) -> None:
    generator = np.random.default_rng(k * 1000 + n)
    rows, weights = random_codes(generator, (WORDS, k), -zero, 255 - zero), sparse_codes(generator, k, n)
    found = []
    for flag in (0, 1):
        plan = PlanOfOne(rows, texts)
        panels = packing.int8_panels(weights)
        assert packing.are_sparse(panels)
        plan.steps.append(
            Step(
                op=Op.GEMM_INT8,
                name="product",
                rows=Rows.TOKENS,
                inputs=(plan.codes(k, zero), -1, -1),
                in_zero=zero,
                k=k,
                n=n,
                flag=flag,
                out=plan.buffer(Type.F32, n),
                weights=plan.array("weights", packing.sparse_panels(panels) if flag else panels),
                compensation=plan.array("compensation", packing.compensation(weights, zero)),
            )
        )
        found += plan.outputs(instruction_set, threads=1 + k % 3)
    for values in found[1:]:
        np.testing.assert_array_equal(values, found[0])


def endings() -> Iterator[dict[str, Any]]:
    """Give what may follow a product: those that an encoder's layers have, and others."""
    for requant in (False, True):
        for activation in Activation:
            for residual in (None, Type.F32, Type.U8, "gate"):
                for out in Type:
                    yield {"requant": requant, "activation": activation, "residual": residual, "out": out}


@pytest.mark.parametrize("op", [Op.GEMM_INT8, Op.GEMM_F32])
@pytest.mark.parametrize("ending", list(endings()), ids=lambda ending: "-".join(str(each) for each in ending.values()))
def test_what_follows_a_product(instruction_set: str, op: Op, ending: dict[str, Any]) -> None:
    k, n = 70, 90
    generator = np.random.default_rng(1)
    plan = PlanOfOne(generator.integers(-128, 128, (WORDS, k)), [1, 60, 17])
    codes = plan.codes(k, 128)
    fields: dict[str, Any] = {"bias": plan.vector("bias", generator.normal(0, 0.5, n), n)}
    if op is Op.GEMM_INT8:
        weights = generator.integers(-127, 128, (k, n)).astype(np.int8)
        fields |= {
            "inputs": (codes, -1, -1),
            "in_zero": 128,
            "weights": plan.array("weights", packing.int8_panels(weights)),
            "compensation": plan.array("compensation", packing.compensation(weights, 128)),
        }
        spread = np.float32(1 / 40000)
    else:
        floats = generator.normal(0, 1, (k, n)).astype(np.float32)
        fields |= {"inputs": (0, -1, -1), "weights": plan.array("weights", packing.float_panels(floats))}
        spread = np.float32(1 / 400)
    scale = spread * generator.uniform(0.5, 2, n).astype(np.float32)
    if ending["requant"]:
        fields |= {
            "requant": plan.vector("requant", scale * 30, n),
            "requant_scale": plan.vector("requant_scale", 1 / 30, n),
        }
    else:
        fields["scale"] = plan.vector("scale", scale, n)
    if ending["residual"] is not None:
        gated = ending["residual"] == "gate"
        residual = plan.residual(Type.F32, n, 1 / 128) if gated else plan.residual(ending["residual"], n)
        fields |= {"residual": residual, "gated": int(gated)}
        if ending["residual"] is Type.U8:
            fields |= {"residual_zero": 128, "residual_scale": plan.vector("residual_scale", 0.01, n)}
    if ending["out"] is Type.U8:
        fields |= {"inverse": plan.vector("inverse", generator.uniform(10, 40, n), n), "out_zero": 100}
    plan.steps.append(
        Step(
            op=op,
            name="product",
            rows=Rows.TOKENS,
            k=k,
            n=n,
            activation=ending["activation"],
            out=plan.buffer(ending["out"], n),
            **fields,
        )
    )
    numpy, ours = plan.outputs(instruction_set)
    if ending["out"] is Type.U8 or ending["requant"]:
        far = np.abs(ours - numpy) > 1e-3  # a number on the edge of two codes may get the other one
        assert far.mean() < 0.005
        np.testing.assert_allclose(ours, numpy, atol=1.01 if ending["out"] is Type.U8 else 0.04)
    else:
        np.testing.assert_allclose(ours, numpy, atol=1e-4)


ROWS = (Op.NORM, Op.POOL, Op.UNIT, Op.MARKED)


@PROPERTY
@given(n=st.integers(1, 200), op=st.sampled_from(ROWS), flag=st.sampled_from(Pooled), texts=lengths())
def test_rows(instruction_set: str, n: int, op: Op, flag: Pooled, texts: list[int]) -> None:
    plan = PlanOfOne(np.random.default_rng(n).normal(0.3, 2, (WORDS, n)), texts)
    fields: dict[str, Any] = {"epsilon": 1e-12, "rows": Rows.TOKENS}
    if op is Op.NORM:
        of_squares = flag is Pooled.MAXIMUM  # any of two: RMSNorm takes no mean off, and adds nothing
        beta = "" if of_squares else plan.vector("beta", -0.25, n)
        fields |= {"gamma": plan.vector("gamma", 1.5, n), "beta": beta, "flag": int(of_squares)}
    if op is Op.POOL:
        fields = {"rows": Rows.TEXTS, "flag": int(flag)}
    if op is Op.MARKED:  # some texts have the token once, some several times, some not at all
        fields = {"rows": Rows.TEXTS, "token": int(plan.batch.input_ids[0, -1])}
    plan.steps.append(
        Step(op=op, name="rows", inputs=(0, -1, -1), n=n, out=plan.buffer(Type.F32, n, fields["rows"]), **fields)
    )
    numpy, ours = plan.outputs(instruction_set, threads=2)
    np.testing.assert_allclose(ours, numpy, atol=2e-5, rtol=1e-5)


@PROPERTY
@given(
    heads=st.integers(1, 5),
    half=st.sampled_from([1, 3, 8, 16, 17, 32]),
    in_codes=st.booleans(),
    first=st.booleans(),
    texts=lengths(),
)
def test_rotary_positions(
    instruction_set: str, heads: int, half: int, in_codes: bool, first: bool, texts: list[int]
) -> None:
    n, generator = 2 * half * heads, np.random.default_rng(half)
    plan = PlanOfOne(generator.normal(0, 1, (WORDS, n)), texts)
    rows, source = (Rows.TEXTS, plan.buffer(Type.F32, n, Rows.TEXTS)) if first else (Rows.TOKENS, 0)
    if first:
        plan.steps.append(Step(op=Op.FIRST, name="first", rows=rows, inputs=(0, -1, -1), n=n, out=source))
    angles = generator.normal(0, 3, (LONGEST, half)).astype(np.float32)
    plan.steps.append(
        Step(
            op=Op.ROTARY,
            name="turned",
            rows=rows,
            inputs=(source, -1, -1),
            n=n,
            heads=heads,
            positions=LONGEST,
            cos=plan.array("cos", np.cos(angles)),
            sin=plan.array("sin", np.sin(angles)),
            out=plan.buffer(Type.U8 if in_codes else Type.F32, n, rows),
            inverse=plan.vector("inverse", generator.uniform(10, 60, n), n) if in_codes else "",
            out_zero=128 if in_codes else 0,
        )
    )
    numpy, ours = plan.outputs(instruction_set, threads=1 + heads % 3)
    if in_codes:  # a number between two codes may get either
        assert np.abs(ours - numpy).max() <= 1 and np.mean(ours != numpy) < 1e-3
    else:
        np.testing.assert_array_equal(ours, numpy)


@pytest.mark.parametrize("types", [0, 2])
def test_embeddings_without_positions(instruction_set: str, types: int) -> None:
    generator = np.random.default_rng(types)
    plan = PlanOfOne(generator.normal(0, 1, (WORDS, 70)), [3, 40, 1])
    del plan.arrays["position"]
    kinds = {"types": types, "type": plan.array("type", generator.normal(0, 1, (2, 70)).astype(np.float32))}
    plan.steps[0] = replace(plan.steps[0], position="", **(kinds if types else {}))
    if not types:
        del plan.arrays["type"]
    numpy, ours = plan.outputs(instruction_set)
    np.testing.assert_array_equal(ours, numpy)
