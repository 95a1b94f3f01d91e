"""Every kind of refusal in the words of every protocol, and a fault of ours, which tells a client nothing of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from bertc.serve.application import PROTOCOLS, refused
from bertc.serve.models import ServedModel
from bertc.serve.protocols import cohere, hugging_face, open_inference, openai, tei
from bertc.serve.refused import Reason, RefusalError
from tests.serve.speaking import Spoken

SENTENCES: dict[str, Callable[[Any], str]] = {
    "bertc.serve.protocols.tei": lambda document: document["error"],
    "bertc.serve.protocols.hugging_face": lambda document: document["error"],
    "bertc.serve.protocols.openai": lambda document: document["error"]["message"],
    "bertc.serve.protocols.cohere": lambda document: document["message"],
    "bertc.serve.protocols.open_inference": lambda document: document["error"],
}


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_refusal_has_its_status_and_its_sentence(protocol: Any, reason: Reason) -> None:
    reply = protocol.refused(RefusalError(reason, "no, because", retry_after=3))
    assert reply.status_code in (reason.status, 400 if reason is Reason.INVALID else reason.status)
    assert SENTENCES[str(protocol.__name__)](json.loads(bytes(reply.body))) == "no, because"
    assert reply.headers["retry-after"] == "3"
    bare = protocol.refused(RefusalError(reason, "no"))
    assert "retry-after" not in bare.headers
    assert ("www-authenticate" in bare.headers) == (reason is Reason.UNAUTHORIZED)


@pytest.mark.parametrize(
    ("path", "protocol"),
    [
        ("/v1/models/none", openai),
        ("/v1", openai),
        ("/v1/rerank", cohere),
        ("/v2/rerank", cohere),
        ("/v2/reranked", open_inference),
        ("/v2-small/embed", tei),  # a model may be called so
        ("/v1.5", hugging_face),
        ("/embed", tei),
        ("*", tei),  # OPTIONS *
    ],
)
def test_a_path_is_answered_in_the_words_of_its_protocol(path: str, protocol: Any) -> None:
    refusal = RefusalError(Reason.UNKNOWN, "no")
    assert refused(path, refusal).body == protocol.refused(refusal).body


SECRET = "s3cr3t-0f-a-client"
TEXTS = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["good"]}
ASKED = {
    "/predict": {"inputs": "good"},
    "/": {"inputs": "good"},
    "/v1/embeddings": {"model": "feature-extraction", "input": "good"},
    "/v2/rerank": {"query": "who", "documents": ["good"]},
    "/v2/models/fill-mask/infer": {"inputs": [TEXTS]},
}


@pytest.mark.parametrize("path", ASKED)
def test_a_fault_of_ours_is_logged_without_its_message(
    server: Spoken, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    async def broken(*_: Any) -> None:
        raise ValueError(SECRET)

    monkeypatch.setattr(ServedModel, "answer", broken)
    before = len(server.log)
    reply = server.post(path, ASKED[path])
    assert reply.status == 500 and b"its log says where" in reply.content and SECRET.encode() not in reply.content
    said = "\n".join(server.log[before:])
    assert "ValueError" in said and "in broken" in said and SECRET not in said
