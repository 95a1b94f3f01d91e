"""A plan that a kernel could leave its buffers with is refused, by step and field; fuzzed against a second reading."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import bertc
from bertc.core.head import Head, Pooling
from bertc.core.progress import Silent
from bertc.errors import InputError
from bertc.export.embeddings import store_embeddings
from bertc.prune.layers import prune_graph
from bertc.runtime.native.compile import plan_from_graph
from bertc.runtime.native.kernel_plan import (
    ARRAYS,
    NO_BUFFER,
    Activation,
    Buffer,
    Op,
    Output,
    Plan,
    Rows,
    Step,
    Type,
    distances,
    json_from_plan,
    padded,
    plan_from_json,
)
from bertc.runtime.native.plan_check import check_plan
from bertc.runtime.native.plan_files import write_plan
from bertc.runtime.native.sparse_choice import choose_sparse
from tests.tiny import TinyModel, quantized, tiny_model, tiny_scheme

Array = NDArray[Any]
Compiled = tuple[Plan, Mapping[str, Array]]


@pytest.fixture(scope="module")
def int8(tiny_classifier: TinyModel) -> Compiled:
    """Mode 3 with every field that a classifier's plan can have."""
    stored = replace(tiny_classifier, graph=store_embeddings(tiny_classifier.graph).graph)
    chosen = replace(tiny_scheme("3", "channel"), one_sided=True, split_outliers=True)
    return plan_from_graph(quantized(stored, chosen).graph)


@pytest.fixture(scope="module")
def sparse(tiny_classifier: TinyModel) -> Compiled:
    """A plan whose products have 2:4 weights, and skip their zeros."""
    graph = prune_graph(tiny_classifier.graph, criterion="magnitude", grams=None, progress=Silent()).graph
    compiled = plan_from_graph(quantized(replace(tiny_classifier, graph=graph), tiny_scheme("2", "channel")).graph)
    return choose_sparse(*compiled, speedups=lambda *_: (2.0, 2.0))


@pytest.fixture(scope="module")
def pooled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """A float plan with a mix of layers, pooling and a length of 1, one product in INT8."""
    head = Head(task="feature-extraction", pooling=Pooling.MEAN, normalize=True, layer_weights=(1.0, 2.0, 1.0))
    model = tiny_model(tmp_path_factory.mktemp("pooled"), task="feature-extraction", head=head)
    return plan_from_graph(quantized(model, tiny_scheme("2", keep_float=("probs", "query", "layer.1.context"))).graph)


def number_of(plan: Plan, op: Op, place: int = 0) -> int:
    return [number for number, step in enumerate(plan.steps) if step.op is op][place]


def changed(plan: Plan, number: int, **values: Any) -> Plan:
    steps = list(plan.steps)
    steps[number] = replace(steps[number], **values)
    return replace(plan, steps=tuple(steps))


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
    (Op.FIRST, {"rows": Rows.TOKENS}, "rows"),
    (Op.FIRST, {"inputs": (0, -1, -1)}, "does not hold f32"),
    (Op.FIRST, {"in_column": (64, 0, 0)}, "in_column is 64"),
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
        (Op.FINISH, {"k": 32}, "k is 32"),
        (Op.FINISH, {"in_zero": 300}, "in_zero is 300"),
        (Op.POOL, {"flag": 2}, "flag is 2"),
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


def test_what_is_compiled_passes(int8: Compiled, pooled: Compiled) -> None:
    ops = set()
    for plan, arrays in (int8, pooled):
        check_plan(plan, arrays)
        ops |= {step.op for step in plan.steps}
    assert ops == set(Op)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_bias_by_distance_has_every_distance_of_the_longest_text(wrong: float, int8: Compiled) -> None:
    plan, arrays = int8
    number = number_of(plan, Op.ATTENTION)
    biased = changed(plan, number, positions=128, distance_bias="bias")
    bias = np.zeros((2, distances(128)), np.float32)
    check_plan(biased, {**arrays, "bias": bias})
    with pytest.raises(InputError, match="distance_bias is float32"):
        check_plan(biased, {**arrays, "bias": bias[:, :-64].copy()})
    with pytest.raises(InputError, match="positions is 64"):
        check_plan(changed(biased, number, positions=64), {**arrays, "bias": bias})
    bias[1, 3] = wrong
    with pytest.raises(InputError, match="distance_bias has a number that is not finite"):
        check_plan(biased, {**arrays, "bias": bias})


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


def test_a_plan_survives_json(int8: Compiled, pooled: Compiled) -> None:
    for plan, _ in (int8, pooled):
        assert plan_from_json(json.loads(json.dumps(json_from_plan(plan)))) == plan


