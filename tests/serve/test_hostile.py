"""What nobody should send: every protocol says no in its own form, and nothing of it stands in the log.

A table of wrong bodies for every route, and of wrong HTTP.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from bertc.serve.bounds import Limits
from tests.artefacts import PathOf
from tests.serve.speaking import Reply, Spoken, spoken_to

SECRET = "s3cr3t-0f-a-client"
LIMITS = Limits(request_bytes=1 << 16, request_texts=8, request_seconds=1.0)
KEY = "a-key-that-is-long-enough"


@dataclass(frozen=True)
class Route:
    """A route: a body that is answered, the field with the texts, and how the protocol says no."""

    path: str
    good: dict[str, Any]
    texts: str
    error: Callable[[Any], str]

    def with_texts(self, value: Any) -> dict[str, Any]:
        """Return the body with other texts."""
        return self.good | {self.texts: value}


def tei(document: Any) -> str:
    assert set(document) == {"error", "error_type"}
    return str(document["error"])


def openai(document: Any) -> str:
    assert list(document) == ["error"] and set(document["error"]) == {"message", "type", "param", "code"}
    return str(document["error"]["message"])


def cohere(document: Any) -> str:
    assert list(document) == ["message"]
    return str(document["message"])


def inference(document: Any) -> str:
    assert list(document) == ["error"]
    return str(document["error"])


TENSOR = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}
ROUTES = {
    "embed": Route("/embed", {"inputs": ["good"]}, "inputs", tei),
    "predict": Route("/predict", {"inputs": [["good"]]}, "inputs", tei),
    "tokenize": Route("/labels/tokenize", {"inputs": ["good"]}, "inputs", tei),
    "rerank": Route("/ranks/rerank", {"query": "who", "texts": ["good"]}, "texts", tei),
    "root": Route("/", {"inputs": "good", "parameters": {}}, "inputs", tei),
    "name": Route("/vectors", {"inputs": ["good"]}, "inputs", tei),
    "openai": Route("/v1/embeddings", {"model": "vectors", "input": ["good"]}, "input", openai),
    "cohere-1": Route("/v1/rerank", {"query": "who", "documents": ["good"]}, "documents", cohere),
    "cohere-2": Route("/v2/rerank", {"query": "who", "documents": ["good"]}, "documents", cohere),
    "inference": Route("/v2/models/labels/infer", {"inputs": [TENSOR]}, "inputs", inference),
}

BODIES: dict[str, Callable[[Route], bytes]] = {
    "nothing": lambda route: b"",
    "null": lambda route: b"null",
    "a list": lambda route: json.dumps([route.good, SECRET]).encode(),
    "a text": lambda route: json.dumps(SECRET).encode(),
    "cut off": lambda route: json.dumps(route.with_texts([SECRET])).encode()[:-3],
    "more behind": lambda route: json.dumps(route.good).encode() + SECRET.encode(),
    "no JSON": lambda route: f"inputs={SECRET}&x=1".encode(),
    "UTF-16": lambda route: json.dumps(route.good).encode("utf-16"),
    "no UTF-8": lambda route: json.dumps(route.with_texts(["?" + SECRET])).encode().replace(b"?", b"\xff"),
    "lone surrogate": lambda route: json.dumps(route.with_texts([f"{SECRET} \ud800"])).encode(),
    "surrogates turned round": lambda route: json.dumps(route.with_texts([f"{SECRET} \udc00\ud800"])).encode(),
    "surrogate in UTF-8": lambda route: json.dumps(route.with_texts(["?"])).encode().replace(b"?", b"\xed\xa0\x80"),
    "control character": lambda route: json.dumps(route.with_texts(["?"])).encode().replace(b"?", b"\x00"),
    "deep lists": lambda route: b"[" * 30_000 + b"]" * 30_000,
    "deep objects": lambda route: b'{"inputs":' * 5_000 + b"1" + b"}" * 5_000,
    "deep texts": lambda route: json.dumps(route.good | {route.texts: nested(150)}).encode(),
    "NaN": lambda route: json.dumps(route.with_texts(float("nan"))).encode(),
    "NaN among texts": lambda route: json.dumps(route.with_texts(["good", float("nan")])).encode(),
    "Infinity": lambda route: json.dumps(route.with_texts([float("-inf")])).encode(),
    "a number": lambda route: json.dumps(route.with_texts(3)).encode(),
    "a huge number": lambda route: json.dumps(route.with_texts([10**4000])).encode(),
    "true": lambda route: json.dumps(route.with_texts(True)).encode(),
    "no texts": lambda route: json.dumps(route.with_texts(None)).encode(),
    "a null among texts": lambda route: json.dumps(route.with_texts([SECRET, None])).encode(),
    "an object as text": lambda route: json.dumps(route.with_texts([{SECRET: SECRET}])).encode(),
    "the field missing": lambda route: json.dumps({k: v for k, v in route.good.items() if k != route.texts}).encode(),
    "an unknown field": lambda route: json.dumps(route.good | {"prompt": SECRET}).encode(),
    "an odd field": lambda route: json.dumps(route.good | {"__proto__": {"a": SECRET}}).encode(),
    "too many texts": lambda route: json.dumps(route.with_texts(many(route))).encode(),
    "empty list": lambda route: json.dumps(route.with_texts([])).encode(),
    "too large": lambda route: json.dumps(route.with_texts([SECRET * 8000])).encode(),
}


def nested(depth: int) -> list[Any]:
    """Return lists in lists."""
    found: list[Any] = ["good"]
    for _ in range(depth):
        found = [found]
    return found


def many(route: Route) -> list[Any]:
    """Return more texts than a request may have."""
    if route.error is inference:
        return [TENSOR | {"shape": [9], "data": [SECRET] * 9}]
    return [[SECRET]] * 9 if route.path in ("/predict", "/") else [SECRET] * 9


STATUS = {"too large": 413, "too many texts": 413}


@pytest.fixture(scope="module")
def server(artefact_of: PathOf) -> Iterator[Spoken]:
    """A server with small limits."""
    folders = {
        "labels": artefact_of("sequence-classification"),
        "vectors": artefact_of("feature-extraction"),
        "ranks": artefact_of("late-interaction"),
    }
    with spoken_to(folders, LIMITS) as found:
        yield found


@pytest.fixture(autouse=True)
def _quiet(server: Spoken) -> Iterator[None]:
    """Look at the log after each request: one line of the route, no failure, and nothing of what was sent."""
    before = len(server.log)
    yield
    said = "\n".join(server.log[before:])
    assert SECRET not in said and "Traceback" not in said and "CRITICAL" not in said
    assert "\\ud800" not in said and 'File "' not in said


def refused(reply: Reply, error: Callable[[Any], str]) -> str:
    """Check that a reply is a refusal in a protocol's form; return its sentence."""
    assert 400 <= reply.status < 500, reply.content[:300]
    assert reply.headers["content-type"] == "application/json"
    said = error(reply.json)
    assert said and "Traceback" not in said and "Error(" not in said and 'File "' not in said and len(said) < 600
    return said


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_a_good_body_is_answered(server: Spoken, route: Route) -> None:
    assert server.post(route.path, route.good).status == 200
    assert server.post(route.path, json.dumps(route.good).encode(), content_type="text/plain").status == 200


