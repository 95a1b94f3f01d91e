"""The routes of Hugging Face's Text Embeddings Inference (its openapi.json, version 1.9), by task of the model.

A route without a model's name is the first model's whose task it fits; /NAME/embed and the like are that model's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bertc.checkpoint.text_encoder import TextEncoder
from bertc.core.versions import __version__
from bertc.serve.bounds import Limits
from bertc.serve.endpoints import Body, body_from_request, endpoint, reply
from bertc.serve.models import Models, ServedModel
from bertc.serve.protocols._calls import (
    EmbedBody,
    Inputs,
    PredictBody,
    RerankBody,
    SimilarityBody,
    TextsBody,
    check_options,
    compare,
    embed,
    embed_all,
    embed_sparse,
    predict,
    refused,
    rerank,
    singles,
)
from bertc.serve.protocols._ranks import RANKING, first_ranker, has_one_score
from bertc.serve.protocols._task_names import CLASSES, EMBEDDING, SPARSE, TOKENS
from bertc.serve.refused import Reason, RefusalError

__all__ = ["CALLS", "refused", "routes"]

MOST_TOKENS = 1 << 18
"""Tokens that one answer lists: 20 MB of JSON, and ten times that in memory while it is written."""


class TokenizeBody(Body):
    """/tokenize."""

    inputs: str | list[str]
    add_special_tokens: bool = True
    prompt_name: str | None = None


class NoBody(Body):
    """Nothing is sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Posted:
    """What a route answers: the body's form, the call, and the tasks that have it (none: all)."""

    body: type[Body]
    call: Callable[[ServedModel, Any], Awaitable[Response]]
    tasks: tuple[str, ...] = ()


def routes(models: Models, limits: Limits) -> list[Route]:
    """Return the routes, for the first model that fits and for every model by its name."""
    found = []
    for name, posted in CALLS.items():
        method = "GET" if posted.body is NoBody else "POST"
        for path in (f"/{name}", f"/{{model}}/{name}"):
            handle = endpoint(_of_model(models, posted, name), refused, limits)
            found.append(Route(path, handle, methods=[method]))
    return found


def _of_model(models: Models, posted: _Posted, name: str) -> Callable[[Request], Awaitable[Response]]:
    """Return the call on the model that the path names, or on the first one of the tasks."""

    async def handle(request: Request) -> Response:
        model = _chosen(models, posted, name, request.path_params.get("model"))
        body = NoBody() if posted.body is NoBody else await body_from_request(request, posted.body)
        return await posted.call(model, body)

    return handle


def _chosen(models: Models, posted: _Posted, name: str, given: str | None) -> ServedModel:
    if given is None:
        return first_ranker(models) if posted.tasks == RANKING else models.first(*posted.tasks)
    model = models.named(given)
    if posted.tasks and model.task not in posted.tasks:
        raise RefusalError(Reason.INVALID, f"the model {model.name} is for {model.task}, which has no /{name}")
    return model


async def tokenize(model: ServedModel, body: TokenizeBody) -> Response:
    """Return each text's tokens, with the characters that they come from."""
    check_options(Inputs(prompt_name=body.prompt_name))
    texts = [text for (text,) in singles(body.inputs)]
    if len(texts) > model.limits.request_texts:
        raise RefusalError(Reason.TOO_LARGE, f"a request has at most {model.limits.request_texts} texts")
    return reply(await asyncio.to_thread(_tokens, model.predictor.encoder, texts, special=body.add_special_tokens))


def _tokens(encoder: TextEncoder, texts: list[str], *, special: bool) -> list[list[dict[str, Any]]]:
    """Return the tokens of whole texts: a client asks how long a text is, or where to cut it itself."""
    names = encoder.names_of_ids(encoder.vocab_size)
    found = []
    left = MOST_TOKENS
    for text in texts:
        encoded = encoder.encode_whole(text)
        left -= len(encoded.ids)
        if left < 0:
            raise RefusalError(Reason.TOO_LARGE, f"the texts have more than {MOST_TOKENS} tokens; send fewer at once")
        tokens = []
        for id, (start, stop), sequence in zip(encoded.ids, encoded.offsets, encoded.sequence_ids, strict=True):
            if sequence >= 0:
                place = {"start": int(start), "stop": int(stop)}
                tokens.append({"id": int(id), "text": text[start:stop], "special": False} | place)
            elif special:
                tokens.append({"id": int(id), "text": names[int(id)], "special": True, "start": None, "stop": None})
        found.append(tokens)
    return found


async def info(model: ServedModel, body: NoBody) -> Response:
    """Return what the model is, and the limits."""
    predictor, head = model.predictor, model.head
    labels = {
        "id2label": {str(id): label for id, label in enumerate(head.labels)},
        "label2id": {label: id for id, label in enumerate(head.labels)},
    }
    kinds: dict[str, Any] = {
        EMBEDDING: {"embedding": {"pooling": str(head.pooling)}},
        SPARSE: {"embedding": {"pooling": "splade"}},
        TOKENS: {"embedding": {"pooling": "none"}},
    }
    scores = {"reranker": labels} if has_one_score(model) else {"classifier": labels}
    limits = model.limits
    return reply(
        {
            "model_id": model.name,
            "served_model_name": model.name,
            "model_dtype": predictor.manifest.target,
            "model_type": kinds.get(model.task, scores),
            # TEI bounds requests by their number, this server by the time that they would wait.
            "max_concurrent_requests": limits.request_texts,
            "max_input_length": predictor.max_length,
            "max_batch_tokens": limits.batch_tokens,
            "max_client_batch_size": limits.request_texts,
            "auto_truncate": True,
            "tokenization_workers": 1,
            "version": __version__,
        }
    )


CALLS = {
    "embed": _Posted(body=EmbedBody, call=embed, tasks=(EMBEDDING,)),
    "embed_all": _Posted(body=TextsBody, call=embed_all, tasks=(TOKENS,)),
    "embed_sparse": _Posted(body=TextsBody, call=embed_sparse, tasks=(SPARSE,)),
    "predict": _Posted(body=PredictBody, call=predict, tasks=(CLASSES,)),
    "rerank": _Posted(body=RerankBody, call=rerank, tasks=RANKING),
    "similarity": _Posted(body=SimilarityBody, call=compare, tasks=(EMBEDDING,)),
    "tokenize": _Posted(body=TokenizeBody, call=tokenize),
    "info": _Posted(body=NoBody, call=info),
}
"""The routes by name, which no model may have: /NAME is one of its own."""
