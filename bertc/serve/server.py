"""Runs the application behind a port until it is told to end."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from bertc.errors import InputError, sentence_of_error
from bertc.serve.application import application
from bertc.serve.counters import Counters
from bertc.serve.edge import JsonFormatter
from bertc.serve.listener import Address, BoundedHead, bound_socket, check_certificate
from bertc.serve.models import Models, ServedModel, Settings
from bertc.serve.protocols import tei

LOG = logging.getLogger("bertc.serve")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
TAKEN = ("v1", "v2", "health", "ready", "metrics", *tei.CALLS)
"""Words that stand in paths where a model's name could."""

SWITCH_SECONDS = 0.0005
"""How long a thread of Python keeps the others waiting. The usual 5 ms is longer than an engine takes for a text."""


def named_folders(given: Sequence[str]) -> dict[str, Path]:
    """Return artefacts' folders by name: NAME=FOLDER, or a folder under its own name.

    Raises `InputError` for a name that cannot stand in a path or is there twice.
    """
    found: dict[str, Path] = {}
    for each in given:
        name, is_named, folder = each.partition("=")
        if set(name) & {os.sep, os.altsep}:  # no name has that: the = is the folder's own (lr=1e-5)
            name, is_named, folder = each, "", ""
        if is_named and not folder:
            raise InputError(f"'{each}' names no folder; write {each}OUT")
        path = Path(folder) if is_named else Path(each)
        name = name if is_named else path.resolve().name
        if not NAME.fullmatch(name) or name in TAKEN:
            raise InputError(f"'{name}' cannot be a model's name in a path; give it another one: NAME={path}")
        if name in found:
            raise InputError(f"two artefacts have the name {name}; give one of them another: NAME={path}")
        found[name] = path
    return found


def serve(
    folders: Mapping[str, Path],
    settings: Settings,
    address: Address,
    *,
    keys: Sequence[bytes] = (),
    listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve artefacts until SIGINT or SIGTERM, then answer what was taken on. `listening` is told the URL.

    Raises `InputError` and `EnvironmentLackError` before it listens, where an artefact cannot be served or the port is
    taken.
    """
    _log_as_json()
    sys.setswitchinterval(SWITCH_SECONDS)
    check_certificate(address)
    with bound_socket(address) as listener:
        config = uvicorn_config(address, settings)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_served(config, listener, folders, settings, keys, listening))


def uvicorn_config(address: Address, settings: Settings) -> uvicorn.Config:
    """Return how uvicorn is to run; the application comes when there is a loop."""
    return uvicorn.Config(
        _not_yet,
        http=BoundedHead,
        ws="none",  # it would log paths, and no route has it
        ssl_certfile=address.certificate,
        ssl_keyfile=address.key,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.limits.request_seconds) + 1,
    )


async def _served(
    config: uvicorn.Config,
    listener: socket.socket,
    folders: Mapping[str, Path],
    settings: Settings,
    keys: Sequence[bytes],
    listening: Callable[[str], None],
) -> None:
    counters = Counters()
    models = Models([ServedModel(name, folder, settings, counters) for name, folder in folders.items()])
    config.app = edge = application(models, settings.limits, counters, keys=keys)
    reloading: _Reloading | None = None
    try:
        for model in models.values():
            await model.load()
            if model.predictor.choice:
                LOG.info("%s runs the engine %s", model.name, model.predictor.choice)
        reloading = _Reloading(models)
        host, port = listener.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        listening(f"http{'s' if config.is_ssl else ''}://{shown}:{port}")
        await _Server(config).serve([listener])
    finally:
        edge.log_overloads()
        if reloading is not None:
            await reloading.end()
        await asyncio.gather(*(model.unload() for model in models.values()))


class _Reloading:
    """Opens every artefact again on SIGHUP, where there is such a signal; what cannot be opened stays as it was.

    Signals that come meanwhile are one more round.
    """

    def __init__(self, models: Models) -> None:
        self._models = models
        self._round: asyncio.Task[None] | None = None
        self._again = False
        self._ended = False
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked)

    def _asked(self) -> None:
        self._again = True
        if self._round is None or self._round.done():
            self._round = asyncio.get_running_loop().create_task(self._reload())

    async def _reload(self) -> None:
        while self._again:
            self._again = False
            for model in self._models.values():
                if self._ended:
                    return
                try:
                    await model.load()
                except Exception as error:  # noqa: BLE001  whatever it is, the older one answers and the next is opened
                    LOG.warning("%s stays as it was: %s", model.name, sentence_of_error(error)[0])
                else:
                    choice = model.predictor.choice
                    LOG.info("%s was opened again%s", model.name, f", engine {choice}" if choice else "")

    async def end(self) -> None:
        """Begin nothing more, and wait for what is being opened."""
        if hasattr(signal, "SIGHUP"):
            asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
        self._ended = True
        if self._round is not None:
            await self._round


async def _not_yet(scope: Scope, receive: Receive, send: Send) -> None:
    """Stand where the application will: it needs the loop, and the loop the configuration."""
    raise AssertionError("a request came before the server listened")


class _Server(uvicorn.Server):
    """Ends by itself where it is told to: uvicorn's own would be killed by the signal once all is answered."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGINT and SIGTERM as the end of serving; a second SIGINT does not wait for what is under way."""
        older = {each: signal.signal(each, self.handle_exit) for each in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for each, handler in older.items():
                signal.signal(each, handler)


def _log_as_json() -> None:
    """Send the server's log to stderr, a line of JSON per record."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name in ("bertc.serve", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False
