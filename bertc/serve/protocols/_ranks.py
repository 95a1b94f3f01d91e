"""Scores of texts for a query, which several protocols give out in shapes of their own."""

from __future__ import annotations

from collections.abc import Sequence

from bertc.core.head import Problem
from bertc.serve.models import Answer, Models, ServedModel
from bertc.serve.protocols._task_names import CLASSES, RANKS, TOKENS
from bertc.serve.refused import Reason, RefusalError

RANKING = (RANKS, CLASSES, TOKENS)


def has_one_score(model: ServedModel) -> bool:
    """Say whether a pair of texts gets one number from a model."""
    return model.task in RANKING and (model.task != CLASSES or model.head.problem == Problem.REGRESSION)


def check_ranks(model: ServedModel) -> None:
    """Raise `RefusalError` for a model that gives a pair no single score."""
    if not has_one_score(model):
        raise RefusalError(
            Reason.INVALID, f"the model {model.name} ({model.task}) gives no score for a query and a text"
        )


def first_ranker(models: Models) -> ServedModel:
    """Return the first model that gives a pair one score. Raises `RefusalError` where there is none."""
    for model in models.values():
        if has_one_score(model):
            return model
    raise RefusalError(Reason.UNKNOWN, "no model here gives a score for a query and a text")


async def ranked(model: ServedModel, query: str, texts: Sequence[str]) -> tuple[list[tuple[int, float]], Answer]:
    """Return (index, score) of texts, the largest score first, and all that was answered."""
    check_ranks(model)
    if not texts:
        raise RefusalError(Reason.EMPTY, "there is no text to rank")
    answer = await model.answer([(query, text) for text in texts])
    scores = [float(prediction["score"]) for prediction in await answer.predicted()]
    return sorted(enumerate(scores), key=lambda pair: -pair[1]), answer
