"""A plan: the structs of native/bertc.h as values, arrays by their names; and as JSON. Each engine runs its steps.

Every field means what it means there. `Step.inputs` is the header's `in`; an array of "" is a null pointer. Steps and
outputs have the names of values in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import IntEnum
from typing import Any, TypeVar

from bertc.errors import InputError

ABI = 6
PANEL = 64
"""Columns of a panel of weights, and what widths are multiples of."""

BF16_DEPTH = 32
"""Rows of weights in BF16 are padded to a multiple of it: what one instruction of AMX multiplies and adds."""

NO_BUFFER = -1
TABLES = ("word", "position", "word_scale", "position_scale", "type")
DISTANCES = ("distance_key", "distance_query", "distance_row")
VECTORS = ("scale", "requant", "requant_scale", "bias", "residual_scale", "inverse", "gamma", "beta")
"""Arrays of float32 with a number for each column, padded to whole panels."""

ARRAYS = ("weights", "compensation", *VECTORS, *TABLES, "distance_bias", *DISTANCES, "cos", "sin")
"""The fields of a step that name an array."""


class Type(IntEnum):
    """What a buffer holds: numbers, or codes as they are stored (a signed code c as c + 128)."""

    F32 = 0
    U8 = 1


class Rows(IntEnum):
    """What a buffer has a row for."""

    TOKENS = 0
    TEXTS = 1


class Activation(IntEnum):
    """What is applied behind the bias."""

    NONE = 0
    RELU = 1
    GELU = 2
    GELU_TANH = 3
    TANH = 4
    SIGMOID = 5
    SILU = 6


class Op(IntEnum):
    """Which kernel a step calls."""

    EMBED = 0
    GEMM_INT8 = 1
    GEMM_F32 = 2
    NORM = 3
    ATTENTION = 4
    FINISH = 5
    FIRST = 6
    POOL = 7
    UNIT = 8
    ROTARY = 9
    EXIT = 10
    MARKED = 11


class Pooled(IntEnum):
    """What of a text's rows POOL gives, by its flag; LOG is log(1 + max(0, maximum))."""

    MEAN = 0
    MAXIMUM = 1
    LOG = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffer:
    """A matrix [rows, width]."""

    type: Type
    rows: Rows
    width: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Columns of a buffer that are an output of the model; without a buffer: how many layers with an exit, and the one
    behind, a text went through.

    `vector` says whether the array has an axis for its columns, which are one otherwise.
    """

    name: str
    buffer: int
    column: int = 0
    columns: int
    per_token: bool
    vector: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One kernel call."""

    op: Op
    name: str
    rows: Rows
    inputs: tuple[int, int, int] = (NO_BUFFER, NO_BUFFER, NO_BUFFER)
    in_column: tuple[int, int, int] = (0, 0, 0)
    in_zero: int = 0
    out: int = NO_BUFFER
    out_column: int = 0
    out_codes: int = NO_BUFFER
    out_zero: int = 0
    residual: int = NO_BUFFER
    residual_zero: int = 0
    gated: int = 0
    activation: Activation = Activation.NONE
    k: int = 0
    n: int
    heads: int = 0
    token: int = 0
    last: int = 0
    flag: int = 0
    probs_high: int = 0
    epsilon: float = 0.0
    scaling: float = 0.0
    scores_requant: float = 0.0
    probs_inverse: float = 0.0
    context_scale: float = 0.0
    numbers: tuple[int, int] = (NO_BUFFER, NO_BUFFER)
    numbers_column: tuple[int, int] = (0, 0)
    distances: int = 0
    segments: int = NO_BUFFER
    segments_column: int = 0
    near: int = 0
    vocabulary: int = 0
    positions: int = 0
    types: int = 0
    first_position: int = 0
    weights: str = ""
    compensation: str = ""
    scale: str = ""
    requant: str = ""
    requant_scale: str = ""
    bias: str = ""
    residual_scale: str = ""
    inverse: str = ""
    gamma: str = ""
    beta: str = ""
    word: str = ""
    position: str = ""
    word_scale: str = ""
    position_scale: str = ""
    type: str = ""
    distance_bias: str = ""
    distance_key: str = ""
    distance_query: str = ""
    distance_row: str = ""
    cos: str = ""
    sin: str = ""

    def arrays(self) -> Iterator[tuple[str, str]]:
        """Give the fields that name an array, with the array's name."""
        for field in ARRAYS:
            name = getattr(self, field)
            if name:
                yield field, name

    def read(self) -> tuple[int, ...]:
        """Return the buffers that the step reads."""
        return (*self.operands(), *((self.residual,) if self.residual != NO_BUFFER else ()))

    def operands(self) -> tuple[int, ...]:
        """Return the buffers that the step reads again when it has written a part of its rows: all but the residual."""
        return tuple(buffer for buffer in (*self.inputs, *self.numbers, self.segments) if buffer != NO_BUFFER)

    def written(self) -> tuple[int, ...]:
        """Return the buffers that the step writes."""
        return tuple(buffer for buffer in (self.out, self.out_codes) if buffer != NO_BUFFER)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps in their order, the buffers that they read and write, and which are the model's outputs."""

    steps: tuple[Step, ...]
    buffers: tuple[Buffer, ...]
    outputs: tuple[Output, ...]


