"""OpenAI's routes: embeddings of texts and token ids in both forms, the models, and its errors."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from tests.serve.protocols.conftest import Predict
from tests.serve.speaking import Spoken

PATH, MODEL = "/v1/embeddings", "feature-extraction"
TEXTS = ["good film", "a boring story in london"]


def made(server: Spoken, given: Any, **more: Any) -> np.ndarray[Any, Any]:
    """Return the vectors of a request that is answered."""
    reply = server.post(PATH, {"model": MODEL, "input": given} | more)
    assert reply.status == 200, reply.content
    assert reply.json["object"] == "list" and reply.json["model"] == MODEL
    assert [each["index"] for each in reply.json["data"]] == list(range(len(reply.json["data"])))
    return np.array([each["embedding"] for each in reply.json["data"]])


def test_vectors_are_those_of_predict(server: Spoken, predict: Predict) -> None:
    wanted = np.array([each["embedding"] for each in predict(MODEL, TEXTS)])
    assert np.allclose(made(server, TEXTS), wanted, rtol=0, atol=1e-6)
    assert np.allclose(made(server, TEXTS[0], user="me"), wanted[:1], rtol=0, atol=1e-6)
    packed = made(server, TEXTS, encoding_format="base64")
    found = [np.frombuffer(base64.b64decode(each), "<f4") for each in packed]
    assert np.allclose(found, wanted, rtol=0, atol=1e-6)


def test_token_ids_are_run_as_they_are(server: Spoken) -> None:
    tokens = server.post(f"/{MODEL}/tokenize", {"inputs": TEXTS}).json
    ids = [[token["id"] for token in text] for text in tokens]
    assert np.array_equal(made(server, ids), made(server, TEXTS))
    assert np.array_equal(made(server, ids[0]), made(server, TEXTS[:1]))
    assert not np.array_equal(made(server, ids[0][1:-1]), made(server, TEXTS[:1]))  # no special token is added
    usage = server.post(PATH, {"model": MODEL, "input": ids}).json["usage"]
    assert usage == {"prompt_tokens": sum(map(len, ids)), "total_tokens": sum(map(len, ids))}


def test_dimensions_are_the_first_ones(server: Spoken) -> None:
    whole, cut = made(server, TEXTS), made(server, TEXTS, dimensions=8)
    assert cut.shape == (2, 8)
    assert np.allclose(cut, whole[:, :8], atol=1e-6)  # this model does not divide by the length
    assert server.post(PATH, {"model": MODEL, "input": "a", "dimensions": 65}).status == 400


def test_models(server: Spoken) -> None:
    listed = server.ask("GET", "/v1/models").json
    assert listed["object"] == "list" and MODEL in [model["id"] for model in listed["data"]]
    one = server.ask("GET", f"/v1/models/{MODEL}").json
    assert one in listed["data"] and one["object"] == "model" and one["created"] > 1_700_000_000


@pytest.mark.parametrize(
    ("change", "status", "words", "code"),
    [
        ({"model": "gpt"}, 404, "there is no model 'gpt'", "model_not_found"),
        ({"model": "fill-mask"}, 400, "not for embeddings", None),
        ({"model": None}, 400, "valid string", None),
        ({"input": []}, 400, "input is empty", None),
        ({"input": ""}, 400, "input is empty", None),
        ({"input": ["a", " "]}, 400, "text 1 is empty", None),
        ({"input": [[]]}, 400, "text 0 has no token", None),
        ({"input": [[1, 2], []]}, 400, "text 1 has no token", None),
        ({"input": [99999]}, 400, "the id 99999", None),
        ({"input": [-1]}, 400, "greater than or equal to 0", None),
        ({"input": [2**40]}, 400, "less than", None),
        ({"input": [5] * 3000}, 413, "ids are not cut", None),
        ({"input": [1, "a"]}, 400, "valid", None),
        ({"input": [True]}, 400, "valid", None),
        ({"encoding_format": "int8"}, 400, "'float' or 'base64'", None),
        ({"dimensions": 0}, 400, "greater than or equal to 1", None),
        ({"stream": True}, 400, "Extra inputs", None),
    ],
)
def test_errors(server: Spoken, change: dict[str, Any], status: int, words: str, code: str | None) -> None:
    reply = server.post(PATH, {"model": MODEL, "input": "good"} | change)
    assert reply.status == status
    error = reply.json["error"]
    assert words in error["message"] and error["type"] == "invalid_request_error" and error["code"] == code
    assert error["param"] == ("model" if code else None)
    assert server.ask("GET", "/v1/models/gpt").json["error"]["code"] == "model_not_found"
