"""The queue of an engine: batches by tokens, turns, bounds, faults, and its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import numpy as np
import pytest

from bertc.core.feature import Feature
from bertc.evaluate.task import RawOutputs
from bertc.serve.batcher import Batcher
from bertc.serve.bounds import Limits
from bertc.serve.refused import Reason, RefusalError

PACE = 3200.0
"""Tokens a second: the batch that is held up and nine requests of eight tokens take 25 ms."""


def features(*lengths: int, first: int = 0) -> list[Feature]:
    """Features of so many tokens, whose first ids count from `first`."""
    return [
        Feature(
            input_ids=np.full(length, first + place, np.int64), token_type_ids=np.zeros(length, np.int64), row=place
        )
        for place, length in enumerate(lengths)
    ]


class Engine:
    """Says each feature's first id; waits at `gate` before it does, and fails for the id `broken`."""

    def __init__(self, *, broken: int = -1) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.begun = threading.Event()
        self.broken = broken

    def run(self, given: Sequence[Feature]) -> RawOutputs:
        self.begun.set()
        assert self.gate.wait(10)
        ids = [int(feature.input_ids[0]) for feature in given]
        self.batches.append(ids)
        if self.broken in ids:
            raise ValueError("broken")
        return {"logits": [np.array([id], np.float32) for id in ids]}


def said(outputs: RawOutputs) -> list[int]:
    return [int(value[0]) for value in outputs["logits"]]


def ran(engine: Engine, limits: Limits, work: Callable[[Batcher], Coroutine[Any, Any, Any]], rate: float = 1e9) -> Any:
    """Run a coroutine with a batcher, and close it."""

    async def whole() -> Any:
        batcher = Batcher(engine.run, limits, lambda texts, tokens: None, rate=rate)
        try:
            return await work(batcher)
        finally:
            engine.gate.set()
            await batcher.close()

    return asyncio.run(whole())


async def held_up(batcher: Batcher, engine: Engine, *requests: list[Feature]) -> list[asyncio.Task[RawOutputs]]:
    """Ask while the engine is busy with a first request, so that all of them wait in this order."""
    engine.gate.clear()
    engine.begun.clear()
    tasks = [asyncio.create_task(batcher.outputs(features(1, first=99)))]
    await asyncio.to_thread(engine.begun.wait, 10)
    for request in requests:
        tasks.append(asyncio.create_task(batcher.outputs(request)))
        await asyncio.sleep(0)
    return tasks


def test_what_waits_goes_into_one_batch_and_comes_back_to_its_request() -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> list[list[int]]:
        tasks = await held_up(batcher, engine, features(3, 2), features(5, first=10), features(1, 1, 1, first=20))
        engine.gate.set()
        return [said(outputs) for outputs in await asyncio.gather(*tasks)]

    assert ran(engine, Limits(batch_tokens=64), work) == [[99], [0, 1], [10], [20, 21, 22]]
    assert engine.batches == [[99], [0, 1, 10, 20, 21, 22]]


def test_a_batch_holds_no_more_tokens_than_its_bound_and_a_longer_text_comes_alone() -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> list[list[int]]:
        tasks = await held_up(batcher, engine, features(6), features(30, first=10), features(6, first=20))
        engine.gate.set()
        return [said(outputs) for outputs in await asyncio.gather(*tasks)]

    assert ran(engine, Limits(batch_tokens=16), work) == [[99], [0], [10], [20]]
    assert engine.batches == [[99], [0], [10], [20]]


def test_one_with_many_texts_does_not_hold_up_one_with_a_single_text() -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> list[list[int]]:
        tasks = await held_up(batcher, engine, features(*[4] * 100), features(4, first=500), features(4, first=600))
        engine.gate.set()
        return [said(outputs) for outputs in await asyncio.gather(*tasks)]

    answers = ran(engine, Limits(batch_tokens=64), work)
    assert answers[1] == list(range(100)) and answers[2:] == [[500], [600]]
    assert {500, 600} <= set(engine.batches[1]), "both are in the first batch after the one that ran"
    assert max(map(len, engine.batches)) == 16


def test_what_would_wait_too_long_for_its_turn_is_refused_and_what_waits_is_answered() -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> list[list[int]]:
        tasks = await held_up(batcher, engine, *[features(8, first=10 * number) for number in range(9)])
        assert batcher.waiting_tokens == 72 and batcher.waiting_seconds > 0.02
        with pytest.raises(RefusalError, match="seconds for its turn") as refused:
            batcher.check_room()
        assert refused.value.reason is Reason.OVERLOADED and refused.value.retry_after == 1
        engine.gate.set()
        answers = [said(outputs) for outputs in await asyncio.gather(*tasks)]
        assert batcher.waiting_tokens == 0
        batcher.check_room()
        return answers

    found = ran(engine, Limits(batch_tokens=64, waiting_seconds=0.02), work, PACE)
    assert found == [[99], *([10 * number] for number in range(9))]


@pytest.mark.parametrize("rate", [PACE, 1e9])
def test_a_rate_that_is_known_counts_from_the_first_batch_on(rate: float) -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> None:
        assert batcher.rate == rate
        tasks = await held_up(batcher, engine, *[features(8, first=10 * number) for number in range(9)])
        if rate == PACE:
            with pytest.raises(RefusalError, match="seconds for its turn"):
                batcher.check_room()
        else:
            batcher.check_room()
        engine.gate.set()
        await asyncio.gather(*tasks)

    ran(engine, Limits(batch_tokens=64, waiting_seconds=0.02), work, rate)