def padded(columns: int) -> int:
    """Return the columns of whole panels.

    >>> padded(65)
    128
    """
    return -(-columns // PANEL) * PANEL


def bf16_pairs(rows: int) -> int:
    """Return the pairs of rows that weights in BF16 are stored as.

    >>> bf16_pairs(33)
    32
    """
    return -(-rows // BF16_DEPTH) * BF16_DEPTH // 2


def distances(longest: int) -> int:
    """Return the columns of a bias by distance within texts of up to so many tokens, 2 longest - 1, as it is stored.

    A kernel reads up to a panel more than there are distances.

    >>> distances(32)
    128
    """
    return padded(2 * longest + PANEL)


def json_from_plan(plan: Plan) -> dict[str, Any]:
    """Return the plan as JSON has it; fields at their defaults are left out."""
    return {
        "steps": [_object_of(step) for step in plan.steps],
        "buffers": [_object_of(buffer) for buffer in plan.buffers],
        "outputs": [_object_of(output) for output in plan.outputs],
    }


def plan_from_json(content: Any) -> Plan:
    """Read a plan back. Raises `InputError` for a field that is missing, unknown or of another type.

    What the numbers mean is checked by `bertc.runtime.plan.plan_check`.
    """
    if not isinstance(content, dict) or set(content) != {"steps", "buffers", "outputs"}:
        raise InputError("the plan is damaged: it has to hold steps, buffers and outputs; build the model again")
    return Plan(
        steps=_sequence_of(Step, content["steps"], "step"),
        buffers=_sequence_of(Buffer, content["buffers"], "buffer"),
        outputs=_sequence_of(Output, content["outputs"], "output"),
    )


Part = TypeVar("Part", Step, Buffer, Output)
ENUMERATIONS: Mapping[str, Mapping[str, IntEnum]] = {
    kind.__name__: {each.name.lower(): each for each in kind} for kind in (Op, Rows, Type, Activation)
}
"""The values of a field by their names, for each type of field."""


def _object_of(part: Step | Buffer | Output) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(part):
        value = getattr(part, field.name)
        if field.default is MISSING or value != field.default:
            found[field.name] = _json_of(value)
    return found


def _json_of(value: Any) -> Any:
    if isinstance(value, IntEnum):
        return value.name.lower()
    return list(value) if isinstance(value, tuple) else value


def _sequence_of(kind: type[Part], content: Any, what: str) -> tuple[Part, ...]:
    if not isinstance(content, list):
        raise InputError(f"the plan is damaged: its {what}s are no list; build the model again")
    return tuple(_part_of(kind, each, f"{what} {number}") for number, each in enumerate(content))


def _part_of(kind: type[Part], content: Any, where: str) -> Part:
    if not isinstance(content, dict):
        raise InputError(f"the plan is damaged: {where} is no object; build the model again")
    every = {field.name: field for field in fields(kind)}
    unknown = sorted(set(content) - set(every))
    missing = sorted(name for name, field in every.items() if field.default is MISSING and name not in content)
    for names, told in ((unknown, "has the unknown field"), (missing, "lacks")):
        if names:
            raise InputError(f"the plan is damaged: {where} {told} {names[0]!r}; build the model again")
    read = {name: _value_of(str(every[name].type), value, f"{where}: {name}") for name, value in content.items()}
    return kind(**read)


def _value_of(kind: str, value: Any, where: str) -> Any:
    """Read one field whose annotation is `kind`."""
    if kind in ENUMERATIONS:
        if isinstance(value, str) and value in ENUMERATIONS[kind]:
            return ENUMERATIONS[kind][value]
    elif kind.startswith("tuple"):
        if isinstance(value, list) and len(value) == kind.count("int") and all(type(each) is int for each in value):
            return tuple(value)
    elif kind == "float":
        if type(value) in (int, float):
            return _float_of(value, where)
    elif type(value).__name__ == kind:
        return value
    raise InputError(f"the plan is damaged: {where} is {_shown(value)}; build the model again")


def _float_of(value: float, where: str) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"the plan is damaged: {where} is too large a number; build the model again") from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def names_of_arrays(steps: Sequence[Step]) -> set[str]:
    """Return the names of all arrays that steps use."""
    return {name for step in steps for _, name in step.arrays()}
