"""A plan run in numpy, kernel by kernel as native/bertc.h describes them: what others must equal.

Products of codes are exact, what follows them is float32. Buffers start with garbage, and kernels read and write whole
panels where the header lets them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import erf

from bertc.core.batch import Batch
from bertc.core.exits import uncertainty
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Activation, Op, Plan, Rows, Step, Type, padded
from tests.native_weights import bf16_floats, bf16_product, dense_from_sparse, floats_from_bf16

Array = NDArray[Any]
F32 = np.float32


@dataclass(frozen=True, slots=True)
class Text:
    """Where a text lies: row and columns of the padded batch, first row of the buffers; `seen` tokens are keys."""

    row: int
    column: int
    length: int
    first: int
    seen: int

    @property
    def tokens(self) -> slice:
        return slice(self.first, self.first + self.length)

    @property
    def columns(self) -> slice:
        return slice(self.column, self.column + self.length)


def texts_of(batch: Batch) -> list[Text]:
    texts: list[Text] = []
    first = 0
    for row, mask in enumerate(batch.mask):
        for number in [each for each in np.unique(np.abs(mask)) if each]:
            (columns,) = np.nonzero(np.abs(mask) == number)
            seen = int((mask == number).sum())
            assert (mask[columns[:seen]] == number).all()
            assert columns.size == columns[-1] - columns[0] + 1 and columns[0] == number - 1
            texts.append(Text(row, int(columns[0]), columns.size, first, seen))
            first += columns.size
    return texts


def run_plan(
    plan: Plan,
    arrays: Mapping[str, Array],
    batch: Batch,
    *,
    seen: dict[str, Array] | None = None,
    kind: type[Run] | None = None,
) -> dict[str, Array]:
    """Return the outputs by name, as an engine gives them; padding has zeros. `seen` gets what each step writes.

    `kind` computes the steps, where it is not as in the native engine.
    """
    run = (kind or Run)(plan, arrays, batch)
    for step in plan.steps:
        run.step(step)
        for number in step.written() if seen is not None else ():
            name = step.name if number == step.out else f"{step.name}.codes"
            seen[name] = run.buffers[number][:, : step.n].copy()
    found = {}
    for output in plan.outputs:
        if output.buffer == NO_BUFFER:
            found[output.name] = np.where(run.exits < 0, run.passed, run.exits).astype(F32) + 1
            continue
        values = run.buffers[output.buffer][:, output.column : output.column + output.columns]
        if output.per_token:
            whole = np.zeros((*batch.mask.shape, output.columns), F32)
            for text in run.texts:
                whole[text.row, text.columns] = values[text.tokens]
            values = whole
        if output is plan.outputs[0] and run.left:
            values = np.stack([run.left.get(number, values[number]) for number in range(len(values))])
        found[output.name] = values.copy() if output.vector else values[..., 0].copy()
    return found


class Run:
    """The buffers of a batch, and what every step does to them."""

    def __init__(self, plan: Plan, arrays: Mapping[str, Array], batch: Batch) -> None:
        self.arrays = arrays
        self.batch = batch
        self.texts = texts_of(batch)
        self.rows = {Rows.TOKENS: sum(text.length for text in self.texts), Rows.TEXTS: len(self.texts)}
        self.passed = 0
        self.exits = np.full(len(self.texts), -1)
        self.left: dict[int, Array] = {}
        generator = np.random.default_rng(0)
        self.buffers: list[Array] = []
        for buffer in plan.buffers:
            shape = (self.rows[buffer.rows], buffer.width)
            garbage = generator.integers(0, 256, shape).astype(np.uint8)
            self.buffers.append(garbage if buffer.type is Type.U8 else np.full(shape, np.nan, F32))

    def step(self, step: Step) -> None:
        KERNELS[step.op](self, step)

    @staticmethod
    def place(step: Step, text: Text) -> int:
        """The place of the token that a text's row is of."""
        return text.seen - 1 if step.last else 0

    def places(self, step: Step, text: Text) -> Array:
        """The places of the tokens of a text that there are rows of."""
        return np.arange(text.length) if step.rows is Rows.TOKENS else np.array([self.place(step, text)])

    def array(self, step: Step, field: str) -> Array | None:
        name = getattr(step, field)
        return self.arrays[name] if name else None

    def read(self, step: Step, columns: int, place: int = 0) -> Array:
        column = step.in_column[place]
        found = self.buffers[step.inputs[place]][:, column : column + columns]
        assert found.shape[1] == columns
        return found

    def centred(self, step: Step, columns: int, place: int = 0) -> Array:
        """Numbers, or codes without their zero point."""
        values = self.read(step, columns, place)
        return values.astype(np.int64) - step.in_zero if values.dtype == np.uint8 else values

    def codes(self, step: Step, y: Array) -> Array:
        inverse = self.array(step, "inverse")
        assert inverse is not None
        rounded = np.rint(y * inverse[: y.shape[1]]) + F32(step.out_zero)
        return np.nan_to_num(np.clip(rounded, 0, 255)).astype(np.uint8)

    def write(self, step: Step, y: Array) -> None:
        """Write numbers, or their codes."""
        out = self.buffers[step.out]
        values = self.codes(step, y) if out.dtype == np.uint8 else y
        assert y.dtype == F32 and out.shape[1] >= step.out_column + y.shape[1]
        out[:, step.out_column : step.out_column + y.shape[1]] = values

    def finish(self, step: Step, acc: Array) -> None:
        """What follows a product, for all columns of the panels. acc: [rows, n padded]."""
        y = acc.astype(F32)
        scale, requant, bias = (self.array(step, field) for field in ("scale", "requant", "bias"))
        if requant is not None:
            requant_scale = self.array(step, "requant_scale")
            assert requant_scale is not None
            y = np.clip(np.rint(y * requant), -128, 127).astype(F32) * requant_scale
        elif scale is not None:
            y = y * scale
        if bias is not None:
            y = y + bias
        y = activated(step.activation, y)
        if step.residual != NO_BUFFER:
            residual = self.buffers[step.residual][:, : y.shape[1]]
            if residual.dtype == np.uint8:
                residual_scale = self.array(step, "residual_scale")
                assert residual_scale is not None
                residual = (residual.astype(F32) - F32(step.residual_zero)) * residual_scale
            y = y * residual if step.gated else y + residual
        self.write(step, y)


