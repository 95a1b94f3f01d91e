"""What Text Embeddings Inference's routes do, and the root of Hugging Face's endpoints with them.

The shapes are those of TEI's openapi.json, version 1.9.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from starlette.responses import Response

from bertc.core.head import Similarity
from bertc.evaluate.metrics.similarity import similarity
from bertc.serve.endpoints import Body, headers_of_refusal, reply
from bertc.serve.models import Answer, ServedModel, Texts
from bertc.serve.protocols._ranks import ranked
from bertc.serve.refused import Reason, RefusalError
from bertc.tasks.late_interaction import side_of_feature

ERROR_TYPES = {
    Reason.EMPTY: "Empty",
    Reason.OVERLOADED: "Overloaded",
    Reason.BROKEN: "Backend",
    Reason.UNREADY: "Unhealthy",
    Reason.LATE: "Backend",
}
"""What the protocol calls a refusal; anything else is one of "Validation"."""

PROMPTS = ("query", "document")
"""As what a text is embedded by a model that compares tokens."""


class Inputs(Body):
    """What all bodies with texts may hold. `truncate` false refuses texts that are longer than the model's length."""

    truncate: bool | None = None
    truncation_direction: str = "Right"
    prompt_name: str | None = None


class EmbedBody(Inputs):
    """/embed."""

    inputs: str | list[str]
    normalize: bool = True
    dimensions: int | None = Field(default=None, ge=1)


class TextsBody(Inputs):
    """/embed_all and /embed_sparse."""

    inputs: str | list[str]


class PredictBody(Inputs):
    """/predict: a text, a pair, or a list of lists of one or two texts."""

    inputs: str | list[str] | list[list[str]]
    raw_scores: bool = False


class RerankBody(Inputs):
    """/rerank."""

    query: str
    texts: list[str]
    raw_scores: bool = False
    return_text: bool = False


class Sentences(Body):
    """One sentence and those that it is compared with."""

    source_sentence: str
    sentences: list[str]


class SimilarityBody(Body):
    """/similarity."""

    inputs: Sentences
    parameters: Inputs | None = None


def refused(refusal: RefusalError) -> Response:
    """Return a refusal as {error, error_type}."""
    kind = ERROR_TYPES.get(refusal.reason, "Validation")
    headers = headers_of_refusal(refusal)
    return reply({"error": refusal.message, "error_type": kind}, status=refusal.reason.status, headers=headers)


async def embed(model: ServedModel, body: EmbedBody) -> Response:
    """Return a vector for each text."""
    check_options(body)
    answer = await answered(model, singles(body.inputs), body)
    return reply(vectors(answer, normalize=body.normalize, dimensions=body.dimensions))


async def embed_all(model: ServedModel, body: TextsBody) -> Response:
    """Return the vectors of each text's tokens: as a document, or with the prompt "query" as a query."""
    kind = body.prompt_name or "document"
    if kind not in PROMPTS:
        raise RefusalError(Reason.INVALID, f"prompt_name is one of {', '.join(PROMPTS)}")
    check_options(body.model_copy(update={"prompt_name": None}))
    side = PROMPTS.index(kind)
    answer = await answered(model, singles(body.inputs), body, side=side)
    return reply([output["tokens"][side] for output in answer.outputs])


async def embed_sparse(model: ServedModel, body: TextsBody) -> Response:
    """Return the weights of each text that are not 0, by index in the vocabulary."""
    check_options(body)
    answer = await answered(model, singles(body.inputs), body)
    return reply(
        [[{"index": int(i), "value": vector[i]} for i in np.flatnonzero(vector)] for vector in answer.outputs[:, 0]]
    )


async def predict(model: ServedModel, body: PredictBody) -> Response:
    """Return the labels of each text or pair with their scores, the largest first."""
    found, single = await labelled(model, body, raw=body.raw_scores)
    return reply(found[0] if single else found)


async def labelled(model: ServedModel, body: PredictBody, *, raw: bool) -> tuple[list[list[dict[str, Any]]], bool]:
    """Return every label of each text or pair with its score, and whether a single one was sent."""
    check_options(body)
    if raw and model.head.squash is not None:
        raise RefusalError(Reason.INVALID, "the logits are not served; the scores are those of bertc predict")
    texts, single = texts_or_pairs(body.inputs)
    answer = await answered(model, texts, body)
    return await label_scores(answer, raw=raw), single


async def rerank(model: ServedModel, body: RerankBody) -> Response:
    """Return the texts' places and scores, the best first."""
    check_options(body)
    if body.raw_scores:
        raise RefusalError(Reason.INVALID, "raw_scores is not served; the scores are those of bertc predict")
    pairs, answer = await ranked(model, body.query, body.texts)
    check_whole(answer, body)
    return reply(
        [
            {"index": index, "score": score} | ({"text": body.texts[index]} if body.return_text else {})
            for index, score in pairs
        ]
    )


