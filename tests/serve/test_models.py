"""Artefacts by name: answers as `bertc predict` gives them, exchange under load, and what is not served."""

from __future__ import annotations

import asyncio
import gc
import shutil
import threading
import time
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import bertc
from bertc.artefact.layout import REPORT_FILE
from bertc.core.feature import Feature
from bertc.errors import InputError, OutputError
from bertc.evaluate.task import RawOutputs
from bertc.jobs.predict import Predictor
from bertc.serve import first_batch
from bertc.serve.bounds import Limits
from bertc.serve.models import Settings
from tests.artefacts import PathOf, let_fail
from tests.fixtures import tiny_sentence, tiny_vocab
from tests.serve.running import Running, running

TEXTS = [tiny_sentence(seed, 3 + seed % 11) for seed in range(40)]


@pytest.fixture
def copied(artefact: Path, tmp_path: Path) -> Path:
    """A copy of the classifier that may be changed."""
    return Path(shutil.copytree(artefact, tmp_path / "copied"))


def test_answers_are_those_of_predict(artefact: Path) -> None:
    with bertc.load(artefact, threads=1) as model:
        wanted = model.predict(TEXTS)
    with running({"a": artefact}) as server:
        answer = server.call(server.models["a"].answer([(text,) for text in TEXTS]))
    assert answer.predictions == wanted
    assert answer.tokens == sum(feature.length for feature in answer.encoded.features) and not answer.truncated


