"""A discrete-event model of replicas of `bertc serve` behind a router, in seconds and tokens.

A replica's cores do one thing at a time: read a request, run a batch or write an answer. A request that comes while
a batch runs is read at once, and the batch takes as much longer. The queue is the server's own
(bertc/serve/batcher.py): batches of up to so many tokens of what waits, a request refused at once where it would wait
too long by the pace of the last batches, of which the server runs one before it answers anybody.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bertc.serve.batcher import PACE_SHARE, SHARES


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a replica does with its cores, in seconds.

    A batch of n tokens takes `batch` + n x `token`, times a lognormal factor of mean 1 whose logarithm has the standard
    deviation `spread`; a request takes `request` (half to read it, half to answer it), one that is refused `refusal`.
    `wake` is what an idle replica takes to notice a request; nothing else has to wait for that.
    """

    batch: float
    token: float
    request: float
    refusal: float = 0.0
    wake: float = 0.0
    spread: float = 0.0

    def engine(self, tokens: float) -> float:
        """Return what a batch takes on average."""
        return self.batch + tokens * self.token

    def capacity(self, tokens: float, batch_tokens: int) -> float:
        """Return texts of so many tokens a second, answered in full batches."""
        texts = max(1.0, batch_tokens / tokens)
        return texts / (self.engine(texts * tokens) + texts * self.request)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The server's own bounds, as `bertc serve` has them."""

    batch_tokens: int = 1024
    waiting_seconds: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests of one text by a Poisson process: how many a second, of which tokens, for how long."""

    rate: float
    lengths: Sequence[int]
    seconds: float
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a load: requests a second, latencies of those answered in seconds."""

    sent: float
    answered: float
    refused: float
    good: float
    latencies: np.ndarray

    def percentile(self, percent: float) -> float:
        """Return a percentile of the latencies in ms."""
        return float(np.percentile(self.latencies, percent)) * 1e3 if len(self.latencies) else float("nan")


@dataclass
class Replica:
    """A replica: requests that it has not read (arrival, tokens), those that wait, and those that run."""

    unread: deque[tuple[float, int]] = field(default_factory=deque)
    waiting: deque[tuple[float, int]] = field(default_factory=deque)
    running: list[tuple[float, int]] = field(default_factory=list)
    busy: bool = False
    start: float = 0.0
    end: float = 0.0
    pace: float = 0.0
    """Tokens a second of full batches, as far as it knows."""

    @property
    def outstanding(self) -> int:
        """How many requests it has not answered."""
        return len(self.unread) + len(self.waiting) + len(self.running)


Route = Callable[[Sequence[Replica], int, random.Random], int]
"""Which replica gets a request: of all, the request's number, and something to draw with."""


def at_random(replicas: Sequence[Replica], number: int, draw: random.Random) -> int:
    """Any replica."""
    return draw.randrange(len(replicas))


def in_turn(replicas: Sequence[Replica], number: int, draw: random.Random) -> int:
    """The next replica."""
    return number % len(replicas)


def less_of_two(replicas: Sequence[Replica], number: int, draw: random.Random) -> int:
    """Of two replicas drawn at random the one with fewer requests."""
    pair = draw.randrange(len(replicas)), draw.randrange(len(replicas))
    return min(pair, key=lambda place: replicas[place].outstanding)


def simulated(
    costs: Costs, policy: Policy, load: Load, *, limit: float, replicas: int = 1, route: Route = at_random
) -> Outcome:
    """Run a load through replicas; `limit` is how late an answer may be to be good. The first tenth is not counted."""
    run = _Run(costs, policy, load, [Replica() for _ in range(replicas)])
    warm = load.seconds / 10
    number, arrival = 0, run.draw.expovariate(load.rate)
    events = run.events
    while events or arrival < load.seconds:
        if arrival < load.seconds and (not events or arrival <= events[0][0]):
            run.arrive(arrival, route(run.replicas, number, run.draw))
            number += 1
            arrival += run.draw.expovariate(load.rate)
        else:
            now, place = heapq.heappop(events)
            run.go_on(now, run.replicas[place], place)
    latencies = np.array([done - began for began, done in run.answered if began >= warm])
    refused = sum(began >= warm for began in run.refused)
    counted = load.seconds - warm
    return Outcome(
        sent=(len(latencies) + refused) / counted,
        answered=len(latencies) / counted,
        refused=refused / counted,
        good=int((latencies <= limit).sum()) / counted,
        latencies=latencies,
    )


