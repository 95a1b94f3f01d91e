"""Engines of TensorRT that are open on a GPU: profiles by length, batches that stay there, CUDA graphs."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bertc.core.batch import Batch
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.engine import Array, Closing
from bertc.runtime.tensorrt.context import Context, Feeds
from bertc.runtime.tensorrt.library import listener, open_library, sentence_from_errors

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


def open_engine(model: Path, *, graphs: bool = False) -> TensorrtEngine:
    """Open a serialized engine on the current GPU.

    With `graphs`, a bound batch runs as a CUDA graph. It is not the default: every shape needs a graph of its own, and
    texts come in as many shapes as they like.

    Raises `InputError` for a file that is no engine for this GPU, driver and version of TensorRT.
    """
    return TensorrtEngine(deserialized(model), graphs=graphs)


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


class TensorrtEngine(Closing):
    """An engine with one execution context; calls from several threads wait for each other."""

    def __init__(self, engine: trt.ICudaEngine, *, graphs: bool = False) -> None:
        self._engine = engine
        self._graphs = graphs
        self._context = Context(engine)
        self._profiles = _profiles(engine)
        self._turn = threading.Lock()

    def feeds(self, batch: Batch) -> dict[str, NDArray[np.int64]]:
        """Return a batch's arrays for the inputs that the engine has."""
        return batch.feeds(self._context.inputs)

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch, padded as it is. Raises `InputError` for a longer one than it takes."""
        feeds = self.feeds(batch)
        profile = self._profile_for(feeds)
        with self._turn:
            parts = [self._run_part(part, profile, outputs) for part in _parts(feeds, profile.most_rows)]
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]

    def _run_part(self, feeds: Feeds, profile: _Ranged, outputs: Sequence[str]) -> list[Array]:
        """Run rows that one profile takes at once."""
        self._context.prepare(feeds, profile.number)
        self._context.execute()
        return self._context.read(outputs)

    def bind(self, batch: Batch, outputs: Sequence[str]) -> BoundBatch:
        """Keep a batch on the GPU to run it again and again, as a CUDA graph if the engine was opened for that.

        `write(engine.feeds(other))` puts another batch of the same shape in its place. It has an execution context of
        its own, because a captured graph is valid only while nobody changes the context (TensorRT's developer guide);
        close it before the engine. Raises `InputError` for more rows than the engine takes at once.
        """
        feeds = self.feeds(batch)
        profile = self._profile_for(feeds)
        rows = len(feeds[SHAPED_BY])
        if rows > profile.most_rows:
            raise InputError(
                f"the engine takes at most {profile.most_rows} texts of this length at once, and the batch has {rows}; "
                "bind fewer"
            )
        return BoundBatch(Context(self._engine), feeds, outputs, profile=profile.number, graph=self._graphs)

    def _profile_for(self, feeds: Feeds) -> _Ranged:
        length = feeds[SHAPED_BY].shape[1]
        profile = next((each for each in self._profiles if each.longest >= length), None)
        if profile is None:
            raise InputError(
                f"the engine takes at most {self._profiles[-1].longest} tokens, and a text has {length}; build it "
                "again with a larger --max-length"
            )
        return profile

    def close(self) -> None:
        """Free the engine's memory."""
        self._context.close()
        del self._context, self._engine


class BoundBatch:
    """Inputs and outputs of one shape on the GPU, run as often as wanted and refilled in place. Close it."""

    def __init__(self, context: Context, feeds: Feeds, outputs: Sequence[str], *, profile: int, graph: bool) -> None:
        self._context = context
        self._outputs = outputs
        try:
            context.prepare(feeds, profile)
            self._graph = context.capture() if graph else None
        except BaseException:
            context.close()
            raise

    def write(self, feeds: Feeds) -> None:
        """Replace the inputs by others of the same shapes. Raises `InputError` for other shapes."""
        self._context.write(feeds)

    def run(self) -> None:
        """Run and wait for the GPU; the outputs stay on it."""
        if self._graph is None:
            self._context.execute()
        else:
            self._context.replay(self._graph)
        self._context.wait()

    def read(self) -> list[Array]:
        """Copy the outputs of the last run to the host, in the order in which they were named."""
        return self._context.read(self._outputs)

    def close(self) -> None:
        """Free graph and memory."""
        if self._graph is not None:
            self._graph.close()
        self._context.close()


def _profiles(engine: trt.ICudaEngine) -> list[_Ranged]:
    """Return the engine's profiles by rising length."""
    found = []
    for number in range(engine.num_optimization_profiles):
        rows, length = tuple(engine.get_tensor_profile_shape(SHAPED_BY, number)[2])
        found.append(_Ranged(number=number, most_rows=rows, longest=length))
    return sorted(found, key=lambda profile: profile.longest)


def _parts(feeds: Feeds, most: int) -> Iterator[dict[str, NDArray[Any]]]:
    """Cut a batch into parts of at most so many rows."""
    for begin in range(0, len(feeds[SHAPED_BY]), most):
        yield {name: values[begin : begin + most] for name, values in feeds.items()}
