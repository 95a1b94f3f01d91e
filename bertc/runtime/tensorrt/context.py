"""An execution context of TensorRT with memory and a stream of its own: what runs one batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.tensorrt.cuda_memory import Buffer, Graph, Stream

if TYPE_CHECKING:
    import tensorrt as trt

Feeds = Mapping[str, NDArray[Any]]


class Context:
    """Memory on host and GPU for every input and output of an engine; it grows with the batches. Close it."""

    def __init__(self, engine: trt.ICudaEngine) -> None:
        import tensorrt as trt

        context = engine.create_execution_context()
        if context is None:
            raise EnvironmentLackError("the GPU has too little memory for this engine; see nvidia-smi for who holds it")
        self._context = context
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        inputs = trt.TensorIOMode.INPUT
        self.inputs = [name for name in names if engine.get_tensor_mode(name) == inputs]
        self._outputs = [name for name in names if engine.get_tensor_mode(name) != inputs]
        self._types = {name: _numpy_type(engine.get_tensor_dtype(name)) for name in names}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._profile = 0
        self._buffers = {name: Buffer() for name in names}
        self._stream = Stream()

    def prepare(self, feeds: Feeds, profile: int) -> None:
        """Take inputs of any shape that the profile has: `write` them, and give TensorRT shapes and addresses."""
        context, stream = self._context, self._stream
        if profile != self._profile:
            self._check(context.set_optimization_profile_async(profile, stream.handle))
            stream.wait()
            self._profile = profile
        for name, values in feeds.items():
            self._check(context.set_input_shape(name, values.shape))
        lacking = self._lacking()
        if lacking:
            raise InputError(f"the engine lacks the inputs {', '.join(lacking)}; it is none of bertc's")
        self._shapes = {name: values.shape for name, values in feeds.items()}
        self._shapes.update({name: tuple(context.get_tensor_shape(name)) for name in self._outputs})
        for name, buffer in self._buffers.items():
            buffer.reserve(self._size(name))
            self._check(context.set_tensor_address(name, buffer.address))
        self.write(feeds)

    def _lacking(self) -> Sequence[str]:
        """Return the inputs whose shapes the engine lacks."""
        try:
            return self._context.infer_shapes()
        except RuntimeError as error:
            raise EnvironmentLackError(
                f"TensorRT cannot infer the engine's shapes: {error}; build it again on this machine"
            ) from error

    def write(self, feeds: Feeds) -> None:
        """Start copying inputs of the prepared shapes to the GPU. Raises `InputError` for other shapes."""
        for name, values in feeds.items():
            if values.shape != self._shapes[name]:
                raise InputError(
                    f"{name} has shape {list(values.shape)} and the memory bound for it {list(self._shapes[name])}; "
                    "bind a batch of this shape"
                )
        for name, values in feeds.items():
            self._buffers[name].view(values.shape, self._types[name])[...] = values
            self._buffers[name].to_device(self._size(name), self._stream)

    def execute(self) -> None:
        """Start a run."""
        self._check(self._context.execute_async_v3(stream_handle=self._stream.handle))

    def capture(self) -> Graph:
        """Record a run of the prepared shapes as a CUDA graph. Nothing but `write` may change the context after it.

        TensorRT's first run of a shape initializes what may not be captured, so one comes before (its developer guide,
        "CUDA Graphs"). Raises `EnvironmentLackError` where the engine cannot be captured.
        """
        self.execute()
        self.wait()
        try:
            return self._stream.capture(self.execute)
        except EnvironmentLackError as error:
            raise EnvironmentLackError(
                f"this engine does not run as a CUDA graph ({error}); one with --attention packed or kernel "
                "never does, because its shapes depend on the texts; open it without graphs"
            ) from error

    def replay(self, graph: Graph) -> None:
        """Start a captured run."""
        graph.launch(self._stream)

    def wait(self) -> None:
        """Wait until everything that was started is done."""
        self._stream.wait()

    def read(self, outputs: Sequence[str]) -> list[NDArray[Any]]:
        """Wait for the run and return its outputs, in the order in which they are named."""
        for name in outputs:
            self._buffers[name].to_host(self._size(name), self._stream)
        self.wait()
        # Copies: the next run writes into the same memory.
        return [np.array(self._buffers[name].view(self._shapes[name], self._types[name])) for name in outputs]

    def _size(self, name: str) -> int:
        """Bytes of an input or output as it is prepared."""
        return int(np.prod(self._shapes[name])) * self._types[name].itemsize

    def _check(self, done: bool) -> None:
        """Stop at a call that TensorRT refused."""
        if not done:
            raise EnvironmentLackError("TensorRT refused to run the engine; build it again on this machine")

    def close(self) -> None:
        """Free the memory."""
        for buffer in self._buffers.values():
            buffer.close()
        self._stream.close()
        del self._context


def _numpy_type(kind: trt.DataType) -> np.dtype[Any]:
    """Return numpy's type of an input or output."""
    import tensorrt as trt

    types = {trt.DataType.INT32: np.int32, trt.DataType.INT64: np.int64, trt.DataType.FLOAT: np.float32}
    return np.dtype(types[kind])
