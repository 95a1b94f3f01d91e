"""Compare what gpu_once.py brought back from a GPU with the float model, row by row, and write the page. Needs no GPU.

    python benchmarks/gpu_judge.py DATA OUT [--shared ../shared] --page RESULT.md

OUT holds gpu-once.json and the answers. The float model answers here; metrics, intervals and agreement are those that
`bertc validate` gives.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gpu_prepare import MODES, SMALL, Source, recipe_of, small_source, trained
from numpy.typing import NDArray

from bertc.cache.stages import Work
from bertc.cache.store import StageCache, default_cache_directory
from bertc.core.feature import Feature
from bertc.core.progress import Silent
from bertc.evaluate.kept import Shard
from bertc.evaluate.scores import Score, compare_shards
from bertc.jobs.build import prepare_base, read_inputs
from bertc.runtime.engine import outputs_from_features
from bertc.tasks import outputs_from_head, task_from_name

Answers = Mapping[str, NDArray[Any]]


def scores(source: Source, answers: Mapping[str, Answers], scratch: Path) -> dict[str, Score]:
    """Return the score of each engine's answers, beside the float model's."""
    work = Work(StageCache(default_cache_directory()), Silent())
    inputs, _ = read_inputs(recipe_of(source, MODES["mode1"]), work=work)
    base = prepare_base(inputs, scratch, work=work)
    assert inputs.proof is not None
    head, texts = inputs.proof.head, inputs.proof.texts
    with base.reference.opened(threads=0) as engine:
        shards = [(shard, outputs_from_features(engine, shard.features, head)) for shard in texts.shards()]
    found = {}
    for name, arrays in answers.items():
        given = _of_features(arrays, head)
        kept: Iterator[Shard] = (
            Shard(
                rows=shard.rows, features=shard.features, reference=reference, engine=given(shard.features, reference)
            )
            for shard, reference in shards
        )
        metrics = [gate.metric for gate in inputs.proof.gates]
        found[name] = compare_shards(task_from_name(head.task), head, texts.rows, kept, extra=metrics).accuracy
    return found


def _of_features(arrays: Answers, head: Any) -> Any:
    """Return a function that takes the next features' answers out of arrays."""
    outputs = [output for output in outputs_from_head(head) if output.read]
    at = dict.fromkeys((output.key for output in outputs), 0)

    def given(features: Sequence[Feature], reference: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, Any]:
        found: dict[str, list[NDArray[Any]]] = {}
        for output in outputs:
            values = found.setdefault(output.key, [])
            for like in reference[output.key]:
                begin = at[output.key]
                at[output.key] = begin + max(1, like.size)
                values.append(arrays[output.name].reshape(-1)[begin : at[output.key]].reshape(like.shape))
        return found

    return given


def page(found: Mapping[str, Any], accuracy: Mapping[str, Mapping[str, Score]]) -> str:
    """Return the results as Markdown."""
    facts = found["facts"]
    lines = [f"# Target `cuda`: {facts['device']}", "", f"torch {facts['torch']}, triton {facts['triton']}.", ""]
    if accuracy:
        lines += ["| checkpoint | engine | metric | float | engine | drop [95 % interval] | agreement |"]
        lines += ["| --- " * 7 + "|"]
    for checkpoint, engines in accuracy.items():
        for engine, score in engines.items():
            low, high = score.drop_ci95
            agreement = "" if score.agreement is None else f"{score.agreement:.4f}"
            lines.append(
                f"| {checkpoint} | {engine} | {score.metric} | {score.reference:.4f} | {score.engine:.4f} | "
                f"{score.drop:+.4f} [{low:+.4f}, {high:+.4f}] | {agreement} |"
            )
    lines += ["", "| texts | mode 1 | mode 2 | FP8 | fastest FP16 of torch | mode 1 | mode 2 | FP8 over it |"]
    lines += ["| --- " * 8 + "|"]
    for name, part in found.items():
        if name.startswith("speed") and "milliseconds" in part:
            times, ratios = part["milliseconds"], part["ratio over it"]
            peer = part["fastest of torch"]
            ours = " | ".join(f"{times[variant]:.3f}" for variant in ratios)
            over = " | ".join(f"{ratio:.2f}" for ratio in ratios.values())
            lines.append(f"| {name.removeprefix('speed ')} | {ours} | {times[peer]:.3f} ({peer}) | {over} |")
    return "\n".join([*lines, "", "Times are milliseconds, medians of rounds in turn, by CUDA events.", ""])


def main() -> None:
    """Judge all answers and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--page", type=Path, required=True)
    options = parser.parse_args()
    accuracy = {}
    with tempfile.TemporaryDirectory() as folder:
        sources = trained(options.shared, Path(folder))
        for name in SMALL:
            if any(options.out.glob(f"answers-{name}-*.npz")):
                sources[name] = small_source(name, options.shared, Path(folder))
        for name, source in sources.items():
            answers = {}
            for path in sorted(options.out.glob(f"answers-{name}-*.npz")):
                with np.load(path) as file:
                    answers[path.stem.removeprefix(f"answers-{name}-")] = dict(file)
            if answers:
                accuracy[name] = scores(source, answers, Path(folder))
    found = json.loads((options.out / "gpu-once.json").read_text(encoding="utf-8"))
    options.page.write_text(page(found, accuracy), encoding="utf-8")
    print(options.page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
