"""Timing in turns: who runs when, what is left out, and the cores it runs on."""

from __future__ import annotations

import os
import threading
import time
from functools import partial

import pytest

from bertc.runtime import latency
from bertc.runtime.latency import full_batch, repeated, time_calls, time_turns
from bertc.runtime.machine.cpu import pinned
from tests.conftest import PAUSES


def test_calls_take_turns_and_the_first_of_a_turn_is_not_timed() -> None:
    made: list[str] = []
    calls = {name: [partial(made.append, f"{name}{number}") for number in range(2)] for name in ("a", "b")}
    found = time_calls(calls, 2)
    assert made == ["a0", "a0", "a1", "b0", "b0", "b1"] * 2
    assert {name: [len(turn) for turn in turns] for name, turns in found.items()} == {"a": [2, 2], "b": [2, 2]}


def test_a_slow_call_is_seen_alone() -> None:
    ((quick, slow),) = time_calls({"a": [lambda: None, lambda: time.sleep(0.02)]}, 1)["a"]
    assert slow >= 0.02 > quick


def test_short_calls_are_repeated_and_long_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "SECONDS_PER_ROUND", PAUSES["SECONDS_PER_ROUND"])
    assert len(repeated(lambda: None)) > 100
    assert len(repeated(lambda: time.sleep(latency.SECONDS_PER_ROUND))) == 1


def test_no_token_is_padding() -> None:
    batch = full_batch(4, 50, 7)
    assert batch.input_ids.min() >= 1 and batch.input_ids.max() < 7 and batch.mask.all()


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system pins nothing")
def test_a_pinned_process_stays_on_so_many_cores_and_is_freed_again() -> None:
    before = os.sched_getaffinity(0)
    with pinned(1):
        assert len(os.sched_getaffinity(0)) == 1
    with pinned(0):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


def test_callers_share_the_calls_and_the_time() -> None:
    made: list[tuple[int, str]] = []

    def wait() -> None:
        made.append((threading.get_ident(), "wait"))
        time.sleep(0.02)

    calls = {"one": [wait] * 4, "two": [wait] * 4}
    found = time_turns(calls, 1, {"one": 1, "two": 2})
    (one,), (two,) = found["one"], found["two"]
    assert len(one.calls) == len(two.calls) == 4 and min(*one.calls, *two.calls) >= 0.02
    assert one.seconds >= 0.08 and two.seconds >= 0.04
    assert len({thread for thread, _ in made}) == 3


def test_a_caller_s_error_is_raised() -> None:

    def fail() -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError("in a thread")

    with pytest.raises(ValueError, match="in a thread"):
        time_turns({"a": [fail] * 2}, 1, {"a": 2})