def activated(activation: Activation, y: Array) -> Array:
    if activation is Activation.RELU:
        return np.maximum(y, F32(0))
    if activation is Activation.GELU:
        return np.asarray(y * F32(0.5) * (F32(1) + erf(y * F32(0.5**0.5))), F32)
    if activation is Activation.GELU_TANH:
        inner = F32(np.sqrt(2 / np.pi)) * (y + F32(0.044715) * y**3)
        return np.asarray(y * F32(0.5) * (F32(1) + np.tanh(inner)), F32)
    if activation is Activation.TANH:
        return np.tanh(y)
    if activation is Activation.SIGMOID:
        return np.asarray(1 / (1 + np.exp(-y)), F32)
    if activation is Activation.SILU:
        return np.asarray(y / (1 + np.exp(-y)), F32)
    return y


def _embed(run: Run, step: Step) -> None:
    def rows(field: str, places: Array) -> Array:
        table = run.array(step, field)
        assert table is not None
        if not step.flag:
            return np.asarray(table[places], F32)
        scale = run.array(step, f"{field}_scale")
        assert scale is not None and table.dtype == np.int8
        return np.asarray(table[places].astype(F32) * scale[places, None])

    types = run.array(step, "type")
    for text in run.texts:
        ids = run.batch.input_ids[text.row, text.columns]
        total = rows("word", ids)
        if step.position:
            total = total + rows("position", step.first_position + np.arange(text.length))
        if types is not None:
            kinds = run.batch.token_type_ids[text.row, text.columns] if step.types > 1 else np.zeros_like(ids)
            total = total + types[kinds]
        run.buffers[step.out][text.tokens, : step.n] = total


