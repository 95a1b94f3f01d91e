"""An engine: something that turns batches into arrays, open while it is used.

Targets open engines; everything else only runs them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bertc.core.batch import Batch
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.outputs import Output, output_names
from bertc.core.progress import SILENCE, Progress
from bertc.core.workers import Begun
from bertc.errors import OutputError
from bertc.runtime.batch_plan import planned_batches
from bertc.runtime.outputs_file import Outputs
from bertc.tasks import outputs_from_head

Array = NDArray[np.float32]
TOKENS_PER_BATCH = 2048
"""Enough to keep the GEMMs busy; a batch's float activations stay below 100 MiB for a MiniLM."""


class Engine(Protocol):
    """An open engine. The one thing besides an observer that holds state; close it, or use it as a context."""

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch as it is; those per text come row by row, in the batch's order."""

    def close(self) -> None:
        """Free what the engine holds."""


@runtime_checkable
class BeginsBatches(Protocol):
    """An engine that runs batches side by side."""

    def begin(self, batch: Batch, outputs: Sequence[str]) -> Begun[list[Array]]:
        """Begin to run a batch; the result is what `run` returns."""


class Closing(ABC):
    """What is closed at the end of its `with` block."""

    @abstractmethod
    def close(self) -> None:
        """Free what is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OrtEngine(Closing):
    """An ONNX Runtime session."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._inputs = {value.name: np.int32 if "int32" in value.type else np.int64 for value in session.get_inputs()}

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch as it is; those per text come row by row, in the batch's order."""
        found: list[Array] = self._session.run(list(outputs), self.feeds(batch))
        return found

    def feeds(self, batch: Batch) -> dict[str, NDArray[Any]]:
        """Return the session's inputs by name, in its types."""
        return {name: ids.astype(self._inputs[name]) for name, ids in batch.feeds(list(self._inputs)).items()}

    def close(self) -> None:
        """Free the session."""
        self._session = None


def outputs_from_features(
    engine: Engine,
    features: Sequence[Feature],
    head: Head,
    *,
    row_length: int | None = None,
    progress: Progress | None = None,
) -> Outputs:
    """Run features, however long, in batches; returns the task's arrays per feature, in order, without padding.

    With a `row_length`, several share a row of at most so many tokens where that is expected to be faster than
    batches sorted by length. Raises `OutputError` for an output that is no finite number.
    """
    return begun_outputs(engine, features, head, row_length=row_length)(progress or SILENCE)


def begun_outputs(
    engine: Engine, features: Sequence[Feature], head: Head, *, row_length: int | None = None
) -> Callable[[Progress], Outputs]:
    """Begin to run features as `outputs_from_features` does; what comes back waits for its outputs.

    An engine in workers begins at once, one in this process when it is waited for. The batches are the same. Waiting
    raises `OutputError` for an output that is no finite number: a task would decide on it as on any other.
    """
    outputs = [output for output in outputs_from_head(head) if output.read]
    names = output_names(outputs)
    batches = planned_batches(features, TOKENS_PER_BATCH, row_length=row_length)
    answers: Iterable[tuple[Batch, Callable[[], list[Array]]]]
    if isinstance(engine, BeginsBatches):
        answers = [(batch, engine.begin(batch, names).result) for batch in batches]
    else:
        answers = ((batch, partial(engine.run, batch, names)) for batch in batches)

    def waited(progress: Progress) -> Outputs:
        results: dict[str, list[Array]] = {output.key: [np.empty(0, np.float32)] * len(features) for output in outputs}
        for batch, answer in answers:
            for output, values in zip(outputs, answer(), strict=True):
                for number, place in enumerate(batch.order):
                    row, column = batch.start(number)
                    tokens = slice(column, column + features[place].length)
                    value = np.array(values[row, tokens] if output.per_token else values[number], np.float32)
                    if not np.isfinite(value).all():
                        raise OutputError(_not_finite(output, features[place]))
                    results[output.key][place] = value
            progress.advance(batch.size)
        return results

    return waited


def _not_finite(output: Output, feature: Feature) -> str:
    return (
        f"{output.name} of a text of {feature.length} tokens has numbers that are not finite: weights are damaged, or "
        "values leave the range of the arithmetic; see that the checkpoint is whole, or take another target"
    )
