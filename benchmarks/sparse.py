"""What 2:4 weights bring the native engine on this CPU: whole models, beside the same weights as dense ones.

    bertc build CHECKPOINT ... --sparsity 2:4 --target native -o OUT
    python benchmarks/sparse.py --artefact OUT [--rounds 15] [--out FILE.json]

For each instruction set here that has a kernel for them, the products that skip their zeros are chosen as a build does
that runs there, and both engines take turns. Ratios are medians over the rounds, with quartiles; above 1 the sparse
weights are faster. Outputs are compared bit by bit first. Text is of random tokens without padding.
"""

from __future__ import annotations

import argparse
import json
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from machine import heading, run_facts
from numpy.typing import NDArray

from bertc.artefact.manifest import verify_artefact
from bertc.checkpoint.config_json import config_from_path
from bertc.runtime.latency import full_batch, repeated, time_calls
from bertc.runtime.native.library import instruction_sets, multiplies_sparse
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.native.sparse_choice import Arrays, choose_sparse
from bertc.runtime.plan.kernel_plan import Op, Plan
from bertc.runtime.plan.plan_files import PLAN, read_plan

SHAPES = ((1, 32), (1, 128), (16, 128), (8, 384))


def dense_from_plan(plan: Plan, arrays: Arrays) -> tuple[Plan, Arrays]:
    """Return the plan as it was before a build chose for this CPU which products skip their zeros."""
    sparse = {step.weights for step in plan.steps if step.op is Op.GEMM_INT8 and step.flag}
    steps = tuple(replace(step, flag=0) if step.weights in sparse else step for step in plan.steps)
    weights = {name: dense_panels(array) if name in sparse else array for name, array in arrays.items()}
    return replace(plan, steps=steps), weights


def dense_panels(panels: NDArray[np.int8]) -> NDArray[np.int8]:
    """Undo `bertc.runtime.plan.packing.sparse_panels`: each value goes to its place of the four."""
    blocks, eights = panels.shape[0], panels.shape[1] // 5
    values = panels[:, : 4 * eights].reshape(blocks, eights, 64, 2, 2)
    packed = panels[:, 4 * eights :].view(np.uint8).reshape(blocks, eights, 1, 16, 2, 2)
    places = (packed >> np.arange(0, 8, 2, dtype=np.uint8).reshape(4, 1, 1, 1) & 3).reshape(values.shape)
    dense = np.zeros((blocks, eights, 64, 2, 4), np.int8)
    np.put_along_axis(dense, places.astype(np.intp), values, axis=4)
    return np.ascontiguousarray(dense.transpose(0, 1, 3, 2, 4)).reshape(blocks, 2 * eights, 64, 4)


def measured(folder: Path, instruction_set: str, rounds: int) -> dict[str, Any]:
    """Return how many products skip zeros, and by shape the ratios of the rounds."""
    dense = dense_from_plan(*read_plan(folder / PLAN))
    sparse = choose_sparse(*dense, instruction_set=instruction_set)
    vocabulary = int(config_from_path(folder)["vocab_size"])
    names = [output.name for output in dense[0].outputs]
    with ExitStack() as stack:
        engines = {
            form: stack.enter_context(NativeEngine(*plan, instruction_set=instruction_set))
            for form, plan in (("dense", dense), ("sparse", sparse))
        }
        ratios = {}
        for shape in SHAPES:
            batch = full_batch(*shape, vocabulary)
            answers = [engine.run(batch, names) for engine in engines.values()]
            for one, other in zip(*answers, strict=True):
                np.testing.assert_array_equal(one, other)
            calls = {form: repeated(partial(engine.run, batch, names)) for form, engine in engines.items()}
            turns = time_calls(calls, rounds)
            seconds = {form: np.array([np.mean(turn) for turn in own]) for form, own in turns.items()}
            ratios["x".join(map(str, shape))] = (seconds["dense"] / seconds["sparse"]).tolist()
    products = [step for step in sparse[0].steps if step.op is Op.GEMM_INT8]
    return {"products": len(products), "sparse": sum(step.flag for step in products), "ratios": ratios}


def page(document: dict[str, Any]) -> str:
    """Return the ratios as Markdown."""
    lines = heading("2:4 weights over dense ones on the native engine", document)
    lines += [f"Times as fast as dense, medians of {document['rounds']} rounds (quartiles):", ""]
    shapes = ["x".join(map(str, shape)) for shape in SHAPES]
    for name, sets in document["artefacts"].items():
        lines += [f"## {name}", "", f"| | products that skip zeros | {' | '.join(shapes)} |"]
        lines += ["| --- " * (len(shapes) + 2) + "|"]
        for instruction_set, found in sets.items():
            cells = []
            for shape in shapes:
                low, middle, high = np.percentile(found["ratios"][shape], [25, 50, 75])
                cells.append(f"{middle:.2f} ({low:.2f} to {high:.2f})")
            count = f"{found['sparse']} of {found['products']}"
            lines.append(f"| `{instruction_set}` | {count} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artefact", type=Path, action="append", required=True, help="a folder, repeatable")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, help="a JSON file; the table lies beside it")
    options = parser.parse_args()
    sets = [name for name in instruction_sets() if multiplies_sparse(name) and name != "plain"]
    found: dict[str, dict[str, Any]] = {}
    for folder in options.artefact:
        verify_artefact(folder)
        begin = time.perf_counter()
        found[str(folder)] = {name: measured(folder, name, options.rounds) for name in sets}
        print(f"{folder}: {time.perf_counter() - begin:.0f} s")
    document = {**run_facts(), "rounds": options.rounds, "artefacts": found}
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        options.out.with_suffix(".md").write_text(page(document), encoding="utf-8")
    print(page(document))


if __name__ == "__main__":
    main()
