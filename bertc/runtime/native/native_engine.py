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
from bertc.runtime.native.library import CBatch, CBuffer, COutput, CPlan, CStep, instruction_sets, library
from bertc.runtime.plan.kernel_plan import ARRAYS, Output, Plan, Step
from bertc.runtime.plan.plan_files import read_plan

NAMED = {"op", "rows", "activation", "name", *ARRAYS}
"""Fields of a step that are no plain numbers."""


def open_plan(path: Path, *, threads: int = 0, instruction_set: str | None = None) -> NativeEngine:
    """Open a plan's files on this CPU; `instruction_set` None is the best that it has.

    Raises `InputError` for damaged files, `EnvironmentLackError` where there is no library or no such instruction set.
    """
    return NativeEngine(*read_plan(path), threads=threads, instruction_set=instruction_set)


class NativeEngine(Closing):
    """An open plan. Calls from several threads run at the same time, each with memory of its own.

    What a text is answered does not depend on the batch that it comes in, on the number of threads or on other calls,
    bit for bit. Nor does it on the instruction set, among those that multiply and add in one rounding (all but `plain`
    on x86-64, which agrees up to that rounding and to codes that lie on its edge).
    """

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
        engine: int | None = self._library.bertc_open(
            ctypes.byref(c_plan), thread_count(threads), self.instruction_set.encode("ascii")
        )
        if engine is None:
            raise EnvironmentLackError("the native engine cannot be opened: there is no memory, or no more threads")
        self._handle: _Handle | None = _Handle(engine)

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch; what is padding there is 0.

        Raises `InputError` for a batch that is no batch of this model's, and where the engine was closed.
        """
        arrays = self._run(batch, None)
        return [_as_named(arrays[place], output) for place, output in (self._outputs[name] for name in outputs)]

    def nanoseconds(self, batch: Batch) -> NDArray[np.int64]:
        """Run a batch; return how long threads were in each step of the plan, added up, [steps]. Raises as `run`."""
        spent = np.zeros(len(self._steps), np.int64)
        self._run(batch, spent)
        return spent

    def _run(self, batch: Batch, spent: NDArray[np.int64] | None) -> list[Array]:
        handle = self._handle  # which a call of `close` in another thread leaves open until this one is done
        if handle is None:
            raise InputError("the native engine was closed; open it again")
        ids, types, mask = (
            np.ascontiguousarray(each, np.int64) for each in (batch.input_ids, batch.token_type_ids, batch.mask)
        )
        if mask.ndim != 2 or not ids.shape == types.shape == mask.shape:
            raise InputError(
                f"a batch has ids {list(ids.shape)}, types {list(types.shape)} and a mask {list(mask.shape)}; give all "
                "of them one shape [rows, length]"
            )
        rows, length = mask.shape
        c_batch = CBatch(rows, length, ids.ctypes.data, types.ctypes.data, mask.ctypes.data)
        texts = int(self._library.bertc_texts(ctypes.byref(c_batch)))
        if texts < 0:
            raise InputError("a text does not start in the column that its mask names; let padding stand on the right")
        if texts != (len(batch.starts) or rows):
            raise InputError(
                f"a batch of {len(batch.starts) or rows} texts has a mask with {texts}; give every text a token"
            )
        arrays = [np.zeros(_shape(each, rows, length, texts), np.float32) for _, each in self._outputs.values()]
        pointers = (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))
        fault: bytes | None = self._library.bertc_run(
            handle.engine, ctypes.byref(c_batch), pointers, None if spent is None else spent.ctypes.data
        )
        if fault is not None:
            raise InputError(f"the native engine cannot run this batch: {fault.decode('ascii')}")
        return arrays

    def close(self) -> None:
        """Free the engine and end its threads, once no call is running any more."""
        self._handle = None


class _Handle:
    """An engine of the library, which is freed with the last reference to it."""

    def __init__(self, engine: int) -> None:
        self.engine = engine
        self._close = library().bertc_close

    def __del__(self) -> None:
        self._close(self.engine)


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
