"""Plans of one kernel, run by numpy and by the engine, and the inputs to run them on."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from bertc.core.batch import Batch, batch_from_features
from bertc.core.feature import Feature
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.plan import packing
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Buffer, Op, Output, Plan, Rows, Step, Type, distances, padded
from bertc.runtime.plan.plan_check import check_plan
from tests.native_reference import run_plan

Array = NDArray[Any]
WORDS, LONGEST = 40, 150
PROPERTY = settings(
    max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class PlanOfOne:
    """Builds a plan of one kernel whose input is any matrix: a word's embedding is a row of it."""

    def __init__(self, rows: Array, lengths: list[int], *, unseen: bool = False) -> None:
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
                types=2,
                word="word",
                position="position",
            )
        ]
        generator = np.random.default_rng(sum(lengths))
        texts = [
            Feature(
                input_ids=generator.integers(0, len(rows), length),
                token_type_ids=generator.integers(0, 2, length),
                row=row,
                seen=int(generator.integers(1, length + 1)) if unseen else None,
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

    def numbers(self, n: int, rows: Rows, last: int) -> int:
        """Return the buffer of the first columns in numbers: of tokens, or of each text's first or last."""
        if rows is Rows.TOKENS:
            return 0
        out = self.buffer(Type.F32, n, rows)
        fields: dict[str, Any] = {"inputs": (0, -1, -1), "n": n, "out": out, "last": last}
        self.steps.append(Step(op=Op.FIRST, name=f"{n} numbers", rows=rows, **fields))
        return out

    def added(self, kind: str, heads: int, n: int, rows: Rows, largest: float, last: int = 0) -> dict[str, Any]:
        """Return what is added to the scores: nothing, a bias, or products of the first columns with distances.

        kind: "", "bias", or which of "keys" and "queries" have embeddings of distances; with "segments", the second
        column and those behind it are also what keys of a query's own type get.
        """
        if "segments" in kind:
            fields = self.added(kind.replace("segments", "").removesuffix(" and "), heads, n, rows, largest, last)
            return fields | {"segments": self.numbers(n + 1, rows, last), "segments_column": 1}
        if kind in ("", "bias"):
            return self.distance_bias(heads, kind == "bias")
        generator, size, count = np.random.default_rng(heads), n // heads, 20 + 50 * heads
        row = np.sort(generator.integers(0, count, distances(LONGEST)).astype(np.int32))[::-1].copy()
        fields: dict[str, Any] = {"positions": LONGEST, "distances": count, "distance_row": self.array("row", row)}
        numbers = [NO_BUFFER, NO_BUFFER]
        for side, (name, field) in enumerate((("keys", "distance_key"), ("queries", "distance_query"))):
            if name in kind:
                table = generator.normal(0, size**-0.5 / largest, (heads, size, count)).astype(np.float32)
                fields[field] = self.array(field, np.stack([packing.float_panels(head) for head in table]))
                numbers[side] = 0
        if numbers[0] == 0:
            numbers[0] = self.numbers(n, rows, last)
        return fields | {"numbers": (numbers[0], numbers[1])}

    def residual(self, kind: Type, n: int, factor: float = 1.0) -> int:
        """Write numbers, or their codes, that a later step can add, or multiply by."""
        weights = np.eye(self.steps[0].n, n, dtype=np.float32) * np.float32(factor)
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
