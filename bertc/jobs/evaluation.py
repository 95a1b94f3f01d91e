"""The stages `evaluate-float` and `evaluate-engine`: a model's outputs on a text, from an engine or from the cache.

A set is evaluated shard by shard, so that memory does not grow with its windows; a shard's outputs are kept in the
cache under its own tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from bertc.cache.stages import Stage, Work
from bertc.core.head import Head
from bertc.core.keys import Key, key_of_fields
from bertc.core.progress import Progress
from bertc.core.workers import Workers, one_ahead
from bertc.data.encoded import Encoded, Streamed
from bertc.evaluate.kept import Shard
from bertc.evaluate.scores import Comparison, compare_shards
from bertc.jobs.inputs import Proof
from bertc.runtime.engine import Closing, Engine, begun_outputs
from bertc.runtime.machine.cpu import Cpu, cpu_features
from bertc.runtime.outputs_file import Outputs, read_outputs, write_outputs
from bertc.targets import TargetModel
from bertc.tasks import task_from_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A model and how it is run: with so many threads, and texts that share rows of so many tokens (None: none do)."""

    model: TargetModel
    threads: int
    row_length: int | None = None

    def cache_key(self) -> Key:
        """Return all of it."""
        return key_of_fields(self)


class OpenRun(Closing):
    """A run whose engine is opened when it is first needed, and open until the end. It mutates thus.

    With several workers each of them opens the engine; who runs it is no part of the key.
    """

    def __init__(self, run: Run, workers: Workers | None = None) -> None:
        self._run = run
        self._workers = workers
        self._key = run.cache_key()
        self._stack = ExitStack()
        self._engine: Engine | None = None
        self._begun: list[tuple[Encoded, Callable[[Progress], Outputs]]] = []

    def begin(self, texts: Encoded, head: Head) -> None:
        """Begin to run texts whose outputs will be asked for."""
        if self._engine is None:
            model, threads = self._run.model, self._run.threads
            self._engine = self._stack.enter_context(model.opened(threads=threads, workers=self._workers))
        outputs = begun_outputs(self._engine, texts.features, head, row_length=self._run.row_length)
        self._begun.append((texts, outputs))

    def outputs(self, texts: Encoded, head: Head, progress: Progress) -> Outputs:
        """Return the outputs of texts, begun before or now."""
        if not any(begun is texts for begun, _ in self._begun):
            self.begin(texts, head)
        place = next(place for place, (begun, _) in enumerate(self._begun) if begun is texts)
        return self._begun.pop(place)[1](progress)

    def close(self) -> None:
        """Close the engine."""
        self._engine = None
        self._stack.close()

    def cache_key(self) -> Key:
        """Return the run's, which is that of its files as well."""
        return self._key


def compare_models(reference: Run, engine: Run, proof: Proof, *, work: Work) -> Comparison:
    """Run float reference and engine over the whole validation set, shard by shard, and compare them row by row."""
    with work.timed("compare", total=2 * len(proof.texts.lengths)):
        return compare_shards(
            task_from_name(proof.head.task),
            proof.head,
            proof.texts.rows,
            _shards(reference, engine, proof.texts, proof.head, work),
            extra=[gate.metric for gate in proof.gates],
        )


def _shards(reference: Run, engine: Run, texts: Streamed, head: Head, work: Work) -> Iterator[Shard]:
    """Run both models over a shard after the other; their engines are closed behind the last one."""
    cpu = cpu_features()
    with (
        work.kept_in_parts(ENGINE) as engine_outputs,
        work.kept_in_parts(FLOAT) as float_outputs,  # ends before the other, as it begins
        OpenRun(reference, work.workers) as float_run,
        OpenRun(engine, work.workers) as engine_run,
    ):

        def begun() -> Iterator[Encoded]:
            """Begin the shards that the cache does not have, so that the workers never wait for this process."""
            for shard in texts.shards():
                for stage, run in ((FLOAT, float_run), (ENGINE, engine_run)):
                    if not work.workers.alone and not work.holds(stage, run, shard, head, cpu):
                        run.begin(shard, head)
                yield shard

        for shard in one_ahead(begun()):
            yield Shard(
                rows=shard.rows,
                features=shard.features,
                reference=float_outputs(float_run, shard, head, cpu),
                engine=engine_outputs(engine_run, shard, head, cpu),
            )


def _evaluation(of: str) -> Stage[[OpenRun, Encoded, Head, Cpu], Outputs]:
    def outputs(progress: Progress, run: OpenRun, texts: Encoded, head: Head, cpu: Cpu) -> Outputs:
        """Run an engine on a text. On another processor (`cpu`) its kernels would be others."""
        return run.outputs(texts, head, progress)

    return Stage(name=f"evaluate-{of}", function=outputs, write=write_outputs, read=read_outputs)


FLOAT = _evaluation("float")
ENGINE = _evaluation("engine")
