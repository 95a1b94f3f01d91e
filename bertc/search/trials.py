"""Trials: schemes evaluated on the held-out rows, each once. What a killed search evaluated, the next one finds."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from bertc.cache.store import StageCache, key_from_parts
from bertc.core.keys import Key
from bertc.core.progress import Progress
from bertc.errors import InputError
from bertc.evaluate.scores import Comparison, compare_outputs
from bertc.ir.scheme import Scheme
from bertc.runtime.outputs_file import Outputs, read_outputs, write_outputs
from bertc.search.held import HeldOut, counted_gates
from bertc.search.judge import Judged, judged_from_comparison
from bertc.search.pool import Run
from bertc.targets import TargetModel
from bertc.tasks import task_from_name

Result = TypeVar("Result")

RESAMPLES = 500
"""Of the bootstrap that gives a drop's standard error, which needs no far quantiles."""


class Memory:
    """Figures kept in the cache under the search's inputs and what each is of. It mutates the cache alone."""

    def __init__(self, cache: StageCache, parts: Mapping[str, Key]) -> None:
        self._cache = cache
        self._parts = dict(parts)

    def get(self, stage: str, of: Key, read: Callable[[Path], Result]) -> Result | None:
        """Return what was kept, or None."""
        folder = self._cache.get(stage, self._key(stage, of))
        return None if folder is None else read(folder)

    def put(self, stage: str, of: Key, write: Callable[[Path], None]) -> None:
        """Keep something."""
        with self._cache.put(stage, self._key(stage, of)) as folder:
            if folder is not None:
                write(folder)

    def figures(self, stage: str, of: Key, compute: Callable[[], Mapping[str, float]]) -> Mapping[str, float]:
        """Return named figures from the cache, or compute and keep them."""
        figures = self.get(stage, of, lambda folder: json.loads((folder / "figures.json").read_text("utf-8")))
        if figures is None:
            figures = compute()
            text = json.dumps(dict(figures))
            self.put(stage, of, lambda folder: _write_text(folder / "figures.json", text))
        return figures

    def _key(self, stage: str, of: Key) -> str:
        return key_from_parts(stage, {**self._parts, "of": of})


class Trials:
    """All trials of one search, in order. It mutates: `judged` grows."""

    def __init__(
        self,
        held: HeldOut,
        *,
        write_model: Callable[[Scheme], TargetModel],
        run: Run,
        memory: Memory,
        progress: Progress,
    ) -> None:
        self.judged: dict[Scheme, Judged] = {}
        self._held = held
        self._write_model = write_model
        self._run = run
        self._memory = memory
        self._progress = progress
        self._reference: Outputs | None = None

    def evaluate(self, schemes: Sequence[Scheme]) -> list[Judged]:
        """Judge schemes side by side."""
        new = [scheme for scheme in dict.fromkeys(schemes) if scheme not in self.judged]
        waiting = [(scheme, self._begun(scheme)) for scheme in new]
        for scheme, outputs in waiting:
            self.judged[scheme] = self._judge(outputs())
            self._progress.advance()
        return [self.judged[scheme] for scheme in schemes]

    def refer_to(self, model: TargetModel) -> None:
        """Run the float model that all trials are compared with.

        Raises `InputError` where it would not stay within the budget itself: a part of its own value, or a bound, may
        ask for more rows than the limit alone tells.
        """
        self._reference = self._kept("float", lambda: model)()
        held = self._held
        counted = counted_gates(held.gates, task_from_name(held.head.task).main_fidelity)
        if not counted:
            return
        used = judged_from_comparison(self._compared(self._reference), counted, decide=held.decide).used
        if used > 1:
            rows = len(held.texts.rows)
            raise InputError(
                f"{held.texts.path}: {rows} held-out rows cannot tell the budget's drop, which needs about "
                f"{math.ceil(rows * used)}: not even a model that decides as float does would pass; give more text, or "
                "more --search-rows"
            )

    def _begun(self, scheme: Scheme) -> Callable[[], Outputs]:
        written: list[TargetModel] = []

        def write() -> TargetModel:
            written.append(self._write_model(scheme))
            return written[0]

        outputs = self._kept(scheme.cache_key(), write)

        def outputs_and_no_file() -> Outputs:
            try:
                return outputs()
            finally:
                for model in written:  # else the models of all trials would fill the disk
                    shutil.rmtree(model.path.parent)

        return outputs_and_no_file

    def _kept(self, of: Key, model: Callable[[], TargetModel]) -> Callable[[], Outputs]:
        known = self._memory.get("search-trial", of, read_outputs)
        if known is not None:
            return lambda: known
        running = self._run(model())

        def outputs() -> Outputs:
            result = running()
            self._memory.put("search-trial", of, lambda folder: write_outputs(result, folder))
            return result

        return outputs

    def _judge(self, outputs: Outputs) -> Judged:
        return judged_from_comparison(self._compared(outputs), self._held.gates, decide=self._held.decide)

    def _compared(self, outputs: Outputs) -> Comparison:
        assert self._reference is not None
        held = self._held
        return compare_outputs(
            task_from_name(held.head.task),
            held.head,
            held.texts.rows,
            held.texts.features,
            self._reference,
            outputs,
            extra=[gate.metric for gate in held.gates],
            resamples=RESAMPLES,
        )


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
