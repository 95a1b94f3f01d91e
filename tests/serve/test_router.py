"""A request goes where Starlette would send it, by the short way or the long one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bertc.serve.router import Router


def route(path: str, name: str, *methods: str) -> Route:
    async def answer(request: Request) -> Response:
        return PlainTextResponse(f"{name} {request.path_params.get('model', '')}".strip())

    return Route(path, answer, methods=list(methods))


async def not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse("none", getattr(error, "status_code", 500))


ROUTES = [
    route("/embed", "first", "POST"),
    route("/embed", "second", "POST", "GET"),
    route("/{model}/embed", "named", "POST"),
    route("/{model}", "any", "POST"),
    route("/health", "health", "GET"),
]
ASKED = {
    ("POST", "/embed"): (200, "first"),
    ("GET", "/embed"): (200, "second"),
    ("POST", "/OUT/embed"): (200, "named OUT"),
    ("POST", "/OUT"): (200, "any OUT"),
    ("POST", "/embed/"): (404, "none"),
    ("HEAD", "/health"): (200, "health"),
    ("POST", "/health"): (200, "any health"),
    ("DELETE", "/embed"): (405, "none"),
    ("GET", "/nothing/here"): (404, "none"),
}


def asked(router: Router, method: str, path: str, root: str = "") -> tuple[int, str, str]:
    """Return status and body, and the path of the route that is known to who counts requests."""
    scope: dict[str, Any] = {
        "type": "http", "method": method, "path": path, "root_path": root, "headers": [], "query_string": b"",
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(router(scope, receive, send))
    return sent[0]["status"], sent[1]["body"].decode(), getattr(scope.get("route"), "path", "other")


@pytest.mark.parametrize(("method", "path"), list(ASKED))
def test_a_request_finds_its_route(method: str, path: str) -> None:
    status, body, _ = asked(Router(ROUTES, not_found), method, path)
    assert (status, body) == ASKED[method, path]


def test_the_route_of_a_fixed_path_is_known_to_who_counts() -> None:
    assert asked(Router(ROUTES, not_found), "POST", "/embed")[2] == "/embed"
    assert asked(Router(ROUTES, not_found), "POST", "/OUT/embed")[2] == "/{model}/embed"
    assert asked(Router(ROUTES, not_found), "GET", "/nothing/here")[2] == "other"


def test_under_a_prefix_the_path_is_what_stands_behind_it() -> None:
    assert asked(Router(ROUTES, not_found), "POST", "/api/embed", root="/api")[:2] == (200, "first")
    assert asked(Router(ROUTES, not_found), "POST", "/embed", root="/api")[:2] == (200, "first")  # as Starlette does
    assert asked(Router(ROUTES, not_found), "POST", "/api/embed")[:2] == (200, "named api")
