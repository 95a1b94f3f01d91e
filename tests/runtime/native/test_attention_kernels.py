"""Attention of each instruction set that this CPU has, over codes and over numbers, against the same in numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertc.runtime.plan.kernel_plan import Op, Rows, Step, Type
from tests.runtime.native.plan_of_one import PROPERTY, WORDS, PlanOfOne, lengths

pytestmark = pytest.mark.native
BIAS = st.sampled_from(["", "bias", "keys", "queries", "keys and queries", "bias and segments", "keys and segments"])
NEAR = st.sampled_from([0, 0, 1, 2, 5, 16, 17, 65, 150])


@PROPERTY
@given(
    heads=st.integers(1, 5),
    size=st.sampled_from([4, 12, 16, 30, 32, 64, 80]),
    high=st.sampled_from([127, 255]),
    scores=st.booleans(),
    chosen=st.sampled_from(["", "first", "last"]),
    biased=BIAS,
    near=NEAR,
    texts=lengths(),
    unseen=st.booleans(),
)
def test_attention_over_codes(
    instruction_set: str,
    heads: int,
    size: int,
    high: int,
    scores: bool,
    chosen: str,
    biased: str,
    near: int,
    texts: list[int],
    unseen: bool,
) -> None:
    numbers = np.random.default_rng(size).integers(-128, 128, (WORDS, 3 * heads * size))
    plan, n = PlanOfOne(numbers, texts, unseen=unseen), heads * size
    codes = plan.codes(3 * n, 128)
    rows, query = Rows.TOKENS, codes
    last = int(chosen == "last")
    if chosen:
        rows, query = Rows.TEXTS, plan.buffer(Type.U8, n, Rows.TEXTS)
        inputs = (codes, -1, -1)
        plan.steps.append(Step(op=Op.FIRST, name=chosen, rows=rows, inputs=inputs, n=n, out=query, last=last))
    added = plan.added(biased, heads, n, rows, 128, last)
    spread = 3 / (127 * 127 * size**0.5)
    plan.steps.append(
        Step(
            op=Op.ATTENTION,
            name="attention",
            rows=rows,
            inputs=(query, codes, codes),
            in_column=(0, n, 2 * n),
            in_zero=128,
            k=n,
            n=n,
            heads=heads,
            flag=1,
            probs_high=high,
            probs_inverse=float(high),
            scaling=0.05 if scores else spread,
            scores_requant=spread * 20 if scores else 0.0,
            context_scale=1 / (127 * high),
            out=plan.buffer(Type.F32, n, rows),
            near=near,
            last=last,
            **added,
        )
    )
    numpy, ours = plan.outputs(instruction_set, threads=1 + heads % 3)
    # A probability on the edge of two codes may get the other one, which moves a context by 1 / high of a value.
    assert np.sqrt(np.mean(np.square(ours - numpy))) < 1e-3
    np.testing.assert_allclose(ours, numpy, atol=6 / high)


@PROPERTY
@given(heads=st.integers(1, 3), size=st.sampled_from([4, 30, 80]), scores=st.booleans(), texts=lengths())
def test_attention_over_codes_with_probabilities_in_float(
    instruction_set: str, heads: int, size: int, scores: bool, texts: list[int]
) -> None:
    plan, n = PlanOfOne(np.random.default_rng(size).integers(-128, 128, (WORDS, 3 * heads * size)), texts), heads * size
    codes, spread = plan.codes(3 * n, 128), 3 / (127 * 127 * size**0.5)
    plan.steps.append(
        Step(
            op=Op.ATTENTION,
            name="attention",
            rows=Rows.TOKENS,
            inputs=(codes, codes, codes),
            in_column=(0, n, 2 * n),
            in_zero=128,
            k=n,
            n=n,
            heads=heads,
            scaling=0.05 if scores else spread,
            scores_requant=spread * 20 if scores else 0.0,
            context_scale=1 / 127,
            out=plan.buffer(Type.F32, n),
        )
    )
    numpy, ours = plan.outputs(instruction_set)
    np.testing.assert_allclose(ours, numpy, atol=0.02 if scores else 2e-5)


@PROPERTY
@given(
    heads=st.integers(1, 3),
    size=st.sampled_from([4, 30, 64, 80]),
    flag=st.booleans(),
    biased=BIAS,
    near=NEAR,
    texts=lengths(),
    unseen=st.booleans(),
)
def test_attention_over_numbers(
    instruction_set: str, heads: int, size: int, flag: bool, biased: str, near: int, texts: list[int], unseen: bool
) -> None:
    inputs = np.random.default_rng(size).normal(0, 1, (WORDS, 3 * heads * size))
    plan, n = PlanOfOne(inputs, texts, unseen=unseen), heads * size
    added = plan.added(biased, heads, n, Rows.TOKENS, 1)
    plan.steps.append(
        Step(
            op=Op.ATTENTION,
            name="attention",
            rows=Rows.TOKENS,
            inputs=(0, 0, 0),
            in_column=(0, n, 2 * n),
            k=n,
            n=n,
            heads=heads,
            flag=int(flag),
            probs_high=255 if flag else 0,
            probs_inverse=255.0 if flag else 0.0,
            scaling=size**-0.5,
            context_scale=1 / 255 if flag else 1.0,
            out=plan.buffer(Type.F32, n),
            near=near,
            **added,
        )
    )
    numpy, ours = plan.outputs(instruction_set)
    np.testing.assert_allclose(ours, numpy, atol=0.02 if flag else 2e-5)
    assert np.sqrt(np.mean(np.square(ours - numpy))) < 1e-3
