"""The clients' part of benchmarks/serve_clients.py: asks a server and prints a line of JSON for each question."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cohere
import huggingface_hub
import numpy as np
import openai
import tritonclient.http as triton
from asking import Model, Question, asked
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from tritonclient.utils import InferenceServerException

VECTORS = "sentence_embedding"


def main(url: str, expected: Path) -> None:
    """Ask everything."""
    models = json.loads(expected.read_text(encoding="utf-8"))
    for name, model in models.items():
        questions = [*open_inference(url, name, model), *by_task(url, name, model)]
        for question in questions:
            print(json.dumps(asked(name, *question)), flush=True)
    for question in whole_server(url, list(models)):
        print(json.dumps(asked("", *question)), flush=True)


class Triton:
    """Triton's client, asking one model."""

    def __init__(self, url: str, name: str, model: Model) -> None:
        self.client = triton.InferenceServerClient(url.removeprefix("http://"))
        self.name, self.model = name, model

    def texts(self, *, binary: bool) -> list[Any]:
        """Return the model's texts as inputs."""
        found = []
        for key, texts in (("text", self.model["texts"]), ("pair", self.model["pairs"])):
            if texts:
                found.append(given(key, np.array([text.encode() for text in texts], object), "BYTES", binary=binary))
        return found

    def answers(self, *, binary: bool, named: bool = True) -> list[Any]:
        """Return the answers to texts; not `named`, all outputs are asked for."""
        wanted = [triton.InferRequestedOutput("answer", binary_data=binary)] if named else None
        result = self.client.infer(self.name, self.texts(binary=binary), outputs=wanted, request_id="7")
        assert result.get_response()["id"] == "7"
        return [json.loads(each) for each in result.as_numpy("answer")]

    def arrays(self, output: str, *, binary: bool) -> Any:
        """Return an array of the engine for token ids."""
        shape = (len(self.model["ids"]), max(map(len, self.model["ids"])))
        batch = {key: np.zeros(shape, np.int64) for key in ("input_ids", "attention_mask", "token_type_ids")}
        for row, (ids, types) in enumerate(zip(self.model["ids"], self.model["types"], strict=True)):
            for key, values in zip(batch, (ids, 1, types), strict=True):
                batch[key][row, : len(ids)] = values
        inputs = [given(key, value, "INT64", binary=binary) for key, value in batch.items()]
        wanted = [triton.InferRequestedOutput(output, binary_data=binary)]
        return self.client.infer(self.name, inputs, outputs=wanted).as_numpy(output)

    def unknown_output(self) -> Any:
        """Ask for an output that there is not."""
        wanted = [triton.InferRequestedOutput("none such")]
        return self.client.infer(self.name, self.texts(binary=True), outputs=wanted)


def given(key: str, value: Any, datatype: str, *, binary: bool) -> Any:
    """Return an input of Triton's client."""
    found = triton.InferInput(key, list(value.shape), datatype)
    found.set_data_from_numpy(value, binary_data=binary)
    return found


def open_inference(url: str, name: str, model: Model) -> Iterator[Question]:
    """Ask as tritonclient and KServe's client do."""
    asker = Triton(url, name, model)
    client, answers = asker.client, model["answers"]
    for binary, how in ((True, "as bytes"), (False, "as JSON")):
        yield "tritonclient", f"infer, text {how}", partial(asker.answers, binary=binary), answers
        yield "kserve", f"infer, text {how}", partial(kserve, url, name, model, binary=binary), answers
        if model["task"] == "feature-extraction":
            vectors = np.array([each["embedding"] for each in answers], np.float32)
            yield "tritonclient", f"infer, ids {how}", partial(asker.arrays, VECTORS, binary=binary), vectors
        if "label" in answers[0]:
            labels = [each["label"] for each in answers]
            call = partial(asker.arrays, "logits", binary=binary)
            yield (
                "tritonclient",
                f"infer, ids {how}",
                lambda c=call: [model["labels"][i] for i in c().argmax(1)],
                labels,
            )
    yield "tritonclient", "infer, all outputs", partial(asker.answers, binary=True, named=False), answers
    yield "tritonclient", "infer, an output there is not", asker.unknown_output, InferenceServerException
    yield "tritonclient", "is_model_ready", lambda: client.is_model_ready(name, "1"), True
    yield "tritonclient", "get_model_metadata", lambda: client.get_model_metadata(name)["name"], name
    yield "tritonclient", "load_model", lambda: client.load_model(name), None
    yield "tritonclient", "unload_model", lambda: client.unload_model(name), None
    yield "tritonclient", "is_model_ready, unloaded", lambda: client.is_model_ready(name), False
    yield "tritonclient", "infer, unloaded", partial(asker.answers, binary=True), InferenceServerException
    yield "tritonclient", "load_model, unloaded", lambda: client.load_model(name), None
    yield "tritonclient", "infer, loaded again", partial(asker.answers, binary=True), answers


