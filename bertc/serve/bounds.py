"""What a server takes on at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one server.

    `batch_tokens` is how many tokens the engine runs at once, of as many requests as they come from; one text may be
    longer. `waiting_seconds` is how long a request may be expected to wait for the engine; one that comes when that
    time is full is refused at once, so that those who wait are answered in time. `request_bytes` and `request_texts`
    bound a request, `request_seconds` how long it may take: then it is answered with an error, and what of it was not
    run yet is dropped.
    """

    batch_tokens: int = 1024
    waiting_seconds: float = 2.0
    request_bytes: int = 16 << 20
    request_texts: int = 4096
    request_seconds: float = 30.0
