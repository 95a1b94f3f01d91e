"""Mutated plans: refused, or within their buffers by a second reading, and run without a crash."""

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

import pytest

import bertc
from bertc.errors import InputError
from bertc.runtime.plan.kernel_plan import (
    ARRAYS,
    NO_BUFFER,
    Activation,
    Op,
    Output,
    Plan,
    Rows,
    Step,
    Type,
    json_from_plan,
    padded,
)
from bertc.runtime.plan.plan_check import check_plan
from bertc.runtime.plan.plan_files import write_plan
from tests.runtime.plan.compiled_plans import Array, Compiled, changed, number_of

NUMBERS = (-(2**31), -128, -64, -2, -1, 0, 1, 2, 3, 63, 64, 65, 127, 128, 129, 192, 255, 256, 4096, 2**31 - 1, 2**40)
FLOATS = (-1.0, 0.0, 1e-12, 1.0, 3.5e38, float("nan"), float("inf"))


@pytest.fixture(scope="module")
def every_plan(
    int8: Compiled,
    pooled: Compiled,
    sparse: Compiled,
    turned: Compiled,
    distant: Compiled,
    biased: Compiled,
    leaving: Compiled,
    marked: Compiled,
    segmented: Compiled,
    bf16: Compiled,
) -> Mapping[str, Compiled]:
    """Plans by name, which together have every kernel."""
    found = {"int8": int8, "pooled": pooled, "sparse": sparse, "turned": turned, "distant": distant}
    found |= {"biased": biased, "leaving": leaving, "marked": marked, "bf16": bf16, "segmented": segmented}
    assert {step.op for plan, _ in found.values() for step in plan.steps} == set(Op)
    return found


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
            place = generator.randrange(len(content.outputs))
            content = replace(content, outputs=_with_change(content.outputs, place, values, generator))
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
    found |= dict.fromkeys(("out", "out_codes", "residual", "segments"), small)
    for field in fields(Step):
        if field.name not in found and field.name != "name":
            found[field.name] = FLOATS if isinstance(field.default, float) else NUMBERS
    found["inputs"] = tuple((a, b, c) for a in small for b in (-1, a, 2) for c in (-1, a, 3))
    found["numbers"] = tuple((a, b) for a in small for b in (-1, a, 2))
    found["numbers_column"] = tuple((a, b) for a in (-64, 0, 1, 64, 128) for b in (0, 64, 128))
    found["in_column"] = tuple((a, b, c) for a in (-64, 0, 1, 64, 128, 192) for b in (0, 64) for c in (0, 128))
    return found


def _with_change(
    parts: tuple[Any, ...], place: int, values: Mapping[str, tuple[Any, ...]], generator: random.Random
) -> tuple[Any, ...]:
    field = generator.choice(sorted(values))
    changed = replace(parts[place], **{field: generator.choice(values[field])})
    return (*parts[:place], changed, *parts[place + 1 :])


def assert_distances_in_range(plan: Plan, arrays: Mapping[str, Array], step: Step) -> None:
    for place, table in enumerate((step.distance_key, step.distance_query)):
        number, column = step.numbers[place], step.numbers_column[place]
        assert (number != NO_BUFFER) == bool(table)
        if table:
            buffer = plan.buffers[number]
            assert number >= 0 <= column and column + step.n <= buffer.width and buffer.type is Type.F32
            assert arrays[step.distance_row].min() >= 0 and arrays[step.distance_row].max() < step.distances
    if step.segments != NO_BUFFER:
        buffer = plan.buffers[step.segments]
        assert step.segments >= 0 <= step.segments_column and buffer.type is Type.F32 and buffer.rows is step.rows
        assert step.segments_column + step.heads <= buffer.width


def assert_rows_move_within(plan: Plan, step: Step) -> None:
    """An EXIT moves whole rows, and writes its scores, which are as many as the first output's columns."""
    assert all(NO_BUFFER <= number < len(plan.buffers) for number in step.inputs)
    assert not step.written()
    assert step.in_column[0] + step.n <= plan.buffers[step.inputs[0]].width
    assert plan.buffers[step.inputs[0]].rows is Rows.TEXTS and step.n == plan.outputs[0].columns
    assert not any(output.per_token for output in plan.outputs)


