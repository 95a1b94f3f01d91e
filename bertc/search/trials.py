"""Trials: schemes evaluated on the held-out rows, each once. What a killed search evaluated, the next one finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bertc.artefact.cache import StageCache, key_from_parts
from bertc.evaluate.gate import Decide
from bertc.evaluate.scores import compare_outputs
from bertc.features import Head, Progress
from bertc.graph.scheme import Scheme
from bertc.recipe import Recipe
from bertc.runtime.outputs import Outputs, read_outputs, write_outputs
from bertc.search.held import HeldOut
from bertc.search.judge import Judged, judged_from_comparison
from bertc.search.pool import Run
from bertc.targets import target_from_name
from bertc.tasks import task_from_name

if TYPE_CHECKING:
    import onnx_ir as ir

    from bertc.quantize.insert import Quantized

Result = TypeVar("Result")
Export = Callable[[Recipe, Scheme], "tuple[ir.Model, Quantized | None]"]
"""Writes the build's model of a scheme, by the one way that the build itself takes."""

RESAMPLES = 500
"""Of the bootstrap that gives a drop's standard error, which needs no far quantiles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A scheme and the recipe of which it is the scheme."""

    recipe: Recipe = field(compare=False)
    scheme: Scheme

    @property
    def parts(self) -> dict[str, Any]:
        """All that tells it from other candidates of one search."""
        scheme = self.scheme
        floats = sorted(site.name for site in scheme.float_sites)
        return {
            "mode": scheme.mode.name,
            "granularity": str(scheme.granularity),
            "smoothing": scheme.smoothing,
            "float": floats,
        }


class Memory:
    """Figures kept in the cache under the search's own inputs and those of each figure. It mutates the cache alone."""

    def __init__(self, cache: StageCache, parts: Mapping[str, Any]) -> None:
        self._cache = cache
        self._parts = dict(parts)

    def get(self, stage: str, parts: Mapping[str, Any], read: Callable[[Path], Result]) -> Result | None:
        """Return what was kept, or None."""
        folder = self._cache.get(stage, self._key(stage, parts))
        return None if folder is None else read(folder)

    def put(self, stage: str, parts: Mapping[str, Any], write: Callable[[Path], None]) -> None:
        """Keep something."""
        with self._cache.put(stage, self._key(stage, parts)) as folder:
            if folder is not None:
                write(folder)

    def figures(
        self, stage: str, parts: Mapping[str, Any], compute: Callable[[], Mapping[str, float]]
    ) -> Mapping[str, float]:
        """Return named figures from the cache, or compute and keep them."""
        found = self.get(stage, parts, lambda folder: json.loads((folder / "figures.json").read_text("utf-8")))
        if found is None:
            found = compute()
            text = json.dumps(dict(found))
            self.put(stage, parts, lambda folder: _write_text(folder / "figures.json", text))
        return found

    def _key(self, stage: str, parts: Mapping[str, Any]) -> str:
        return key_from_parts(stage, {**self._parts, "of": dict(parts)})


class Trials:
    """All trials of one search, in order. It mutates: `judged` grows."""

    def __init__(
        self,
        held: HeldOut,
        head: Head,
        *,
        decide: Decide,
        export: Export,
        run: Run,
        memory: Memory,
        scratch: Path,
        progress: Progress,
    ) -> None:
        self.judged: dict[Candidate, Judged] = {}
        self._held = held
        self._head = head
        self._decide = decide
        self._export = export
        self._run = run
        self._memory = memory
        self._scratch = scratch
        self._progress = progress
        self._reference: Outputs | None = None

    def evaluate(self, candidates: Sequence[Candidate]) -> list[Judged]:
        """Judge candidates side by side."""
        new = [candidate for candidate in dict.fromkeys(candidates) if candidate not in self.judged]
        waiting = [(candidate, self._begun(candidate)) for candidate in new]
        for candidate, outputs in waiting:
            self.judged[candidate] = self._judge(outputs())
            self._progress.advance()
        return [self.judged[candidate] for candidate in candidates]

    def refer_to(self, model: Path) -> None:
        """Run the float model that all trials are compared with."""
        self._reference = self._kept("float", {"float": True}, lambda: model)()

    def write_model(self, candidate: Candidate) -> Path:
        """Write a candidate's model into a folder of its own in the scratch folder; returns the file to open."""
        folder = self._scratch / key_from_parts("model", candidate.parts)[:16]
        folder.mkdir(exist_ok=True)
        target = target_from_name(candidate.recipe.engine.target)
        return target.runtime.write_model(self._export(candidate.recipe, candidate.scheme)[0], folder)

    def _begun(self, candidate: Candidate) -> Callable[[], Outputs]:
        written: list[Path] = []

        def write() -> Path:
            written.append(self.write_model(candidate))
            return written[0]

        outputs = self._kept(candidate.recipe.engine.target, candidate.parts, write)

        def outputs_and_no_file() -> Outputs:
            try:
                return outputs()
            finally:
                for path in written:  # else the models of all trials would fill the disk
                    shutil.rmtree(path.parent)

        return outputs_and_no_file

    def _kept(self, target: str, parts: Mapping[str, Any], model: Callable[[], Path]) -> Callable[[], Outputs]:
        known = self._memory.get("search-trial", parts, read_outputs)
        if known is not None:
            return lambda: known
        running = self._run(target, model())

        def outputs() -> Outputs:
            found = running()
            self._memory.put("search-trial", parts, lambda folder: write_outputs(found, folder))
            return found

        return outputs

    def _judge(self, outputs: Outputs) -> Judged:
        assert self._reference is not None
        held = self._held
        comparison = compare_outputs(
            task_from_name(self._head.task),
            self._head,
            held.encoded.rows,
            held.encoded.features,
            self._reference,
            outputs,
            extra=[gate.metric for gate in held.gates],
            resamples=RESAMPLES,
        )
        return judged_from_comparison(comparison, held.gates, decide=self._decide)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
