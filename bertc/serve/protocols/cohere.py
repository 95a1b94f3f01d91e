"""Cohere's rerank: POST /v1/rerank and /v2/rerank."""

from __future__ import annotations

import uuid

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bertc.serve.bounds import Limits
from bertc.serve.endpoints import Body, body_from_request, endpoint, headers_of_refusal, reply
from bertc.serve.models import Models
from bertc.serve.protocols._ranks import first_ranker, ranked
from bertc.serve.refused import Reason, RefusalError


class Document(Body):
    """A document that is not just a text."""

    text: str


class RerankBody(Body):
    """/v2/rerank. Without a model the first one that can."""

    query: str
    documents: list[str | Document]
    model: str | None = None
    top_n: int | None = Field(default=None, ge=1)


class OlderRerankBody(RerankBody):
    """/v1/rerank, which can return the documents, too."""

    return_documents: bool | None = None


def refused(refusal: RefusalError) -> Response:
    """Return a refusal as {message}."""
    status = 400 if refusal.reason is Reason.INVALID else refusal.reason.status
    return reply({"message": refusal.message}, status=status, headers=headers_of_refusal(refusal))


def routes(models: Models, limits: Limits) -> list[Route]:
    """Return the routes of both versions."""

    async def newer(request: Request) -> Response:
        return await _reranked(models, await body_from_request(request, RerankBody), version="2", documents=False)

    async def older(request: Request) -> Response:
        body = await body_from_request(request, OlderRerankBody)
        return await _reranked(models, body, version="1", documents=bool(body.return_documents))

    return [
        Route("/v1/rerank", endpoint(older, refused, limits), methods=["POST"]),
        Route("/v2/rerank", endpoint(newer, refused, limits), methods=["POST"]),
    ]


async def _reranked(models: Models, body: RerankBody, *, version: str, documents: bool) -> Response:
    model = first_ranker(models) if body.model is None else models.named(body.model)
    texts = [each if isinstance(each, str) else each.text for each in body.documents]
    pairs, answer = await ranked(model, body.query, texts)
    results = [
        {"index": index, "relevance_score": score} | ({"document": {"text": texts[index]}} if documents else {})
        for index, score in pairs[: body.top_n]
    ]
    meta = {"api_version": {"version": version}, "tokens": {"input_tokens": answer.tokens}}
    return reply({"id": str(uuid.uuid4()), "results": results, "meta": meta})
