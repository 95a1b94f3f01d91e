"""SQuAD 1.1 and 2.0 in JSON: articles, paragraphs, questions with reference answers (Rajpurkar et al. 2016, 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertc.data.jsonl import json_from_path
from bertc.data.rows import UNANSWERABLE, Row, row_from_texts
from bertc.errors import InputError


def rows_from_squad(path: Path) -> Iterator[Row]:
    """Yield a row per question: texts are (question, context), the group is the article.

    The form is one JSON value, so the whole file is read before the first row comes out.
    """
    content = json_from_path(path)
    if not isinstance(content, dict) or not isinstance(content.get("data"), list):
        raise InputError(f"{path}: has no list 'data'; SQuAD's form is {{'data': [{{'paragraphs': [...]}}]}}")
    for index, article in enumerate(content["data"]):
        place = f"{path}, data[{index}]"
        group = str(_member(article, "title", str, place, "")) or f"article {index}"
        for number, paragraph in enumerate(_member(article, "paragraphs", list, place)):
            yield from _paragraph_rows(path, paragraph, group, f"{place}.paragraphs[{number}]")


def _paragraph_rows(path: Path, paragraph: Any, group: str, place: str) -> Iterator[Row]:
    context = _member(paragraph, "context", str, place)
    for number, question in enumerate(_member(paragraph, "qas", list, place)):
        where = f"{place}.qas[{number}]"
        answers = [_member(answer, "text", str, where) for answer in _member(question, "answers", list, where, [])]
        if question.get("is_impossible") is True:
            if answers:
                raise InputError(f"{where}: is_impossible is true and there are answers; correct one of them")
            answers = [UNANSWERABLE]
        yield row_from_texts(
            _member(question, "question", str, where),
            context,
            answers=tuple(dict.fromkeys(answers)),
            id=str(question.get("id", "")),
            group=group,
            source=str(path),
        )


def _member(value: Any, key: str, kind: type, place: str, default: Any = None) -> Any:
    found = value.get(key, default) if isinstance(value, Mapping) else None
    if not isinstance(found, kind):
        raise InputError(f"{place}: '{key}' is missing or is no {kind.__name__}; see SQuAD 1.1's form")
    return found
