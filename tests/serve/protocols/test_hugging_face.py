"""The root and /NAME: the shapes that `huggingface_hub.InferenceClient` reads, and those of TEI."""

from __future__ import annotations

from typing import Any

import huggingface_hub
import numpy as np
import pytest

from tests.serve.protocols.conftest import Predict
from tests.serve.speaking import Spoken

TEXT = "mary is in paris , and the film was good"


def client(server: Spoken, task: str) -> huggingface_hub.InferenceClient:
    """Return the client of a model."""
    return huggingface_hub.InferenceClient(model=f"http://127.0.0.1:{server.port}/{task}", timeout=20)


def test_labels(server: Spoken, predict: Predict) -> None:
    asker = client(server, "sequence-classification")
    (wanted,) = predict("sequence-classification", TEXT)
    found = asker.text_classification(TEXT)
    assert {each.label: each.score for each in found} == wanted["scores"]
    assert [each.score for each in found] == sorted(wanted["scores"].values(), reverse=True)
    assert [each.label for each in asker.text_classification(TEXT, top_k=1)] == [wanted["label"]]
    raw = asker.text_classification(TEXT, function_to_apply="none")
    assert raw[0].score - raw[1].score == pytest.approx(np.log(found[0].score / found[1].score), abs=1e-4)
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="softmax or none"):
        asker.text_classification(TEXT, function_to_apply="sigmoid")


def test_entities(server: Spoken, predict: Predict) -> None:
    asker = client(server, "token-classification")
    (wanted,) = predict("token-classification", TEXT)
    found = asker.token_classification(TEXT)
    assert [(each.entity_group, each.word, each.score) for each in found] == [
        (each["label"], each["text"], each["score"]) for each in wanted["entities"]
    ]
    assert wanted["entities"] and all(TEXT[each.start : each.end] == each.word for each in found)
    assert not asker.token_classification(TEXT, ignore_labels=["O", "person"])
    for options in ({"ignore_labels": ["person"]}, {"aggregation_strategy": "max"}, {"stride": 3}):
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError):
            asker.token_classification(TEXT, **options)


def test_answers(server: Spoken, predict: Predict) -> None:
    asker = client(server, "question-answering")
    (wanted,) = predict("question-answering", "who is in paris", TEXT)
    found = asker.question_answering(question="who is in paris", context=TEXT)
    assert found.answer == wanted["answer"] == TEXT[found.start : found.end] and found.score == wanted["score"]
    with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="top_k"):
        asker.question_answering(question="who", context=TEXT, top_k=2)


def test_masks(server: Spoken, predict: Predict) -> None:
    asker, text = client(server, "fill-mask"), "the film was [MASK] ."
    (wanted,) = predict("fill-mask", text)
    found = asker.fill_mask(text)
    assert [(each.token_str, each.score) for each in found] == [(e["token"], e["score"]) for e in wanted["tokens"]]
    assert found[0].sequence == text.replace("[MASK]", found[0].token_str)
    assert len(asker.fill_mask(text, top_k=9)) == 9
    for wrong in (TEXT, f"{text} {text}"):
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError, match="MASK"):
            asker.fill_mask(wrong)


def test_vectors(server: Spoken, predict: Predict) -> None:
    asker = client(server, "feature-extraction")
    texts = [TEXT, "good film", "a car"]
    vectors = np.array([each["embedding"] for each in predict("feature-extraction", texts)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.allclose(asker.feature_extraction(texts), unit, atol=1e-6)
    assert np.allclose(asker.feature_extraction(TEXT, normalize=False), vectors[:1], atol=1e-6)
    options: Any = {"truncate": True, "truncation_direction": "right", "encoding_format": "float"}
    assert np.allclose(asker.feature_extraction(texts, **options), unit, atol=1e-6)
    assert np.allclose(asker.sentence_similarity(texts[0], texts[1:]), unit[1:] @ unit[0], atol=1e-5)
    for wrong in ({"truncation_direction": "left"}, {"encoding_format": "base64"}, {"prompt_name": "query"}):
        with pytest.raises(huggingface_hub.errors.HfHubHTTPError):
            asker.feature_extraction(texts, **wrong)


BODIES: dict[str, tuple[str, Any]] = {
    "feature-extraction": ("embed", {"inputs": [TEXT]}),
    "sequence-classification": ("predict", {"inputs": [[TEXT, "a"], ["a", "b"]]}),
    "sparse-embedding": ("embed_sparse", {"inputs": TEXT}),
    "late-interaction": ("embed_all", {"inputs": TEXT, "prompt_name": "query"}),
    "text-ranking": ("rerank", {"query": "who", "texts": [TEXT, "a"], "return_text": True}),
}


@pytest.mark.parametrize("task", BODIES)
def test_the_root_is_tei_s_route_of_the_task(server: Spoken, task: str) -> None:
    route, body = BODIES[task]
    reply = server.post(f"/{task}", body)
    assert reply.status == 200 and reply.content == server.post(f"/{task}/{route}", body).content


def test_the_first_model_is_at_the_root(server: Spoken) -> None:
    body = {"inputs": TEXT, "parameters": {}}
    assert server.post("/", body).json == server.post("/sequence-classification", body).json


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/none", {"inputs": "a"}, 404, "no such path"),
        ("/", {"inputs": []}, 400, "inputs is empty"),
        ("/", {"inputs": ["a", "b", "c"]}, 422, "is a pair"),
        ("/", {"inputs": [["a"], []]}, 422, "input 1 has 0 texts"),
        ("/", {"inputs": [["a"], ["a", "b"]]}, 422, "input 1 has 2 texts and others not"),
        ("/", {"inputs": "a", "parameters": {"top_k": 0}}, 422, "parameters.top_k"),
        ("/", {"inputs": {"text": "a"}}, 422, "inputs"),
        ("/feature-extraction", {"inputs": {"source_sentence": "a", "sentences": []}}, 400, "no sentence"),
        ("/feature-extraction", {"inputs": {"source_sentence": "a"}}, 422, "sentences"),
        (
            "/feature-extraction",
            {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "dimensions": 3},
            422,
            "dimensions is for embeddings",
        ),
        ("/question-answering", {"inputs": "who"}, 422, "inputs"),
        ("/question-answering", {"inputs": {"question": "who"}}, 422, "inputs.context"),
        ("/question-answering", {"inputs": {"question": " ", "context": ""}}, 400, "text 0 is empty"),
        ("/token-classification", {"inputs": [""]}, 400, "text 0 is empty"),
        ("/fill-mask", {"inputs": []}, 400, "inputs is empty"),
        ("/fill-mask", {"inputs": ["[MASK]", "a"]}, 422, "no [MASK]"),
        ("/text-ranking", {"inputs": "a"}, 422, "query"),
    ],
)
def test_errors(server: Spoken, path: str, body: Any, status: int, words: str) -> None:
    reply = server.post(path, body)
    assert reply.status == status and words in reply.json["error"] and set(reply.json) == {"error", "error_type"}