async def compare(model: ServedModel, body: SimilarityBody) -> Response:
    """Return how near each sentence is to the source."""
    options = body.parameters or Inputs()
    check_options(options)
    if not body.inputs.sentences:
        raise RefusalError(Reason.EMPTY, "there is no sentence to compare with")
    answer = await answered(model, singles([body.inputs.source_sentence, *body.inputs.sentences]), options)
    found = answer.outputs[:, 0]
    source = np.broadcast_to(found[0], found[1:].shape)
    return reply(
        similarity(source, found[1:], answer.predictor.head.similarity or Similarity.COSINE).astype(np.float32)
    )


async def answered(model: ServedModel, texts: list[Texts], options: Inputs, *, side: int | None = None) -> Answer:
    """Answer texts. Raises `RefusalError` as `check_whole` does, and for none."""
    if not texts:
        raise RefusalError(Reason.EMPTY, "inputs is empty")
    answer = await model.answer(texts)
    check_whole(answer, options, side=side)
    return answer


def check_whole(answer: Answer, options: Inputs, *, side: int | None = None) -> None:
    """Raise `RefusalError` for texts that were cut although they may not be.

    Of a model that compares tokens, each text is read as a query and as a document, of which a `side` alone may count.
    """
    if options.truncate is not False:
        return
    cut = [each for each in answer.truncated if side is None or side_of_feature(each) == side]
    if cut:
        first = min(cut, key=lambda feature: feature.row)
        raise RefusalError(
            Reason.TOO_LARGE, f"text {first.row} has more than {first.length} tokens; send less, or truncate"
        )


def check_options(options: Inputs) -> None:
    """Raise `RefusalError` for what an artefact cannot do."""
    if options.prompt_name is not None:
        raise RefusalError(Reason.INVALID, "this model has no prompts; put the prompt before the text")
    if options.truncation_direction not in ("Right", "right"):  # huggingface_hub writes it small
        raise RefusalError(Reason.INVALID, "texts are cut at their end; leave truncation_direction away")


def singles(inputs: str | list[str]) -> list[Texts]:
    """Return one or many texts as a list."""
    return [(inputs,)] if isinstance(inputs, str) else [(text,) for text in inputs]


def texts_or_pairs(inputs: str | list[str] | list[list[str]]) -> tuple[list[Texts], bool]:
    """Return texts or pairs, and whether it was a single one."""
    if isinstance(inputs, str):
        return [(inputs,)], True
    if inputs and all(isinstance(each, str) for each in inputs):
        if len(inputs) != 2:
            raise RefusalError(Reason.INVALID, "a list of texts is a pair; send many texts as a list of lists")
        return [tuple(map(str, inputs))], True
    for number, each in enumerate(inputs):
        if len(each) not in (1, 2):
            raise RefusalError(Reason.INVALID, f"input {number} has {len(each)} texts; send one or two")
        if len(each) != len(inputs[0]):
            raise RefusalError(Reason.INVALID, f"input {number} has {len(each)} texts and others not; send them apart")
    return [tuple(each) for each in inputs], False


def vectors(answer: Answer, *, normalize: bool, dimensions: int | None) -> NDArray[np.float32]:
    """Return the vectors [texts, H], cut and divided by their lengths where that is wanted."""
    found: NDArray[np.float32] = answer.outputs[:, 0]
    wanted = normalize and (dimensions is not None or not answer.predictor.head.normalize)
    return resized(found, normalize=wanted, dimensions=dimensions)


def resized(found: NDArray[np.float32], *, normalize: bool, dimensions: int | None) -> NDArray[np.float32]:
    """Return the first `dimensions` numbers of vectors [texts, H], divided by their lengths where that is wanted."""
    if dimensions is not None:
        if dimensions > found.shape[1]:
            raise RefusalError(
                Reason.INVALID, f"the vectors have {found.shape[1]} numbers, fewer than {dimensions} dimensions"
            )
        found = found[:, :dimensions]
    if normalize:
        found = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return np.ascontiguousarray(found, np.float32)


async def label_scores(answer: Answer, *, raw: bool) -> list[list[dict[str, Any]]]:
    """Return every label of each text with its probability (or logit), the largest first."""
    labels = answer.predictor.head.labels
    if raw:
        values = [scores.tolist() for scores in answer.outputs]
    else:
        values = [
            [each["scores"][label] for label in labels] if "scores" in each else [each["score"]]
            for each in await answer.predicted()
        ]
    return [
        sorted(
            ({"label": label, "score": value} for label, value in zip(labels, row, strict=True)),
            key=lambda each: -each["score"],
        )
        for row in values
    ]
