"""What a connection may hold: headers behind a body, requests that wait in it, and what is no HTTP request."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from uvicorn.server import ServerState

from bertc.serve.listener import MOST_HEAD, Address, BoundedHead
from bertc.serve.models import Settings
from bertc.serve.server import uvicorn_config
from tests.serve.running import Running, running

CHUNKED = b"POST /predict HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
BODY = json.dumps({"inputs": "good film"}).encode()
CHUNK = b"%x\r\n%s\r\n" % (len(BODY), BODY)
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def server(artefact: Path) -> Iterator[Running]:
    with running({"a": artefact}) as found:
        yield found


def sent(server: Running, *pieces: bytes) -> tuple[int, bytes]:
    """Send pieces of 64 KiB until the server closes; return how many bytes went, and what came back."""
    went, answer = 0, b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                went += len(piece)
            while part := connection.recv(65536):
                answer += part
        except OSError:  # the server has closed it while we were sending
            pass
    return went, answer


def trailers(size: int) -> Iterator[bytes]:
    """Give lines of headers with so many bytes together."""
    for number in range(size >> 13):
        yield b"X-%06d: " % number + b"x" * (8192 - 12) + b"\r\n"


def test_headers_behind_a_body_are_read(server: Running) -> None:
    _, answer = sent(server, CHUNKED, CHUNK, b"0\r\n", *trailers(1 << 16), b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


def test_headers_behind_a_body_are_bounded(server: Running) -> None:
    went, answer = sent(server, CHUNKED, CHUNK, b"0\r\n", *trailers(64 << 20))
    assert went < 32 << 20 and b" 200 " not in answer  # what the sockets' buffers hold is sent in any case
    assert server.post("/predict", BODY)[0] == 200


def test_a_body_in_small_chunks_is_no_head(server: Running) -> None:
    blanks = [b"4000\r\n" + b" " * 0x4000 + b"\r\n"] * (2 * MOST_HEAD // 0x4000)
    _, answer = sent(server, CHUNKED, *blanks, CHUNK, b"0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


def test_many_requests_in_one_connection_are_all_answered(server: Running) -> None:
    _, answer = sent(server, HEALTH * 20_000, HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200") == 20_001


def test_a_connection_is_not_read_while_a_request_waits_in_it() -> None:
    """uvicorn reads on at each answer and keeps what comes: 800,000 requests of one client took 1.7 GB."""

    async def fed() -> None:
        asked, answer = asyncio.Queue[None](), asyncio.Queue[None]()

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            asked.put_nowait(None)
            await answer.get()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body"})

        config = uvicorn_config(Address(), Settings())
        config.app = application
        config.load()
        transport = Mock(spec=asyncio.Transport)
        transport.get_extra_info.return_value = None
        transport.is_closing.return_value = False
        reading: list[str] = []
        transport.pause_reading.side_effect = lambda: reading.append("no")
        transport.resume_reading.side_effect = lambda: reading.append("yes")
        protocol = BoundedHead(config, ServerState(), {}, asyncio.get_running_loop())
        protocol.connection_made(transport)
        protocol.data_received(HEALTH * 3)
        assert reading == ["no"] and len(protocol.pipeline) == 2
        for waiting in (2, 1, 0):
            await asked.get()
            assert len(protocol.pipeline) == waiting
            assert reading == (["no"] if waiting else ["no", "yes"])
            answer.put_nowait(None)
        protocol.connection_lost(None)

    asyncio.run(asyncio.wait_for(fed(), 10))


def test_a_request_for_a_websocket_is_one_of_http() -> None:
    """Else uvicorn answers it where a package for that is installed, past keys and counters, and logs its path."""
    config = uvicorn_config(Address(), Settings())
    config.load()
    assert config.ws_protocol_class is None
