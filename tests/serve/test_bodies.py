"""A body that is wrong in many places costs no more than one that is wrong in one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from bertc.serve.application import PROTOCOLS
from bertc.serve.endpoints import MOST_FAULTS, Body, body_from_json
from bertc.serve.protocols._calls import EmbedBody, PredictBody
from bertc.serve.protocols.cohere import RerankBody
from bertc.serve.protocols.open_inference import InferBody
from bertc.serve.protocols.openai import EmbeddingsBody
from bertc.serve.refused import RefusalError

assert PROTOCOLS, "all bodies are defined"
MANY = 20_000


def kinds(kind: type[Body] = Body) -> Iterator[type[Body]]:
    """Give every form of a body."""
    for each in kind.__subclasses__():
        yield each
        yield from kinds(each)


def lists(schema: Any) -> Iterator[dict[str, Any]]:
    """Give the lists among pydantic's checks."""
    if isinstance(schema, dict):
        if schema.get("type") == "list":
            yield schema
        for each in schema.values():
            yield from lists(each)
    elif isinstance(schema, (list, tuple)):
        for each in schema:
            yield from lists(each)


def test_no_list_is_read_behind_its_first_fault() -> None:
    found = [(kind.__name__, each) for kind in kinds() for each in lists(kind.__pydantic_core_schema__)]
    assert len(found) > 20
    assert [name for name, each in found if not each.get("fail_fast")] == []


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (EmbedBody, {"inputs": [1] * MANY}),
        (PredictBody, {"inputs": [[1]] * MANY}),
        (EmbeddingsBody, {"model": "m", "input": ["a"] + [1] * MANY}),
        (EmbeddingsBody, {"model": "m", "input": [[-1]] * MANY}),
        (RerankBody, {"query": "a", "documents": [1] * MANY}),
        (RerankBody, {"query": "a", "documents": [{"text": 1}] * MANY}),
        (InferBody, {"inputs": [{"name": "text", "shape": ["1"] * MANY, "datatype": "BYTES"}]}),
    ],
)
def test_a_list_of_faults_has_few(kind: type[Body], body: Any) -> None:
    content = json.dumps(body).encode()
    with pytest.raises(ValidationError) as caught:
        kind.model_validate_json(content)
    assert caught.value.error_count() < 10
    with pytest.raises(RefusalError, match=r"^\w+\.\d+"):
        body_from_json(content, kind)


@pytest.mark.parametrize("number", [1, MOST_FAULTS, MOST_FAULTS + 1])
def test_many_fields_that_are_unknown_are_counted_and_few_are_named(number: int) -> None:
    content = json.dumps({"inputs": "a"} | {f"field{i}": 1 for i in range(number)}).encode()
    words = "field0: " if number <= MOST_FAULTS else f"the body has {number} faults"
    with pytest.raises(RefusalError, match=words):
        body_from_json(content, EmbedBody)


def test_a_list_without_a_fault_is_read_whole() -> None:
    assert body_from_json(json.dumps({"inputs": ["a"] * MANY}).encode(), EmbedBody).inputs == ["a"] * MANY