def _gemm_int8(run: Run, step: Step) -> None:
    panels = run.array(step, "weights")
    assert panels is not None and panels.dtype == np.int8
    if step.flag:
        panels = dense_from_sparse(panels)
    weights = panels.transpose(1, 3, 0, 2).reshape(panels.shape[1] * 4, -1).astype(np.int64)
    codes = run.read(step, padded(step.k))
    assert codes.dtype == np.uint8
    compensation = run.array(step, "compensation")
    assert compensation is not None and compensation.dtype == np.int32
    run.finish(step, codes.astype(np.int64) @ weights + compensation)


def _gemm_f32(run: Run, step: Step) -> None:
    panels = run.array(step, "weights")
    assert panels is not None
    if step.flag:
        run.finish(step, bf16_product(bf16_floats(run.read(step, step.k)), floats_from_bf16(panels, step.k)))
        return
    assert panels.dtype == F32
    run.finish(step, run.read(step, step.k) @ panels.transpose(1, 0, 2).reshape(step.k, -1))


def _norm(run: Run, step: Step) -> None:
    x = run.read(step, step.n)
    gamma, beta = run.array(step, "gamma"), run.array(step, "beta")
    assert gamma is not None and (beta is None) == bool(step.flag) and x.dtype == F32
    mean = F32(0) if step.flag else x.mean(axis=1, keepdims=True)
    variance = np.square(x - mean).mean(axis=1, keepdims=True)
    y = np.asarray((x - mean) / np.sqrt(variance + F32(step.epsilon)) * gamma[: step.n], F32)
    y = y if beta is None else y + beta[: step.n]
    if step.out != NO_BUFFER:
        run.buffers[step.out][:, : step.n] = y
    if step.out_codes != NO_BUFFER:
        run.buffers[step.out_codes][:, : step.n] = run.codes(step, y)


def _distance_bias(run: Run, step: Step, head: int, queries: Array, keys: int) -> Array:
    """Return what is added to the scores of one head of one text for queries at such places: [queries, keys]."""
    bias = run.array(step, "distance_bias")
    if bias is None:
        return np.zeros((len(queries), keys), F32)
    places = np.arange(keys) - queries[:, None] + step.positions - 1
    return np.asarray(bias[head, places], F32)


def _distances(run: Run, step: Step, head: int, queries: slice, text: Text) -> Array:
    """Return what products with embeddings of distances add to the scores of one head of one text: [queries, keys]."""
    size, count = step.n // step.heads, queries.stop - queries.start
    places = np.arange(text.length) - run.places(step, text)[:, None] + step.positions - 1
    row = run.array(step, "distance_row")
    assert row is not None
    total = np.zeros((count, text.length), F32)
    for side, field in enumerate(("distance_key", "distance_query")):
        panels = run.array(step, field)
        if panels is None:
            continue
        column = step.numbers_column[side] + head * size
        numbers = run.buffers[step.numbers[side]][text.tokens if side else queries, column : column + size]
        assert numbers.dtype == F32 and numbers.shape[1] == size
        products = numbers @ panels[head].transpose(1, 0, 2).reshape(size, -1)
        total += products[np.arange(text.length)[None] if side else np.arange(count)[:, None], row[places]]
    return total


def _segments(run: Run, step: Step, head: int, queries: slice, text: Text) -> Array:
    """Return what one type of query and key adds to the scores of one head of one text: [queries, keys]."""
    types = run.batch.token_type_ids[text.row, text.columns]
    own = types if step.rows is Rows.TOKENS else types[[run.place(step, text)]]
    numbers = run.buffers[step.segments][queries, step.segments_column + head]
    assert numbers.dtype == F32
    return np.asarray(np.where(own[:, None] == types, numbers[:, None], F32(0)))