@pytest.mark.parametrize(
    "place, field, value, told",
    [
        ("steps", "more", 1, "step 0 has the unknown field 'more'"),
        ("steps", "op", "dance", "op is 'dance'"),
        ("steps", "op", 1, "op is 1"),
        ("steps", "n", 1.5, "n is 1.5"),
        ("steps", "n", True, "n is True"),
        ("steps", "n", None, "n is None"),
        ("steps", "inputs", [0, 1], r"inputs is \[0, 1\]"),
        ("steps", "inputs", [0, 1, "2"], "inputs is"),
        ("steps", "epsilon", "1", "epsilon is '1'"),
        ("steps", "epsilon", 10**400, "too large a number"),
        ("steps", "name", 3, "name is 3"),
        ("steps", "word", ["x" * 100], "word is .*\\.\\.\\."),
        ("buffers", "width", "64", "buffer 0: width is '64'"),
        ("buffers", "type", "f64", "type is 'f64'"),
        ("outputs", "per_token", 1, "per_token is 1"),
    ],
)
def test_json_of_another_form_is_refused(place: str, field: str, value: Any, told: str, int8: Compiled) -> None:
    content = json_from_plan(int8[0])
    content[place][0][field] = value
    with pytest.raises(InputError, match=told):
        plan_from_json(content)


def test_json_that_lacks_something_is_refused(int8: Compiled) -> None:
    for damaged in (None, [], {}, {"steps": [], "buffers": []}):
        with pytest.raises(InputError, match="steps, buffers and outputs"):
            plan_from_json(damaged)
    content = json_from_plan(int8[0])
    for damaged, told in (
        ({**content, "steps": {}}, "steps are no list"),
        ({**content, "steps": [3]}, "step 0 is no object"),
        ({**content, "steps": [{"op": "norm"}]}, "step 0 lacks 'n'"),
    ):
        with pytest.raises(InputError, match=told):
            plan_from_json(damaged)


NUMBERS = (-(2**31), -128, -64, -2, -1, 0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 192, 255, 256, 4096, 2**31 - 1, 2**40)
FLOATS = (-1.0, 0.0, 1e-12, 1.0, 3.5e38, float("nan"), float("inf"))


def mutated(plan: Plan, arrays: Mapping[str, Array], generator: random.Random) -> Plan:
    """Change a few fields of a plan."""
    content = plan
    for _ in range(generator.choice((1, 1, 2, 3))):
        kind = generator.choice(("step", "step", "step", "buffer", "output", "order"))
        if kind == "buffer":
            place = generator.randrange(len(content.buffers))
            values = {"type": tuple(Type), "rows": tuple(Rows), "width": (0, 63, 64, 128, 192, 256, 2**30)}
            content = replace(content, buffers=_with_change(content.buffers, place, values, generator))
        elif kind == "output":
            values = {"buffer": NUMBERS, "column": NUMBERS, "columns": NUMBERS, "per_token": (True, False)}
            content = replace(content, outputs=_with_change(content.outputs, 0, values, generator))
        elif kind == "order":
            steps = list(content.steps)
            step = steps.pop(generator.randrange(len(steps)))
            if generator.random() < 0.5:
                steps.insert(generator.randrange(len(steps) + 1), step)
            content = replace(content, steps=tuple(steps))
        elif content.steps:
            place = generator.randrange(len(content.steps))
            names = (*sorted(arrays), "", "none")
            content = replace(content, steps=_with_change(content.steps, place, step_values(names), generator))
    return content


def step_values(names: tuple[str, ...]) -> dict[str, tuple[Any, ...]]:
    small = tuple(range(-2, 14))
    found: dict[str, tuple[Any, ...]] = {"op": tuple(Op), "rows": tuple(Rows), "activation": tuple(Activation)}
    found |= dict.fromkeys(ARRAYS, names)
    found |= dict.fromkeys(("out", "out_codes", "residual"), small)
    for field in fields(Step):
        if field.name not in found and field.name != "name":
            found[field.name] = FLOATS if isinstance(field.default, float) else NUMBERS
    found["inputs"] = tuple((a, b, c) for a in small for b in (-1, a, 2) for c in (-1, a, 3))
    found["in_column"] = tuple((a, b, c) for a in (-64, 0, 1, 64, 128, 192) for b in (0, 64) for c in (0, 128))
    return found


def _with_change(
    parts: tuple[Any, ...], place: int, values: Mapping[str, tuple[Any, ...]], generator: random.Random
) -> tuple[Any, ...]:
    field = generator.choice(sorted(values))
    changed = replace(parts[place], **{field: generator.choice(values[field])})
    return (*parts[:place], changed, *parts[place + 1 :])


