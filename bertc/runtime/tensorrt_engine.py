"""Engines of TensorRT that are open on a GPU: profiles by length, pinned memory, one stream."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from bertc.batches import Batch
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.cuda_memory import Buffer, Stream
from bertc.runtime.engine import Array
from bertc.runtime.tensorrt import listener, open_library, sentence_from_errors

if TYPE_CHECKING:
    import tensorrt as trt

SHAPED_BY = "input_ids"
"""The input whose shape, [batch, length], all the others have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ranged:
    """A profile of an engine: its number, and the largest batch and length that it takes."""

    number: int
    most_rows: int
    longest: int


def open_engine(model: Path) -> TensorrtEngine:
    """Open a serialized engine on the current GPU.

    Raises `InputError` for a file that is no engine for this GPU, driver and version of TensorRT.
    """
    return TensorrtEngine(deserialized(model))


def deserialized(model: Path) -> trt.ICudaEngine:
    """Read a serialized engine. Raises as `open_engine`."""
    open_library()
    import tensorrt as trt

    try:
        content = model.read_bytes()
    except OSError as error:
        raise InputError(f"{model} cannot be opened by TensorRT: {error.strerror}") from error
    said: list[str] = []
    try:
        runtime = trt.Runtime(listener(said))
    except TypeError as error:  # the binding's words for a runtime that could not be made
        raise EnvironmentLackError(f"TensorRT cannot start here: {sentence_from_errors(said)}") from error
    engine = runtime.deserialize_cuda_engine(content)
    if engine is None:
        raise InputError(
            f"{model} cannot be opened by TensorRT {trt.__version__}: {sentence_from_errors(said)}; an engine runs "
            "only on the GPU model, driver and version that it was built with, so build it again here"
        )
    return engine


class TensorrtEngine:
    """An engine with one execution context; calls from several threads wait for each other."""

    def __init__(self, engine: trt.ICudaEngine) -> None:
        import tensorrt as trt

        self._engine = engine
        context = engine.create_execution_context()
        if context is None:
            raise EnvironmentLackError("the GPU has too little memory for this engine; see nvidia-smi for who holds it")
        self._context = context
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        inputs = trt.TensorIOMode.INPUT
        self._inputs = [name for name in names if engine.get_tensor_mode(name) == inputs]
        self._outputs = [name for name in names if engine.get_tensor_mode(name) != inputs]
        self._types = {name: _numpy_type(engine.get_tensor_dtype(name)) for name in names}
        self._profiles = _profiles(engine)
        self._profile = 0
        self._buffers = {name: Buffer() for name in names}
        self._stream = Stream()
        self._turn = threading.Lock()

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch, padded as it is. Raises `InputError` for a longer one than it takes."""
        feeds = batch.feeds(self._inputs)
        rows, length = feeds[SHAPED_BY].shape
        profile = next((each for each in self._profiles if each.longest >= length), None)
        if profile is None:
            raise InputError(
                f"the engine takes at most {self._profiles[-1].longest} tokens, and a text has {length}; build it "
                "again with a larger --max-length"
            )
        with self._turn:
            parts = [self._run_part(part, profile, outputs) for part in _parts(feeds, rows, profile.most_rows)]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run_part(
        self, feeds: dict[str, NDArray[Any]], profile: _Ranged, outputs: Sequence[str]
    ) -> tuple[NDArray[Any], ...]:
        """Run rows that one profile takes at once."""
        context, stream = self._context, self._stream
        if profile.number != self._profile:
            self._check(context.set_optimization_profile_async(profile.number, stream.handle))
            stream.wait()
            self._profile = profile.number
        for name, values in feeds.items():
            self._feed(name, values)
        lacking = context.infer_shapes()
        if lacking:
            raise InputError(f"the engine lacks the inputs {', '.join(lacking)}; it is none of bertc's")
        shapes = {name: tuple(context.get_tensor_shape(name)) for name in self._outputs}
        sizes = {name: int(np.prod(shape)) * self._types[name].itemsize for name, shape in shapes.items()}
        for name in self._outputs:
            self._buffers[name].reserve(sizes[name])
            self._check(context.set_tensor_address(name, self._buffers[name].address))
        self._check(context.execute_async_v3(stream_handle=stream.handle))
        for name in outputs:
            self._buffers[name].to_host(sizes[name], stream)
        stream.wait()
        # Copies: the next call writes into the same memory.
        return tuple(np.array(self._buffers[name].view(shapes[name], self._types[name])) for name in outputs)

    def _feed(self, name: str, values: NDArray[Any]) -> None:
        """Start copying one input, and tell the context where it lies and how large it is."""
        kind = self._types[name]
        buffer, size = self._buffers[name], values.size * kind.itemsize
        buffer.reserve(size)
        buffer.view(values.shape, kind)[...] = values
        buffer.to_device(size, self._stream)
        self._check(self._context.set_input_shape(name, values.shape))
        self._check(self._context.set_tensor_address(name, buffer.address))

    def _check(self, done: bool) -> None:
        """Stop at a call that TensorRT refused."""
        if not done:
            raise EnvironmentLackError("TensorRT refused to run the engine; build it again on this machine")

    def close(self) -> None:
        """Free the engine's memory."""
        for buffer in self._buffers.values():
            buffer.close()
        self._stream.close()
        del self._context, self._engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _profiles(engine: trt.ICudaEngine) -> list[_Ranged]:
    """Return the engine's profiles by rising length."""
    found = []
    for number in range(engine.num_optimization_profiles):
        rows, length = tuple(engine.get_tensor_profile_shape(SHAPED_BY, number)[2])
        found.append(_Ranged(number=number, most_rows=rows, longest=length))
    return sorted(found, key=lambda profile: profile.longest)


def _parts(feeds: dict[str, NDArray[np.int64]], rows: int, most: int) -> Iterator[dict[str, NDArray[Any]]]:
    """Cut a batch into parts of at most so many rows."""
    for begin in range(0, rows, most):
        yield {name: values[begin : begin + most] for name, values in feeds.items()}


def _numpy_type(kind: trt.DataType) -> np.dtype[Any]:
    """Return numpy's type of an input or output."""
    import tensorrt as trt

    types = {trt.DataType.INT32: np.int32, trt.DataType.INT64: np.int64, trt.DataType.FLOAT: np.float32}
    return np.dtype(types[kind])
