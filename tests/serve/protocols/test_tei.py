"""Text Embeddings Inference's routes, with and without a model's name, and their options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.serve.protocols.conftest import Predict
from tests.serve.speaking import Spoken

TEXTS = ["good film", "where did mary live in london"]
EMBED, SPARSE, TOKENS = "feature-extraction", "sparse-embedding", "late-interaction"


def answer(server: Spoken, path: str, body: Any) -> Any:
    """Return what is answered."""
    reply = server.post(path, body)
    assert reply.status == 200, reply.content
    return reply.json


def test_vectors(server: Spoken, predict: Predict) -> None:
    wanted = np.array([each["embedding"] for each in predict(EMBED, TEXTS)])
    assert np.allclose(answer(server, "/embed", {"inputs": TEXTS, "normalize": False}), wanted, atol=1e-6)
    unit = np.array(answer(server, f"/{EMBED}/embed", {"inputs": TEXTS}))
    assert np.allclose(unit, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)
    cut = np.array(answer(server, "/embed", {"inputs": TEXTS[0], "dimensions": 5}))
    assert cut.shape == (1, 5) and np.linalg.norm(cut) == pytest.approx(1, abs=1e-6)
    sentences = {"source_sentence": TEXTS[0], "sentences": TEXTS}
    near = answer(server, "/similarity", {"inputs": sentences, "parameters": {"truncate": True}})
    assert near == pytest.approx([1, float(unit[0] @ unit[1])], abs=1e-5)


def test_labels_of_texts_and_pairs(server: Spoken, predict: Predict) -> None:
    (one, pair), (both,) = predict("sequence-classification", TEXTS), predict("sequence-classification", *zip(TEXTS))
    found = answer(server, "/predict", {"inputs": TEXTS[0]})
    assert {each["label"]: each["score"] for each in found} == one["scores"]
    assert answer(server, "/predict", {"inputs": [[TEXTS[0]], [TEXTS[1]]]})[0] == found
    (as_pair,) = answer(server, "/predict", {"inputs": [TEXTS]})
    assert as_pair == answer(server, "/predict", {"inputs": TEXTS}) != found
    assert {each["label"]: each["score"] for each in as_pair} == both["scores"] != pair["scores"]
    raw = {
        each["label"]: each["score"] for each in answer(server, "/predict", {"inputs": TEXTS[0], "raw_scores": True})
    }
    shifted = np.exp(list(raw.values()))
    assert shifted / shifted.sum() == pytest.approx([one["scores"][label] for label in raw], abs=1e-6)


def test_ranks(server: Spoken, predict: Predict) -> None:
    scores = [each["score"] for each in predict("text-ranking", ["who"] * 2, TEXTS)]
    found = answer(server, "/rerank", {"query": "who", "texts": TEXTS, "return_text": True})
    assert [(each["index"], each["score"]) for each in found] == sorted(enumerate(scores), key=lambda pair: -pair[1])
    assert [each["text"] for each in found] == [TEXTS[each["index"]] for each in found]


def test_weights_and_vectors_of_tokens(server: Spoken, predict: Predict) -> None:
    (wanted,) = predict(SPARSE, TEXTS[:1])
    (found,) = answer(server, "/embed_sparse", {"inputs": TEXTS[0]})
    assert sorted(each["value"] for each in found) == pytest.approx(sorted(wanted["tokens"].values()), abs=1e-6)
    (document,) = answer(server, "/embed_all", {"inputs": TEXTS[0]})
    (query,) = answer(server, "/embed_all", {"inputs": TEXTS[0], "prompt_name": "query"})
    assert len(document[0]) == len(query[0]) and document != query


def test_a_document_may_be_longer_than_a_query(server: Spoken) -> None:
    """A model that compares tokens cuts a query after twelve; who asks for a document's vectors reads none."""
    body = {"inputs": "good " * 20, "truncate": False}
    (document,) = answer(server, "/embed_all", body)
    assert document == answer(server, "/embed_all", {"inputs": body["inputs"]})[0] and len(document) > 12
    reply = server.post("/embed_all", body | {"prompt_name": "query"})
    assert reply.status == 413 and "text 0 has more than 12 tokens" in reply.json["error"]
    reply = server.post("/embed_all", {"inputs": "good " * 600, "truncate": False})
    assert reply.status == 413 and "text 0 has more than" in reply.json["error"]


