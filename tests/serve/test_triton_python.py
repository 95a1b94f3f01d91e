"""The model of Triton's Python backend in a double of it: ragged requests of texts and ids, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import bertc
from bertc.artefact.triton_server import CONFIG
from bertc.core.feature import Feature
from bertc.errors import EnvironmentLackError
from bertc.evaluate.task import RawOutputs
from bertc.jobs.predict import Predictor
from bertc.jobs.triton_repository import serve_artefact
from bertc.serve.bounds import Limits
from tests.artefacts import PathOf
from tests.fixtures import tiny_sentence
from tests.triton_backend_double import InferenceResponse, OldTensor, Request, Tensor, backend_double, model_config

pytestmark = pytest.mark.native
CLASSES, TAGS, QUESTIONS = "sequence-classification", "token-classification", "question-answering"
TEXTS = [tiny_sentence(seed, 3 + seed % 20) for seed in range(32)]


class Loaded:
    """A model that is loaded as the server loads it, and how it is asked."""

    def __init__(self, folder: Path, tensor: type[Tensor] = Tensor) -> None:
        self.double = sys.modules["triton_python_backend_utils"] = backend_double(tensor)
        sys.modules.pop("bertc.serve.triton_python", None)
        spec = importlib.util.spec_from_file_location("model", folder / "1" / "model.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.config = model_config((folder / CONFIG).read_text(encoding="utf-8"))
        self.outputs = [output["name"] for output in json.loads(self.config)["output"]]
        self.model = module.TritonPythonModel()
        self.model.initialize({"model_config": self.config, "model_repository": str(folder), "model_version": "1"})

    def execute(self, *given: Mapping[str, NDArray[Any]] | Request) -> list[InferenceResponse]:
        """Answer requests at once; one that is no `Request` asks for all outputs."""
        requests = [each if isinstance(each, Request) else Request(each, self.outputs) for each in given]
        found: list[InferenceResponse] = self.model.execute(requests)
        assert len(found) == len(requests)
        return found


Load = Callable[..., Loaded]


@pytest.fixture
def load(artefact_of: PathOf, tmp_path: Path) -> Iterator[Load]:
    """Give a function that exports the artefact of a task and loads its model."""
    loaded: list[Loaded] = []

    def of(task: str, **more: Any) -> Loaded:
        folder, _ = serve_artefact(artefact_of(task), tmp_path / "models")
        loaded.append(Loaded(folder, **more))
        return loaded[-1]

    yield of
    for each in loaded:
        each.model.finalize()
    for name in ("triton_python_backend_utils", "bertc.serve.triton_python"):
        sys.modules.pop(name, None)


@pytest.fixture
def alone(artefact_of: PathOf) -> Iterator[Callable[[str], Predictor]]:
    """Give a function that opens the artefact of a task."""
    opened: list[Predictor] = []

    def of(task: str) -> Predictor:
        opened.append(bertc.load(artefact_of(task), threads=1))
        return opened[-1]

    yield of
    for each in opened:
        each.close()


def texts(*given: str | bytes) -> NDArray[np.object_]:
    """Return texts as the server gives them: [texts, 1]."""
    return np.array([[each.encode() if isinstance(each, str) else each] for each in given], object)


def ids_of(model: Predictor, given: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Return ids [texts, tokens], padded, with their mask."""
    rows = [np.asarray(each.ids) for each in model.encoder.encode_batch(given, max_length=model.max_length)]
    batch = np.zeros((2, len(rows), max(map(len, rows))), np.int64)
    for place, row in enumerate(rows):
        batch[0, place, : len(row)], batch[1, place, : len(row)] = row, 1
    return {"input_ids": batch[0], "attention_mask": batch[1]}


def answers(response: InferenceResponse) -> list[Any]:
    """Return the answers to the texts of a request."""
    assert response.failure is None, response.failure.message()
    array = response.arrays["answer"]
    assert array.shape[1:] == (1,)
    return [json.loads(each) for each in array.ravel()]


def message(response: InferenceResponse) -> str:
    """Return why a request was refused; it has no tensors then."""
    assert response.failure is not None and not response.tensors
    return response.failure.message()


def test_a_batch_is_run_before_a_request_comes(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[int] = []

    def run(self: Predictor, features: Sequence[Feature], **options: Any) -> RawOutputs:
        tokens.append(sum(feature.length for feature in features))
        return real(self, features, **options)

    real = Predictor.run_features
    monkeypatch.setattr(Predictor, "run_features", run)
    model = load("sequence-classification")
    assert tokens[-1] >= Limits().batch_tokens
    model.execute({"text": texts("good")})
    assert tokens[-1] == 3


def test_ragged_requests_share_a_batch_and_get_what_predict_gives(
    load: Load, alone: Callable[[str], Predictor]
) -> None:
    loaded, model = load(CLASSES), alone(CLASSES)
    batches: list[int] = []
    run = loaded.model._predictor.run_features
    loaded.model._predictor.run_features = lambda features: batches.append(len(features)) or run(features)
    cuts = sorted(random.Random(0).sample(range(1, len(TEXTS)), 11))
    parts = [TEXTS[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(TEXTS)], strict=True)]
    found = loaded.execute(*({"text": texts(*part)} for part in parts), *(ids_of(model, part) for part in parts))
    assert batches == [2 * len(TEXTS)], "one batch for all requests"
    by_text, by_ids = found[: len(parts)], found[len(parts) :]
    for part, text, ids in zip(parts, by_text, by_ids, strict=True):
        assert answers(text) == model.predict(part)
        assert set(text.arrays) == {"answer", "logits"} and set(ids.arrays) == {"logits"}
        assert np.array_equal(text.arrays["logits"], ids.arrays["logits"]), "the same bits"