def kserve(url: str, name: str, model: Model, *, binary: bool) -> list[Any]:
    """Return the answers by KServe's client."""

    async def ask() -> list[Any]:
        client = InferenceRESTClient(RESTConfig(protocol="v2"))
        given = []
        for key, values in (("text", model["texts"]), ("pair", model["pairs"])):
            if values:
                given.append(InferInput(key, [len(values)], "BYTES"))
                given[-1].set_data_from_numpy(np.array([v.encode() for v in values], object), binary_data=binary)
        assert await client.is_server_ready(url) and await client.is_server_live(url)
        assert await client.is_model_ready(url, name)
        result = await client.infer(url, InferRequest(name, given), model_name=name)
        (output,) = [each for each in result.outputs if each.name == "answer"]
        return [json.loads(each) for each in output.as_numpy()]

    return asyncio.run(ask())


def by_task(url: str, name: str, model: Model) -> Iterator[Question]:
    """Ask what a model of the task is asked by a client that speaks of tasks."""
    hub = huggingface_hub.InferenceClient(model=f"{url}/{name}")
    texts, pairs, answers = model["texts"], model["pairs"], model["answers"]
    if model["task"] == "sequence-classification" and "scores" in answers[0]:
        best = [[[label, score] for label, score in ranked(each["scores"])] for each in answers]
        call = lambda: [[[e.label, e.score] for e in hub.text_classification(text)] for text in texts]  # noqa: E731
        yield "huggingface_hub", "text_classification", call, best
        call = lambda: [[e.label for e in hub.text_classification(text, top_k=1)] for text in texts]  # noqa: E731
        yield "huggingface_hub", "text_classification, top_k 1", call, [[each["label"]] for each in answers]
    if model["task"] == "feature-extraction":
        yield from embeddings(url, name, model)
    if model["task"] == "token-classification":
        wanted = [
            [[e["label"], e["text"], e["score"], e["start"], e["end"]] for e in each["entities"]] for each in answers
        ]
        call = lambda: [  # noqa: E731
            [[e.entity_group, e.word, e.score, e.start, e.end] for e in hub.token_classification(text)]
            for text in texts
        ]
        yield "huggingface_hub", "token_classification", call, wanted
    if model["task"] == "question-answering":
        keys = ("answer", "score", "start", "end")
        call = lambda: [  # noqa: E731
            [getattr(hub.question_answering(question=q, context=c), key) for key in keys]
            for q, c in zip(texts, pairs, strict=True)
        ]
        yield "huggingface_hub", "question_answering", call, [[each[key] for key in keys] for each in answers]
    if model["task"] == "fill-mask":
        call = lambda: [  # noqa: E731
            [[model["labels"][e.token], e.score] for e in hub.fill_mask(text)] for text in texts
        ]
        wanted = [[[e["token"], e["score"]] for e in each["tokens"]] for each in answers]
        yield "huggingface_hub", "fill_mask", call, wanted
    if pairs and "score" in answers[0] and model["task"] != "question-answering":
        yield from rerank(url, name, model)


def ranked(scores: dict[str, float]) -> list[tuple[str, float]]:
    """Return labels and scores, the largest first."""
    return sorted(scores.items(), key=lambda pair: -pair[1])