class _Run:
    """The state of one simulation: when which replica goes on, and what became of requests."""

    def __init__(self, costs: Costs, policy: Policy, load: Load, replicas: list[Replica]) -> None:
        self.costs, self.policy, self.load, self.replicas = costs, policy, load, replicas
        self.draw = random.Random(load.seed)
        self.events: list[tuple[float, int]] = []
        self.answered: list[tuple[float, float]] = []
        self.refused: list[float] = []
        full = policy.batch_tokens
        for replica in replicas:  # what bertc/serve/first_batch.py is run for
            replica.pace = full / (costs.engine(full) * self._factor())

    def arrive(self, now: float, place: int) -> None:
        replica = self.replicas[place]
        request = now, self.draw.choice(self.load.lengths)
        if replica.running and replica.end > now:
            replica.end += self._read(replica, now, *request)
            return
        replica.unread.append(request)
        if not replica.busy:
            replica.busy = True
            replica.end = now + self.costs.wake
            heapq.heappush(self.events, (replica.end, place))

    def go_on(self, now: float, replica: Replica, place: int) -> None:
        """Write the answers of what ran, read what came, and start the next batch."""
        if now < replica.end:  # requests came while the batch ran
            heapq.heappush(self.events, (replica.end, place))
            return
        if replica.running:
            tokens = sum(tokens for _, tokens in replica.running)
            pace = tokens / (now - replica.start)
            replica.pace += PACE_SHARE * min(1.0, tokens / self.policy.batch_tokens) * (pace - replica.pace)
        for began, _ in replica.running:
            now += self.costs.request / 2
            self.answered.append((began, now))
        replica.running = []
        while replica.unread:
            now += self._read(replica, now, *replica.unread.popleft())
        replica.running = self._taken(replica)
        replica.busy = bool(replica.running) or now > replica.end
        if replica.running:
            tokens = sum(tokens for _, tokens in replica.running)
            replica.start = now
            now += self.costs.engine(tokens) * self._factor()
        if replica.busy:
            replica.end = now
            heapq.heappush(self.events, (now, place))

    def _read(self, replica: Replica, now: float, began: float, tokens: int) -> float:
        if self._waiting_seconds(replica, now) > self.policy.waiting_seconds:
            self.refused.append(began)
            return self.costs.refusal
        replica.waiting.append((began, tokens))
        return self.costs.request / 2

    def _waiting_seconds(self, replica: Replica, now: float) -> float:
        """Return what the server's batcher expects: the rest of the batch that runs, and one turn of all that wait."""
        share = max(1, self.policy.batch_tokens // SHARES)
        ahead = sum(min(each, share) for _, each in replica.waiting)
        running = sum(tokens for _, tokens in replica.running)
        rest = max(0.0, running / replica.pace - (now - replica.start)) if running else 0.0
        return rest + ahead / replica.pace

    def _taken(self, replica: Replica) -> list[tuple[float, int]]:
        taken: list[tuple[float, int]] = []
        room = self.policy.batch_tokens
        while replica.waiting and (not taken or replica.waiting[0][1] <= room):
            taken.append(replica.waiting.popleft())
            room -= taken[-1][1]
        return taken

    def _factor(self) -> float:
        spread = self.costs.spread
        return self.draw.lognormvariate(-spread * spread / 2, spread) if spread else 1.0