@pytest.mark.parametrize("tokens", [1, 40, 1000])
def test_a_batch_is_run_before_a_model_answers(artefact: Path, tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many tokens as a batch may have, so that no request meets an engine that never ran one."""
    lengths: list[list[int]] = []

    def run(self: Predictor, features: Sequence[Feature], **options: Any) -> RawOutputs:
        assert all(feature.input_ids.min() > 0 and feature.input_ids.max() < len(tiny_vocab()) for feature in features)
        lengths.append([feature.length for feature in features])
        return real(self, features, **options)

    real = Predictor.run_features
    monkeypatch.setattr(Predictor, "run_features", run)
    with running({"a": artefact}, Settings(limits=Limits(batch_tokens=tokens))) as server:
        first = lengths[0]
        assert lengths == [first, first], "the second time it is timed"
        assert tokens <= sum(first) < tokens + 64 and max(first) <= 64
        server.call(server.models["a"].load())
        assert lengths == [first] * 4


def test_the_first_batch_is_no_larger_than_a_start_may_take(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_batch, "MOST_TOKENS", 500)
    with bertc.load(artefact, threads=1) as model:
        for tokens, wanted in ((100, 100), (10**12, 500)):
            found = first_batch.first_batch(model, tokens)
            assert wanted <= sum(feature.length for feature in found) < wanted + first_batch.LENGTH


def test_a_server_knows_its_pace_before_the_first_request(artefact: Path) -> None:
    """Else it takes on all that comes in its first batches, and those who came in time wait behind it."""
    with running({"a": artefact}) as server:
        first = server.models["a"]._open
        assert first is not None and first.batcher.rate > 0
        first.batcher._rate = 1e9
        server.call(server.models["a"].load())
        second = server.models["a"]._open
        assert second is not None and second.batcher.rate == 1e9, "one that is measured beside another"


def test_one_whose_first_batch_fails_is_not_served(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Predictor, features: Sequence[Feature], **options: Any) -> RawOutputs:
        raise OutputError("logits of a text of 3 tokens has numbers that are not finite")

    with running({"a": copied}) as server:
        older = server.models["a"].predictor
        monkeypatch.setattr(Predictor, "run_features", fail)
        with pytest.raises(OutputError):
            server.call(server.models["a"].load())
        assert server.models["a"].predictor is older


def test_an_artefact_is_exchanged_while_it_answers(copied: Path) -> None:
    stop, answers = threading.Event(), []

    def ask(server: Running) -> None:
        while not stop.is_set():
            answers.append(server.post("/predict", {"inputs": TEXTS[0]}))

    with running({"a": copied}) as server:
        first = server.models["a"].predictor
        wanted = server.post("/predict", {"inputs": TEXTS[0]})
        callers = [threading.Thread(target=ask, args=(server,)) for _ in range(4)]
        for caller in callers:
            caller.start()
        for _ in range(5):
            server.call(server.models["a"].load())
        stop.set()
        for caller in callers:
            caller.join()
        assert server.models["a"].predictor is not first
    assert wanted[0] == 200 and len(answers) >= 5 and all(answer == wanted for answer in answers)


@pytest.mark.parametrize("newer", ["sequence-classification", "question-answering"])
def test_an_answer_has_the_outputs_of_the_model_that_gave_it(artefact_of: PathOf, tmp_path: Path, newer: str) -> None:
    """An artefact of another task takes the place while a question waits for the engine."""
    replacement, folder = artefact_of(newer), tmp_path / "a"
    shutil.copytree(artefact_of("question-answering"), folder)
    body = {
        "inputs": [{"name": name, "shape": [1], "datatype": "BYTES", "data": [TEXTS[0]]} for name in ("text", "pair")]
    }
    with running({"a": folder}) as server, ThreadPoolExecutor(2) as pool:
        model = server.models["a"]
        wanted = server.post("/v2/models/a/infer", body)
        batcher, begun, go_on = model._open.batcher, threading.Event(), threading.Event()  # type: ignore[union-attr]
        run = batcher._run

        def held(features: Any) -> Any:
            begun.set()
            assert go_on.wait(30)
            return run(features)

        batcher._run = held
        asked = pool.submit(server.post, "/v2/models/a/infer", body)
        try:
            assert begun.wait(30)
            shutil.rmtree(folder)
            shutil.copytree(replacement, folder)
            loaded, before = pool.submit(server.call, model.load()), model.predictor
            for _ in range(3000):
                if model.predictor is not before:
                    break
                time.sleep(0.01)
            assert model.task == newer
        finally:
            go_on.set()
        assert asked.result(30) == wanted
        loaded.result(30)
    assert wanted[0] == 200 and [output["name"] for output in wanted[1]["outputs"]] == ["answer"]


def test_what_is_open_is_no_longer_searched_for_garbage_and_what_was_open_is_gone(copied: Path) -> None:
    with running({"a": copied}) as server:
        model = server.models["a"]
        opened: list[weakref.ref[Any]] = []
        for _ in range(2):
            assert not any(each is model.predictor for each in gc.get_objects())
            model._open.itself = model._open  # type: ignore[union-attr]  what lies in a cycle, only a search finds
            opened.append(weakref.ref(model._open))
            server.call(model.load())
            assert server.post("/predict", {"inputs": TEXTS[0]})[0] == 200
        opened.append(weakref.ref(model._open))
        server.call(model.unload())
        assert [each() for each in opened] == [None] * 3


def test_one_that_cannot_be_opened_leaves_the_older_one(copied: Path) -> None:
    with running({"a": copied}) as server:
        wanted = server.post("/predict", {"inputs": TEXTS[0]})
        (copied / REPORT_FILE).write_text("{}", encoding="utf-8")
        with pytest.raises(InputError, match=r"report\.json"):
            server.call(server.models["a"].load())
        assert server.post("/predict", {"inputs": TEXTS[0]}) == wanted


def test_a_verdict_that_is_no_pass_is_served_where_it_is_wanted_only(copied: Path) -> None:
    folder = let_fail(copied)
    with running({"a": folder}, Settings(threads=1, allow_failed=True)) as server:
        assert server.post("/predict", {"inputs": TEXTS[0]})[0] == 200
    with (
        pytest.raises(AssertionError, match=r"did not pass its gates .* --allow-failed"),
        running({"a": folder}, Settings(threads=1)),
    ):
        pass


def test_an_unloaded_model_is_not_ready_and_comes_back(copied: Path) -> None:
    with running({"a": copied}) as server:
        assert server.ask("GET", "/ready")[0] == 200
        server.call(server.models["a"].unload())
        assert server.ask("GET", "/ready")[:2] == (503, {"error": "not loaded: a", "error_type": "Unhealthy"})
        assert server.post("/a/predict", {"inputs": TEXTS[0]})[0] == 503
        assert server.ask("GET", "/health")[0] == 200
        server.call(server.models["a"].load())
        assert server.post("/a/predict", {"inputs": TEXTS[0]})[0] == 200


def test_requests_come_back_to_their_clients(artefact_of: PathOf) -> None:
    """Many clients at once, each with texts of its own and of different lengths, of two models."""
    folders = {"classes": artefact_of("sequence-classification"), "vectors": artefact_of("feature-extraction")}
    with bertc.load(folders["classes"], threads=1) as model:
        classes = [each["scores"] for each in model.predict(TEXTS)]  # type: ignore[index]
    with bertc.load(folders["vectors"], threads=1) as model:
        vectors = [each["embedding"] for each in model.predict(TEXTS)]  # type: ignore[index]
    wrong: list[Any] = []

    def ask(server: Running, first: int) -> None:
        for place in range(first, len(TEXTS), 8):
            status, found = server.post("/predict", {"inputs": TEXTS[place]})
            if status != 200 or {each["label"]: each["score"] for each in found} != pytest.approx(classes[place]):
                wrong.append(found)
            status, found = server.post("/embed", {"inputs": TEXTS[place], "normalize": False})
            if status != 200 or found[0] != pytest.approx(vectors[place], abs=1e-6):
                wrong.append(found)

    with running(folders, Settings(threads=1, limits=Limits(batch_tokens=48))) as server:
        callers = [threading.Thread(target=ask, args=(server, first)) for first in range(8)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert not wrong


def test_loads_that_have_not_begun_are_one(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else whoever asks for a hundred of them keeps the server from its end until all are done."""
    with running({"a": artefact}) as server:
        model, opened = server.models["a"], []
        open_once = model._opened
        monkeypatch.setattr(model, "_opened", lambda: (opened.append(model.ready), open_once())[1])

        async def many() -> None:
            first = asyncio.ensure_future(model.load())
            while not opened:
                await asyncio.sleep(0.001)
            await asyncio.gather(first, *(model.load() for _ in range(20)))

        server.call(many())
        assert opened == [True, True], "the one that had begun, and one that reads the folder behind it"
        server.call(model.load())
        assert len(opened) == 3


@pytest.mark.parametrize("last", ["load", "unload"])
def test_loads_are_not_one_across_an_unload(artefact: Path, last: str) -> None:
    with running({"a": artefact}) as server:
        model = server.models["a"]

        async def many() -> None:
            asked = []
            for name in ("load", "load", "unload", *([last] if last == "load" else [])):
                asked.append(asyncio.ensure_future(getattr(model, name)()))
                await asyncio.sleep(0.001)
            await asyncio.gather(*asked)

        server.call(many())
        assert model.ready == (last == "load")
