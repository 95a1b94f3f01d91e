"""Whether a plan may be given to the library, which checks nothing itself: its memory safety rests on this file.

A step is refused if a kernel could read or write outside of a buffer or an array, read what no step has written, or
overflow; if it says something that its kernel does not read; or if a number is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bertc.runtime.native.kernel_fields import FIELDS
from bertc.runtime.native.kernel_plan import (
    ARRAYS,
    NO_BUFFER,
    PANEL,
    VECTORS,
    Activation,
    Buffer,
    Op,
    Output,
    Plan,
    Rows,
    Step,
    Type,
    bf16_pairs,
    distances,
    names_of_arrays,
    padded,
)
from bertc.runtime.native.plan_buffers import check_buffers, refuse

Arrays = Mapping[str, NDArray[Any]]
MOST_STEPS = 1 << 16
LARGEST_SUM = (1 << 31) - 1
"""Of an accumulator, int32."""

CODE = 255
WEIGHT = 128
"""Largest magnitudes of codes: stored ones, and those of weights."""

SIGNED_ZERO = 128
PROBS = (127, 255)
FINITE = (*VECTORS, "distance_bias")
LARGEST_FLOAT = float(np.finfo(np.float32).max)


def check_plan(plan: Plan, arrays: Arrays) -> None:
    """Raise `InputError` that names the step and the field, for a plan that does not fit its arrays or itself."""
    check_buffers(plan)
    if not 0 < len(plan.steps) <= MOST_STEPS or [step.op for step in plan.steps].count(Op.EMBED) != 1:
        refuse("the plan", "steps", f"are {len(plan.steps)}, of which exactly one has to be an embedding")
    check = _Check(plan, arrays)
    for number, step in enumerate(plan.steps):
        check.step(step, f"step {number} ({step.op.name.lower()} {step.name})")
    for number, output in enumerate(plan.outputs):
        check.output(number, output, f"output {number} ({output.name})")
    names = [output.name for output in plan.outputs]
    if not names or len(set(names)) < len(names):
        refuse("the plan", "outputs", f"are {names}")
    unused = sorted(set(arrays) - names_of_arrays(plan.steps))
    if unused:
        refuse("the plan", "arrays", f"have {unused[0]!r}, which no step uses")


class _Check:
    """Goes through the steps in order, and remembers which columns are written. Lives for one call of `check_plan`."""

    def __init__(self, plan: Plan, arrays: Arrays) -> None:
        self.buffers = plan.buffers
        self.arrays = arrays
        self.written = [np.zeros(buffer.width, np.bool_) for buffer in plan.buffers]
        self.longest = 0
        self.scores: set[int] = set()
        self.current = Step(op=Op.FIRST, name="", rows=Rows.TEXTS, n=0)
        self.where = ""

    def step(self, step: Step, where: str) -> None:
        """Check one step, and take what it writes as written."""
        self.current, self.where = step, where
        self.plain_fields()
        if step.out == NO_BUFFER and step.op not in (Op.NORM, Op.EXIT):
            self.refuse("out", "is missing")
        if step.n < 1:
            self.refuse("n", f"is {step.n}")
        KERNELS[step.op](self)
        if step.out != NO_BUFFER:
            self.target("out", step.out_column)

    def refuse(self, field: str, what: str) -> NoReturn:
        """Raise `InputError` about a field of the step."""
        refuse(self.where, field, what)

    def expect(self, right: bool, field: str) -> None:
        """Refuse the step's field, whose value is shown, unless it is right."""
        if not right:
            self.refuse(field, f"is {getattr(self.current, field)}")

    def plain_fields(self) -> None:
        """Refuse what the kernel does not read, and numbers that are too large for the struct or not finite."""
        read = FIELDS[self.current.op]
        for field in fields(Step):
            value = getattr(self.current, field.name)
            if field.name not in read and value != field.default:
                self.refuse(field.name, f"is {value!r}, which this kernel does not read")
            numbers = value if isinstance(value, tuple) else (value,)
            for number in numbers:
                if isinstance(number, float):
                    self.expect(abs(number) <= LARGEST_FLOAT, field.name)
                elif isinstance(number, int):
                    self.expect(NO_BUFFER <= number <= LARGEST_SUM, field.name)

    def buffer(self, field: str, number: int) -> Buffer:
        """Return a buffer by its number."""
        if not 0 <= number < len(self.buffers):
            self.refuse(field, f"is {number}, and there are {len(self.buffers)} buffers")
        return self.buffers[number]

    def source(self, rows: Rows, columns: int, *, place: int = 0) -> Buffer:
        """Return a buffer that is read, from its column on: so many columns are written, and whole panels are there.

        Attention reads heads, whatever their size, and never whole panels.
        """
        step = self.current
        number, column = step.inputs[place], step.in_column[place]
        found = self.buffer("inputs", number)
        if found.rows is not rows:
            self.refuse("inputs", f"has a buffer with a row for each of the {found.rows.name.lower()}")
        there = columns if step.op is Op.ATTENTION else padded(columns)
        if column < 0 or column + there > found.width:
            self.refuse("in_column", f"is {column}, and the buffer has {found.width} columns")
        if not self.written[number][column : column + columns].all():
            self.refuse("inputs", f"has buffer {number} before all of its columns are written")
        return found

    def one_input(self) -> None:
        """Refuse further inputs."""
        step = self.current
        self.expect(step.inputs[1:] == (NO_BUFFER, NO_BUFFER), "inputs")
        self.expect(step.in_column[1:] == (0, 0), "in_column")

    def target(self, field: str, column: int) -> None:
        """Check a buffer that is written, and take its columns as written."""
        step = self.current
        number = getattr(step, field)
        found = self.buffer(field, number)
        if found.rows is not step.rows or number in step.inputs:
            self.refuse(field, f"is buffer {number}, whose rows are not the step's, or which the step reads")
        if column < 0 or column % PANEL or column + padded(step.n) > found.width:
            self.refuse(f"{field}_column", f"is {column}, and the buffer has {found.width} columns")
        self.written[number][column : column + step.n] = True

    def array(self, field: str, kind: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return an array that has to be there, of such a type and shape."""
        name = getattr(self.current, field)
        found = self.arrays.get(name)
        if found is None:
            self.refuse(field, f"is {name!r}, which is no array of the plan")
        if found.dtype != kind or found.shape != shape or not found.flags.c_contiguous:
            told = f"{np.dtype(kind).name} {list(shape)}"
            self.refuse(field, f"is {found.dtype.name} {list(found.shape)} where {told} is needed")
        if (field in FINITE or field.endswith("_scale")) and not np.isfinite(found).all():
            self.refuse(field, "has a number that is not finite")
        return found

    def vector(self, field: str, *, needed: bool) -> None:
        """Check a vector with a number for each column: there if needed, and only then."""
        self.expect(bool(getattr(self.current, field)) is needed, field)
        if needed:
            self.array(field, np.float32, (padded(self.current.n),))

    def codes(self, number: int) -> None:
        """Check how what is written becomes codes, if `number` is a buffer of those."""
        step = self.current
        int8 = number != NO_BUFFER and self.buffer("out", number).type is Type.U8
        self.vector("inverse", needed=int8)
        highest = CODE if int8 else 0
        self.expect(0 <= step.out_zero <= highest, "out_zero")

    def finish(self) -> None:
        """Check what follows a product."""
        step = self.current
        self.one_input()
        self.vector("requant", needed=bool(step.requant))
        self.vector("requant_scale", needed=bool(step.requant))
        self.vector("scale", needed=bool(step.scale) and not step.requant)
        self.vector("bias", needed=bool(step.bias))
        self.expect(step.activation in tuple(Activation), "activation")
        self.residual()
        self.codes(step.out)

    def residual(self) -> None:
        """Check what is added."""
        step = self.current
        int8 = False
        if step.residual != NO_BUFFER:
            found = self.buffer("residual", step.residual)
            int8 = found.type is Type.U8
            if found.rows is not step.rows or padded(step.n) > found.width:
                self.refuse("residual", f"is buffer {step.residual}, which has other rows or too few columns")
            if not self.written[step.residual][: step.n].all():
                self.refuse("residual", f"is buffer {step.residual} before all of its columns are written")
            self.expect(step.residual != step.out or step.out_column == 0, "out_column")
        self.vector("residual_scale", needed=int8)
        self.expect(0 <= step.residual_zero <= (CODE if int8 else 0), "residual_zero")

    def type_of_out(self, kind: Type) -> None:
        """Refuse another type of what is written."""
        if self.buffer("out", self.current.out).type is not kind:
            self.refuse("out", f"is buffer {self.current.out}, which does not hold {kind.name.lower()}")

    def type_of_input(self, found: Buffer, kind: Type) -> None:
        """Refuse another type of what is read."""
        if found.type is not kind:
            self.refuse("inputs", f"has a buffer that does not hold {kind.name.lower()}")

    def embed(self) -> None:
        """Check the embeddings."""
        step = self.current
        self.expect(step.rows is Rows.TOKENS, "rows")
        self.type_of_out(Type.F32)
        self.expect(step.vocabulary > 0, "vocabulary")
        self.expect(0 <= step.first_position < step.positions, "first_position")
        self.expect(step.flag in (0, 1), "flag")
        self.longest = step.positions - step.first_position
        for field, rows in (("word", step.vocabulary), ("position", step.positions)):
            self.array(field, np.int8 if step.flag else np.float32, (rows, step.n))
            self.expect(bool(getattr(step, f"{field}_scale")) is bool(step.flag), f"{field}_scale")
            if step.flag:
                self.array(f"{field}_scale", np.float32, (rows,))
        self.expect(step.types >= 0 and bool(step.type) is (step.types > 0), "types")
        if step.types:
            self.array("type", np.float32, (step.types, step.n))

    def gemm_int8(self) -> None:
        """Check a product of codes."""
        step = self.current
        largest = CODE * WEIGHT * padded(step.k)
        self.expect(step.k > 0 and 2 * largest <= LARGEST_SUM, "k")
        self.type_of_input(self.source(step.rows, step.k), Type.U8)
        self.expect(0 <= step.in_zero <= CODE, "in_zero")
        self.expect(step.flag in (0, 1), "flag")
        panels, fours = padded(step.n) // PANEL, padded(step.k) // 4
        self.array("weights", np.int8, (panels, fours // 2 * 5, PANEL) if step.flag else (panels, fours, PANEL, 4))
        compensation = self.array("compensation", np.int32, (padded(step.n),))
        if int(compensation.min()) < -largest or int(compensation.max()) > largest:
            self.refuse("compensation", "is larger than any sum of weights makes it")
        self.finish()

    def gemm_f32(self) -> None:
        """Check a product of numbers."""
        step = self.current
        self.expect(step.k > 0, "k")
        self.type_of_input(self.source(step.rows, step.k), Type.F32)
        self.expect(step.flag in (0, 1), "flag")
        kind, panel = (np.uint16, (bf16_pairs(step.k), PANEL, 2)) if step.flag else (np.float32, (step.k, PANEL))
        self.array("weights", kind, (padded(step.n) // PANEL, *panel))
        self.finish()

    def norm(self) -> None:
        """Check a LayerNorm."""
        step = self.current
        self.one_input()
        self.type_of_input(self.source(step.rows, step.n), Type.F32)
        self.vector("gamma", needed=True)
        self.vector("beta", needed=True)
        self.expect(step.epsilon > 0, "epsilon")
        self.expect(step.out != NO_BUFFER or step.out_codes != NO_BUFFER, "out")
        self.codes(step.out_codes)
        if step.out != NO_BUFFER:
            self.type_of_out(Type.F32)
        if step.out_codes != NO_BUFFER:
            self.target("out_codes", 0)
            self.expect(self.buffers[step.out_codes].type is Type.U8, "out_codes")

    def attention(self) -> None:
        """Check attention: all three inputs codes, or all numbers."""
        step = self.current
        self.expect(step.k == step.n, "k")
        self.expect(step.heads > 0 and step.n % step.heads == 0, "heads")
        sources = [
            self.source(rows, step.n, place=place) for place, rows in enumerate((step.rows, Rows.TOKENS, Rows.TOKENS))
        ]
        for found in sources[1:]:
            self.type_of_input(found, sources[0].type)
        int8 = sources[0].type is Type.U8
        self.expect(step.in_zero == (SIGNED_ZERO if int8 else 0), "in_zero")
        self.expect(max(step.n // step.heads, self.longest) * CODE * CODE <= LARGEST_SUM, "heads")
        self.expect(step.flag in (0, 1), "flag")
        self.expect(step.probs_high in (PROBS if step.flag else (0,)), "probs_high")
        self.expect((step.probs_inverse > 0) is bool(step.flag), "probs_inverse")
        # The largest raw product has the largest score only so, and what it is taken from stays below 0.
        self.expect(step.scaling > 0, "scaling")
        self.expect(step.scores_requant >= 0, "scores_requant")
        self.distance_bias()
        self.codes(step.out)

    def distance_bias(self) -> None:
        """Check what attention adds to its scores: for texts of every length that the engine takes."""
        step = self.current
        self.expect(step.positions == (self.longest if step.distance_bias else 0), "positions")
        if step.distance_bias:
            self.array("distance_bias", np.float32, (step.heads, distances(self.longest)))

    def finish_alone(self) -> None:
        """Check a conversion of numbers or codes."""
        step = self.current
        self.expect(step.k == step.n, "k")
        int8 = self.source(step.rows, step.n).type is Type.U8
        self.expect(0 <= step.in_zero <= (CODE if int8 else 0), "in_zero")
        self.finish()

    def first(self) -> None:
        """Check the choice of first tokens."""
        self.one_input()
        self.expect(self.current.rows is Rows.TEXTS, "rows")
        self.type_of_out(self.source(Rows.TOKENS, self.current.n).type)

    def pool(self) -> None:
        """Check a mean or maximum over tokens."""
        self.one_input()
        self.expect(self.current.rows is Rows.TEXTS, "rows")
        self.expect(self.current.flag in (0, 1), "flag")
        self.type_of_input(self.source(Rows.TOKENS, self.current.n), Type.F32)
        self.type_of_out(Type.F32)

    def unit(self) -> None:
        """Check a division by the length."""
        self.one_input()
        self.expect(self.current.epsilon > 0, "epsilon")
        self.type_of_input(self.source(self.current.rows, self.current.n), Type.F32)
        self.type_of_out(Type.F32)

    def exit(self) -> None:
        """Check where texts leave: what its rows are moved of goes on, and nothing else does."""
        step = self.current
        self.expect(step.rows is Rows.TEXTS, "rows")
        self.expect(step.n > 1, "n")
        self.expect(step.epsilon >= 0, "epsilon")
        self.type_of_input(self.source(Rows.TEXTS, step.n), Type.F32)
        self.expect(step.in_column[1:] == (0, 0), "in_column")
        moved = [number for number in step.inputs[1:] if number != NO_BUFFER]
        self.expect(len({step.inputs[0], *moved}) == 1 + len(moved), "inputs")
        for number in moved:
            self.buffer("inputs", number)
        for number, written in enumerate(self.written):
            written[:] &= number in moved
        self.scores.add(step.n)

    def output_of_exits(self, number: int, output: Output) -> None:
        """Check that texts which leave have their scores in the first output, and nothing for each token."""
        if output.per_token or (number == 0 and self.scores != {output.columns}):
            self.refuse("columns", "are not the scores with which texts leave")
        if output.buffer == NO_BUFFER and (number == 0 or (output.columns, output.vector) != (1, False)):
            self.refuse("buffer", "is missing")

    def output(self, number: int, output: Output, where: str) -> None:
        """Check an output of the model."""
        self.where = where
        if self.scores:
            self.output_of_exits(number, output)
            if output.buffer == NO_BUFFER:
                return
        found = self.buffer("buffer", output.buffer)
        if found.type is not Type.F32 or output.per_token is not (found.rows is Rows.TOKENS):
            self.refuse("buffer", f"is {output.buffer}, which holds codes or has other rows")
        if output.column < 0 or output.columns < 1 or output.column + output.columns > found.width:
            self.refuse("columns", f"are {output.columns} from {output.column}, and the buffer has {found.width}")
        if not self.written[output.buffer][output.column : output.column + output.columns].all():
            self.refuse("columns", "are not all written")
        if not output.vector and output.columns != 1:
            self.refuse("vector", f"is false, and there are {output.columns} columns")


KERNELS: Mapping[Op, Callable[[_Check], None]] = {
    Op.EMBED: _Check.embed,
    Op.GEMM_INT8: _Check.gemm_int8,
    Op.GEMM_F32: _Check.gemm_f32,
    Op.NORM: _Check.norm,
    Op.ATTENTION: _Check.attention,
    Op.FINISH: _Check.finish_alone,
    Op.FIRST: _Check.first,
    Op.POOL: _Check.pool,
    Op.UNIT: _Check.unit,
    Op.EXIT: _Check.exit,
}
assert set(KERNELS) == set(FIELDS) == set(Op) and set().union(*FIELDS.values()) == {
    field.name for field in fields(Step)
}
assert set(ARRAYS) <= {field.name for field in fields(Step)}
