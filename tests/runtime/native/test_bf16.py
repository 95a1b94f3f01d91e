"""Products in BF16: the same bits on every instruction set, in the layers alone, and only where that is faster."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bertc.core.batch import batch_from_features
from bertc.runtime.native import bf16_choice
from bertc.runtime.native.bf16_choice import choose_bf16, is_of_layer
from bertc.runtime.native.library import instruction_sets, library, multiplies_bf16
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.plan import packing
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_calls import optimized_from_plan
from bertc.runtime.plan.kernel_plan import Op, Rows, Step, Type
from bertc.runtime.plan.plan_check import check_plan
from bertc.runtime.plan.plan_files import read_plan, write_plan
from tests.native_reference import run_plan
from tests.runtime.native.plan_of_one import PROPERTY, WORDS, Array, PlanOfOne, lengths
from tests.runtime.plan.compiled_plans import Compiled
from tests.tiny import TinyModel, quantized, random_features, rms, tiny_scheme

pytestmark = pytest.mark.native


def products(
    instruction_set: str, rows: Array, weights: Array, texts: list[int], *, flag: int = 1, **ending: Any
) -> tuple[Array, Array]:
    """Return the products of a matrix's rows with weights, BF16 or (flag 0) float32: numpy's, and the engine's."""
    (k, n), plan = weights.shape, PlanOfOne(rows, texts)
    fields = {name: plan.vector(name, values, n) for name, values in ending.items()}
    panels = packing.float_panels(weights.astype(np.float32))
    plan.steps.append(
        Step(
            op=Op.GEMM_F32,
            name="product",
            rows=Rows.TOKENS,
            inputs=(0, -1, -1),
            k=k,
            n=n,
            flag=flag,
            out=plan.buffer(Type.F32, n),
            weights=plan.array("weights", packing.bf16_panels(panels) if flag else panels),
            **fields,
        )
    )
    return plan.outputs(instruction_set, threads=1 + k % 3)


# --- the kernels ------------------------------------------------------------------------------------------------------


@PROPERTY
@given(k=st.integers(1, 300), n=st.integers(1, 200), texts=lengths())
def test_products_are_numpy_s_to_the_bit(instruction_set: str, k: int, n: int, texts: list[int]) -> None:
    generator = np.random.default_rng(k * 1000 + n)
    rows = generator.normal(0, 2, (WORDS, k)) * 10.0 ** generator.integers(-6, 7, (WORDS, 1))
    numpy, ours = products(instruction_set, rows, generator.normal(0, 1, (k, n)), texts)
    np.testing.assert_array_equal(ours, numpy)


def test_they_differ_from_float32_by_the_rounding_of_both_operands(instruction_set: str) -> None:
    generator = np.random.default_rng(0)
    rows, weights = generator.uniform(-1, 1, (WORDS, 256)), generator.uniform(-1, 1, (256, 64))
    halves, floats = (products(instruction_set, rows, weights, [100, 20], flag=flag)[1] for flag in (1, 0))
    assert 0 < np.abs(halves - floats).max() < 2**-8 * np.abs(weights).sum(axis=0).max()
    whole = np.round(100 * rows), np.round(100 * weights)  # which BF16 holds, and whose sums float32 does
    halves, floats = (products(instruction_set, *whole, [100, 20], flag=flag)[1] for flag in (1, 0))
    np.testing.assert_array_equal(halves, floats)


def test_what_is_no_number_stays_in_its_row(instruction_set: str) -> None:
    generator = np.random.default_rng(1)
    weights = generator.normal(0, 1, (70, 90)).astype(np.float32)
    weights[:, 0] = 0
    rows = generator.normal(0, 1, (WORDS, 70)).astype(np.float32)
    clean = products(instruction_set, rows, weights, [150, 7])[1]
    rows[::4, 3], rows[1::4, 69], rows[2::4, 33] = np.nan, np.inf, -3.39e38
    with np.errstate(over="ignore", invalid="ignore"):
        numpy, ours = products(instruction_set, rows, weights, [150, 7])
    np.testing.assert_array_equal(ours, numpy)
    others = np.isfinite(ours).all(axis=-1)
    np.testing.assert_array_equal(ours[others], clean[others])
    assert 20 < np.count_nonzero(ours[others].any(axis=-1)) < 150
    assert np.isnan(ours[..., 0]).any(), "infinity times 0"


@pytest.mark.parametrize("rows, weights", [(1e-40, 1e20), (1e20, 1e-40), (1e-30, 1e-30)])
def test_subnormal_numbers_count_as_0(instruction_set: str, rows: float, weights: float) -> None:
    with np.errstate(under="ignore"):
        given = np.full((WORDS, 40), rows, np.float32), np.full((40, 20), weights, np.float32)
        ours = products(instruction_set, *given, [20])[1]
    assert np.abs(ours).max() < 40 * 2.0**-126


