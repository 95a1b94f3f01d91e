"""Each kernel of each instruction set that this CPU has, against the same plan in numpy: integers are equal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bertc.core.batch import Batch, batch_from_features
from bertc.core.feature import Feature
from bertc.runtime.native import packing
from bertc.runtime.native.kernel_plan import (
    Activation,
    Buffer,
    Op,
    Output,
    Plan,
    Rows,
    Step,
    Type,
    distances,
    padded,
)
from bertc.runtime.native.library import instruction_sets
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.native.plan_check import check_plan
from tests.native_reference import run_plan

pytestmark = pytest.mark.native

Array = NDArray[Any]
WORDS, LONGEST = 40, 150
PROPERTY = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(params=["amx", "avx512", "avxvnni", "avx2", "i8mm", "dotprod", "plain"])
def instruction_set(request: pytest.FixtureRequest) -> str:
    """Each set that this CPU has."""
    if request.param not in instruction_sets():
        pytest.skip(f"this CPU has no {request.param}")
    return str(request.param)


class PlanOfOne:
    """Builds a plan of one kernel whose input is any matrix: a word's embedding is a row of it."""

    def __init__(self, rows: Array, lengths: list[int]) -> None:
        self.arrays: dict[str, Array] = {
            "word": rows.astype(np.float32),
            "position": np.zeros((LONGEST, rows.shape[1]), np.float32),
        }
        self.buffers: list[Buffer] = []
        self.steps = [
            Step(
                op=Op.EMBED,
                name="rows",
                rows=Rows.TOKENS,
                out=self.buffer(Type.F32, rows.shape[1]),
                n=rows.shape[1],
                vocabulary=len(rows),
                positions=LONGEST,
                word="word",
                position="position",
            )
        ]
        generator = np.random.default_rng(sum(lengths))
        texts = [
            Feature(
                input_ids=generator.integers(0, len(rows), length), token_type_ids=np.zeros(length, np.int64), row=row
            )
            for row, length in enumerate(lengths)
        ]
        self.batch: Batch = batch_from_features(texts, range(len(texts)))

    def buffer(self, kind: Type, columns: int, rows: Rows = Rows.TOKENS) -> int:
        self.buffers.append(Buffer(type=kind, rows=rows, width=padded(columns)))
        return len(self.buffers) - 1

    def array(self, name: str, values: Array) -> str:
        self.arrays[name] = values
        return name

    def vector(self, name: str, values: Array | float, n: int) -> str:
        return self.array(name, packing.float_vector(np.broadcast_to(np.float32(values), (n,)), n))

    def codes(self, columns: int, zero: int) -> int:
        """Write the rows as codes: what is added to the zero point is the number itself."""
        out = self.buffer(Type.U8, columns)
        self.steps.append(
            Step(
                op=Op.FINISH,
                name="codes",
                rows=Rows.TOKENS,
                inputs=(0, -1, -1),
                k=columns,
                n=columns,
                out=out,
                out_zero=zero,
                inverse=self.vector("codes.inverse", 1.0, columns),
            )
        )
        return out

    def distance_bias(self, heads: int, given: bool) -> dict[str, Any]:
        """Return the fields of a bias that is another number for every head and distance, or no fields."""
        if not given:
            return {}
        values = np.random.default_rng(heads).normal(0, 2, (heads, distances(LONGEST))).astype(np.float32)
        return {"positions": LONGEST, "distance_bias": self.array("distance_bias", values)}

    def residual(self, kind: Type, n: int) -> int:
        """Write numbers, or their codes, that a later step can add."""
        weights = np.eye(self.steps[0].n, n, dtype=np.float32)
        ending = {} if kind is Type.F32 else {"inverse": self.vector("residual.inverse", 1.0, n), "out_zero": 128}
        out = self.buffer(kind, n)
        self.steps.append(
            Step(
                op=Op.GEMM_F32,
                name="residual",
                rows=Rows.TOKENS,
                inputs=(0, -1, -1),
                k=self.steps[0].n,
                n=n,
                out=out,
                weights=self.array("residual.weights", packing.float_panels(weights)),
                **ending,
            )
        )
        return out

    def outputs(self, instruction_set: str, threads: int = 1) -> tuple[Array, Array]:
        """Return what the last step writes: numpy's, and the engine's."""
        last = self.steps[-1]
        per_token = last.rows is Rows.TOKENS
        out, columns = last.out, last.n
        if self.buffers[out].type is Type.U8:  # an output is numbers
            out = self.buffer(Type.F32, columns, last.rows)
            self.steps.append(
                Step(
                    op=Op.FINISH, name="shown", rows=last.rows, inputs=(last.out, -1, -1), k=columns, n=columns, out=out
                )
            )
        plan = Plan(
            steps=tuple(self.steps),
            buffers=tuple(self.buffers),
            outputs=(Output(name="out", buffer=out, columns=columns, per_token=per_token),),
        )
        check_plan(plan, self.arrays)
        engine = NativeEngine(plan, self.arrays, threads=threads, instruction_set=instruction_set)
        (ours,) = engine.run(self.batch, ["out"])
        engine.close()
        return run_plan(plan, self.arrays, self.batch)["out"], ours


