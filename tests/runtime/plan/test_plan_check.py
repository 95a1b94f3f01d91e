"""A plan that a kernel could leave its buffers with is refused, by step and field."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from bertc.errors import InputError
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Buffer, Op, Rows, Type, padded
from bertc.runtime.plan.plan_check import check_plan
from tests.runtime.plan.compiled_plans import Array, Compiled, changed, number_of

CASES: list[tuple[Op, dict[str, Any], str]] = [
    (Op.EMBED, {"rows": Rows.TEXTS}, "rows"),
    (Op.EMBED, {"vocabulary": 10**6}, "word is int8"),
    (Op.EMBED, {"vocabulary": 0}, "vocabulary is 0"),
    (Op.EMBED, {"positions": 129}, "position is int8"),
    (Op.EMBED, {"first_position": 128}, "first_position is 128"),
    (Op.EMBED, {"first_position": -1}, "first_position is -1"),
    (Op.EMBED, {"types": 3}, "type is float32"),
    (Op.EMBED, {"types": 0}, "types is 0"),
    (Op.EMBED, {"flag": 0}, "word is int8"),
    (Op.EMBED, {"flag": 2}, "flag is 2"),
    (Op.EMBED, {"word": "none"}, "word is 'none', which is no array"),
    (Op.EMBED, {"word_scale": ""}, "word_scale"),
    (Op.EMBED, {"n": 65}, "word is int8"),
    (Op.EMBED, {"n": 0}, "n is 0"),
    (Op.EMBED, {"out": NO_BUFFER}, "out is missing"),
    (Op.EMBED, {"out": 1000}, "out is 1000, and there are"),
    (Op.EMBED, {"out": -2}, "out is -2"),
    (Op.EMBED, {"k": 1}, "k is 1, which this kernel does not read"),
    (Op.EMBED, {"inputs": (0, -1, -1)}, "does not read"),
    (Op.GEMM_INT8, {"k": 65}, "in_column is 0, and the buffer has 64"),
    (Op.GEMM_INT8, {"k": 0}, "k is 0"),
    (Op.GEMM_INT8, {"k": 10**6}, "k is 1000000"),
    (Op.GEMM_INT8, {"k": 2**31}, "k is 2147483648"),
    (Op.GEMM_INT8, {"n": 193}, "weights is int8"),
    (Op.GEMM_INT8, {"in_column": (1, 0, 0)}, "in_column is 1"),
    (Op.GEMM_INT8, {"in_column": (-64, 0, 0)}, "in_column is -64|in_column is \\(-64"),
    (Op.GEMM_INT8, {"in_column": (0, 64, 0)}, "in_column"),
    (Op.GEMM_INT8, {"inputs": (0, -1, -1)}, "does not hold u8"),
    (Op.GEMM_INT8, {"inputs": (-1, -1, -1)}, "inputs is -1"),
    (Op.GEMM_INT8, {"in_zero": 256}, "in_zero is 256"),
    (Op.GEMM_INT8, {"in_zero": -1}, "in_zero is -1"),
    (Op.GEMM_INT8, {"weights": ""}, "weights is ''"),
    (Op.GEMM_INT8, {"flag": 1}, "weights is int8"),
    (Op.GEMM_INT8, {"flag": 2}, "flag is 2"),
    (Op.GEMM_INT8, {"compensation": "layer.0.hidden.gamma"}, "compensation is float32"),
    (Op.GEMM_INT8, {"requant_scale": ""}, "requant_scale"),
    (Op.GEMM_INT8, {"requant": ""}, "requant_scale"),
    (Op.GEMM_INT8, {"inverse": ""}, "inverse"),
    (Op.GEMM_INT8, {"out_zero": 256}, "out_zero is 256"),
    (Op.GEMM_INT8, {"out_column": 64}, "out_column is 64"),
    (Op.GEMM_INT8, {"out_column": 32}, "out_column is 32"),
    (Op.GEMM_INT8, {"residual": 10**6}, "residual is 1000000, and there are"),
    (Op.GEMM_INT8, {"residual_zero": 1}, "residual_zero is 1"),
    (Op.GEMM_INT8, {"rows": Rows.TEXTS}, "a row for each of the tokens"),
    (Op.GEMM_INT8, {"heads": 2}, "heads is 2, which this kernel does not read"),
    (Op.NORM, {"epsilon": float("nan")}, "epsilon is nan"),
    (Op.NORM, {"epsilon": 1e39}, "epsilon is 1e\\+39"),
    (Op.NORM, {"epsilon": 0.0}, "epsilon is 0.0"),
    (Op.NORM, {"out_codes": NO_BUFFER}, "out is -1"),
    (Op.NORM, {"gamma": ""}, "gamma"),
    (Op.NORM, {"beta": ""}, "beta is ;"),
    (Op.NORM, {"flag": 1}, "beta is layer"),
    (Op.NORM, {"flag": 2}, "flag is 2"),
    (Op.NORM, {"inverse": ""}, "inverse"),
    (Op.NORM, {"n": 128}, "in_column"),
    (Op.ATTENTION, {"scaling": -0.5}, "scaling is -0.5"),
    (Op.ATTENTION, {"heads": 3}, "heads is 3"),
    (Op.ATTENTION, {"heads": 0}, "heads is 0"),
    (Op.ATTENTION, {"in_zero": 0}, "in_zero is 0"),
    (Op.ATTENTION, {"probs_high": 256}, "probs_high is 256"),
    (Op.ATTENTION, {"flag": 0}, "probs_high is 255"),
    (Op.ATTENTION, {"probs_inverse": 0.0}, "probs_inverse is 0.0"),
    (Op.ATTENTION, {"scores_requant": -1.0}, "scores_requant is -1.0"),
    (Op.ATTENTION, {"k": 128}, "k is 128"),
    (Op.ATTENTION, {"in_column": (0, 64, 192)}, "in_column is 192"),
    (Op.ATTENTION, {"inputs": (2, 2, 0)}, "does not hold u8|in_column"),
    (Op.ATTENTION, {"positions": 128}, "positions is 128"),
    (Op.ATTENTION, {"distance_bias": "layer.0.hidden.gamma"}, "positions is 0"),
    (Op.ATTENTION, {"positions": 128, "distance_bias": "layer.0.hidden.gamma"}, "distance_bias is float32 .64. where"),
    (Op.ATTENTION, {"positions": 128, "distance_bias": "none"}, "distance_bias is 'none', which is no array"),
    (Op.ATTENTION, {"scaling": float("inf")}, "scaling is inf"),
    (Op.ATTENTION, {"near": -1}, "near is -1"),
    (Op.ATTENTION, {"near": 129}, "near is 129"),
    (Op.ATTENTION, {"gated": 1}, "gated is 1, which this kernel does not read"),
    (Op.GEMM_INT8, {"gated": 1}, "gated is 1"),
    (Op.GEMM_INT8, {"near": 1}, "near is 1, which this kernel does not read"),
    (Op.EMBED, {"position": ""}, "position_scale is"),
    (Op.FIRST, {"rows": Rows.TOKENS}, "rows"),
    (Op.FIRST, {"inputs": (0, -1, -1)}, "does not hold f32"),
    (Op.FIRST, {"in_column": (64, 0, 0)}, "in_column is 64"),
    (Op.FIRST, {"token": 4}, "token is 4, which this kernel does not read"),
    (Op.FIRST, {"last": 2}, "last is 2"),
    (Op.ATTENTION, {"last": 1}, "last is 1"),
    (Op.NORM, {"last": 1}, "last is 1, which this kernel does not read"),
    (Op.ATTENTION, {"segments_column": 1}, "segments_column is 1"),
    (Op.GEMM_INT8, {"segments": 0}, "segments is 0, which this kernel does not read"),
    (Op.EMBED, {"types": -1}, "types is -1"),
]


@pytest.mark.parametrize("op, values, told", CASES, ids=str)
def test_a_damaged_step_is_refused_by_its_field(op: Op, values: dict[str, Any], told: str, int8: Compiled) -> None:
    plan, arrays = int8
    number = number_of(plan, op)
    with pytest.raises(InputError, match=rf"step {number} \({op.name.lower()} .*({told}).*build the model again"):
        check_plan(changed(plan, number, **values), arrays)


@pytest.mark.parametrize(
    "op, values, told",
    [
        (Op.GEMM_F32, {"k": 65}, "in_column"),
        (Op.GEMM_F32, {"weights": "embeddings.sum.word"}, "weights is"),
        (Op.GEMM_F32, {"in_zero": 3}, "does not read"),
        (Op.GEMM_F32, {"flag": 1}, "weights is float32 .* where uint16"),
        (Op.GEMM_F32, {"flag": 2}, "flag is 2"),
        (Op.GEMM_F32, {"flag": -1}, "flag is -1"),
        (Op.FINISH, {"k": 32}, "k is 32"),
        (Op.FINISH, {"in_zero": 300}, "in_zero is 300"),
        (Op.POOL, {"flag": 3}, "flag is 3"),
        (Op.POOL, {"rows": Rows.TOKENS}, "rows"),
        (Op.POOL, {"n": 65}, "in_column"),
        (Op.UNIT, {"epsilon": -1.0}, "epsilon is -1.0"),
        (Op.UNIT, {"inputs": (0, -1, -1)}, "a row for each of the tokens"),
        (Op.UNIT, {"bias": "x"}, "bias is 'x', which this kernel does not read"),
        (Op.ATTENTION, {"in_zero": 128}, "in_zero is 128"),
    ],
    ids=str,
)
def test_a_damaged_step_of_numbers_is_refused(op: Op, values: dict[str, Any], told: str, pooled: Compiled) -> None:
    plan, arrays = pooled
    with pytest.raises(InputError, match=told):
        check_plan(changed(plan, number_of(plan, op), **values), arrays)


def test_a_gate_is_of_numbers_and_there(turned: Compiled) -> None:
    plan, arrays = turned
    number = next(number for number, step in enumerate(plan.steps) if step.gated)
    codes = next(step.inputs[0] for step in plan.steps if step.op is Op.GEMM_INT8)
    for values, told in (
        ({"gated": 2}, "gated is 2"),
        ({"gated": -1}, "gated is -1"),
        ({"residual": NO_BUFFER}, "gated is 1"),
        ({"residual": codes, "residual_scale": plan.steps[number].inverse}, "gated is 1|residual is"),
    ):
        with pytest.raises(InputError, match=told):
            check_plan(changed(plan, number, **values), arrays)


def test_a_mark_is_an_id(marked: Compiled) -> None:
    plan, arrays = marked
    with pytest.raises(InputError, match="token is -1"):
        check_plan(changed(plan, number_of(plan, Op.MARKED), token=-1), arrays)
    with pytest.raises(InputError, match="rows"):
        check_plan(changed(plan, number_of(plan, Op.MARKED), rows=Rows.TOKENS), arrays)


def test_what_is_compiled_passes(
    int8: Compiled,
    pooled: Compiled,
    turned: Compiled,
    distant: Compiled,
    biased: Compiled,
    leaving: Compiled,
    marked: Compiled,
    segmented: Compiled,
) -> None:
    ops = set()
    for plan, arrays in (int8, pooled, turned, distant, biased, leaving, marked, segmented):
        check_plan(plan, arrays)
        ops |= {step.op for step in plan.steps}
    assert ops == set(Op)


@pytest.mark.parametrize("place", range(4))
def test_a_step_that_reads_what_is_not_written_is_refused(place: int, int8: Compiled) -> None:
    """Later on, another value stands in the buffer."""
    plan, arrays = int8
    steps = list(plan.steps)
    steps[place], steps[place + 1] = steps[place + 1], steps[place]
    with pytest.raises(InputError, match=r"written|does not hold|columns"):
        check_plan(replace(plan, steps=tuple(steps)), arrays)


def test_a_step_may_write_over_its_residual_but_not_over_its_input(int8: Compiled) -> None:
    plan, arrays = int8
    number = number_of(plan, Op.NORM)
    over = plan.steps[number].inputs[0]
    with pytest.raises(InputError, match="which the step reads"):
        check_plan(changed(plan, number, out=over), arrays)


@pytest.mark.parametrize(
    "values, told",
    [
        ({"buffer": 99}, "buffer is 99"),
        ({"column": 64}, "columns are 2 from 64"),
        ({"column": -1}, "columns are 2 from -1"),
        ({"columns": 0}, "columns are 0"),
        ({"columns": 3}, "are not all written"),
        ({"per_token": True}, "has other rows"),
        ({"vector": False}, "vector is false"),
        ({"buffer": 1}, "holds codes"),
    ],
    ids=str,
)
def test_a_damaged_output_is_refused(values: dict[str, Any], told: str, int8: Compiled) -> None:
    plan, arrays = int8
    (output,) = plan.outputs
    last = replace(plan.steps[-1], out=len(plan.buffers))
    fresh = replace(
        plan,
        steps=(*plan.steps[:-1], last),
        buffers=(*plan.buffers, Buffer(type=Type.F32, rows=Rows.TEXTS, width=64)),
        outputs=(replace(output, buffer=len(plan.buffers)),),
    )
    check_plan(fresh, arrays)
    damaged = replace(fresh, outputs=(replace(fresh.outputs[0], **values),))
    with pytest.raises(InputError, match=rf"output 0 \(logits\): .*{told}"):
        check_plan(damaged, arrays)


def test_damage_of_the_whole_is_refused(int8: Compiled) -> None:
    plan, arrays = int8
    (output,) = plan.outputs
    wide = Buffer(type=Type.F32, rows=Rows.TOKENS, width=2**20)
    cases = [
        (replace(plan, outputs=()), "outputs"),
        (replace(plan, outputs=(output, output)), "outputs"),
        (replace(plan, steps=()), "steps are 0"),
        (replace(plan, steps=(plan.steps[0], *plan.steps)), "exactly one"),
        (replace(plan, buffers=(*plan.buffers, replace(wide, width=65))), "width is 65"),
        (replace(plan, buffers=(*plan.buffers, replace(wide, width=0))), "width is 0"),
        (replace(plan, buffers=(*plan.buffers, replace(wide, width=2**21))), "width is 2097152"),
        (replace(plan, buffers=(*plan.buffers, *[wide] * 5)), "too many or too wide"),
    ]
    for damaged, told in cases:
        with pytest.raises(InputError, match=told):
            check_plan(damaged, arrays)


def test_sparse_weights_have_their_own_shape(sparse: Compiled) -> None:
    plan, arrays = sparse
    check_plan(plan, arrays)
    number = number_of(plan, Op.GEMM_INT8)
    step = plan.steps[number]
    weights = arrays[step.weights]
    assert step.flag and weights.shape == (padded(step.n) // 64, padded(step.k) // 8 * 5, 64)
    with pytest.raises(InputError, match="weights is int8"):
        check_plan(changed(plan, number, flag=0), arrays)
    with pytest.raises(InputError, match="weights is int8"):
        check_plan(plan, {**arrays, step.weights: np.ascontiguousarray(weights[:, :-1])})


def test_bf16_weights_have_their_own_shape(bf16: Compiled) -> None:
    plan, arrays = bf16
    check_plan(plan, arrays)
    number = number_of(plan, Op.GEMM_F32)
    step = plan.steps[number]
    weights = arrays[step.weights]
    assert step.flag and weights.shape == (padded(step.n) // 64, -(-step.k // 32) * 16, 64, 2)
    with pytest.raises(InputError, match=r"weights is uint16 .* where float32"):
        check_plan(changed(plan, number, flag=0), arrays)
    for wrong in (weights.view(np.int16), weights[:, :-1], weights[:-1], weights[..., :1], weights.reshape(-1)):
        with pytest.raises(InputError, match="where uint16"):
            check_plan(plan, {**arrays, step.weights: np.ascontiguousarray(wrong)})
    with pytest.raises(InputError, match=r"where uint16|in_column"):
        check_plan(changed(plan, number, k=step.k + 1), arrays)


def test_damaged_arrays_are_refused(int8: Compiled) -> None:
    plan, arrays = int8
    number = number_of(plan, Op.GEMM_INT8)
    step = plan.steps[number]

    def check(field: str, array: Array | None, told: str) -> None:
        name = getattr(step, field)
        others = {other: each for other, each in arrays.items() if other != name}
        with pytest.raises(InputError, match=told):
            check_plan(plan, others if array is None else {**others, name: array})

    weights, requant = arrays[step.weights], arrays[step.requant]
    check("weights", None, "no array of the plan")
    check("weights", weights.view(np.uint8), "uint8")
    check("weights", weights[:-1], "weights is int8")
    check("weights", np.asfortranarray(weights), "weights is int8")
    check("requant", requant.astype(np.float64), "requant is float64")
    check("requant", np.where(np.arange(requant.size) == 5, np.float32(np.nan), requant), "not finite")
    check("compensation", np.full(requant.size, 2**31 - 1, np.int32), "larger than any sum")
    with pytest.raises(InputError, match="'more', which no step uses"):
        check_plan(plan, {**arrays, "more": requant})
