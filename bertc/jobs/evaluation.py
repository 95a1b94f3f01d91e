"""The stages `evaluate-float` and `evaluate-engine`: a model's outputs on a text, from an engine or from the cache."""

from __future__ import annotations

from dataclasses import dataclass

from bertc.cache.stages import Stage, Work
from bertc.core.head import Head
from bertc.core.keys import Key, key_of_fields
from bertc.core.progress import Progress
from bertc.data.encoded import Encoded
from bertc.evaluate.scores import Comparison, compare_outputs
from bertc.jobs.inputs import Proof
from bertc.runtime.engine import outputs_from_features
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


def compare_models(reference: Run, engine: Run, proof: Proof, head: Head, *, work: Work) -> Comparison:
    """Run float reference and engine over the whole validation set and compare them row by row."""
    texts, cpu = proof.texts, cpu_features()
    outputs = [work.kept(stage, run, texts, head, cpu) for stage, run in ((FLOAT, reference), (ENGINE, engine))]
    with work.timed("compare"):
        return compare_outputs(
            task_from_name(head.task),
            head,
            texts.rows,
            texts.features,
            *outputs,
            extra=[gate.metric for gate in proof.gates],
        )


def _evaluation(of: str) -> Stage[[Run, Encoded, Head, Cpu], Outputs]:
    def outputs(progress: Progress, run: Run, texts: Encoded, head: Head, cpu: Cpu) -> Outputs:
        """Run an engine on a text. On another processor (`cpu`) its kernels would be others."""
        progress.stage(f"evaluate {of}", total=len(texts.features))
        with run.model.opened(threads=run.threads) as engine:
            return outputs_from_features(engine, texts.features, head, row_length=run.row_length, progress=progress)

    return Stage(name=f"evaluate-{of}", function=outputs, write=write_outputs, read=read_outputs)


FLOAT = _evaluation("float")
ENGINE = _evaluation("engine")
