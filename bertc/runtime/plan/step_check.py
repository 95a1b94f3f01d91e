"""What every kernel's step has in common, checked: buffers, arrays, codes, and what follows a product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.runtime.plan.kernel_plan import (
    DISTANCES,
    NO_BUFFER,
    PANEL,
    VECTORS,
    Activation,
    Buffer,
    Op,
    Plan,
    Rows,
    Step,
    Type,
    padded,
)

Arrays = Mapping[str, NDArray[Any]]
LARGEST_SUM = (1 << 31) - 1
"""Of an accumulator, int32."""

CODE = 255
"""The largest code as it is stored."""

FINITE = (*VECTORS, "distance_bias", "distance_key", "distance_query", "cos", "sin")
LARGEST_FLOAT = float(np.finfo(np.float32).max)

ALWAYS = {"op", "name", "rows", "n", "out", "out_column"}
CODES = {"inverse", "out_zero"}
INPUT = {"inputs", "in_column"}
RESIDUAL = {"residual", "residual_zero", "residual_scale", "gated"}
FINISH = {"k", "scale", "requant", "requant_scale", "bias", "activation"} | RESIDUAL
SCALES = {"scaling", "scores_requant", "probs_inverse", "probs_high", "context_scale"}
BY_DISTANCE = {"positions", "distance_bias", "numbers", "numbers_column", "distances", *DISTANCES}
KEYS = {"near", "segments", "segments_column", "last"} | BY_DISTANCE
EMBEDDING = {"vocabulary", "positions", "types", "first_position", "word", "position", "type"}
FIELDS: Mapping[Op, set[str]] = {
    Op.EMBED: ALWAYS | EMBEDDING | {"flag", "word_scale", "position_scale"},
    Op.GEMM_INT8: ALWAYS | INPUT | FINISH | CODES | {"in_zero", "flag", "weights", "compensation"},
    Op.GEMM_F32: ALWAYS | INPUT | FINISH | CODES | {"flag", "weights"},
    Op.NORM: ALWAYS | INPUT | CODES | {"out_codes", "flag", "gamma", "beta", "epsilon"},
    Op.ATTENTION: ALWAYS | INPUT | SCALES | CODES | KEYS | {"in_zero", "k", "heads", "flag"},
    Op.FINISH: ALWAYS | INPUT | FINISH | CODES | {"in_zero"},
    Op.FIRST: ALWAYS | INPUT | {"last"},
    Op.MARKED: ALWAYS | INPUT | {"token"},
    Op.POOL: ALWAYS | INPUT | {"flag"},
    Op.UNIT: ALWAYS | INPUT | {"epsilon"},
    Op.ROTARY: ALWAYS | INPUT | CODES | {"heads", "positions", "cos", "sin", "last"},
    Op.EXIT: {"op", "name", "rows", "n", "epsilon"} | INPUT,
}
"""What each kernel reads of its step."""


def refuse_plan(where: str, field: str, what: str) -> NoReturn:
    """Raise `InputError` about a field of a part of the plan."""
    raise InputError(f"the plan is damaged: {where}: {field} {what}; build the model again")


class StepCheck:
    """Goes through the steps in order, and remembers which columns are written."""

    def __init__(self, plan: Plan, arrays: Arrays) -> None:
        self.buffers = plan.buffers
        self.arrays = arrays
        self.written = [np.zeros(buffer.width, np.bool_) for buffer in plan.buffers]
        self.longest = 0
        self.types = 0
        self.scores: set[int] = set()  # that texts leave with, by their number
        self.current = Step(op=Op.FIRST, name="", rows=Rows.TEXTS, n=0)
        self.where = ""

    def refuse(self, field: str, what: str) -> NoReturn:
        """Raise `InputError` about a field of the step."""
        refuse_plan(self.where, field, what)

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
        there = columns if step.op is Op.ATTENTION else padded(columns)
        return self.read(("inputs", "in_column"), step.inputs[place], step.in_column[place], rows, columns, there)

    def read(self, names: tuple[str, str], number: int, column: int, rows: Rows, columns: int, there: int) -> Buffer:
        """Return a buffer by its number: `columns` from one on are written, and `there` of them exist."""
        field, field_of_column = names
        found = self.buffer(field, number)
        if found.rows is not rows:
            self.refuse(field, f"has a buffer with a row for each of the {found.rows.name.lower()}")
        if column < 0 or column + there > found.width:
            self.refuse(field_of_column, f"is {column}, and the buffer has {found.width} columns")
        if not self.written[number][column : column + columns].all():
            self.refuse(field, f"has buffer {number} before all of its columns are written")
        return found

    def row_of_text(self) -> None:
        """Check which token's a text's row is, if the step has those."""
        self.expect(self.current.last in ((0, 1) if self.current.rows is Rows.TEXTS else (0,)), "last")

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
        if found.rows is not step.rows or number in step.operands():
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
        self.expect(step.gated in ((0, 1) if step.residual != NO_BUFFER and not int8 else (0,)), "gated")
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