def assert_in_range(plan: Plan, arrays: Mapping[str, Array]) -> None:
    """Count the bytes that each kernel may touch, from the header's words alone, against what is there."""
    for step in plan.steps:
        if step.op is Op.EXIT:
            assert_rows_move_within(plan, step)
            continue
        columns = padded(step.n)
        for number in step.written():
            buffer = plan.buffers[number]
            column = step.out_column if number == step.out else 0
            assert number >= 0 <= column and column + columns <= buffer.width
            assert number not in (*step.inputs, *step.numbers, step.segments)
            assert (buffer.type is Type.U8) <= bool(step.inverse or step.op in (Op.FIRST, Op.MARKED))
        for place, number in enumerate(step.inputs):
            used = number != NO_BUFFER
            assert used == (step.op is not Op.EMBED and (place == 0 or step.op is Op.ATTENTION))
            if used:
                depth = step.k if step.op in (Op.GEMM_INT8, Op.GEMM_F32) else step.n
                depth = depth if step.op is Op.ATTENTION else padded(depth)
                assert number >= 0 <= step.in_column[place]
                assert step.in_column[place] + depth <= plan.buffers[number].width
        assert_distances_in_range(plan, arrays, step)
        if step.residual != NO_BUFFER:
            assert step.residual >= 0 and columns <= plan.buffers[step.residual].width
        depth = 4 * step.k if step.op is Op.GEMM_F32 else padded(step.k)
        if step.op is Op.GEMM_F32 and step.flag:
            depth = 2 * (-(-step.k // 32) * 32)
        sizes = {
            "weights": columns * (depth // 8 * 5 if step.op is Op.GEMM_INT8 and step.flag else depth),
            "word": step.vocabulary * step.n * (1 if step.flag else 4),
            "position": step.positions * step.n * (1 if step.flag else 4),
            "cos": 2 * step.positions * step.n // max(step.heads, 1),
            "sin": 2 * step.positions * step.n // max(step.heads, 1),
            "word_scale": 4 * step.vocabulary,
            "position_scale": 4 * step.positions,
            "type": 4 * step.types * step.n,
            # A row for each head; a kernel reads from each query's place on, whole vectors of sixteen.
            "distance_key": 4 * padded(step.distances) * step.n,
            "distance_query": 4 * padded(step.distances) * step.n,
            "distance_row": 4 * (2 * step.positions + 14),
            "distance_bias": 4 * step.heads * (2 * step.positions + 14),
        }
        for field, name in step.arrays():
            assert arrays[name].nbytes >= sizes.get(field, 4 * columns)
        if step.op in (Op.ATTENTION, Op.ROTARY):
            assert step.n % (step.heads * (1 if step.op is Op.ATTENTION else 2)) == 0
    assert_outputs_in_range(plan)


def assert_outputs_in_range(plan: Plan) -> None:
    leaves = any(step.op is Op.EXIT for step in plan.steps)
    for number, output in enumerate(plan.outputs):
        if output.buffer == NO_BUFFER:
            assert leaves and number > 0 and output.columns == 1
            continue
        assert output.buffer >= 0 <= output.column
        assert output.column + output.columns <= plan.buffers[output.buffer].width


@pytest.mark.parametrize("seed", range(4))
def test_a_mutated_plan_is_refused_or_touches_nothing_outside(seed: int, every_plan: Mapping[str, Compiled]) -> None:
    generator = random.Random(seed)
    refused = passed = 0
    for _ in range(500):
        plan, arrays = generator.choice(tuple(every_plan.values()))
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
from bertc.errors import InputError
from bertc.runtime.native.library import instruction_sets
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.plan.plan_files import read_plan
lengths = (1, 9, 40, 3)
mask = np.array([[int(column < length) for column in range(max(lengths))] for length in lengths])
batch = Batch(input_ids=mask * 7, token_type_ids=mask * 0, mask=mask, order=tuple(range(len(lengths))))
refused = 0
for path in sorted(Path(sys.argv[1]).glob("*.json")):
    plan, arrays = read_plan(path)
    for name in instruction_sets():
        print(path, name, flush=True)
        with NativeEngine(plan, arrays, threads=2, instruction_set=name) as engine:
            try:
                engine.run(batch, [output.name for output in plan.outputs])
            except InputError:  # a text that is longer than the table that now stands for positions
                refused += 1
assert refused < 20
print("all ran")
"""


@pytest.mark.native
def test_a_mutated_plan_that_passes_runs_without_a_crash(every_plan: Mapping[str, Compiled], tmp_path: Path) -> None:
    """On every instruction set, in a process of its own; what it computes is no matter."""
    generator = random.Random(7)
    ran = 0
    for name, (plan, arrays) in every_plan.items():
        folder = tmp_path / name
        folder.mkdir()
        whole = write_plan(plan, arrays, folder)
        content = json.loads(whole.read_bytes())
        for number in range(1000):
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


def test_the_second_reading_finds_what_texts_that_leave_touch(leaving: Compiled) -> None:
    plan, arrays = leaving
    assert_in_range(plan, arrays)
    number = number_of(plan, Op.EXIT)
    scores, moved, _ = plan.steps[number].inputs
    tokens = next(place for place, buffer in enumerate(plan.buffers) if buffer.rows is Rows.TOKENS)
    for values in (
        {"n": 3},
        {"in_column": (63, 0, 0)},
        {"inputs": (scores, moved, len(plan.buffers))},
        {"inputs": (tokens, moved, NO_BUFFER)},
        {"out": moved},
    ):
        with pytest.raises(AssertionError):
            assert_in_range(changed(plan, number, **values), arrays)
    steps = tuple(step for step in plan.steps if step.op is not Op.EXIT)
    with pytest.raises(AssertionError):
        assert_in_range(replace(plan, steps=steps), arrays)


def test_the_second_reading_finds_what_is_outside(int8: Compiled, sparse: Compiled, bf16: Compiled) -> None:
    plan, arrays = int8
    assert_in_range(plan, arrays)
    number = number_of(plan, Op.GEMM_INT8)
    for values in ({"k": 65}, {"n": 1000}, {"out_column": 64}, {"residual": 0, "n": 900}):
        with pytest.raises(AssertionError):
            assert_in_range(changed(plan, number, **values), arrays)
    assert_in_range(*sparse)
    with pytest.raises(AssertionError):
        assert_in_range(changed(sparse[0], number_of(sparse[0], Op.GEMM_INT8), flag=0), sparse[1])
    assert_in_range(*bf16)
    with pytest.raises(AssertionError):
        assert_in_range(changed(bf16[0], number_of(bf16[0], Op.GEMM_F32), flag=0), bf16[1])
    with pytest.raises(AssertionError):
        assert_in_range(replace(plan, outputs=(Output(name="x", buffer=0, columns=65, per_token=True),)), arrays)
