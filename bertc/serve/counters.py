"""What a server counts, in Prometheus' form: requests by route and status, and what goes through each engine."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Counters:
    """The counters of one server."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter("bertc_requests", "Answered requests.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "bertc_request_seconds",
            "From a request's first byte to the end of its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_tokens = Histogram(
            "bertc_batch_tokens", "Tokens that an engine ran at once.", ["model"], buckets=TOKENS, registry=registry
        )
        self.batch_texts = Histogram(
            "bertc_batch_texts", "Texts that an engine ran at once.", ["model"], buckets=TEXTS, registry=registry
        )
        self.waiting = Gauge(
            "bertc_waiting_tokens", "Tokens that no batch has taken yet.", ["model"], registry=registry
        )
        self.loads = Counter("bertc_loads", "Artefacts that were opened.", ["model"], registry=registry)

    def text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self._registry)
