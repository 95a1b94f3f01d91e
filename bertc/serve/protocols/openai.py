"""OpenAI's embeddings and list of models: POST /v1/embeddings, GET /v1/models and /v1/models/NAME."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bertc.serve.bounds import Limits
from bertc.serve.endpoints import Body, body_from_request, endpoint, headers_of_refusal, reply
from bertc.serve.models import Models, ServedModel
from bertc.serve.protocols._calls import resized, singles
from bertc.serve.protocols._task_names import EMBEDDING
from bertc.serve.protocols._token_ids import features_from_ids
from bertc.serve.refused import Reason, RefusalError

TYPES = {
    Reason.UNAUTHORIZED: ("authentication_error", "invalid_api_key"),
    Reason.UNKNOWN: ("invalid_request_error", "model_not_found"),
    Reason.OVERLOADED: ("rate_limit_error", "rate_limit_exceeded"),
    Reason.BROKEN: ("server_error", None),
    Reason.UNREADY: ("server_error", None),
    Reason.LATE: ("server_error", "timeout"),
}
"""The type and code of a refusal; any other is a wrong request without a code."""

Id = Annotated[int, Field(ge=0, lt=2**31)]


class EmbeddingsBody(Body):
    """/v1/embeddings. `user` says who asks, for the one who pays; here it means nothing."""

    input: str | list[str] | list[Id] | list[list[Id]]
    model: str
    dimensions: int | None = Field(default=None, ge=1)
    encoding_format: Literal["float", "base64"] | None = None
    user: str | None = None


class _UnknownModelError(RefusalError):
    """There is no such model, or it has no embeddings."""


def refused(refusal: RefusalError) -> Response:
    """Return a refusal as {error: {message, type, param, code}}."""
    kind, code = TYPES.get(refusal.reason, ("invalid_request_error", None))
    of_model = isinstance(refusal, _UnknownModelError)
    error = {
        "message": refusal.message,
        "type": kind,
        "param": "model" if of_model else None,
        "code": code if of_model or refusal.reason is not Reason.UNKNOWN else None,
    }
    status = 400 if refusal.reason is Reason.INVALID else refusal.reason.status
    return reply({"error": error}, status=status, headers=headers_of_refusal(refusal))


def routes(models: Models, limits: Limits) -> list[Route]:
    """Return the routes."""

    async def embeddings(request: Request) -> Response:
        body = await body_from_request(request, EmbeddingsBody)
        return await _embedded(_named(models, body.model), body)

    async def listed(request: Request) -> Response:
        return reply({"object": "list", "data": [_described(model) for model in models.values() if model.ready]})

    async def described(request: Request) -> Response:
        return reply(_described(_named(models, request.path_params["name"])))

    return [
        Route("/v1/embeddings", endpoint(embeddings, refused, limits), methods=["POST"]),
        Route("/v1/models", endpoint(listed, refused, limits), methods=["GET"]),
        Route("/v1/models/{name}", endpoint(described, refused, limits), methods=["GET"]),
    ]


def _named(models: Models, name: str) -> ServedModel:
    try:
        return models.named(name)
    except RefusalError as refusal:
        raise _UnknownModelError(refusal.reason, refusal.message) from None


def _described(model: ServedModel) -> dict[str, Any]:
    created = datetime.fromisoformat(model.predictor.manifest.created)
    return {"id": model.name, "object": "model", "created": int(created.timestamp()), "owned_by": "bertc"}


async def _embedded(model: ServedModel, body: EmbeddingsBody) -> Response:
    if model.task != EMBEDDING:
        raise RefusalError(Reason.INVALID, f"the model {model.name} is for {model.task}, and not for embeddings")
    if not body.input:
        raise RefusalError(Reason.EMPTY, "input is empty")
    vectors, tokens, normalize = await _vectors(model, body.input)
    vectors = resized(vectors, normalize=normalize and body.dimensions is not None, dimensions=body.dimensions)
    data = [
        {"object": "embedding", "index": index, "embedding": _written(vector, body.encoding_format)}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return reply({"object": "list", "data": data, "model": model.name, "usage": usage})


async def _vectors(model: ServedModel, given: Any) -> tuple[NDArray[np.float32], int, bool]:
    """Return the vectors [texts, H], how many tokens they were made of, and whether the model divides by the length.

    Token ids are run as they are, with the special tokens that are among them.
    """
    if isinstance(given, str) or isinstance(given[0], str):
        answer = await model.answer(singles(given))
        return answer.outputs[:, 0], answer.tokens, answer.predictor.head.normalize
    rows: list[list[int]] = [given] if isinstance(given[0], int) else given
    ran = await model.answer_features(len(rows), lambda predictor: features_from_ids(predictor, _arrays(rows)))
    (vectors,) = ran.arrays.values()
    return np.stack(vectors), ran.tokens, ran.predictor.head.normalize


def _arrays(rows: list[list[int]]) -> list[NDArray[np.int64]]:
    return [np.array(row, np.int64) for row in rows]


def _written(vector: NDArray[np.float32], form: str | None) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii") if form == "base64" else vector