def test_what_follows_is_what_follows_every_product(instruction_set: str) -> None:
    generator = np.random.default_rng(2)
    rows, weights = generator.normal(0, 1, (WORDS, 33)), generator.normal(0, 1, (33, 70)).astype(np.float32)
    ending: dict[str, Any] = {"scale": generator.uniform(0.5, 2, 70), "bias": generator.normal(0, 1, 70)}
    numpy, ours = products(instruction_set, rows, weights, [40, 1], **ending)
    np.testing.assert_allclose(ours, numpy, atol=1e-5)


# --- the choice -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tiny_classifier: TinyModel) -> Compiled:
    """A classifier whose second layer is in float, and one product of the first."""
    scheme = tiny_scheme("2", "channel", keep_float=("layer.1", "layer.0.gelu"))
    return plan_from_graph(quantized(tiny_classifier, scheme).graph)


def float_steps(compiled: Compiled, *, bf16: bool) -> list[Step]:
    return [step for step in compiled[0].steps if step.op is Op.GEMM_F32 and bool(step.flag) is bf16]


def answers(compiled: Compiled, instruction_set: str | None = None) -> Array:
    features = random_features(9)
    with NativeEngine(*compiled, threads=1, instruction_set=instruction_set) as engine:
        (found,) = engine.run(batch_from_features(features, range(len(features))), ["logits"])
    return found


def test_layers_are_bf16_and_the_head_is_not(kept: Compiled) -> None:
    chosen = choose_bf16(*kept, pays=True)
    check_plan(*chosen)
    assert {step.name for step in float_steps(chosen, bf16=False)} == {"head.dense_0_active", "logits"}
    before, after = optimized_from_plan(kept[0], "here"), optimized_from_plan(chosen[0], "here")
    assert after.float_gemms == before.float_gemms and after.gemms_float == before.gemms_float > 4
    assert before.bf16_gemms == () and len(after.bf16_gemms) == after.gemms_float
    assert after.operators["gemm_bf16"] == len(float_steps(chosen, bf16=True))
    for step in float_steps(chosen, bf16=True):
        assert is_of_layer(step) and chosen[1][step.weights].nbytes * 2 == kept[1][step.weights].nbytes


def test_all_else_is_as_it_was(kept: Compiled) -> None:
    plan, arrays = choose_bf16(*kept, pays=True)
    assert [replace(step, flag=0) if step.op is Op.GEMM_F32 else step for step in plan.steps] == list(kept[0].steps)
    assert list(arrays) == list(kept[1])
    changed = {name for name, array in arrays.items() if array is not kept[1][name]}
    assert changed == {step.weights for step in plan.steps if step.op is Op.GEMM_F32 and step.flag}


def test_a_machine_to_which_it_does_not_pay_changes_nothing(kept: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bf16_choice, "multiplies_bf16", lambda: False)
    assert choose_bf16(*kept) == kept
    monkeypatch.setattr(bf16_choice, "multiplies_bf16", lambda: True)
    assert choose_bf16(*kept)[0] != kept[0]


def test_a_plan_without_float_layers_changes_nothing(int8: Compiled) -> None:
    plan, arrays = choose_bf16(*int8, pays=True)
    assert plan == int8[0] and all(arrays[name] is array for name, array in int8[1].items())


def test_weights_that_a_head_reads_too_stay_in_float32(kept: Compiled) -> None:
    plan, arrays = kept
    head = next(step for step in plan.steps if step.name == "head.dense_0_active")
    shared = "layer.1.attention_sum"
    steps = [replace(each, weights=head.weights) if each.name == shared else each for each in plan.steps]
    chosen = choose_bf16(replace(plan, steps=tuple(steps)), arrays, pays=True)
    assert {step.name for step in float_steps(chosen, bf16=False)} >= {shared, "head.dense_0_active"}


def test_the_engine_answers_nearly_as_in_float32_and_alike_everywhere(kept: Compiled, tmp_path: Any) -> None:
    write_plan(*choose_bf16(*kept, pays=True), tmp_path)
    chosen = read_plan(tmp_path / "native.json")
    floats, halves = answers(kept), answers(chosen)
    assert 0 < rms(halves - floats) < 0.02 * rms(floats)
    features = random_features(9)
    numpy = run_plan(*chosen, batch_from_features(features, range(len(features))))["logits"]
    np.testing.assert_allclose(halves, numpy, atol=0.05 * np.abs(numpy).max())
    for name in instruction_sets():
        if name != "plain":
            np.testing.assert_array_equal(answers(chosen, name), halves)


def test_only_tiles_are_faster_with_it() -> None:
    for name in instruction_sets():
        assert library().bertc_bf16(name.encode()) == (name == "amx")
    assert multiplies_bf16() is (instruction_sets()[0] == "amx")
    assert library().bertc_bf16(b"mmx") == 0