HOSTILE = [(name, body) for name in ROUTES for body in BODIES if (name, body) != ("tokenize", "empty list")]


@pytest.mark.parametrize(("name", "body"), HOSTILE)
def test_a_hostile_body_is_refused(server: Spoken, name: str, body: str) -> None:
    route = ROUTES[name]
    reply = server.post(route.path, BODIES[body](route))
    said = refused(reply, route.error)
    assert SECRET not in said
    assert reply.status == STATUS.get(body, reply.status)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_a_wrong_method_is_refused(server: Spoken, route: Route, method: str) -> None:
    reply = server.ask(method, route.path)
    assert reply.status == 405 and reply.headers["allow"] == "POST"
    assert method in refused(reply, route.error)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "nonsense"])
@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_a_packed_body_is_refused(server: Spoken, route: Route, encoding: str) -> None:
    reply = server.post(route.path, route.good, content_encoding=encoding)
    assert "Content-Encoding" in refused(reply, route.error)


PATHS = {
    "/none/embed": tei,
    f"/{SECRET}": tei,
    "/health": tei,
    "/v1": openai,
    "/v1/": openai,
    "/v1/chat/completions": openai,
    f"/v1/models/{SECRET}": openai,
    "/v1/rerank/x": cohere,
    "/v2/": inference,
    "/v2/models": inference,
    f"/v2/models/{SECRET}": inference,
    f"/v2/models/{SECRET}/infer": inference,
    "/v2/models/labels/versions/0": inference,
    "/v2/models/labels/versions/1e0/ready": inference,
    "/v2/models/labels%2F..%2Fvectors": inference,
    "/v2/models/../../etc/passwd": inference,
    "/v2/models/labels/config": inference,
    "/v2/models/labels/trace/setting": inference,
    "/v2/systemsharedmemory/region/x/register": inference,
    "/v2/repository/models/..%2f..%2fetc/load": inference,
    "/..%2f..%2fetc%2fpasswd": tei,
    "/%00": tei,
    "/%ff%fe": tei,
    "/%ed%a0%80": tei,
    "//": tei,
    "/labels//predict": tei,
    "/a" * 3000: tei,
    "/?inputs=" + SECRET: tei,
    "/embed?" + "a=b&" * 500: tei,
}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path[:40])
def test_a_wrong_path_is_refused(server: Spoken, path: str) -> None:
    for method in ("GET", "POST"):
        if (method, path) == ("GET", "/health"):
            continue
        reply = server.ask(method, path, b"" if method == "POST" else None)
        assert reply.status in (400, 404, 405)
        refused(reply, PATHS[path])


HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\n"
WRONG_HTTP = {
    "no HTTP": b"s3cr3t-0f-a-client\r\n\r\n",
    "a TLS greeting": bytes.fromhex("16030100c8010000c40303") + bytes(189),
    "HTTP/9": b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "no colon": HEAD + b"s3cr3t-0f-a-client\r\n\r\n",
    "a blank before the colon": HEAD + b"Content-Length : 2\r\n\r\n{}",
    "a length below 0": HEAD + b"Content-Length: -1\r\n\r\n{}",
    "no number": HEAD + b"Content-Length: two\r\n\r\n{}",
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
    "length and chunks": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a wrong chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk below 0": HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n",
    "an endless header": HEAD + b"A: " + b"a" * 200_000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", WRONG_HTTP)
def test_wrong_http_is_refused_and_the_connection_ends(server: Spoken, name: str) -> None:
    content = server.raw(WRONG_HTTP[name], end=True)
    assert not content or content.startswith((b"HTTP/1.1 4", b"HTTP/1.0 4"))
    assert b"Traceback" not in content and SECRET.encode() not in content
    assert server.post("/predict", {"inputs": "good"}).status == 200


def request(path: str, body: bytes, *headers: bytes) -> bytes:
    """Return a request as bytes."""
    lines = [b"POST " + path.encode() + b" HTTP/1.1", b"Host: a", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


def test_pipelined_requests_are_answered_in_their_order(server: Spoken) -> None:
    good = [request("/predict", json.dumps({"inputs": text}).encode()) for text in ("good", "bad")]
    last = request("/predict", b"{}", b"Connection: close")
    content = server.raw(good[0] + request("/none", b"{}") + good[1] + request("/v1/embeddings", b"[") + last)
    statuses = [part[:3] for part in content.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200", b"404", b"200", b"400", b"422"]


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_chunks_without_a_length_are_counted(server: Spoken, route: Route) -> None:
    head = f"POST {route.path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    content = server.raw(head, chunk * 5)
    assert content.startswith(b"HTTP/1.1 413")
    route.error(json.loads(content.partition(b"\r\n\r\n")[2]))


@pytest.mark.parametrize("name", ["predict", "openai", "cohere-2", "inference"])
def test_a_slow_sender_is_not_waited_for(server: Spoken, name: str) -> None:
    route = ROUTES[name]
    body = json.dumps(route.good).encode()
    begin = time.monotonic()
    content = server.raw(request(route.path, body, b"Connection: close")[: -len(body) + 3])
    assert content.startswith(b"HTTP/1.1 504") and time.monotonic() - begin < 10 * LIMITS.request_seconds
    assert "longer than 1 seconds" in route.error(json.loads(content.partition(b"\r\n\r\n")[2]))


def test_a_client_that_goes_leaves_nothing(server: Spoken) -> None:
    body = json.dumps({"inputs": [["good"]] * 8}).encode()
    for cut in (30, 90, len(body)):
        server.raw(request("/predict", body)[: 70 + cut], end=True)
    assert server.post("/predict", {"inputs": "good"}).status == 200


@pytest.mark.parametrize("route", ROUTES.values(), ids=ROUTES)
def test_nothing_is_answered_without_a_key(keyed: Spoken, route: Route) -> None:
    for given in (None, "Bearer", "Bearer wrong", f"Basic {KEY}", KEY, f"Bearer {KEY}x", "Bearer \xff"):
        reply = keyed.ask("POST", route.path, route.good, {} if given is None else {"Authorization": given})
        assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        refused(reply, route.error)
    if route.path in ("/predict", "/labels/tokenize", "/", "/v2/models/labels/infer"):
        assert keyed.post(route.path, route.good, authorization=f"bearer {KEY}").status == 200


@pytest.fixture(scope="module")
def keyed(artefact_of: PathOf) -> Iterator[Spoken]:
    """A server that knows its clients."""
    with spoken_to({"labels": artefact_of("sequence-classification")}, LIMITS, keys=(KEY.encode(),)) as found:
        yield found
