"""Products with 2:4 weights skip their zeros where that is faster, and compute the same; others stay as they are."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.core.batch import batch_from_features
from bertc.core.progress import Silent
from bertc.ir.sites import Role, Site
from bertc.prune.layers import prune_graph
from bertc.runtime.native import sparse_choice
from bertc.runtime.native.library import instruction_sets
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.native.sparse_choice import choose_sparse, measured_speedups
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_calls import optimized_from_plan
from bertc.runtime.plan.kernel_plan import Op, Plan, Rows, Step
from bertc.runtime.plan.plan_check import check_plan
from bertc.runtime.plan.plan_files import read_plan, write_plan
from tests.artefacts import Bertc
from tests.native_reference import run_plan
from tests.tiny import TinyModel, quantized, random_features, tiny_scheme

Compiled = tuple[Plan, Mapping[str, NDArray[Any]]]
DENSE = Site(1, Role.INTERMEDIATE_GEMM).name


@pytest.fixture(scope="module")
def pruned(tiny_classifier: TinyModel) -> Compiled:
    """A classifier all of whose layers' products but one have 2:4 weights."""
    found = prune_graph(tiny_classifier.graph, criterion="magnitude", grams=None, skip=(DENSE,), progress=Silent())
    assert len(found.masks) == 11
    return plan_from_graph(quantized(replace(tiny_classifier, graph=found.graph), tiny_scheme("2", "channel")).graph)


def always(steps: Sequence[Step], dense: Any, sparse: Any, **_: Any) -> list[float]:
    return [1.3, 1.0]


def sparse_steps(plan: Plan) -> list[Step]:
    return [step for step in plan.steps if step.op is Op.GEMM_INT8 and step.flag]


@pytest.mark.native
def test_products_that_are_faster_skip_zeros(pruned: Compiled) -> None:
    plan, arrays = choose_sparse(*pruned, speedups=always)
    check_plan(plan, arrays)
    left = [step.name for step in plan.steps if step.op is Op.GEMM_INT8 and not step.flag]
    assert any("layer.1.intermediate" in name or "layer.1.gelu" in name for name in left)
    for step in sparse_steps(plan):
        assert arrays[step.weights].nbytes * 8 == pruned[1][step.weights].nbytes * 5
    found, before = optimized_from_plan(plan, "here"), optimized_from_plan(pruned[0], "here")
    assert (found.gemms_sparse, found.gemms_int8, before.gemms_sparse) == (11, 12, 0)
    assert found.gemms_int8 == before.gemms_int8 and found.operators["gemm_int8_sparse"] == len(sparse_steps(plan))


@pytest.mark.native
def test_they_compute_what_dense_ones_do(pruned: Compiled, tmp_path: Path) -> None:
    write_plan(*choose_sparse(*pruned, speedups=always), tmp_path)
    sparse = read_plan(tmp_path / "native.json")
    assert sparse_steps(sparse[0])
    features = random_features(9)
    batch = batch_from_features(features, range(len(features)))
    names = [output.name for output in sparse[0].outputs]
    numpy, ours = run_plan(*pruned, batch), run_plan(*sparse, batch)
    assert all(np.array_equal(ours[name], numpy[name]) for name in names)
    for instruction_set in instruction_sets():
        dense_engine, sparse_engine = (
            NativeEngine(*each, threads=2, instruction_set=instruction_set) for each in (pruned, sparse)
        )
        for mine, theirs in zip(sparse_engine.run(batch, names), dense_engine.run(batch, names), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        dense_engine.close()
        sparse_engine.close()


@pytest.mark.parametrize("speedups", [(1.0, 1.0), (1.01, 1.02), (1.5, 0.9)])
def test_ties_and_what_is_slower_somewhere_stay_dense(pruned: Compiled, speedups: tuple[float, float]) -> None:
    plan, arrays = choose_sparse(*pruned, speedups=lambda *_: speedups)
    assert plan == pruned[0] and all(arrays[name] is array for name, array in pruned[1].items())


def test_each_size_is_judged_alone(pruned: Compiled) -> None:
    seen = []

    def speedups(steps: Sequence[Step], dense: Any, sparse: Any) -> list[float]:
        seen.append({(step.rows, step.k, step.n) for step in steps})
        return [2.0, 2.0] if steps[0].k == 64 and steps[0].n == 64 else [1.0, 1.0]

    plan, _ = choose_sparse(*pruned, speedups=speedups)
    assert all(len(sizes) == 1 for sizes in seen) and len(set().union(*seen)) == len(seen) > 1
    assert {(step.k, step.n) for step in sparse_steps(plan)} == {(64, 64)}


def test_dense_weights_are_not_measured(tiny_classifier: TinyModel) -> None:
    dense = plan_from_graph(quantized(tiny_classifier, tiny_scheme("2", "channel")).graph)

    def never(*_: Any) -> list[float]:
        raise AssertionError

    assert choose_sparse(*dense, speedups=never)[0] == dense[0]


def test_an_instruction_set_without_kernel_changes_nothing(pruned: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_choice, "multiplies_sparse", lambda _: False)
    assert choose_sparse(*pruned) == pruned


@pytest.mark.native
def test_a_measurement_runs_both_forms(pruned: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse_choice, "SECONDS_EACH", 1e-4)
    plan, sparse = choose_sparse(*pruned, speedups=always)
    for rows in Rows:
        steps = [step for step in sparse_steps(plan) if step.rows is rows]
        found = measured_speedups(steps, pruned[1], sparse)
        assert len(found) == 2 and min(found) > 0


@pytest.mark.native
def test_a_measurement_needs_no_thread_s_time_on_windows(pruned: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it stands still for 15.6 ms, in which all calls of a round may fall."""
    instruction_sets()  # loads the library of the system that is really here
    monkeypatch.setattr(sparse_choice, "SECONDS_EACH", 1e-4)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(time, "thread_time", lambda: 0.015625)
    plan, sparse = choose_sparse(*pruned, speedups=always)
    steps = [step for step in sparse_steps(plan) if step.rows is Rows.TOKENS]
    assert min(measured_speedups(steps, pruned[1], sparse)) > 0


@pytest.mark.native
@pytest.mark.parametrize("pays, told", [(True, "; 12 products skip the zeros\n"), (False, "no product was faster")])
def test_a_build_says_how_many_products_skip_zeros(
    pays: bool,
    told: str,
    bertc: Bertc,
    classifier: Path,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sparse_choice, "multiplies_sparse", lambda _: pays)
    monkeypatch.setattr(sparse_choice, "measured_speedups", always)
    out = tmp_path / "out"
    options = ("--calibration-data", rows, "--unvalidated", "--no-cache", "--sparsity", "2:4")
    called = bertc("build", classifier, "-o", out, "--target", "native", *options)
    assert called.code == 0 and told in called.out
    sparsity = json.loads((out / "report.json").read_text(encoding="utf-8"))["sparsity"]
    assert (sparsity["verified"], sparsity["products"]) == (True, 12 if pays else 0)
    assert bool(sparsity["unused"]) is not pays
