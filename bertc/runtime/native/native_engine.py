"""The native engine: opens a plan over mapped arrays and runs batches, whatever their shapes, without their padding."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.batch import Batch
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.engine import Array, Closing
from bertc.runtime.machine.cpu import thread_count
from bertc.runtime.native.kernel_plan import ARRAYS, Output, Plan, Step
from bertc.runtime.native.library import CBatch, CBuffer, COutput, CPlan, CStep, instruction_sets, library
from bertc.runtime.native.plan_files import read_plan

NAMED = {"op", "rows", "activation", "name", *ARRAYS}
"""Fields of a step that are no plain numbers."""


def open_plan(path: Path, *, threads: int = 0, instruction_set: str | None = None) -> NativeEngine:
    """Open a plan's files on this CPU; `instruction_set` None is the best that it has.

    Raises `InputError` for damaged files, `EnvironmentLackError` where there is no library or no such instruction set.
    """
    return NativeEngine(*read_plan(path), threads=threads, instruction_set=instruction_set)


class NativeEngine(Closing):
    """An open plan. Calls from several threads run at the same time, each with memory of its own."""

    def __init__(
        self,
        plan: Plan,
        arrays: Mapping[str, NDArray[Any]],
        *,
        threads: int = 0,
        instruction_set: str | None = None,
    ) -> None:
        """Open a plan that was checked."""
        self._library = library()
        here = instruction_sets()
        if instruction_set is not None and instruction_set not in here:
            raise EnvironmentLackError(
                f"this CPU has no kernels of the instruction set '{instruction_set}'; choose one of {', '.join(here)}"
            )
        self.instruction_set = instruction_set or here[0]
        self._outputs = {output.name: (place, output) for place, output in enumerate(plan.outputs)}
        # The library reads all of these for as long as it is open.
        self._arrays = arrays
        self._steps = (CStep * len(plan.steps))(*(_step(step, arrays) for step in plan.steps))
        self._buffers = (CBuffer * len(plan.buffers))(*(CBuffer(b.type, b.rows, b.width) for b in plan.buffers))
        self._c_outputs = (COutput * len(plan.outputs))(
            *(COutput(each.buffer, each.column, each.columns, each.per_token) for each in plan.outputs)
        )
        c_plan = CPlan(
            len(plan.steps), len(plan.buffers), len(plan.outputs), self._steps, self._buffers, self._c_outputs
        )
        self._engine: int | None = self._library.bertc_open(
            ctypes.byref(c_plan), thread_count(threads), self.instruction_set.encode("ascii")
        )
        if self._engine is None:
            raise EnvironmentLackError("the native engine cannot be opened: there is no memory, or no more threads")

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch; what is padding there is 0."""
        ids, types, mask = (
            np.ascontiguousarray(each, np.int64) for each in (batch.input_ids, batch.token_type_ids, batch.mask)
        )
        rows, length = mask.shape
        c_batch = CBatch(rows, length, ids.ctypes.data, types.ctypes.data, mask.ctypes.data)
        texts = len(batch.starts) if batch.starts else int(self._library.bertc_texts(ctypes.byref(c_batch)))
        if texts < 0:
            raise InputError("a text does not start in the column that its mask names; let padding stand on the right")
        arrays = [np.zeros(_shape(each, rows, length, texts), np.float32) for _, each in self._outputs.values()]
        pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        fault: bytes | None = self._library.bertc_run(self._engine, ctypes.byref(c_batch), pointers)
        if fault is not None:
            raise InputError(f"the native engine cannot run this batch: {fault.decode('ascii')}")
        return [_as_named(arrays[place], output) for place, output in (self._outputs[name] for name in outputs)]

    def close(self) -> None:
        """Free the engine and end its threads."""
        if self._engine is not None:
            self._library.bertc_close(self._engine)
            self._engine = None


def _step(step: Step, arrays: Mapping[str, NDArray[Any]]) -> CStep:
    """Return a step as the library reads it."""
    found = CStep(op=step.op, rows=step.rows, activation=step.activation)
    for name, kind in CStep._fields_:
        if name not in NAMED:
            value = getattr(step, name)
            setattr(found, name, kind(*value) if isinstance(value, tuple) else value)
    for name, array in step.arrays():
        setattr(found, name, arrays[array].ctypes.data)
    return found


def _shape(output: Output, rows: int, length: int, texts: int) -> tuple[int, ...]:
    return (rows, length, output.columns) if output.per_token else (texts, output.columns)


def _as_named(array: Array, output: Output) -> Array:
    return array if output.vector else array[..., 0]