def test_tokens_have_the_characters_they_come_from(server: Spoken) -> None:
    text = "Ünïcode , good"
    (found,) = answer(server, f"/{EMBED}/tokenize", {"inputs": text})
    assert [each["special"] for each in found] == [True, *[False] * (len(found) - 2), True]
    inside = found[1:-1]
    assert all(each["text"] == text[each["start"] : each["stop"]] for each in inside)
    (bare,) = answer(server, f"/{EMBED}/tokenize", {"inputs": text, "add_special_tokens": False})
    assert bare == inside and found[0]["text"] == "[CLS]"


def test_tokens_of_a_text_that_is_longer_than_the_model_reads(server: Spoken) -> None:
    """TEI cuts none: a client asks to learn how long its text is."""
    (found,) = answer(server, f"/{EMBED}/tokenize", {"inputs": LONG})
    assert len(found) == 602 and found[-1]["text"] == "[SEP]"
    assert found[-2]["text"] == LONG[found[-2]["start"] : found[-2]["stop"]] == "good"
    reply = server.post(f"/{EMBED}/tokenize", {"inputs": [LONG * 400, LONG * 40]})
    assert reply.status == 413 and "more than 262144 tokens" in reply.json["error"]


def test_what_a_model_is(server: Spoken) -> None:
    about = server.ask("GET", "/sequence-classification/info").json
    assert about["model_type"] == {
        "classifier": {"id2label": {"0": "negative", "1": "positive"}, "label2id": {"negative": 0, "positive": 1}}
    }
    assert about["model_id"] == "sequence-classification" == server.ask("GET", "/info").json["model_id"]
    assert server.ask("GET", f"/{EMBED}/info").json["model_type"] == {"embedding": {"pooling": "mean"}}
    (kind,) = server.ask("GET", "/text-ranking/info").json["model_type"]
    assert kind == "reranker"


LONG = "good " * 600


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/embed", {"inputs": LONG, "truncate": False}, 413, "text 0 has more than"),
        ("/predict", {"inputs": [["a"], [LONG]], "truncate": False}, 413, "text 1 has more than"),
        ("/rerank", {"query": "a", "texts": [LONG], "truncate": False}, 413, "text 0 has more than"),
        ("/embed", {"inputs": "a", "dimensions": 65}, 422, "fewer than 65 dimensions"),
        ("/embed", {"inputs": "a", "prompt_name": "query"}, 422, "no prompts"),
        ("/embed", {"inputs": "a", "truncation_direction": "Left"}, 422, "cut at their end"),
        ("/embed_all", {"inputs": "a", "prompt_name": "passage"}, 422, "query, document"),
        ("/rerank", {"query": "a", "texts": [], "truncate": True}, 400, "no text to rank"),
        ("/rerank", {"query": "a", "texts": ["b"], "raw_scores": True}, 422, "raw_scores"),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "no sentence"),
        ("/sequence-classification/embed", {"inputs": "a"}, 422, "which has no /embed"),
        ("/sequence-classification/rerank", {"query": "a", "texts": ["b"]}, 422, "gives no score"),
        ("/none/predict", {"inputs": "a"}, 404, "there is no model 'none'; the models here are"),
        ("/tokenize", {"inputs": ["a"] * 5000}, 413, "at most 4096 texts"),
    ],
)
def test_errors(server: Spoken, path: str, body: Any, status: int, words: str) -> None:
    reply = server.post(path, body)
    assert reply.status == status and words in reply.json["error"]
    assert server.post(path.replace("none", EMBED), body | {"truncate": None, "no": 1}).status in (404, 422)


def test_long_texts_are_cut_where_that_is_not_forbidden(server: Spoken, predict: Predict) -> None:
    (wanted,) = predict("sequence-classification", [LONG])
    found = answer(server, "/predict", {"inputs": LONG})
    assert {each["label"]: each["score"] for each in found} == wanted["scores"]
