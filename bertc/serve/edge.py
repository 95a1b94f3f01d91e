"""What every request passes: who may ask, how much may be sent, what is counted and logged. No text is logged."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bertc.errors import InputError
from bertc.serve.bounds import Limits
from bertc.serve.counters import Counters
from bertc.serve.refused import Reason, RefusalError

LOG = logging.getLogger("bertc.serve.requests")
OPEN = ("/health", "/ready", "/v2/health/live", "/v2/health/ready")
"""What is answered without a key: those who watch a server have none."""

SHORTEST_KEY = 16
FAILED = 400
"""The status from which an answer is an error. Those are logged; all are counted."""

OVERLOADED = Reason.OVERLOADED.status
OVERLOAD_SECONDS = 1.0
"""How often it is logged how many were refused for overload: a line for each would make a refusal twice as dear."""


class Edge:
    """The application with its limits and its log around it."""

    def __init__(
        self,
        application: ASGIApp,
        *,
        limits: Limits,
        counters: Counters,
        keys: Collection[bytes] = (),
        refused: Callable[[str, RefusalError], Response],
    ) -> None:
        self._application = application
        self._limits = limits
        self._counters = counters
        self._keys = tuple(keys)
        self._refused = refused
        self._overloads: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        begin, status = time.perf_counter(), 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await self._refused(scope["path"], refusal)(scope, receive, told)
            else:
                await self._application(scope, _limited(receive, self._limits.request_bytes), told)
        finally:
            self._record(scope, status, time.perf_counter() - begin)

    def _refusal(self, scope: Scope) -> RefusalError | None:
        given = {name: value for name, value in scope["headers"] if name in (b"authorization", b"content-length")}
        if self._keys and scope["path"] not in OPEN and not self._known(given.get(b"authorization", b"")):
            return RefusalError(Reason.UNAUTHORIZED, "send a key that this server knows: Authorization: Bearer KEY")
        length = given.get(b"content-length", b"")
        if length.isdigit() and int(length) > self._limits.request_bytes:
            return _too_large(self._limits.request_bytes)
        return None

    def _known(self, given: bytes) -> bool:
        scheme, _, key = given.partition(b" ")
        return scheme.lower() == b"bearer" and any(hmac.compare_digest(key.strip(), each) for each in self._keys)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's own pattern: a path is the client's text.
        route = getattr(scope.get("route"), "path", "other")
        self._counters.requests.labels(route, str(status)).inc()
        self._counters.seconds.labels(route).observe(seconds)
        if status == OVERLOADED:
            if not self._overloads:
                asyncio.get_running_loop().call_later(OVERLOAD_SECONDS, self.log_overloads)
            self._overloads[route] += 1
        elif status >= FAILED or LOG.isEnabledFor(logging.DEBUG):
            client = scope.get("client")
            facts = {"ms": round(seconds * 1e3, 2), "client": client[0] if client else None}
            LOG.log(
                logging.INFO if status >= FAILED else logging.DEBUG,
                "%s %s",
                route,
                status,
                extra={"facts": facts},
            )

    def log_overloads(self) -> None:
        """Log how many requests were refused for overload since this was logged last, by route."""
        for route, count in self._overloads.items():
            LOG.info("%s %s", route, OVERLOADED, extra={"facts": {"count": count}})
        self._overloads.clear()


class JsonFormatter(logging.Formatter):
    """A line of JSON per record: time (UTC), level, message, and what else is known of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        facts: dict[str, Any] = getattr(record, "facts", {})
        line = {"time": f"{when}.{int(record.msecs):03d}Z", "level": record.levelname.lower()}
        return json.dumps(line | {"message": record.getMessage()} | facts)


def keys_from_file(path: Path) -> tuple[bytes, ...]:
    """Read the keys of a file, one in a line. Raises `InputError` for a file without, and for a short key."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    keys = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
    if not keys:
        raise InputError(f"{path} has no key; write one in a line")
    for number, key in enumerate(keys, start=1):
        if len(key) < SHORTEST_KEY:
            raise InputError(f"{path}: key {number} has {len(key)} characters; a key has at least {SHORTEST_KEY}")
    return tuple(key.encode("utf-8") for key in keys)


def _limited(receive: Receive, most: int) -> Receive:
    """Count a body as it comes. Raises `RefusalError` where it is too large, however it was announced."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > most:
            raise _too_large(most)
        return message

    return counted


def _too_large(most: int) -> RefusalError:
    return RefusalError(Reason.TOO_LARGE, f"a request has at most {most} bytes")
