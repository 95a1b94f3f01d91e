"""Memory, stream and graphs of one NVIDIA GPU through the CUDA runtime: what feeding an engine takes, and no more.

Everything here needs the package cuda-bindings and a GPU, and raises `EnvironmentLackError` in one sentence.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.errors import EnvironmentLackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The GPU that is current: its name, compute capability times ten (89 is 8.9), and the driver's CUDA version."""

    name: str
    capability: int
    driver: str


def current_device() -> Device:
    """Describe the current GPU. Raises `EnvironmentLackError` where there is none."""
    from cuda.bindings import runtime as cuda

    (number,) = _values(cuda.cudaGetDevice())
    (properties,) = _values(cuda.cudaGetDeviceProperties(number))
    (version,) = _values(cuda.cudaDriverGetVersion())
    name = properties.name
    return Device(
        name=name.decode() if isinstance(name, bytes) else str(name),
        capability=10 * int(properties.major) + int(properties.minor),
        driver=f"CUDA {int(version) // 1000}.{int(version) % 1000 // 10}",
    )


class Stream:
    """A CUDA stream. Close it."""

    def __init__(self) -> None:
        from cuda.bindings import runtime as cuda

        (self._stream,) = _values(cuda.cudaStreamCreate())

    @property
    def handle(self) -> int:
        """The stream's address, as TensorRT takes it."""
        return int(self._stream)

    def wait(self) -> None:
        """Wait until everything in the stream is done."""
        from cuda.bindings import runtime as cuda

        _values(cuda.cudaStreamSynchronize(self._stream))

    def capture(self, action: Callable[[], None]) -> Graph:
        """Record what `action` puts into the stream, instead of running it, as a graph to launch again and again.

        Raises `EnvironmentLackError` where it holds what cannot be recorded, such as waiting for the GPU.
        """
        from cuda.bindings import runtime as cuda

        # Only this thread's calls count: what other streams' threads allocate meanwhile does not spoil the recording.
        _values(cuda.cudaStreamBeginCapture(self._stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal))
        try:
            action()
        finally:  # a recording that is not ended leaves a stream that can do nothing else
            ended = cuda.cudaStreamEndCapture(self._stream)
        (recorded,) = _values(ended)
        try:
            (executable,) = _values(cuda.cudaGraphInstantiate(recorded, 0))
        finally:
            _values(cuda.cudaGraphDestroy(recorded))
        return Graph(executable)

    def close(self) -> None:
        """Destroy the stream."""
        from cuda.bindings import runtime as cuda

        _values(cuda.cudaStreamDestroy(self._stream))


class Graph:
    """What was recorded from a stream, ready to launch: `Stream.capture` makes it. Close it."""

    def __init__(self, executable: Any) -> None:
        self._executable = executable

    def launch(self, stream: Stream) -> None:
        """Start it in a stream."""
        from cuda.bindings import runtime as cuda

        _values(cuda.cudaGraphLaunch(self._executable, stream.handle))

    def close(self) -> None:
        """Destroy it."""
        from cuda.bindings import runtime as cuda

        _values(cuda.cudaGraphExecDestroy(self._executable))


class Buffer:
    """As many bytes on the GPU as in pinned memory of the host; it grows when it has to. Close it."""

    def __init__(self) -> None:
        self._bytes = 0
        self._host = 0
        self._device = 0

    @property
    def address(self) -> int:
        """The GPU's address; it changes when the buffer grows."""
        return self._device

    def reserve(self, size: int) -> None:
        """Make room for so many bytes; what was inside is lost if that takes a larger buffer."""
        from cuda.bindings import runtime as cuda

        if size <= self._bytes:
            return
        self.close()
        (host,) = _values(cuda.cudaMallocHost(size))
        self._host = int(host)
        (device,) = _values(cuda.cudaMalloc(size))
        self._device, self._bytes = int(device), size

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """Return the host's memory as an array, valid until the buffer grows or is closed."""
        size = int(np.prod(shape)) * dtype.itemsize
        memory = memoryview((ctypes.c_char * size).from_address(self._host)).cast("B")
        return np.frombuffer(memory, dtype).reshape(shape)

    def to_device(self, size: int, stream: Stream) -> None:
        """Start copying the first bytes to the GPU."""
        from cuda.bindings import runtime as cuda

        kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        _values(cuda.cudaMemcpyAsync(self._device, self._host, size, kind, stream.handle))

    def to_host(self, size: int, stream: Stream) -> None:
        """Start copying the first bytes to the host."""
        from cuda.bindings import runtime as cuda

        kind = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _values(cuda.cudaMemcpyAsync(self._host, self._device, size, kind, stream.handle))

    def close(self) -> None:
        """Free both memories."""
        from cuda.bindings import runtime as cuda

        if self._host:
            _values(cuda.cudaFreeHost(self._host))
        if self._device:
            _values(cuda.cudaFree(self._device))
        self._bytes = self._host = self._device = 0


def _values(answer: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what a call of the CUDA runtime gave after its error code."""
    from cuda.bindings import runtime as cuda

    error, *values = answer
    if error != cuda.cudaError_t.cudaSuccess:
        reason = cuda.cudaGetErrorString(error)[1]
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise EnvironmentLackError(
            f"the NVIDIA GPU does not answer: {text}; see nvidia-smi for the driver, and for memory that others hold"
        )
    return tuple(values)
