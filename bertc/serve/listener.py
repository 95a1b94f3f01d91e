"""Where a server listens: its socket, its certificate, and how large a request's head may be."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from bertc.errors import EnvironmentLackError, InputError

MOST_HEAD = 1 << 19
"""Bytes of a request's head, and of the piece of its body that comes with it (a few hundred kilobytes at once)."""

TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a server listens, and with what certificate."""

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None


class BoundedHead(HttpToolsProtocol):
    """uvicorn's protocol, which keeps a head of any size; here the connection ends where one is too large.

    So it does behind a body in chunks, where more headers may stand. Requests that are sent before the one in front of
    them is answered are read when their turn comes, and not kept in any number.
    """

    _head = 0
    """Bytes since the last head was whole or a piece of a body came."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client is there."""
        super().connection_made(transport)
        self.flow = _InTurn(transport, self.pipeline)

    def data_received(self, data: bytes) -> None:
        """Take in bytes of a request."""
        self._head += len(data)
        if self._head > MOST_HEAD:
            self.transport.write(TOO_LARGE)
            self.transport.close()
            return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._head = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body is there."""
        self._head = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole, and a head follows."""
        self._head = 0
        super().on_message_complete()


class _InTurn(FlowControl):
    """Reads no more of a connection while requests wait in it: with one behind it, a request is whole."""

    def __init__(self, transport: asyncio.Transport, waiting: Collection[Any]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Read on, unless there is something to answer."""
        if not self._waiting:
            super().resume_reading()


def bound_socket(address: Address) -> socket.socket:
    """Listen. Raises `InputError` for no host, `EnvironmentLackError` where that cannot be or the port is taken."""
    if not address.host:
        raise InputError("--host is empty, which would be every interface; say 0.0.0.0 if that is meant")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=2048)
    except OSError as error:
        # `create_server` makes another error of one that the name was not found with.
        ours = isinstance(error.__context__ or error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL
        reason = "it is no address of this machine" if ours else (error.strerror or str(error)).partition(" (while")[0]
        raise EnvironmentLackError(
            f"the server cannot listen on {address.host}, port {address.port}: {reason}; choose another "
            f"{'--host' if ours else '--port'}"
        ) from error


def check_certificate(address: Address) -> None:
    """Raise `InputError` for a certificate and a key that do not belong together, or cannot be read without asking."""
    if address.certificate is None or address.key is None:
        return
    asked = False

    def password() -> str:
        nonlocal asked
        asked = True
        return ""

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(address.certificate, address.key, password)
    except (OSError, ValueError) as error:
        why = "the key has a passphrase; take it off" if asked else "they are no certificate in PEM and the key of it"
        raise InputError(f"{address.certificate} and {address.key} cannot be used for https: {why}") from error
