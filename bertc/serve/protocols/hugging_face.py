"""What `huggingface_hub.InferenceClient(model=URL)` posts to a model's URL: POST / and /NAME, by the model's task.

Text Embeddings Inference answers there as well, with the route that fits its model. Where the two differ, the client's
`parameters`, which TEI does not have, say whose shape is meant.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import numpy as np
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bertc.core.head import Head, Problem
from bertc.serve.bounds import Limits
from bertc.serve.endpoints import Body, body_from_request, endpoint, reply
from bertc.serve.models import Answer, Models, ServedModel
from bertc.serve.protocols._calls import (
    EmbedBody,
    PredictBody,
    RerankBody,
    Sentences,
    SimilarityBody,
    TextsBody,
    compare,
    embed,
    embed_all,
    embed_sparse,
    labelled,
    predict,
    refused,
    rerank,
    singles,
)
from bertc.serve.protocols._ranks import has_one_score
from bertc.serve.protocols._task_names import CLASSES, EMBEDDING, MASKS, QUESTIONS, RANKS, SPARSE, TAGS, TOKENS
from bertc.serve.refused import Reason, RefusalError

__all__ = ["refused", "routes"]

NO_ENTITY = "O"


class ClassifyParameters(Body):
    """`top_k` labels at most; `function_to_apply` is the one that the model has, or none."""

    top_k: int | None = Field(default=None, ge=1)
    function_to_apply: Literal["softmax", "sigmoid", "none"] | None = None


class ClassifyBody(PredictBody):
    """A text or more to classify, or TEI's /predict."""

    parameters: ClassifyParameters | None = None


class TagParameters(Body):
    """A word has the tag of its first token, and entities are of whole words: the strategy "first"."""

    aggregation_strategy: Literal["first"] | None = None
    ignore_labels: list[str] | None = None


class TagBody(Body):
    """A text or more in which entities are looked for."""

    inputs: str | list[str]
    parameters: TagParameters = TagParameters()


class Question(Body):
    """A question and the text that has the answer."""

    question: str
    context: str


class QuestionParameters(Body):
    """One answer is given."""

    top_k: Literal[1] | None = None


class QuestionBody(Body):
    """A question."""

    inputs: Question
    parameters: QuestionParameters = QuestionParameters()


class FillParameters(Body):
    """How many tokens are given."""

    top_k: int = Field(default=5, ge=1, le=1000)


class FillBody(Body):
    """A text or more, each with the mask once."""

    inputs: str | list[str]
    parameters: FillParameters = FillParameters()


class EmbedOrCompareBody(EmbedBody):
    """TEI's /embed, of which the client adds the encoding; or its /similarity."""

    inputs: str | list[str] | Sentences  # type: ignore[assignment]  # wider than what it extends
    encoding_format: Literal["float"] | None = None
    parameters: Body | None = None


def routes(models: Models, limits: Limits) -> list[Route]:
    """Return the routes, of the first model and of each by its name."""

    async def first(request: Request) -> Response:
        model = models.first()
        return await _by_task(model)(model, request)

    def of(model: ServedModel) -> Callable[[Request], Awaitable[Response]]:
        async def handle(request: Request) -> Response:
            return await _by_task(model)(model, request)

        return handle

    # Names as they are: a pattern would take paths of others, and answer for them.
    calls = {"/": first} | {f"/{model.name}": of(model) for model in models.values()}
    return [Route(path, endpoint(call, refused, limits), methods=["POST"]) for path, call in calls.items()]


def _by_task(model: ServedModel) -> Callable[[ServedModel, Request], Awaitable[Response]]:
    calls = {
        CLASSES: classify,
        EMBEDDING: embed_or_compare,
        MASKS: fill,
        QUESTIONS: reply_to_question,
        RANKS: rank,
        SPARSE: embed_sparsely,
        TAGS: tag,
        TOKENS: embed_tokens,
    }
    if model.task not in calls:
        raise RefusalError(Reason.INVALID, f"the model {model.name} is for {model.task}, which has no route here")
    return calls[model.task]


async def classify(model: ServedModel, request: Request) -> Response:
    """Return the labels of each text with their scores: the client's in a list of lists, TEI's as /predict."""
    body = await body_from_request(request, ClassifyBody)
    if body.parameters is None:
        return await predict(model, body)
    applied = body.parameters.function_to_apply
    usual = _function(model.head)
    if applied not in (None, "none", usual):
        raise RefusalError(Reason.INVALID, f"function_to_apply is {usual} or none for this model")
    found, _ = await labelled(model, body, raw=applied == "none")
    return reply([labels[: body.parameters.top_k] for labels in found])


