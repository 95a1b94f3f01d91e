"""Whether a plan may be given to an engine, which checks nothing itself: its memory safety rests on this file.

A step is refused if a kernel could read or write outside of a buffer or an array, read what no step has written, or
overflow; if it says something that its kernel does not read; or if a number is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

import numpy as np

from bertc.runtime.plan.kernel_plan import (
    ARRAYS,
    DISTANCES,
    NO_BUFFER,
    PANEL,
    Op,
    Output,
    Plan,
    Pooled,
    Rows,
    Step,
    Type,
    bf16_pairs,
    distances,
    names_of_arrays,
    padded,
)
from bertc.runtime.plan.step_check import CODE, FIELDS, LARGEST_SUM, Arrays, StepCheck, refuse_plan

MOST_STEPS = 1 << 16
MOST_BUFFERS = 1 << 10
WIDEST = 1 << 20
"""Columns of a buffer."""

WIDEST_TOGETHER = 1 << 22
WEIGHT = 128
"""The largest magnitude of a code of weights."""

SIGNED_ZERO = 128
PROBS = (127, 255)


def check_plan(plan: Plan, arrays: Arrays) -> None:
    """Raise `InputError` that names the step and the field, for a plan that does not fit its arrays or itself."""
    _check_buffers(plan)
    if not 0 < len(plan.steps) <= MOST_STEPS or [step.op for step in plan.steps].count(Op.EMBED) != 1:
        refuse_plan("the plan", "steps", f"are {len(plan.steps)}, of which exactly one has to be an embedding")
    check = _Check(plan, arrays)
    for number, step in enumerate(plan.steps):
        check.step(step, f"step {number} ({step.op.name.lower()} {step.name})")
    for number, output in enumerate(plan.outputs):
        check.output(number, output, f"output {number} ({output.name})")
    names = [output.name for output in plan.outputs]
    if not names or len(set(names)) < len(names):
        refuse_plan("the plan", "outputs", f"are {names}")
    unused = sorted(set(arrays) - names_of_arrays(plan.steps))
    if unused:
        refuse_plan("the plan", "arrays", f"have {unused[0]!r}, which no step uses")


def _check_buffers(plan: Plan) -> None:
    for number, buffer in enumerate(plan.buffers):
        if not 0 < buffer.width <= WIDEST or buffer.width % PANEL:
            refuse_plan(f"buffer {number}", "width", f"is {buffer.width}, no multiple of {PANEL} up to {WIDEST}")
    if len(plan.buffers) > MOST_BUFFERS or sum(buffer.width for buffer in plan.buffers) > WIDEST_TOGETHER:
        refuse_plan("the plan", "buffers", "are too many or too wide")


class _Check(StepCheck):
    """Goes through the steps in order, and remembers which columns are written. Lives for one call of `check_plan`."""

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

    def embed(self) -> None:
        """Check the embeddings."""
        step = self.current
        self.expect(step.rows is Rows.TOKENS, "rows")
        self.type_of_out(Type.F32)
        self.expect(step.vocabulary > 0, "vocabulary")
        self.expect(0 <= step.first_position < step.positions, "first_position")
        self.expect(step.flag in (0, 1), "flag")
        self.longest = step.positions - step.first_position
        self.table("word", step.vocabulary)
        if step.position:
            self.table("position", step.positions)
        else:
            self.expect(step.first_position == 0, "first_position")
            self.expect(not step.position_scale, "position_scale")
        self.expect(step.types >= 0 and (step.types > 0 or not step.type), "types")
        self.types = step.types
        if step.type:
            self.array("type", np.float32, (step.types, step.n))

    def table(self, field: str, rows: int) -> None:
        """Check a table of embeddings."""
        step = self.current
        self.array(field, np.int8 if step.flag else np.float32, (rows, step.n))
        self.expect(bool(getattr(step, f"{field}_scale")) is bool(step.flag), f"{field}_scale")
        if step.flag:
            self.array(f"{field}_scale", np.float32, (rows,))

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
        """Check a LayerNorm or an RMSNorm, which has no beta."""
        step = self.current
        self.one_input()
        self.type_of_input(self.source(step.rows, step.n), Type.F32)
        self.vector("gamma", needed=True)
        self.expect(step.flag in (0, 1), "flag")
        self.vector("beta", needed=not step.flag)
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
        self.expect(0 <= step.near <= self.longest, "near")
        self.row_of_text()
        self.distance_bias()
        self.products_with_distances()
        self.numbers_of_segments()
        self.codes(step.out)

    def distance_bias(self) -> None:
        """Check what attention adds to its scores: for texts of every length that the engine takes."""
        step = self.current
        self.expect(not (step.distance_bias and step.distances), "distances")
        by_distance = bool(step.distance_bias or step.distances)
        self.expect(step.positions == (self.longest if by_distance else 0), "positions")
        if step.distance_bias:
            self.array("distance_bias", np.float32, (step.heads, distances(self.longest)))

    def products_with_distances(self) -> None:
        """Check products of queries and keys in numbers with embeddings of distances: those of every pair of places."""
        step = self.current
        tables = ("distance_key", "distance_query")
        if not step.distances:
            self.expect(step.numbers == (NO_BUFFER, NO_BUFFER), "numbers")
            self.expect(step.numbers_column == (0, 0), "numbers_column")
            for field in DISTANCES:
                self.expect(not getattr(step, field), field)
            return
        self.expect(0 < step.distances <= WIDEST, "distances")
        self.expect(any(getattr(step, field) for field in tables), "distances")
        size, panels = step.n // step.heads, padded(step.distances) // PANEL
        for place, (field, rows) in enumerate(zip(tables, (step.rows, Rows.TOKENS), strict=True)):
            number, column = step.numbers[place], step.numbers_column[place]
            if not getattr(step, field):
                self.expect(number == NO_BUFFER, "numbers")
                self.expect(column == 0, "numbers_column")
                continue
            found = self.read(("numbers", "numbers_column"), number, column, rows, step.n, step.n)
            if found.type is not Type.F32:
                self.refuse("numbers", "has a buffer that does not hold f32")
            self.array(field, np.float32, (step.heads, panels, size, PANEL))
        row = self.array("distance_row", np.int32, (distances(self.longest),))
        if int(row.min()) < 0 or int(row.max()) >= step.distances or (np.diff(row) > 0).any():
            self.refuse("distance_row", f"has a row that is none of {step.distances}, or grows")

    def numbers_of_segments(self) -> None:
        """Check what keys of a query's own segment get: a number for each head, in a model that tells types apart."""
        step = self.current
        if step.segments == NO_BUFFER:
            self.expect(step.segments_column == 0, "segments_column")
            return
        names, column = ("segments", "segments_column"), step.segments_column
        found = self.read(names, step.segments, column, step.rows, step.heads, step.heads)
        if found.type is not Type.F32 or self.types < 2:
            self.refuse("segments", "has a buffer that does not hold f32, or a model with one type of tokens")

    def finish_alone(self) -> None:
        """Check a conversion of numbers or codes."""
        step = self.current
        self.expect(step.k == step.n, "k")
        int8 = self.source(step.rows, step.n).type is Type.U8
        self.expect(0 <= step.in_zero <= (CODE if int8 else 0), "in_zero")
        self.finish()

    def first(self) -> None:
        """Check the choice of first or last tokens."""
        self.one_input()
        self.row_of_text()
        self.expect(self.current.rows is Rows.TEXTS, "rows")
        self.type_of_out(self.source(Rows.TOKENS, self.current.n).type)

    def marked(self) -> None:
        """Check the choice of tokens with an id."""
        self.first()
        self.expect(self.current.token >= 0, "token")

    def pool(self) -> None:
        """Check a mean or maximum over tokens."""
        self.one_input()
        self.expect(self.current.rows is Rows.TEXTS, "rows")
        self.expect(self.current.flag in tuple(Pooled), "flag")
        self.type_of_input(self.source(Rows.TOKENS, self.current.n), Type.F32)
        self.type_of_out(Type.F32)

    def unit(self) -> None:
        """Check a division by the length."""
        self.one_input()
        self.expect(self.current.epsilon > 0, "epsilon")
        self.type_of_input(self.source(self.current.rows, self.current.n), Type.F32)
        self.type_of_out(Type.F32)

    def rotary(self) -> None:
        """Check a turn by positions: of every position of the longest text."""
        step = self.current
        self.one_input()
        self.type_of_input(self.source(step.rows, step.n), Type.F32)
        self.expect(step.heads > 0 and step.n % (2 * step.heads) == 0, "heads")
        self.expect(step.positions == self.longest, "positions")
        self.row_of_text()
        for field in ("cos", "sin"):
            self.array(field, np.float32, (step.positions, step.n // step.heads // 2))
        self.codes(step.out)

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
    Op.MARKED: _Check.marked,
    Op.POOL: _Check.pool,
    Op.UNIT: _Check.unit,
    Op.ROTARY: _Check.rotary,
    Op.EXIT: _Check.exit,
}
assert set(KERNELS) == set(FIELDS) == set(Op) and set().union(*FIELDS.values()) == {
    field.name for field in fields(Step)
}
assert set(ARRAYS) <= {field.name for field in fields(Step)}