def test_what_is_wrong_is_one_request_s_own(load: Load, alone: Callable[[str], Predictor]) -> None:
    loaded, model = load(CLASSES), alone(CLASSES)
    row = np.array([[1, 2, 3]])
    wrong: dict[str, Mapping[str, NDArray[Any]]] = {
        "text 1 is empty": {"text": texts("good", " ")},
        "text has an element that is no UTF-8": {"text": texts(b"\xff")},
        "there is no text": {"text": np.empty((0, 1), object)},
        "text and pair have different numbers": {"text": texts("a"), "pair": texts("a", "b")},
        "text 0 has no token": {"input_ids": np.empty((1, 0), np.int64)},
        f"the model reads {model.max_length}; ids are not cut": {"input_ids": np.ones((1, 600), np.int64)},
        "has the id 1000000": {"input_ids": np.array([[1, 10**6]])},
        "has the id -1": {"input_ids": np.array([[1, -1]])},
        "ones and then zeros": {"input_ids": row, "attention_mask": np.array([[1, 0, 1]])},
        "attention_mask has the shape [1, 2]": {"input_ids": row, "attention_mask": np.ones((1, 2), np.int64)},
        "a token type that is not from 0 to 1": {"input_ids": row, "token_type_ids": np.array([[0, 2, 0]])},
        "the inputs are text (and pair), or input_ids": {"text": texts("a"), "input_ids": row},
        "others, or both, are not read": {"attention_mask": row},
    }
    good = [{"text": texts(text)} for text in TEXTS[: len(wrong)]]
    found = loaded.execute(*(each for pair in zip(wrong.values(), good, strict=True) for each in pair))
    for sentence, response in zip(wrong, found[::2], strict=True):
        assert sentence in message(response) and response.failure is not None
        assert response.failure.code() == "invalid argument"
    assert [answers(response)[0] for response in found[1::2]] == model.predict(TEXTS[: len(wrong)])
    assert not loaded.double.Logger.errors


def test_only_what_is_asked_for_is_given_and_what_is_not_there_is_said(
    load: Load, alone: Callable[[str], Predictor]
) -> None:
    loaded, ids = load(CLASSES), ids_of(alone(CLASSES), TEXTS[:2])
    given = {"text": texts("good film")}
    answer, logits, none = loaded.execute(
        Request(given, ["answer"]), Request(ids, ["logits"]), Request(ids, ["answer"])
    )
    assert (set(answer.arrays), set(logits.arrays)) == ({"answer"}, {"logits"})
    assert message(none) == "these inputs have no output answer; leave it out"
    (gone,) = loaded.execute(Request(given, ["answer"], cancelled=True))
    assert message(gone) == "it was cancelled" and gone.failure is not None and gone.failure.code() == "cancelled"


def test_an_engine_that_fails_for_one_request_answers_the_others(load: Load, alone: Callable[[str], Predictor]) -> None:
    loaded, model = load(CLASSES), alone(CLASSES)
    run = loaded.model._predictor.run_features
    secret = "a-text"

    def failing(features: Sequence[Any]) -> Any:
        if any(feature.length == 5 for feature in features):
            raise ValueError(secret)
        return run(features)

    loaded.model._predictor.run_features = failing
    fine = {"text": texts("good film , was good")}
    broken, answered = loaded.execute({"input_ids": np.ones((1, 5), np.int64)}, fine)
    assert message(broken) == "the engine failed; the server's log says where"
    assert answers(answered) == model.predict(["good film , was good"])
    logged = "".join(loaded.double.Logger.errors)
    assert "ValueError" in logged and secret not in logged


@pytest.mark.parametrize("task", [TAGS, QUESTIONS])
def test_arrays_per_token_are_padded_and_a_question_s_windows_stay_inside(
    task: str, load: Load, alone: Callable[[str], Predictor]
) -> None:
    loaded, model = load(task), alone(task)
    pairs = ["what is it"] * 2 if task == QUESTIONS else None
    given = {"text": texts(*(pairs or TEXTS[3:5]))} | ({"pair": texts(*TEXTS[3:5])} if pairs else {})
    text, ids = loaded.execute(given, ids_of(model, TEXTS[3:5]))
    assert answers(text) == (model.predict(pairs, TEXTS[3:5]) if pairs else model.predict(TEXTS[3:5]))
    mask = ids_of(model, TEXTS[3:5])["attention_mask"]
    for array in ids.arrays.values():
        assert array.shape[:2] == mask.shape and not array[mask == 0].any() and array[mask == 1].any()
    assert (set(text.arrays) == {"answer"}) == (task == QUESTIONS)


def test_a_server_that_hands_arrays_over_wrongly_is_refused(load: Load) -> None:
    with pytest.raises(EnvironmentLackError, match=r"cannot read arrays of numpy 2.*; take Triton 24\.11 or later"):
        load(CLASSES, tensor=OldTensor)


def test_what_did_not_pass_is_said_in_the_server_s_log(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load(CLASSES).double.Logger.warnings
    monkeypatch.setattr(Predictor, "caution", "it did not pass")
    assert load(TAGS).double.Logger.warnings == ["it did not pass"]
