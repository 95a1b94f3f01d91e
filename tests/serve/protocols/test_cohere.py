"""Cohere's rerank: the order of documents in both versions, and its errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.serve.protocols.conftest import Predict
from tests.serve.speaking import Spoken

QUERY = "where did mary live"
DOCUMENTS = ["mary did live in london", "the film was boring", "a red car"]
PATHS = ("/v1/rerank", "/v2/rerank")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", ["text-ranking", "late-interaction"])
def test_documents_in_the_order_of_their_scores(server: Spoken, predict: Predict, path: str, model: str) -> None:
    scores = [each["score"] for each in predict(model, [QUERY] * 3, DOCUMENTS)]
    reply = server.post(path, {"model": model, "query": QUERY, "documents": DOCUMENTS}).json
    found = [(each["index"], each["relevance_score"]) for each in reply["results"]]
    assert found == sorted(enumerate(scores), key=lambda pair: -pair[1])
    assert len(reply["id"]) == 36 and reply["meta"]["api_version"]["version"] == path[2]
    objects = [{"text": text} for text in DOCUMENTS]
    other = server.post(path, {"query": QUERY, "documents": objects, "model": model, "top_n": 2}).json
    assert other["results"] == reply["results"][:2]


def test_the_first_model_that_can_is_asked(server: Spoken) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS}  # the first model of all is a classifier with two labels
    named = server.post(PATHS[1], body | {"model": "text-ranking"}).json
    assert server.post(PATHS[1], body).json["results"] == named["results"]


def test_documents_are_returned_by_the_older_version(server: Spoken) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS, "return_documents": True}
    results = server.post(PATHS[0], body).json["results"]
    assert [each["document"]["text"] for each in results] == [DOCUMENTS[each["index"]] for each in results]
    assert server.post(PATHS[1], body).status == 400


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": "rerank-v3.5"}, 404, "there is no model"),
        ({"model": "sequence-classification"}, 400, "gives no score"),
        ({"documents": []}, 400, "no text to rank"),
        ({"documents": [3]}, 400, "documents.0"),
        ({"documents": [{"title": "a"}]}, 400, "documents.0"),
        ({"documents": "a"}, 400, "documents"),
        ({"query": None}, 400, "query"),
        ({"top_n": 0}, 400, "top_n"),
        ({"top_n": 1.5}, 400, "top_n"),
        ({"max_tokens_per_doc": 10}, 400, "max_tokens_per_doc"),
        ({"query": " ", "documents": [" "]}, 400, "text 0 is empty"),
    ],
)
def test_errors(server: Spoken, path: str, change: dict[str, Any], status: int, words: str) -> None:
    reply = server.post(path, {"query": QUERY, "documents": DOCUMENTS} | change)
    assert reply.status == status and list(reply.json) == ["message"] and words in reply.json["message"]