def assert_in_range(plan: Plan, arrays: Mapping[str, Array]) -> None:
    """Count the bytes that each kernel may touch, from the header's words alone, against what is there."""
    for step in plan.steps:
        columns = padded(step.n)
        for number in step.written():
            buffer = plan.buffers[number]
            column = step.out_column if number == step.out else 0
            assert number >= 0 <= column and column + columns <= buffer.width and number not in step.inputs
            assert (buffer.type is Type.U8) <= bool(step.inverse or step.op is Op.FIRST)
        for place, number in enumerate(step.inputs):
            used = number != NO_BUFFER
            assert used == (step.op is not Op.EMBED and (place == 0 or step.op is Op.ATTENTION))
            if used:
                depth = step.k if step.op in (Op.GEMM_INT8, Op.GEMM_F32) else step.n
                depth = depth if step.op is Op.ATTENTION else padded(depth)
                assert number >= 0 <= step.in_column[place]
                assert step.in_column[place] + depth <= plan.buffers[number].width
        if step.residual != NO_BUFFER:
            assert step.residual >= 0 and columns <= plan.buffers[step.residual].width
        depth = 4 * step.k if step.op is Op.GEMM_F32 else padded(step.k)
        sizes = {
            "weights": columns * (depth // 8 * 5 if step.op is Op.GEMM_INT8 and step.flag else depth),
            "word": step.vocabulary * step.n * (1 if step.flag else 4),
            "position": step.positions * step.n * (1 if step.flag else 4),
            "word_scale": 4 * step.vocabulary,
            "position_scale": 4 * step.positions,
            "type": 4 * step.types * step.n,
            # A row for each head; a kernel reads from each query's place on, whole vectors of sixteen.
            "distance_bias": 4 * step.heads * (2 * step.positions + 14),
        }
        for field, name in step.arrays():
            assert arrays[name].nbytes >= sizes.get(field, 4 * columns)
        if step.op is Op.ATTENTION:
            assert step.n % step.heads == 0
    for output in plan.outputs:
        assert output.column >= 0 and output.column + output.columns <= plan.buffers[output.buffer].width


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_plan_is_refused_or_touches_nothing_outside(
    seed: int, int8: Compiled, pooled: Compiled, sparse: Compiled
) -> None:
    generator = random.Random(seed)
    refused = passed = 0
    for _ in range(400):
        plan, arrays = generator.choice((int8, pooled, sparse))
        damaged = mutated(plan, arrays, generator)
        try:
            check_plan(damaged, arrays)
        except InputError:
            refused += 1
        else:
            assert_in_range(damaged, arrays)
            passed += damaged != plan
    assert refused > 300 and passed > 5


RUN = """
import sys
from pathlib import Path
import numpy as np
from bertc.core.batch import Batch
from bertc.runtime.native.library import instruction_sets
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.native.plan_files import read_plan
lengths = (1, 9, 40, 3)
mask = np.array([[int(column < length) for column in range(max(lengths))] for length in lengths])
batch = Batch(input_ids=mask * 7, token_type_ids=mask * 0, mask=mask, order=tuple(range(len(lengths))))
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    plan, arrays = read_plan(path)
    for name in instruction_sets():
        print(path, name, flush=True)
        with NativeEngine(plan, arrays, threads=2, instruction_set=name) as engine:
            engine.run(batch, [output.name for output in plan.outputs])
print("all ran")
"""


@pytest.mark.native
def test_a_mutated_plan_that_passes_runs_without_a_crash(int8: Compiled, pooled: Compiled, tmp_path: Path) -> None:
    """On every instruction set, in a process of its own; what it computes is no matter."""
    generator = random.Random(7)
    ran = 0
    for name, (plan, arrays) in (("int8", int8), ("pooled", pooled)):
        folder = tmp_path / name
        folder.mkdir()
        whole = write_plan(plan, arrays, folder)
        content = json.loads(whole.read_bytes())
        for number in range(1500):
            damaged = mutated(plan, arrays, generator)
            try:
                check_plan(damaged, arrays)
            except InputError:
                continue
            content["plan"] = json_from_plan(damaged)
            (folder / f"{number}.json").write_text(json.dumps(content), encoding="utf-8")
            ran += damaged != plan
        environment = {**os.environ, "PYTHONPATH": str(Path(bertc.__file__).parents[1])}
        command = [sys.executable, "-c", RUN, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
        assert done.returncode == 0 and done.stdout.endswith("all ran\n"), done.stdout[-200:] + done.stderr[-4000:]
    assert ran > 20


def test_the_second_reading_finds_what_is_outside(int8: Compiled, sparse: Compiled) -> None:
    plan, arrays = int8
    assert_in_range(plan, arrays)
    number = number_of(plan, Op.GEMM_INT8)
    for values in ({"k": 65}, {"n": 1000}, {"out_column": 64}, {"residual": 0, "n": 900}):
        with pytest.raises(AssertionError):
            assert_in_range(changed(plan, number, **values), arrays)
    assert_in_range(*sparse)
    with pytest.raises(AssertionError):
        assert_in_range(changed(sparse[0], number_of(sparse[0], Op.GEMM_INT8), flag=0), sparse[1])
    with pytest.raises(AssertionError):
        assert_in_range(replace(plan, outputs=(Output(name="x", buffer=0, columns=65, per_token=True),)), arrays)