def _attention(run: Run, step: Step) -> None:
    query, key, value = (run.centred(step, step.n, place) for place in range(3))
    size = step.n // step.heads
    y = np.empty((run.rows[step.rows], step.n), F32)
    for number, text in enumerate(run.texts):
        queries = text.tokens if step.rows is Rows.TOKENS else slice(number, number + 1)
        for head in range(step.heads):
            columns = slice(head * size, head * size + size)
            raw = (query[queries, columns] @ key[text.tokens, columns].T).astype(F32)
            if step.scores_requant:
                raw = np.clip(np.rint(raw * F32(step.scores_requant)), -128, 127).astype(F32)
            keys, places = np.arange(text.length), run.places(step, text)[:, None]
            scores = raw * F32(step.scaling) + _distance_bias(run, step, head, places[:, 0], text.length)
            if step.distances:
                scores += _distances(run, step, head, queries, text)
            if step.segments != NO_BUFFER:
                scores += _segments(run, step, head, queries, text)
            visible = (keys < text.seen) & ((np.abs(keys - places) < step.near) | (step.near == 0))
            visible[~visible.any(axis=1), text.seen - 1] = True  # too far from all keys: the last one
            scores = np.where(visible, scores, F32(-np.inf))
            probs = np.exp(scores - scores.max(axis=1, keepdims=True))
            probs = probs / probs.sum(axis=1, keepdims=True)
            if step.flag:
                probs = np.clip(np.rint(probs * F32(step.probs_inverse)), 0, step.probs_high)
            y[queries, columns] = (probs @ value[text.tokens, columns]).astype(F32) * F32(step.context_scale)
    run.write(step, y)


def _exit(run: Run, step: Step) -> None:
    """Keep the scores of texts that leave; here the others keep their places, so nothing has to move."""
    logits = run.read(step, step.n)
    for number in np.flatnonzero((uncertainty(logits) < F32(step.epsilon)) & (run.exits < 0)):
        run.left[int(number)] = logits[number].copy()
        run.exits[number] = run.passed
    run.passed += 1


def _finish(run: Run, step: Step) -> None:
    acc = np.zeros((run.rows[step.rows], padded(step.n)), F32)
    acc[:, : step.n] = run.centred(step, step.n)
    run.finish(step, acc)


def _first(run: Run, step: Step) -> None:
    rows = [text.first + run.place(step, text) for text in run.texts]
    run.buffers[step.out][:, : step.n] = run.read(step, step.n)[rows]


def _marked(run: Run, step: Step) -> None:
    x = run.read(step, step.n)
    for number, text in enumerate(run.texts):
        marks = np.flatnonzero(run.batch.input_ids[text.row, text.columns] == step.token)
        run.buffers[step.out][number, : step.n] = x[text.first + (int(marks[0]) if marks.size else 0)]


def _pool(run: Run, step: Step) -> None:
    x = run.read(step, step.n)
    for number, text in enumerate(run.texts):
        rows = x[text.tokens]
        pooled = rows.max(axis=0) if step.flag else rows.mean(axis=0)
        run.buffers[step.out][number, : step.n] = np.log1p(np.maximum(pooled, 0)) if step.flag == 2 else pooled


def _unit(run: Run, step: Step) -> None:
    x = run.read(step, step.n)
    length = np.maximum(np.sqrt(np.square(x).sum(axis=1, keepdims=True)), F32(step.epsilon))
    run.buffers[step.out][:, : step.n] = x / length


def _rotary(run: Run, step: Step) -> None:
    places = [run.places(step, text) for text in run.texts]
    x = run.read(step, step.n).reshape(run.rows[step.rows], step.heads, 2, -1)
    first, second = x[:, :, 0], x[:, :, 1]
    cos, sin = run.array(step, "cos"), run.array(step, "sin")
    assert x.dtype == F32 and cos is not None and sin is not None
    cos, sin = (table[np.concatenate(places), None] for table in (cos, sin))
    turned = np.stack((first * cos - second * sin, second * cos + first * sin), axis=2)
    run.write(step, turned.reshape(len(x), step.n))


KERNELS = {
    Op.EMBED: _embed,
    Op.GEMM_INT8: _gemm_int8,
    Op.GEMM_F32: _gemm_f32,
    Op.NORM: _norm,
    Op.ATTENTION: _attention,
    Op.FINISH: _finish,
    Op.FIRST: _first,
    Op.MARKED: _marked,
    Op.POOL: _pool,
    Op.UNIT: _unit,
    Op.ROTARY: _rotary,
    Op.EXIT: _exit,
}
