"""A batch in a device's memory: bound once, run as often as wanted, refilled in place (ONNX Runtime's I/O binding).

The same code runs on the GPU and on the CPU, where a "device" is ordinary memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.errors import InputError

Array = NDArray[np.float32]
Feeds = Mapping[str, NDArray[Any]]
GRAPH_OPTION = "gpu_graph_id"
"""Which captured CUDA graph a run uses (onnxruntime_run_options_config_keys.h): a positive number, or the one below."""

NO_GRAPH = -1


class BoundBatch:
    """Inputs and outputs of one shape on a device. It mutates: the device's memory is its own."""

    def __init__(
        self, session: Any, feeds: Feeds, outputs: Sequence[str], *, device: str, graph: int = NO_GRAPH
    ) -> None:
        """Copy the inputs to the device ("cuda" or "cpu").

        With a `graph`, a positive number that no other batch of the session has, the next run captures a CUDA graph
        and later ones replay it; the session's provider has the option `enable_cuda_graph` then. ONNX Runtime keeps
        graphs by thread: run it in one.
        """
        import onnxruntime as ort

        self._session = session
        self._binding = session.io_binding()
        self._inputs = {}
        self._types = {name: ids.dtype for name, ids in feeds.items()}
        for name, ids in feeds.items():
            # On the CPU the value would be the caller's array itself, which `write` must not change.
            value = ort.OrtValue.ortvalue_from_numpy(np.array(ids, order="C"), device, 0)
            self._binding.bind_ortvalue_input(name, value)
            self._inputs[name] = value
        for name in outputs:
            self._binding.bind_output(name, device, 0)
        self._options = _run_options(NO_GRAPH)
        if graph != NO_GRAPH:
            # A graph is replayed on the memory that it was captured with, so outputs need memory of their own: that
            # which a first run without a graph leaves.
            self.run()
            for name, value in zip(outputs, self._binding.get_outputs(), strict=True):
                self._binding.bind_ortvalue_output(name, value)
            self._options = _run_options(graph)

    def write(self, feeds: Feeds) -> None:
        """Replace the inputs by others of the same shapes and types. Raises `InputError` for others."""
        for name, value in self._inputs.items():
            if tuple(value.shape()) != feeds[name].shape:
                raise InputError(
                    f"{name} has shape {list(feeds[name].shape)} and the memory bound for it {value.shape()}; bind a "
                    "batch of this shape"
                )
            # ONNX Runtime would copy the bytes of another type as they are.
            if feeds[name].dtype != self._types[name]:
                raise InputError(
                    f"{name} is {feeds[name].dtype} and the memory bound for it {self._types[name]}; give the "
                    "engine's own feeds"
                )
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))

    def run(self) -> None:
        """Run and wait for the device; the outputs stay on it."""
        self._session.run_with_iobinding(self._binding, self._options)

    def read(self) -> list[Array]:
        """Copy the outputs of the last run to the host, in the order in which they were named."""
        found: list[Array] = self._binding.copy_outputs_to_cpu()
        return found


def _run_options(graph: int) -> Any:
    import onnxruntime as ort

    options = ort.RunOptions()
    options.add_run_config_entry(GRAPH_OPTION, str(graph))
    return options