def test_a_large_request_that_waits_keeps_nobody_out() -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> list[list[int]]:
        tasks = await held_up(batcher, engine, features(*[4] * 1000, first=100))
        assert batcher.waiting_tokens == 4000
        batcher.check_room()
        tasks.append(asyncio.create_task(batcher.outputs(features(4, first=7))))
        await asyncio.sleep(0)
        engine.gate.set()
        return [said(outputs) for outputs in await asyncio.gather(*tasks)][2]

    assert ran(engine, Limits(batch_tokens=64, waiting_seconds=0.02), work, PACE) == [7]
    assert 7 in engine.batches[1]


def test_many_texts_that_cannot_be_done_in_time_are_refused() -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> None:
        tasks = await held_up(batcher, engine, features(*[4] * 1000))
        with pytest.raises(RefusalError, match="may take fewer"):
            await batcher.outputs(features(*[4] * 1000))
        engine.gate.set()
        await asyncio.gather(*tasks)

    ran(engine, Limits(batch_tokens=64, request_seconds=2), work, PACE)


def test_what_nobody_waits_for_any_more_is_not_run() -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> list[list[int]]:
        tasks = await held_up(batcher, engine, features(3), features(3, first=10))
        tasks[1].cancel()
        await asyncio.sleep(0)
        engine.gate.set()
        return [said(await tasks[0]), said(await tasks[2])]

    assert ran(engine, Limits(), work) == [[99], [10]]
    assert engine.batches == [[99], [10]]


def test_a_fault_is_its_own_requests_alone() -> None:
    engine = Engine(broken=10)

    async def work(batcher: Batcher) -> list[Any]:
        tasks = await held_up(batcher, engine, features(3), features(3, first=10), features(3, first=20))
        engine.gate.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, broken, third = ran(engine, Limits(), work)
    assert [said(first), said(second), said(third)] == [[99], [0], [20]]
    assert isinstance(broken, ValueError)


def test_a_fault_in_a_part_of_a_request_is_the_whole_requests() -> None:
    engine = Engine(broken=0)
    with pytest.raises(ValueError, match="broken"):
        ran(engine, Limits(batch_tokens=4), lambda batcher: batcher.outputs(features(4, 4, 4)))
    assert said(ran(engine, Limits(), lambda batcher: batcher.outputs(features(4, first=5)))) == [5]


def test_it_ends_when_all_is_answered() -> None:
    engine = Engine()

    async def work(batcher: Batcher) -> list[list[int]]:
        tasks = await held_up(batcher, engine, features(3, 3), features(2, first=10))
        closing = asyncio.create_task(batcher.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        engine.gate.set()
        await closing
        return [said(outputs) for outputs in await asyncio.gather(*tasks)]

    assert ran(engine, Limits(), work) == [[99], [0, 1], [10]]


class Clock:
    """A clock that the engine moves: a millisecond a token, and `slow` times that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slow = 0.0, 1
        monkeypatch.setattr("bertc.serve.batcher.time.perf_counter", lambda: self.now)


class TimedEngine(Engine):
    """Takes its time by a clock."""

    def __init__(self, clock: Clock, *, broken: int = -1) -> None:
        super().__init__(broken=broken)
        self.clock = clock

    def run(self, given: Sequence[Feature]) -> RawOutputs:
        outputs = super().run(given)
        self.clock.now += self.clock.slow * sum(feature.length for feature in given) / 1000
        return outputs


def test_the_batch_that_runs_is_in_the_expected_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    engine = TimedEngine(clock)

    async def work(batcher: Batcher) -> None:
        assert batcher.waiting_seconds == 0.0  # nothing runs
        engine.gate.clear()
        engine.begun.clear()
        running = asyncio.create_task(batcher.outputs(features(64)))
        await asyncio.to_thread(engine.begun.wait, 10)
        assert batcher.waiting_seconds == pytest.approx(0.064)
        clock.now += 0.05
        assert batcher.waiting_seconds == pytest.approx(0.014)
        clock.now += 0.05  # longer than expected: it may end at any time
        assert batcher.waiting_seconds == 0.0
        engine.gate.set()
        await running

    ran(engine, Limits(batch_tokens=64), work, 1000.0)


@pytest.mark.parametrize(("tokens", "after"), [(64, 0.96), (8, 0.33)])
def test_the_pace_follows_full_batches_more_than_small_ones(
    tokens: int, after: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    engine = TimedEngine(clock)

    async def work(batcher: Batcher) -> float:
        clock.slow = 100
        for _ in range(16):
            await batcher.outputs(features(tokens))
        return 1 - batcher._rate / 1000  # how near it came to the slower pace

    assert ran(engine, Limits(batch_tokens=64), work, 1000.0) == pytest.approx(after, abs=0.02)


def test_a_fault_says_nothing_of_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    engine = TimedEngine(clock, broken=7)

    async def work(batcher: Batcher) -> None:
        before = batcher._rate
        with pytest.raises(ValueError, match="broken"):
            await batcher.outputs(features(64, first=7))
        assert batcher._rate == before

    ran(engine, Limits(batch_tokens=64), work, 1000.0)
