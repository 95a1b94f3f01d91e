"""Servers of the same engine as other servers are made, for benchmarks/serving.py: `one` and `count`."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import bertc
from bertc.core.batch import batch_from_features
from bertc.core.outputs import output_names
from bertc.data.rows import row_from_texts
from bertc.jobs.predict import Predictor
from bertc.tasks import outputs_from_head

MOST_TEXTS, WAIT = 32, 0.005
ROUTES = ("/predict", "/embed")


def one_by_one(model: Predictor) -> Starlette:
    """Return an application that runs the engine for every request."""

    async def predict(request: Request) -> JSONResponse:
        body = await request.json()
        return JSONResponse(model.predict(body["inputs"]))

    return Starlette(routes=[Route(path, predict, methods=["POST"]) for path in ROUTES])


def padded(model: Predictor, texts: list[str]) -> list[Any]:
    """Answer texts, each of which has one output, by one call of the engine, padded to the longest."""
    encoded = model.encoded([row_from_texts(text) for text in texts])
    wanted = [output for output in outputs_from_head(model.head) if output.read]
    arrays = model.run_batch(batch_from_features(encoded.features, range(len(texts))), output_names(wanted))
    outputs = model.row_outputs(
        encoded, {output.key: list(array) for output, array in zip(wanted, arrays, strict=True)}
    )
    return list(model.task.predictions(encoded.rows, outputs, model.head))


def by_count(model: Predictor) -> Starlette:
    """Return an application that puts up to 32 texts into a padded call, after at most 5 ms of waiting.

    An engine of target `native` leaves the padding away.
    """
    waiting: asyncio.Queue[tuple[str, asyncio.Future[Any]]] = asyncio.Queue()

    async def work() -> None:
        while True:
            taken = [await waiting.get()]
            end = asyncio.get_running_loop().time() + WAIT
            while len(taken) < MOST_TEXTS:
                try:
                    async with asyncio.timeout_at(end):
                        taken.append(await waiting.get())
                except TimeoutError:
                    break
            answers = await asyncio.to_thread(padded, model, [text for text, _ in taken])
            for (_, future), answer in zip(taken, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    async def predict(request: Request) -> JSONResponse:
        if not hasattr(application.state, "task"):
            application.state.task = asyncio.create_task(work())
        body = await request.json()
        future = asyncio.get_running_loop().create_future()
        await waiting.put((body["inputs"], future))
        return JSONResponse([await future])

    application = Starlette(routes=[Route(path, predict, methods=["POST"]) for path in ROUTES])
    return application


def main() -> None:
    """Serve until the process is ended."""
    name, engine = sys.argv[1:]
    model = bertc.load(engine, packing=False)
    application = {"one": one_by_one, "count": by_count}[name](model)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(f"serving at http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(application, log_level="error", access_log=False)).run([listener])


if __name__ == "__main__":
    main()
