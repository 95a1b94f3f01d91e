"""The Open Inference Protocol: texts and ids as JSON and as bytes, what is asked for, models that come and go."""

from __future__ import annotations

import json
import shutil
import struct
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.serve.bounds import Limits
from tests.serve.protocols.conftest import Predict
from tests.serve.speaking import Reply, Spoken, spoken_to
from tests.tiny import OUTPUTS

CLASSIFIER = "sequence-classification"
TEXTS = ["good film", "where did mary live in london"]
LENGTH = "Inference-Header-Content-Length"


def text(*texts: str, name: str = "text", **changes: Any) -> dict[str, Any]:
    """Return a tensor of texts in JSON."""
    return {"name": name, "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)} | changes


def ids(rows: Sequence[Sequence[int]], name: str = "input_ids", **changes: Any) -> dict[str, Any]:
    """Return a tensor of ids in JSON, flat."""
    data = [each for row in rows for each in row]
    return {"name": name, "shape": [len(rows), len(rows[0])], "datatype": "INT64", "data": data} | changes


def infer(server: Spoken, model: str, *inputs: Any, **more: Any) -> dict[str, Any]:
    """Return the outputs of a request that is answered, by name."""
    reply = server.post(f"/v2/models/{model}/infer", {"inputs": list(inputs)} | more)
    assert reply.status == 200, reply.content
    assert reply.json["model_name"] == model and reply.json.get("id") == more.get("id")
    return {output["name"]: output for output in reply.json["outputs"]}


def array(output: Mapping[str, Any]) -> Any:
    """Return an output's array."""
    assert output["datatype"] == "FP32"
    return np.array(output["data"], np.float32).reshape(output["shape"])


@pytest.mark.parametrize("task", OUTPUTS)
def test_answers_are_those_of_predict(server: Spoken, predict: Predict, task: str) -> None:
    paired = task in ("question-answering", "text-ranking", "late-interaction")
    given = [[f"{each} [MASK]" for each in TEXTS] if task == "fill-mask" else TEXTS, *([TEXTS[::-1]] if paired else [])]
    inputs = [text(*texts, name=name) for name, texts in zip(("text", "pair"), given, strict=False)]
    found = infer(server, task, *inputs, id="7")
    wanted = predict(task, *given)
    assert found["answer"]["shape"] == [2]
    for answer, said in zip(map(json.loads, found["answer"]["data"]), wanted, strict=True):
        assert answer.keys() == said.keys()
        assert all(
            answer[key] == (pytest.approx(said[key], abs=1e-6) if key == "embedding" else said[key]) for key in said
        )
    arrays = set(found) - {"answer"}
    assert arrays == (set() if task in ("question-answering", "late-interaction") else arrays) and arrays <= {
        *OUTPUTS[task]
    }


@pytest.mark.parametrize("task", OUTPUTS)
def test_metadata_tells_the_shapes_of_arrays(server: Spoken, task: str) -> None:
    about = server.ask("GET", f"/v2/models/{task}/versions/1").json
    assert about == server.ask("GET", f"/v2/models/{task}").json and about["name"] == task
    shapes = {each["name"]: each["shape"] for each in about["outputs"]}
    assert shapes.pop("answer") == [-1] and shapes
    mask = server.post("/fill-mask/tokenize", {"inputs": "[MASK]"}).json[0][1]["id"]
    rows = [[2, 30, mask, 3], [2, 31, mask, 0]]
    found = infer(server, task, ids(rows), ids([[1, 1, 1, 1], [1, 1, 1, 0]], "attention_mask"))
    assert set(found) == set(shapes)
    for name, output in found.items():
        assert len(output["shape"]) == len(shapes[name])
        assert all(size in (-1, there) for size, there in zip(shapes[name], output["shape"], strict=True))


def test_ids_of_texts_give_what_texts_give(server: Spoken) -> None:
    tokens = server.post(f"/{CLASSIFIER}/tokenize", {"inputs": TEXTS}).json
    longest = max(map(len, tokens))
    rows = [[token["id"] for token in each] + [0] * (longest - len(each)) for each in tokens]
    mask = [[1] * len(each) + [0] * (longest - len(each)) for each in tokens]
    types = [[0] * longest for _ in tokens]
    found = infer(server, CLASSIFIER, ids(rows), ids(mask, "attention_mask"), ids(types, "token_type_ids"))
    assert list(found) == ["logits"]
    wanted = array(infer(server, CLASSIFIER, text(*TEXTS))["logits"])
    assert np.array_equal(array(found["logits"]), wanted)
    nested = [ids(each, name, data=each) for name, each in (("input_ids", rows), ("attention_mask", mask))]
    assert np.array_equal(array(infer(server, CLASSIFIER, *nested)["logits"]), wanted)
    unmasked = array(infer(server, CLASSIFIER, ids(rows))["logits"])
    assert not np.array_equal(unmasked, wanted)  # padding is not guessed


def test_arrays_of_tokens_are_padded_by_zeros(server: Spoken) -> None:
    found = infer(
        server,
        "token-classification",
        ids([[2, 30, 31, 3], [2, 3, 0, 0]]),
        ids([[1] * 4, [1, 1, 0, 0]], "attention_mask"),
    )
    logits = array(found["logits"])
    assert logits.shape == (2, 4, 3) and logits[0].all() and logits[1, :2].all() and not logits[1, 2:].any()


def packed(body: Any, *behind: bytes) -> tuple[bytes, dict[str, str]]:
    """Return a body with bytes behind its JSON, and the header that tells where they begin."""
    head = json.dumps(body).encode()
    return b"".join([head, *behind]), {LENGTH: str(len(head))}


def strings(*texts: str) -> bytes:
    """Return texts as the bytes of a tensor."""
    return b"".join(struct.pack("<I", len(each.encode())) + each.encode() for each in texts)


def as_bytes(server: Spoken, tensor: dict[str, Any], behind: bytes, **more: Any) -> Reply:
    """Ask the classifier with a tensor as bytes."""
    del tensor["data"]
    given = {"inputs": [tensor | {"parameters": {"binary_data_size": len(behind)}}]} | more
    body, headers = packed(given, behind)
    return server.ask("POST", f"/v2/models/{CLASSIFIER}/infer", body, headers)


def test_tensors_as_bytes_in_both_directions(server: Spoken) -> None:
    wanted = infer(server, CLASSIFIER, text(*TEXTS))
    reply = as_bytes(server, text(*TEXTS), strings(*TEXTS), parameters={"binary_data_output": True})
    length = int(reply.headers[LENGTH.lower()])
    head, behind = json.loads(reply.content[:length]), reply.content[length:]
    assert [output["name"] for output in head["outputs"]] == ["answer", "logits"]
    sizes = [output["parameters"]["binary_data_size"] for output in head["outputs"]]
    assert sum(sizes) == len(behind) and not any("data" in output for output in head["outputs"])
    assert behind[: sizes[0]] == strings(*wanted["answer"]["data"])
    assert np.array_equal(np.frombuffer(behind[sizes[0] :], "<f4").reshape(2, 2), array(wanted["logits"]))
    asked = [{"name": "logits", "parameters": {"binary_data": False}}]
    mixed = as_bytes(server, text(*TEXTS), strings(*TEXTS), outputs=asked, parameters={"binary_data_output": True})
    assert LENGTH.lower() not in mixed.headers and mixed.json["outputs"] == [wanted["logits"]]
    rows = np.array([[2, 30, 3]], "<i8")
    assert as_bytes(server, ids(rows.tolist()), rows.tobytes()).json["outputs"] == [
        infer(server, CLASSIFIER, ids(rows.tolist()))["logits"]
    ]


def test_outputs_come_as_they_are_asked_for(server: Spoken) -> None:
    found = infer(server, CLASSIFIER, text("good"), outputs=[{"name": "logits"}, {"name": "answer"}])
    assert list(found) == ["logits", "answer"]
    assert list(infer(server, CLASSIFIER, text("good"), outputs=[{"name": "logits"}])) == ["logits"]


def test_the_server_and_its_models(server: Spoken, served: dict[str, Any]) -> None:
    about = server.ask("GET", "/v2").json
    assert about["name"] == "bertc" and set(about["extensions"]) == {"binary_tensor_data", "model_repository"}
    assert server.ask("GET", "/v2/health/live").json == {"live": True}
    assert server.ask("GET", "/v2/health/ready").json == {"live": True, "ready": True}
    assert server.ask("GET", f"/v2/models/{CLASSIFIER}/versions/1/ready").json == {"name": CLASSIFIER, "ready": True}
    index = server.post("/v2/repository/index", b"").json
    assert [each["name"] for each in index] == list(served) and {each["state"] for each in index} == {"READY"}


def test_a_model_goes_and_comes_back(server: Spoken) -> None:
    task, place = "sparse-embedding", "/v2/repository/models/sparse-embedding"
    assert server.post(f"{place}/unload", {"parameters": {"unload_dependents": False}}).status == 200
    try:
        assert server.ask("GET", f"/v2/models/{task}/ready").status == 503
        assert server.ask("GET", "/v2/health/ready").status == 503
        assert server.post(f"/v2/models/{task}/infer", {"inputs": [text("a")]}).status == 503
        states = {each["name"]: each["state"] for each in server.post("/v2/repository/index", {}).json}
        assert states[task] == "UNAVAILABLE" and states[CLASSIFIER] == "READY"
        assert task not in [each["name"] for each in server.post("/v2/repository/index", {"ready": True}).json]
    finally:
        assert server.post(f"{place}/load", b"").status == 200
    assert infer(server, task, text("a"))
    assert server.post(f"{place}/load", {"parameters": {"config": "{}"}}).status == 400
    assert server.post("/v2/repository/models/none/load", b"").status == 404


def test_no_request_is_dropped_while_a_model_is_exchanged(server: Spoken) -> None:
    wanted = infer(server, CLASSIFIER, text(*TEXTS))
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(infer, server, CLASSIFIER, text(*TEXTS)) for _ in range(60)]
        loads = [server.post(f"/v2/repository/models/{CLASSIFIER}/load", b"").status for _ in range(3)]
    assert loads == [200] * 3 and all(each.result() == wanted for each in asked)


