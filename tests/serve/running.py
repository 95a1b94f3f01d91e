"""A server in a thread, and how it is asked."""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import logging
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from bertc.errors import BertcError
from bertc.serve.application import application
from bertc.serve.counters import Counters
from bertc.serve.edge import Edge
from bertc.serve.listener import Address
from bertc.serve.models import Models, ServedModel, Settings
from bertc.serve.server import uvicorn_config


@dataclass
class Running:
    """A running server: its port, its edge, and its models, whose coroutines `call` runs in the server's loop."""

    port: int
    loop: asyncio.AbstractEventLoop
    models: Models
    edge: Edge
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Return status, parsed JSON (text where it is none) and headers. A `body` of bytes is sent as it is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, content, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            text = response.read()
            found = dict(response.getheaders())
        finally:
            connection.close()
        return response.status, json.loads(text) if "json" in found.get("content-type", "") else text, found

    def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        """Return status and parsed JSON."""
        status, answer, _ = self.ask("POST", path, body, headers)
        return status, answer

    def call(self, work: Any) -> Any:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


@contextmanager
def running(
    folders: Mapping[str, Path], settings: Settings | None = None, *, keys: tuple[bytes, ...] = ()
) -> Iterator[Running]:
    """Serve artefacts in a thread."""
    settings = settings or Settings(threads=1, allow_failed=True)
    listener = socket.create_server(("127.0.0.1", 0))
    started: list[Running | BaseException] = []
    ready = threading.Event()
    # pytest gives loggers that do not propagate a handler, by which uvicorn takes its access log for wanted.
    logging.getLogger("uvicorn.access").disabled = True
    config = uvicorn_config(Address(), settings)
    server = uvicorn.Server(config)

    async def serve() -> None:
        counters = Counters()
        models = Models([ServedModel(name, folder, settings, counters) for name, folder in folders.items()])
        config.app = edge = application(models, settings.limits, counters, keys=keys)
        try:
            for model in models.values():
                await model.load()
            started.append(Running(listener.getsockname()[1], asyncio.get_running_loop(), models, edge))
            ready.set()
            await server.serve([listener])
        except (BertcError, OSError) as error:
            started.append(error)
        finally:
            ready.set()
            await asyncio.gather(*(model.unload() for model in models.values()))

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        ready.wait(60)
        assert isinstance(started[0], Running), started
        yield started[0]
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
        gc.unfreeze()  # what a server keeps from the search for garbage, this process of tests does not
        assert not thread.is_alive(), "the server did not end"