def embeddings(url: str, name: str, model: Model) -> Iterator[Question]:
    """Ask for vectors."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    hub = huggingface_hub.InferenceClient(model=f"{url}/{name}")
    texts = model["texts"]
    vectors = np.array([each["embedding"] for each in model["answers"]], np.float32)
    cut = vectors[:, :16] / np.linalg.norm(vectors[:, :16], axis=1, keepdims=True)

    def made(given: Any, **more: Any) -> Any:
        found = client.embeddings.create(model=name, input=given, **more)
        assert found.usage.prompt_tokens > 0 and found.model == name
        return [each.embedding for each in found.data]

    yield "openai", "embeddings.create", lambda: made(texts), vectors
    yield "openai", "embeddings.create, float", lambda: made(texts, encoding_format="float"), vectors
    yield (
        "openai",
        "embeddings.create, base64",
        lambda: [
            np.frombuffer(base64.b64decode(each), "<f4").tolist() for each in made(texts, encoding_format="base64")
        ],
        vectors,
    )
    yield "openai", "embeddings.create, one text", lambda: made(texts[0]), vectors[:1]
    yield "openai", "embeddings.create, ids of one text", lambda: made(model["ids"][0]), vectors[:1]
    yield "openai", "embeddings.create, ids", lambda: made(model["ids"]), vectors
    yield "openai", "embeddings.create, dimensions 16, user", lambda: made(texts, dimensions=16, user="me"), cut
    yield "openai", "embeddings.create, no text", lambda: made([]), openai.BadRequestError
    yield "openai", "models.retrieve", lambda: client.models.retrieve(name).id, name
    yield "huggingface_hub", "feature_extraction, a text", lambda: hub.feature_extraction(texts[0]), vectors[:1]
    yield "huggingface_hub", "feature_extraction", lambda: hub.feature_extraction(texts), vectors
    yield (
        "huggingface_hub",
        "feature_extraction, options",
        lambda: hub.feature_extraction(
            texts, normalize=True, truncate=True, truncation_direction="right", dimensions=16, encoding_format="float"
        ),
        cut,
    )
    near = np.array([float(vectors[0] @ each) for each in vectors[1:]], np.float32)
    yield "huggingface_hub", "sentence_similarity", lambda: hub.sentence_similarity(texts[0], texts[1:]), near


def rerank(url: str, name: str, model: Model) -> Iterator[Question]:
    """Ask for the order of documents; their scores are those of the pairs one by one."""
    query, document, score = model["texts"][0], model["pairs"][0], model["answers"][0]["score"]
    for version, client in (("v1", cohere.Client("none", base_url=url)), ("v2", cohere.ClientV2("none", base_url=url))):

        def scores(client: Any = client, **more: Any) -> Any:
            found = client.rerank(model=name, query=query, documents=[document, "a film"], top_n=2, **more)
            assert found.id and found.results[0].relevance_score >= found.results[1].relevance_score
            return [each.relevance_score for each in found.results if each.index == 0]

        yield "cohere", f"rerank, {version}", scores, [score]
        call = lambda client=client: client.rerank(model="none such", query=query, documents=["a"])  # noqa: E731
        yield "cohere", f"rerank, {version}, an unknown model", call, cohere.NotFoundError
    older = cohere.Client("none", base_url=url)
    found = lambda: [  # noqa: E731
        each.document.text
        for each in older.rerank(model=name, query=query, documents=[document], return_documents=True).results
    ]
    yield "cohere", "rerank, v1, return_documents", found, [document]


def whole_server(url: str, names: list[str]) -> Iterator[Question]:
    """Ask what no model is asked for."""
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    server = triton.InferenceServerClient(url.removeprefix("http://"))
    yield "openai", "models.list", lambda: [model.id for model in client.models.list()], names
    call = lambda: client.embeddings.create(model="none such", input="a")  # noqa: E731
    yield "openai", "embeddings.create, an unknown model", call, openai.NotFoundError
    yield (
        "tritonclient",
        "is_server_live, is_server_ready",
        lambda: server.is_server_live() and (server.is_server_ready()),
        True,
    )
    yield "tritonclient", "get_server_metadata", lambda: server.get_server_metadata()["name"], "bertc"
    call = lambda: [each["name"] for each in server.get_model_repository_index()]  # noqa: E731
    yield "tritonclient", "get_model_repository_index", call, names
    yield "tritonclient", "an unknown model", lambda: server.get_model_metadata("none"), InferenceServerException


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