def test_no_other_model_answers_for_one_that_went(served: dict[str, Any]) -> None:
    with spoken_to({"a": served[CLASSIFIER], "b": served[CLASSIFIER], "c": served["text-ranking"]}) as server:
        for path, body in (
            ("/predict", {"inputs": "good"}),
            ("/", {"inputs": "good"}),
            ("/v2/rerank", {"query": "who", "documents": ["a"]}),
        ):
            name = "c" if "rerank" in path else "a"
            assert server.post(path, body).status == 200
            assert server.post(f"/v2/repository/models/{name}/unload", b"").status == 200
            reply = server.post(path, body)
            assert reply.status == 503 and f"{name} is not loaded".encode() in reply.content
            assert server.post(f"/v2/repository/models/{name}/load", b"").status == 200
            assert server.post(path, body).status == 200


def test_an_artefact_that_cannot_be_opened_leaves_the_older_one(served: dict[str, Any], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(served[CLASSIFIER], tmp_path / "copy"))
    with spoken_to({"model": folder}) as server:
        wanted = infer(server, "model", text(*TEXTS))
        whole = (folder / "bertc.json").read_bytes()
        (folder / "bertc.json").write_text("{}", encoding="utf-8")
        reply = server.post("/v2/repository/models/model/load", b"")
        assert reply.status == 400 and "manifest mismatch, bertc.json" in reply.json["error"]
        assert infer(server, "model", text(*TEXTS)) == wanted
        (folder / "bertc.json").write_bytes(whole)
        assert server.post("/v2/repository/models/model/load", b"").status == 200
        assert infer(server, "model", text(*TEXTS)) == wanted


def test_a_load_ends_although_nobody_waits_for_it(served: dict[str, Any]) -> None:
    with spoken_to({"model": served[CLASSIFIER]}, Limits(request_seconds=0.001)) as hurried:
        assert hurried.post("/v2/repository/models/model/load", b"").status == 504
        for _ in range(200):
            if b'bertc_loads_total{model="model"} 2.0' in hurried.ask("GET", "/metrics").content:
                break
            time.sleep(0.02)
        else:
            raise AssertionError("the model was not loaded")
