"""The clients' part of benchmarks/triton_python.py: asks a server over HTTP and gRPC, a line of JSON per question."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from asking import Model, Question, asked
from serve_clients import answers
from tritonclient.utils import InferenceServerException

import bertc
from bertc.artefact.triton_server import name_from_path
from bertc.serve.protocols._token_ids import features_from_ids
from bertc.tasks import outputs_from_head

AT_ONCE = 64
BATCH = ("input_ids", "attention_mask", "token_type_ids")


def main(http: str, grpc: str, *outs: str) -> None:
    """Ask everything."""
    for artefact in map(Path, outs):
        name = name_from_path(str(artefact))
        model = json.loads(json.dumps(answers(artefact) | {"arrays": arrays(artefact)}))
        for client, port in (("http", http), ("grpc", grpc)):
            asker = Asker(client, f"127.0.0.1:{port}", name, model)
            for question in questions(asker):
                print(json.dumps(asked(name, *question)), flush=True)
            print(json.dumps({"fact": asker.executions()}), flush=True)


def arrays(artefact: Path) -> dict[str, list[Any]]:
    """Return the engine's arrays of each text of `answers`, by the outputs' names."""
    said = answers(artefact)
    with bertc.load(artefact, threads=1) as model:
        ids, types = ([np.array(each, np.int64) for each in said[name]] for name in ("ids", "types"))
        raw = model.run_features(features_from_ids(model, ids, types))
        outputs = [each for each in outputs_from_head(model.head) if each.read]
        return {each.name: [array.tolist() for array in raw[each.key]] for each in outputs}


class Asker:
    """One of Triton's clients, asking one model."""

    def __init__(self, kind: str, url: str, name: str, model: Model) -> None:
        self.kind, self.name, self.model = kind, name, model
        self.library = {"http": tritonclient.http, "grpc": tritonclient.grpc}[kind]
        more = {"concurrency": AT_ONCE} if kind == "http" else {}
        self.client = self.library.InferenceServerClient(url, **more)
        self.counted: list[str] = []

    def tensor(self, key: str, value: Any, datatype: str) -> Any:
        found = self.library.InferInput(key, list(value.shape), datatype)
        found.set_data_from_numpy(value)
        return found

    def texts(self, *texts: str | bytes, key: str = "text") -> Any:
        """Return texts as an input [texts, 1]."""
        column = [[text.encode() if isinstance(text, str) else text] for text in texts]
        return self.tensor(key, np.array(column, object), "BYTES")

    def row(self, place: int) -> list[Any]:
        """Return one text of the model as inputs."""
        found = [self.texts(self.model["texts"][place])]
        return found + ([self.texts(self.model["pairs"][place], key="pair")] if self.model["pairs"] else [])

    def ids(self, places: Sequence[int]) -> list[Any]:
        """Return the ids of texts as inputs [texts, tokens], padded."""
        rows = [[self.model[name][place] for place in places] for name in ("ids", "types")]
        batch = {key: np.zeros((len(places), max(map(len, rows[0]))), np.int64) for key in BATCH}
        for number, (ids, types) in enumerate(zip(*rows, strict=True)):
            for key, values in zip(batch, (ids, 1, types), strict=True):
                batch[key][number, : len(ids)] = values
        return [self.tensor(key, value, "INT64") for key, value in batch.items()]

    def infer(self, inputs: Sequence[Any], *outputs: str) -> Any:
        wanted = [self.library.InferRequestedOutput(output) for output in outputs]
        return self.client.infer(self.name, list(inputs), outputs=wanted or None)

    def answers(self) -> list[Any]:
        """Return the answers to all texts in one request."""
        whole = [self.texts(*self.model["texts"])]
        whole += [self.texts(*self.model["pairs"], key="pair")] if self.model["pairs"] else []
        return [json.loads(each) for each in self.infer(whole, "answer").as_numpy("answer").ravel()]

    def array(self, name: str) -> Any:
        """Return an array of all texts, asked by ids, without what stands where there is no token."""
        places = range(len(self.model["ids"]))
        found = self.infer(self.ids(places), name).as_numpy(name)
        return [cut(row, self.model["arrays"][name][place]) for place, row in zip(places, found, strict=True)]

    def at_once(self, form: str, wrong: Sequence[Sequence[Any]] = ()) -> list[Any]:
        """Ask 64 requests, and wrong ones among them, at the same time; return the answers, "refused" for a wrong one.

        One text each, of as many lengths as the model's texts have, all as `form` says: "text", "ids", or in turns.
        """
        before = self.statistics()
        asking = [self.single(number, form) for number in range(AT_ONCE)]
        for number, inputs in enumerate(wrong):
            asking.insert(number * (AT_ONCE // len(wrong) + 1), (list(inputs), ""))
        found = self.gathered([inputs for inputs, _ in asking])
        answers = [
            each if each == "refused" else read(each, name) for each, (_, name) in zip(found, asking, strict=True)
        ]
        after = self.statistics()
        self.counted.append(f"{after[0] - before[0]} texts ({form}) in {after[1] - before[1]} executions")
        return answers

    def gathered(self, asking: Sequence[list[Any]]) -> list[Any]:
        """Send requests without waiting; return what each gave, in their order."""
        found: list[Any] = [None] * len(asking)
        if self.kind == "http":
            calls = [self.client.async_infer(self.name, inputs) for inputs in asking]
            for place, call in enumerate(calls):
                try:
                    found[place] = call.get_result()
                except InferenceServerException:
                    found[place] = "refused"
            return found
        left = threading.Semaphore(0)

        def told(place: int, result: Any, error: Any) -> None:
            found[place] = result if error is None else "refused"
            left.release()

        for place, inputs in enumerate(asking):
            self.client.async_infer(self.name, inputs, partial(told, place))
        for _ in asking:
            assert left.acquire(timeout=60)
        return found

    def single(self, number: int, form: str) -> tuple[list[Any], str]:
        """Return the inputs of one request, and the output that is read."""
        place = number // 2 % len(self.model["texts"])
        return (self.ids([place]), self.first) if self.by_ids(number, form) else (self.row(place), "answer")

    @staticmethod
    def by_ids(number: int, form: str) -> bool:
        """Say whether a request is one of ids."""
        return form == "ids" or (form != "text" and bool(number % 2))

    @property
    def first(self) -> str:
        """The name of the engine's first array."""
        return next(iter(self.model["arrays"]))

    def wanted(self, form: str, wrong: int = 0) -> list[Any]:
        """Return what `at_once` has to give."""
        found: list[Any] = []
        for number in range(AT_ONCE):
            place = number // 2 % len(self.model["texts"])
            array = np.array(self.model["arrays"][self.first][place])
            found.append(array if self.by_ids(number, form) else self.model["answers"][place])
        for number in range(wrong):
            found.insert(number * (AT_ONCE // wrong + 1), "refused")
        return found

    def statistics(self) -> tuple[int, int]:
        """Return how many texts were answered so far, and in how many executions."""
        more = {"as_json": True} if self.kind == "grpc" else {}
        (line,) = self.client.get_inference_statistics(self.name, **more)["model_stats"]
        return int(line.get("inference_count", 0)), int(line.get("execution_count", 0))

    def executions(self) -> str:
        """Say how requests that came at once were put together."""
        return f"{self.kind}, {self.name}: {', '.join(self.counted)}."


def read(answer: Any, name: str) -> Any:
    """Return what one text was answered."""
    assert name, "what is wrong was answered"
    array = answer.as_numpy(name)
    return json.loads(array.ravel()[0]) if name == "answer" else array[0]


def cut(row: Any, like: Any) -> Any:
    """Return an array as long as it should be; what follows has to be 0."""
    length = len(like)
    assert not np.any(row[length:]), "there is something where no token is"
    return row[:length]


def questions(asker: Asker) -> Iterator[Question]:
    """Ask texts and ids, one request and many at once, and what has to be refused."""
    kind, model = asker.kind, asker.model
    yield kind, "text", asker.answers, model["answers"]
    for name, values in model["arrays"].items():
        yield kind, f"ids, {name}", partial(asker.array, name), [np.array(each) for each in values]
    for form in ("text", "ids", "in turns"):
        yield kind, f"{AT_ONCE} ragged requests at once, {form}", partial(asker.at_once, form), asker.wanted(form)
    hostile = wrong_requests(asker)
    for asks, inputs in hostile.items():
        yield kind, f"refused: {asks}", partial(asker.infer, inputs), InferenceServerException
    wrong = list(hostile.values())
    among = f"{AT_ONCE} at once, {len(wrong)} wrong ones among them"
    yield kind, among, partial(asker.at_once, "text", wrong), asker.wanted("text", len(wrong))
    yield kind, "refused: ids for an answer", partial(asker.infer, asker.ids([0]), "answer"), InferenceServerException
    yield kind, "text, afterwards", asker.answers, model["answers"]


def wrong_requests(asker: Asker) -> dict[str, list[Any]]:
    """Return requests that have to be refused."""
    ids, mask, types = asker.ids([0])
    none, pair = [asker.texts("")], [asker.texts("", key="pair")] * bool(asker.model["pairs"])

    def numbers(values: Any, key: str = "input_ids", datatype: str = "INT64") -> Any:
        return asker.tensor(
            key, np.array(values, {"INT64": np.int64, "INT32": np.int32, "FP32": np.float32}[datatype]), datatype
        )

    return {
        "an empty text": none + pair,
        "no UTF-8": [asker.texts(b"\xff\xfe"), *pair],
        "no tokens": [numbers(np.empty((1, 0)))],
        "too many tokens": [numbers([[1] * 600])],
        "an id that is too large": [numbers([[1, 10**9]])],
        "a negative id": [numbers([[-1, 1]])],
        "INT32": [numbers([[1, 2]], datatype="INT32")],
        "FP32": [numbers([[1, 2]], datatype="FP32")],
        "a mask with a hole": [numbers([[1, 2, 3]]), numbers([[1, 0, 1]], "attention_mask")],
        "a mask of another shape": [numbers([[1, 2, 3]]), numbers([[1, 1]], "attention_mask")],
        "a token type that is too large": [numbers([[1, 2]]), numbers([[0, 9]], "token_type_ids")],
        "texts and ids": [*asker.row(0), ids],
        "only a mask": [mask, types],
        "33 texts": [asker.texts(*["a"] * 33)],
        "a text without an axis": [asker.tensor("text", np.array([b"a"], object), "BYTES")],
        "an unknown input": [asker.texts("a", key="other")],
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
