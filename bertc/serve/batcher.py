"""Batches by tokens: what requests ask of one engine, put together as it becomes free.

Encoded texts of any number of requests in, each request's outputs back. The engine runs in a thread of its own, one
batch after the other, and never waits for a batch to fill: what came while it ran is the next one. Requests take turns,
a share of the batch each, so that one with a thousand texts does not hold up one with a single text.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bertc.core.feature import Feature
from bertc.evaluate.task import RawOutputs
from bertc.serve.bounds import Limits
from bertc.serve.refused import Reason, RefusalError

LOG = logging.getLogger("bertc.serve")
SHARES = 8
"""Requests that a batch has room for at least, where so many wait."""

PACE_SHARE = 0.2
"""How much a full batch moves the pace; a smaller one less, as its tokens take longer and say little of full ones."""

Run = Callable[[Sequence[Feature]], RawOutputs]
Observe = Callable[[int, int], None]
"""Told of every batch: its texts and its tokens."""


@dataclass(slots=True, eq=False)
class _Request:
    """What one request waits for. `begun` is how many of its features were given to the engine."""

    features: Sequence[Feature]
    future: asyncio.Future[RawOutputs]
    left: int
    """Tokens that were not given to the engine yet."""

    begun: int = 0
    outputs: dict[str, list[NDArray[np.float32]]] = field(default_factory=dict)


class Batcher:
    """The queue of one engine and the thread that runs it. Made and used in one event loop."""

    def __init__(self, run: Run, limits: Limits, observe: Observe, *, rate: float) -> None:
        """Start the thread. `run` is called there and nowhere else.

        `rate` is how many tokens a second it ran before, when all was loaded and compiled.
        """
        self._run = run
        self._limits = limits
        self._observe = observe
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._waiting: deque[_Request] = deque()
        self._tokens = 0
        self._closing = False
        self._share = max(1, limits.batch_tokens // SHARES)
        self._rate = rate  # tokens per second
        self._running = 0  # tokens of the batch that runs, and since when
        self._since = 0.0
        self._thread = threading.Thread(target=self._work, name="bertc-engine", daemon=True)
        self._thread.start()

    @property
    def rate(self) -> float:
        """How many tokens a second the engine runs in full batches, as far as is known."""
        return self._rate

    @property
    def waiting_tokens(self) -> int:
        """How many tokens no batch has taken yet."""
        return self._tokens

    @property
    def waiting_seconds(self) -> float:
        """How long a request that comes now is expected to wait for its first turn.

        That is what the batch that runs still takes, and one turn of all that wait.
        """
        with self._changed:
            ahead = sum(min(request.left, self._share) for request in self._waiting)
        spent = time.perf_counter() - self._since
        return max(0.0, self._running / self._rate - spent) + ahead / self._rate

    def check_room(self) -> None:
        """Raise `RefusalError` where a request would wait too long for its turn."""
        seconds = self.waiting_seconds
        if seconds > self._limits.waiting_seconds:
            raise _overloaded(f"it would wait {seconds:.1f} seconds for its turn", seconds)

    async def outputs(self, features: Sequence[Feature]) -> RawOutputs:
        """Return what the engine says of features, in their order.

        Cancelled, it drops what was not run yet. Raises what the engine raised for these features, and `RefusalError`
        for many of them that could not be run in a request's time.
        """
        request = _Request(features, self._loop.create_future(), left=sum(feature.length for feature in features))
        if request.left > self._share:
            seconds = (self._tokens + request.left) / self._rate
            if self._tokens and seconds > self._limits.request_seconds:
                raise _overloaded(f"it would be answered in {seconds:.0f} seconds, and may take fewer", seconds)
        with self._changed:
            assert not self._closing, "a closed batcher was asked"
            self._tokens += request.left
            self._waiting.append(request)
            self._changed.notify()
        return await request.future

    async def close(self) -> None:
        """End the thread, once all that waits is answered."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while taken := self._next():
            tokens = sum(feature.length for request, part in taken for feature in request.features[part])
            self._since, self._running = time.perf_counter(), tokens
            finished = self._answered(taken)
            if not any(error for _, error in finished):
                self._learn_pace(tokens, time.perf_counter() - self._since)
            self._running = 0
            texts = sum(part.stop - part.start for _, part in taken)
            # The loop does the rest: what this thread did now would keep the answers waiting for Python's lock.
            self._loop.call_soon_threadsafe(self._deliver, finished, texts, tokens)

    def _learn_pace(self, tokens: int, seconds: float) -> None:
        rate = tokens / seconds
        self._rate += PACE_SHARE * min(1.0, tokens / self._limits.batch_tokens) * (rate - self._rate)

    def _deliver(self, finished: Sequence[tuple[_Request, Exception | None]], texts: int, tokens: int) -> None:
        for request, error in finished:
            if request.future.done():
                continue
            if error is None:
                request.future.set_result(request.outputs)
            else:
                request.future.set_exception(error)
        self._observe(texts, tokens)

    def _next(self) -> list[tuple[_Request, slice]]:
        """Wait for work; return the next batch: of each request the features to run. Empty at the end."""
        with self._changed:
            while True:
                taken = self._take()
                if taken or (self._closing and not self._waiting):
                    return taken
                self._changed.wait()

    def _take(self) -> list[tuple[_Request, slice]]:
        room = self._limits.batch_tokens
        taken: list[tuple[_Request, slice]] = []
        while self._waiting:
            request = self._waiting.popleft()
            if request.future.done():  # nobody waits for it any more
                self._tokens -= request.left
                continue
            stop, tokens = _turn(request, room=room, share=self._share, first=not taken)
            if stop == request.begun:
                self._waiting.appendleft(request)
                break
            taken.append((request, slice(request.begun, stop)))
            request.begun = stop
            request.left -= tokens
            room -= tokens
            self._tokens -= tokens
            if stop < len(request.features):
                self._waiting.append(request)
        return taken

    def _answered(self, taken: Sequence[tuple[_Request, slice]]) -> list[tuple[_Request, Exception | None]]:
        """Run a batch; return the requests that are done, with what went wrong."""
        failed = self._ran(taken)
        if failed is not None and len(taken) > 1:  # one request's fault is not the others'
            LOG.warning("a batch failed and its requests are run one by one: %s", type(failed).__name__)
            outcomes = [(request, self._ran([(request, part)])) for request, part in taken]
        else:
            outcomes = [(request, failed) for request, _ in taken]
        errors: dict[_Request, Exception | None] = {}
        for request, error in outcomes:  # a request may be in a batch more than once
            errors[request] = errors.get(request) or error
        return [
            (request, error)
            for request, error in errors.items()
            if error is not None or request.begun == len(request.features)
        ]

    def _ran(self, taken: Sequence[tuple[_Request, slice]]) -> Exception | None:
        """Run features and give each request its outputs; return what the engine raised."""
        try:
            outputs = self._run([feature for request, part in taken for feature in request.features[part]])
        except Exception as error:  # noqa: BLE001  whatever it is, it belongs to who asked, and the thread goes on
            return error
        start = 0
        for request, part in taken:
            stop = start + part.stop - part.start
            for name, arrays in outputs.items():
                request.outputs.setdefault(name, []).extend(arrays[start:stop])
            start = stop
        return None


def _turn(request: _Request, *, room: int, share: int, first: bool) -> tuple[int, int]:
    """Return up to where a request's features go into a batch in one turn, and how many tokens they are.

    At least one goes if it fits into the room; the `first` of a batch goes in any case.
    """
    stop, tokens = request.begun, 0
    for feature in request.features[request.begun :]:
        length = feature.length
        must = stop == request.begun and (first or length <= room)
        if not must and tokens + length > min(share, room):
            break
        stop += 1
        tokens += length
    return stop, tokens


def _overloaded(message: str, seconds: float) -> RefusalError:
    return RefusalError(Reason.OVERLOADED, f"{message}; try again later", retry_after=math.ceil(seconds))
