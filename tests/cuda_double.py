"""A double of the CUDA runtime, which refuses what may not happen while a graph is captured."""

from __future__ import annotations

import ctypes
import enum
from collections.abc import Callable
from types import ModuleType
from typing import Any


class CudaDouble:
    """The CUDA runtime with the host's memory in the GPU's place."""

    def __init__(self, *, device: bytes, capability: tuple[int, int], gpus: int, calls: list[str]) -> None:
        """Play one GPU, or none; `calls` gets the launches of graphs."""
        self.device, self.capability, self.gpus, self.calls = device, capability, gpus, calls
        self.memory: dict[int, Any] = {}
        self.streams: list[int] = []
        self.graphs: list[Any] = []
        self.recording: list[Callable[[], None]] | None = None
        self.recording_stream = 0
        self.spoilt = False

    def spoil(self) -> bool:
        """Make the recording invalid, as a call does that may not be captured."""
        self.spoilt = True
        return False

    def module(self) -> ModuleType:
        """Make the module `cuda.bindings.runtime`."""
        module = ModuleType("runtime")
        numbers = {"cudaSuccess": 0, "cudaErrorNoDevice": 100, "cudaErrorStreamCaptureInvalidated": 901}
        self.errors: Any = enum.IntEnum("cudaError_t", numbers)  # type: ignore[misc]
        copies = {"cudaMemcpyHostToDevice": 1, "cudaMemcpyDeviceToHost": 2}
        modes = {"cudaStreamCaptureModeGlobal": 0, "cudaStreamCaptureModeThreadLocal": 1}
        self.kinds: Any = enum.IntEnum("cudaMemcpyKind", copies)  # type: ignore[misc]
        module.__dict__.update({name: getattr(self, name) for name in dir(self) if name.startswith("cuda")})
        module.__dict__.update({"cudaError_t": self.errors, "cudaMemcpyKind": self.kinds})
        module.__dict__["cudaStreamCaptureMode"] = enum.IntEnum("cudaStreamCaptureMode", modes)  # type: ignore[misc]
        return module

    def _done(self, *values: Any) -> tuple[Any, ...]:
        """Answer a call that may not be captured."""
        if self.recording is not None:
            self.spoil()
            return (self.errors.cudaErrorStreamCaptureInvalidated, *(None for _ in values))
        return (self.errors.cudaSuccess, *values)

    def cudaGetErrorString(self, error: Any) -> tuple[Any, bytes]:
        texts = {100: b"no CUDA-capable device is detected", 901: b"operation failed due to a previous error"}
        return self.errors.cudaSuccess, texts[int(error)]

    def cudaGetDevice(self) -> tuple[Any, ...]:
        return self._done(0) if self.gpus else (self.errors.cudaErrorNoDevice, None)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:
        properties = type("cudaDeviceProp", (), {})()
        properties.name = self.device
        properties.major, properties.minor = self.capability
        return self._done(properties)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:
        return self._done(13000)

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:
        buffer = ctypes.create_string_buffer(size)
        self.memory[ctypes.addressof(buffer)] = buffer
        return self._done(ctypes.addressof(buffer))

    cudaMallocHost = cudaMalloc

    def cudaFree(self, devPtr: int) -> tuple[Any, ...]:
        del self.memory[devPtr]
        return self._done()

    def cudaFreeHost(self, ptr: int) -> tuple[Any, ...]:
        return self.cudaFree(ptr)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: Any, stream: int) -> tuple[Any, ...]:
        assert stream in self.streams and kind in list(self.kinds) and self.recording is None
        ctypes.memmove(dst, src, count)
        return self._done()

    def cudaStreamCreate(self) -> tuple[Any, ...]:
        self.streams.append(7 + len(self.streams))
        return self._done(self.streams[-1])

    def cudaStreamSynchronize(self, stream: int) -> tuple[Any, ...]:
        assert stream in self.streams
        return self._done()

    def cudaStreamDestroy(self, stream: int) -> tuple[Any, ...]:
        self.streams.remove(stream)
        return self._done()

    def cudaStreamBeginCapture(self, stream: int, mode: Any) -> tuple[Any, ...]:
        assert stream in self.streams and mode.name == "cudaStreamCaptureModeThreadLocal"
        answer = self._done()
        self.recording, self.recording_stream, self.spoilt = [], stream, False
        return answer

    def cudaStreamEndCapture(self, stream: int) -> tuple[Any, ...]:
        assert stream == self.recording_stream and self.recording is not None
        recorded, self.recording = self.recording, None
        if self.spoilt:
            return self.errors.cudaErrorStreamCaptureInvalidated, None
        self.graphs.append(recorded)
        return self._done(recorded)

    def cudaGraphInstantiate(self, graph: Any, flags: int) -> tuple[Any, ...]:
        assert flags == 0
        self.graphs.append(tuple(graph))
        return self._done(self.graphs[-1])

    def cudaGraphDestroy(self, graph: Any) -> tuple[Any, ...]:
        self.graphs.remove(graph)
        return self._done()

    cudaGraphExecDestroy = cudaGraphDestroy

    def cudaGraphLaunch(self, graphExec: Any, stream: int) -> tuple[Any, ...]:
        assert graphExec in self.graphs and stream in self.streams
        self.calls.append("cudaGraphLaunch")
        for step in graphExec:
            step()
        return self._done()
