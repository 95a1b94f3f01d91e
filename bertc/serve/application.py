"""The ASGI application: every protocol's routes over the same models, with the edge around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bertc.serve.bounds import Limits
from bertc.serve.counters import Counters
from bertc.serve.edge import Edge
from bertc.serve.endpoints import endpoint, reply
from bertc.serve.models import Models
from bertc.serve.protocols import cohere, hugging_face, open_inference, openai, tei
from bertc.serve.refused import Reason, RefusalError
from bertc.serve.router import Router

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Spoken(Protocol):
    """What a file of `bertc.serve.protocols` offers."""

    def refused(self, refusal: RefusalError) -> Response:
        """Return a refusal as the protocol says it."""

    def routes(self, models: Models, limits: Limits) -> list[Route]:
        """Return the protocol's routes."""


PROTOCOLS: dict[str, Spoken] = {
    "/v1": openai,
    "/v1/rerank": cohere,
    "/v2": open_inference,
    "/v2/rerank": cohere,
    "": tei,
    "/": hugging_face,
}
"""Which protocol a path belongs to, by its beginning; the longest one that fits.

Routes are tried in this order: those in which any word can be a model's name stand behind the others.
"""


def application(models: Models, limits: Limits, counters: Counters, *, keys: Sequence[bytes] = ()) -> Edge:
    """Return the application over models that somebody else opens and closes."""
    found = [*_own_routes(models, limits, counters)]
    for protocol in dict.fromkeys(PROTOCOLS.values()):
        found += protocol.routes(models, limits)
    return Edge(Router(found, _not_found), limits=limits, counters=counters, keys=keys, refused=refused)


def _own_routes(models: Models, limits: Limits, counters: Counters) -> list[Route]:
    async def health(request: Request) -> Response:
        return reply({"status": "ok"})

    async def ready(request: Request) -> Response:
        missing = [model.name for model in models.values() if not model.ready]
        if missing:
            raise RefusalError(Reason.UNREADY, f"not loaded: {', '.join(missing)}")
        return reply({"status": "ready", "models": list(models)})

    async def counted(request: Request) -> Response:
        for model in models.values():
            counters.waiting.labels(model.name).set(model.waiting_tokens)
        return PlainTextResponse(counters.text(), media_type=METRICS_TYPE)

    calls = {"/health": health, "/ready": ready, "/metrics": counted}
    return [Route(path, endpoint(call, tei.refused, limits), methods=["GET"]) for path, call in calls.items()]


def refused(path: str, refusal: RefusalError) -> Response:
    """Return a refusal in the words of the protocol that the path belongs to."""
    begin = max((begin for begin in PROTOCOLS if not begin or lies_under(path, begin)), key=len)
    return PROTOCOLS[begin].refused(refusal)


def lies_under(path: str, begin: str) -> bool:
    """Say whether a path is another, or continues it with a name of its own.

    >>> lies_under("/v1/models", "/v1"), lies_under("/v1-small/embed", "/v1")
    (True, False)
    """
    return path == begin or path.startswith(f"{begin.removesuffix('/')}/")


async def _not_found(request: Request, error: Exception) -> Response:
    """Return what the router refuses: an unknown path, or a method that the path has not."""
    assert isinstance(error, HTTPException)
    if error.status_code == Reason.METHOD.status:
        refusal = RefusalError(Reason.METHOD, f"this path does not answer {request.method:.10}")
    else:
        refusal = RefusalError(Reason.UNKNOWN, "there is no such path")
    response = refused(request.url.path, refusal)
    response.headers.update(error.headers or {})
    return response
