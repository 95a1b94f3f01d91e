"""How a server is spoken to byte by byte, and what it logs meanwhile."""

from __future__ import annotations

import http.client
import json
import logging
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bertc.serve.bounds import Limits
from bertc.serve.models import Settings
from tests.serve.running import running

LOGGERS = ("bertc.serve", "uvicorn", "asyncio")
SECONDS = 20.0


@dataclass(frozen=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        """The content, which has to be JSON."""
        return json.loads(self.content)


@dataclass
class Spoken:
    """A running server that is spoken to. `log` is all that it logged so far."""

    port: int
    log: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Send a request, a body that is not bytes as JSON, and return the reply."""
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, content, dict(headers or {}))
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        """Post JSON; a header's name has underscores for hyphens."""
        return self.ask("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def raw(self, *pieces: bytes, end: bool = False) -> bytes:
        """Send bytes as they are, piece by piece, with `end` no more after them; return all until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as connection:
            for piece in pieces:
                connection.sendall(piece)
            if end:
                connection.shutdown(socket.SHUT_WR)
            found = b""
            while piece := connection.recv(65536):
                found += piece
            return found


class _Kept(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(logging.Formatter().format(record))


@contextmanager
def spoken_to(
    folders: Mapping[str, Path], limits: Limits | None = None, keys: tuple[bytes, ...] = ()
) -> Iterator[Spoken]:
    """Serve artefacts until the block ends."""
    settings = Settings(limits=limits or Limits(), threads=1, allow_failed=True)
    log: list[str] = []
    with _logged(log), running(folders, settings, keys=keys) as server:
        yield Spoken(server.port, log)


@contextmanager
def _logged(lines: list[str]) -> Iterator[None]:
    """Keep what is logged."""
    handler = _Kept(lines)
    older = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        yield
    finally:
        for name, level in older.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(level)
