"""The model behind docs/scale.md: what theory gives it gives, and what was measured it gives about."""

from __future__ import annotations

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location("scale_simulation", FOLDER / "scale_simulation.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "scale_simulation", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_one_text_at_a_time_waits_as_pollaczek_and_khinchine_say(script: ModuleType, busy: float) -> None:
    """A Poisson process at one server of constant time D: D + busy D / (2 (1 - busy)) on average."""
    costs = script.Costs(batch=0.0, token=0.01, request=0.0)
    policy = script.Policy(batch_tokens=1, waiting_seconds=1e9)
    load = script.Load(rate=busy / 0.01, lengths=[1], seconds=2000.0)
    found = script.simulated(costs, policy, load, limit=1.0)
    assert float(np.mean(found.latencies)) == pytest.approx(0.01 * (1 + busy / (2 * (1 - busy))), rel=0.05)
    assert found.refused == 0 and found.answered == pytest.approx(load.rate, rel=0.03)


def test_batches_answer_more_and_a_bound_on_waiting_refuses_what_is_too_much(script: ModuleType) -> None:
    costs = script.Costs(batch=0.005, token=0.0002, request=0.0, refusal=0.0001)
    load = script.Load(rate=300.0, lengths=[10], seconds=60.0)
    alone = script.simulated(costs, script.Policy(batch_tokens=10, waiting_seconds=0.05), load, limit=0.1)
    shared = script.simulated(costs, script.Policy(batch_tokens=500, waiting_seconds=0.05), load, limit=0.1)
    assert alone.answered < costs.capacity(10, 10) * 1.02 and alone.refused > 100
    assert shared.refused < 1 and shared.answered == pytest.approx(300, rel=0.05)
    assert alone.answered + alone.refused == pytest.approx(alone.sent)


def test_a_replica_knows_its_pace_before_the_first_request_as_the_server_does(script: ModuleType) -> None:
    """Its first batch takes a second: what comes meanwhile is refused by the pace of the one that was run before."""
    costs = script.Costs(batch=0.0, token=0.01, request=0.0)
    load = script.Load(rate=200.0, lengths=[10], seconds=1.0)
    bounded, unbounded = (
        script.simulated(costs, script.Policy(batch_tokens=100, waiting_seconds=seconds), load, limit=1.0)
        for seconds in (0.5, 1e9)
    )
    assert bounded.refused > 150 and bounded.latencies.max() < 2.0
    assert unbounded.refused == 0 and unbounded.latencies.max() > 5.0


def test_a_request_waits_for_the_batch_that_runs_too(script: ModuleType) -> None:
    """Nothing waits before it, but a batch of a second has just begun."""
    costs = script.Costs(batch=0.0, token=1.0, request=0.0)
    load = script.Load(rate=2.0, lengths=[1], seconds=200.0)
    policies = [script.Policy(batch_tokens=1, waiting_seconds=seconds) for seconds in (0.5, 0.99)]
    slow, patient = (script.simulated(costs, policy, load, limit=9.0) for policy in policies)
    assert slow.latencies.max() < 1.51 and patient.latencies.max() > 1.9
    assert slow.refused > patient.refused > 0


def test_a_router_that_looks_at_two_replicas_waits_less_than_one_that_draws(script: ModuleType) -> None:
    costs = script.Costs(batch=0.0, token=0.01, request=0.0)
    policy = script.Policy(batch_tokens=1, waiting_seconds=1e9)
    load = script.Load(rate=8 * 80.0, lengths=[1], seconds=60.0)
    waits = [
        script.simulated(costs, policy, load, limit=1.0, replicas=8, route=route).percentile(99)
        for route in (script.at_random, script.less_of_two)
    ]
    assert waits[1] < 0.7 * waits[0]


def test_the_measured_load_comes_out_up_to_four_fifths_of_the_capacity(script: ModuleType) -> None:
    """docs/scale.md says so, and says what does not."""
    measured = script.measured_load()
    costs = script.fitted_costs(measured, script.engine_costs(), seconds=10.0)
    assert min(costs.batch, costs.token, costs.request, costs.refusal, costs.wake) > 0
    rows = [row for row in script.compared(measured, costs, seconds=10.0) if row["share"] < 0.8]
    assert len(rows) == 6
    for row in rows:
        assert row["good_model"] == pytest.approx(row["good"], rel=0.1)
        assert row["p50_model"] == pytest.approx(row["p50"], rel=0.35)
        assert row["p99_model"] == pytest.approx(row["p99"], rel=0.45)
    slower = replace(costs, token=2 * costs.token)
    wrong = [row for row in script.compared(measured, slower, seconds=10.0) if row["share"] < 0.8]
    assert abs(wrong[-1]["good_model"] / wrong[-1]["good"] - 1) > 0.1, "another engine would be seen"


def test_the_page_has_every_share_and_router(script: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    measured = script.measured_load()
    costs = script.fitted_costs(measured, script.engine_costs(), seconds=1.0)
    text = "\n".join(script.page(measured, costs, seconds=1.0))
    assert script.SERVING.name in text and script.SPEED.name in text
    assert all(name in text for name in script.ROUTES) and "| 90% |" in text


def test_a_million_texts_take_what_the_capacity_says(script: ModuleType) -> None:
    """A second of two cores is 1,000 texts in full batches; with 32 in a request a request costs next to nothing."""
    costs = script.Costs(batch=0.0, token=0.0005 / float(np.mean(script.LENGTHS)), request=0.0005)
    found = [numbers for _, *numbers in script.for_goal(costs)]
    assert found[0] == [1250, 2500, 40] and found[1] == [1667, 3334, 53]
    assert found[2][0] == math.ceil(1e6 / (0.8 / (0.0005 + 0.0005 / 32)))