def _function(head: Head) -> str:
    functions = {Problem.SINGLE_LABEL: "softmax", Problem.MULTI_LABEL: "sigmoid"}
    return functions.get(head.problem or Problem.SINGLE_LABEL, "none" if head.squash is None else str(head.squash))


async def embed_or_compare(model: ServedModel, request: Request) -> Response:
    """Return a vector for each text, or how near sentences are to one."""
    body = await body_from_request(request, EmbedOrCompareBody)
    if isinstance(body.inputs, Sentences):
        given = body.model_fields_set - {"inputs", "parameters"}
        if given:
            raise RefusalError(Reason.INVALID, f"{min(given)} is for embeddings, and these are sentences to compare")
        return await compare(model, SimilarityBody(inputs=body.inputs))
    return await embed(model, body)


async def embed_sparsely(model: ServedModel, request: Request) -> Response:
    """Return the weights of each text that are not 0."""
    return await embed_sparse(model, await body_from_request(request, TextsBody))


async def embed_tokens(model: ServedModel, request: Request) -> Response:
    """Return the vectors of each text's tokens."""
    return await embed_all(model, await body_from_request(request, TextsBody))


async def rank(model: ServedModel, request: Request) -> Response:
    """Return the texts' places and scores, the best first."""
    assert has_one_score(model)
    return await rerank(model, await body_from_request(request, RerankBody))


async def tag(model: ServedModel, request: Request) -> Response:
    """Return the entities of each text."""
    body = await body_from_request(request, TagBody)
    ignored = body.parameters.ignore_labels
    if ignored is not None and NO_ENTITY not in ignored:
        raise RefusalError(Reason.INVALID, f"ignore_labels has {NO_ENTITY}: words outside of entities are not listed")
    answer = await _answered(model, body.inputs)
    found = [
        [
            {name: entity[key] for name, key in ENTITY.items()}
            for entity in prediction["entities"]
            if entity["label"] not in (ignored or ())
        ]
        for prediction in await answer.predicted()
    ]
    return reply(found[0] if isinstance(body.inputs, str) else found)


ENTITY = {"entity_group": "label", "score": "score", "word": "text", "start": "start", "end": "end"}
"""The client's name of each of a prediction's."""


async def reply_to_question(model: ServedModel, request: Request) -> Response:
    """Return the answer, as `bertc predict` does."""
    body = await body_from_request(request, QuestionBody)
    answer = await model.answer([(body.inputs.question, body.inputs.context)])
    return reply((await answer.predicted())[0])


async def fill(model: ServedModel, request: Request) -> Response:
    """Return the most probable tokens at each text's mask."""
    body = await body_from_request(request, FillBody)
    answer = await _answered(model, body.inputs)
    most = body.parameters.top_k
    texts = [text for (text,) in singles(body.inputs)]
    # Every text has a score for each token of the vocabulary: to sort them is more than a moment's work.
    found = await asyncio.to_thread(lambda: [_filled(answer, row, text, most) for row, text in enumerate(texts)])
    return reply(found[0] if isinstance(body.inputs, str) else found)


def _filled(answer: Answer, row: int, text: str, most: int) -> list[dict[str, Any]]:
    head, logits = answer.predictor.head, answer.outputs[row].logits.astype(np.float64)
    encoder = answer.predictor.encoder
    assert head.mask is not None
    if answer.encoded.rows[row].label is not None:
        raise RefusalError(Reason.INVALID, f"text {row} has no {head.labels[head.mask]}; write it in its place")
    shifted = np.exp(logits - logits.max())
    chances = shifted / shifted.sum()
    found = []
    for id in np.argsort(-logits, kind="stable")[:most]:
        token = encoder.text_of_token(head.labels[id])
        whole = encoder.text_with_token(text, head.labels[head.mask], head.labels[id])
        found.append({"score": float(chances[id]), "token": int(id), "token_str": token, "sequence": whole})
    return found


async def _answered(model: ServedModel, inputs: str | list[str]) -> Answer:
    if not inputs:
        raise RefusalError(Reason.EMPTY, "inputs is empty")
    return await model.answer(singles(inputs))