def lengths() -> st.SearchStrategy[list[int]]:
    """Return texts' lengths: one alone, a few, many short ones."""
    return st.one_of(
        st.lists(st.integers(1, LONGEST), min_size=1, max_size=4), st.lists(st.integers(1, 7), min_size=5, max_size=60)
    )


def random_codes(generator: np.random.Generator, shape: tuple[int, ...], low: int, high: int) -> Array:
    """Return codes, half of them at the edges."""
    inside = generator.integers(low, high + 1, shape)
    return np.where(generator.random(shape) < 0.5, generator.choice([low, high], shape), inside)


@PROPERTY
@given(k=st.integers(1, 300), n=st.integers(1, 200), zero=st.sampled_from([0, 3, 128, 255]), texts=lengths())
def test_products_of_codes_are_exact(instruction_set: str, k: int, n: int, zero: int, texts: list[int]) -> None:
    generator = np.random.default_rng(k * 1000 + n)
    plan = PlanOfOne(random_codes(generator, (WORDS, k), -zero, 255 - zero), texts)
    weights = random_codes(generator, (k, n), -127, 127).astype(np.int8)
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
            for residual in (None, Type.F32, Type.U8):
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
        fields["residual"] = plan.residual(ending["residual"], n)
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


@PROPERTY
@given(
    heads=st.integers(1, 5),
    size=st.sampled_from([4, 12, 16, 30, 32, 64, 80]),
    high=st.sampled_from([127, 255]),
    scores=st.booleans(),
    first=st.booleans(),
    biased=st.booleans(),
    texts=lengths(),
)
def test_attention_over_codes(
    instruction_set: str, heads: int, size: int, high: int, scores: bool, first: bool, biased: bool, texts: list[int]
) -> None:
    plan, n = PlanOfOne(np.random.default_rng(size).integers(-128, 128, (WORDS, 3 * heads * size)), texts), heads * size
    codes = plan.codes(3 * n, 128)
    rows, query = Rows.TOKENS, codes
    if first:
        rows, query = Rows.TEXTS, plan.buffer(Type.U8, n, Rows.TEXTS)
        plan.steps.append(Step(op=Op.FIRST, name="first", rows=rows, inputs=(codes, -1, -1), n=n, out=query))
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
            **plan.distance_bias(heads, biased),
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
    biased=st.booleans(),
    texts=lengths(),
)
def test_attention_over_numbers(
    instruction_set: str, heads: int, size: int, flag: bool, biased: bool, texts: list[int]
) -> None:
    plan, n = PlanOfOne(np.random.default_rng(size).normal(0, 1, (WORDS, 3 * heads * size)), texts), heads * size
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
            **plan.distance_bias(heads, biased),
        )
    )
    numpy, ours = plan.outputs(instruction_set)
    np.testing.assert_allclose(ours, numpy, atol=0.02 if flag else 2e-5)
    assert np.sqrt(np.mean(np.square(ours - numpy))) < 1e-3


@PROPERTY
@given(n=st.integers(1, 200), op=st.sampled_from([Op.NORM, Op.POOL, Op.UNIT]), flag=st.booleans(), texts=lengths())
def test_rows(instruction_set: str, n: int, op: Op, flag: bool, texts: list[int]) -> None:
    plan = PlanOfOne(np.random.default_rng(n).normal(0.3, 2, (WORDS, n)), texts)
    fields: dict[str, Any] = {"epsilon": 1e-12, "rows": Rows.TOKENS}
    if op is Op.NORM:
        fields |= {"gamma": plan.vector("gamma", 1.5, n), "beta": plan.vector("beta", -0.25, n)}
    if op is Op.POOL:
        fields = {"rows": Rows.TEXTS, "flag": int(flag)}
    plan.steps.append(
        Step(op=op, name="rows", inputs=(0, -1, -1), n=n, out=plan.buffer(Type.F32, n, fields["rows"]), **fields)
    )
    numpy, ours = plan.outputs(instruction_set, threads=2)
    np.testing.assert_allclose(ours, numpy, atol=2e-5, rtol=1e-5)
