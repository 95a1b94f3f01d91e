"""What the Open Inference Protocol's route refuses: tensors that contradict themselves, in JSON and in bytes."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from bertc.serve.protocols import _arrays
from tests.serve.protocols.test_open_inference import CLASSIFIER, LENGTH, as_bytes, ids, packed, strings, text
from tests.serve.speaking import Reply, Spoken

INFER = f"/v2/models/{CLASSIFIER}/infer"


def check(reply: Reply, words: str, status: int = 400) -> None:
    """Check a refusal."""
    assert reply.status == status, reply.content
    assert list(reply.json) == ["error"] and words in reply.json["error"]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "the inputs are text"),
        ([text("a"), ids([[2, 3]])], "the inputs are text"),
        ([text("a", name="pair")], "the inputs are text"),
        ([text("a", name="prompt")], "the inputs are text"),
        ([text("a"), text("a")], "an input is there twice"),
        ([text("a", "b"), text("a", name="pair")], "different numbers"),
        ([text("a", shape=[2])], "has 1 elements, and its shape says 2"),
        ([text("a", shape=[1, 2])], "the shape [texts]"),
        ([text("a", shape=[1, 1, 1])], "axes"),
        ([text("a", shape=[])], "shape"),
        ([text("a", shape=[-1])], "shape.0"),
        ([text("a", shape=[1.5])], "shape.0"),
        ([text("a", shape=[2**40])], "shape.0"),
        ([text("a", shape=["1"])], "shape.0"),
        ([text("a", shape=[2**30, 2**30])], "the shape [texts]"),
        ([text("a", datatype="FP32")], "has the datatype BYTES"),
        ([text("a", datatype="STRING")], "has the datatype BYTES"),
        ([text("a", data=[1])], "element 0 is no text"),
        ([text("a", data=[None])], "element 0 is no text"),
        ([text("a", data=[["a"]], shape=[1])], "element 0 is no text"),
        ([text("a", data=[["a", "b"]], shape=[1, 1])], "lists of its data"),
        ([text("a", data="a")], "data"),
        ([text("a", data=None)], "either data or"),
        ([text("a", parameters={"binary_data_size": 5})], "either data or"),
        ([text("a", parameters={"shared_memory_region": "x"})], "shared_memory_region"),
        ([text("a", parameters={"binary_data_size": -1})], "binary_data_size"),
        ([ids([[2, 3]], datatype="INT32")], "has the datatype INT64"),
        ([ids([[2, 3]], datatype="FP32", data=[0.5, 1.5])], "has the datatype INT64"),
        ([ids([[2, 3]], shape=[2])], "axes"),
        ([ids([[2, 3]], shape=[3, 1])], "has 2 elements, and its shape says 3"),
        ([ids([[2, 3]], data=[[2], [3]])], "lists of its data"),
        ([ids([[2, 3]], data=[[2, 3], 4])], "lists of its data"),
        ([ids([[2, 3]], data=[2, 3.0])], "no whole number"),
        ([ids([[2, 3]], data=[2, True])], "no whole number"),
        ([ids([[2, 3]], data=[2, "3"])], "no whole number"),
        ([ids([[2, 3]], data=[2, None])], "no whole number"),
        ([ids([[2, 3]], data=[2, 2**63])], "too large for INT64"),
        ([ids([[2, 3]], data=[2, 10**400])], ""),
        ([ids([[2, 3]], data=[2, -1])], "the id -1"),
        ([ids([[2, 99999]])], "the id 99999"),
        ([ids([[2, 3]]), ids([[1, 1, 1]], "attention_mask")], "attention_mask has the shape"),
        ([ids([[2, 3]]), ids([[0, 1]], "attention_mask")], "ones and then zeros"),
        ([ids([[2, 3]]), ids([[1, 2]], "attention_mask")], "ones and then zeros"),
        ([ids([[2, 3]]), ids([[0, 0]], "attention_mask")], "text 0 has no token"),
        ([ids([[2, 3]]), ids([[0, 9]], "token_type_ids")], "token type"),
        ([ids([[2, 3]]), ids([[0, -1]], "token_type_ids")], "token type"),
        ([ids([[2, 3]]), ids([[0, 0]], "position_ids")], "the inputs are text"),
        ([text("a", name="a" * 500)], "the inputs are text"),
        ([text("a", name="a" * 501)], "inputs.0.name"),
        ([text(" ")], "text 0 is empty"),
        ([text(data=[])], "there is no text"),
        ([ids([[]])], "has no token"),
        ([ids([[]], shape=[0, 4])], "there is no text"),
        ([ids([[]], shape=[5000, 0])], "text 0 has no token"),  # no row of it is made: there may be 2**31 of them
        ([text("a")] * 17, "inputs"),
    ],
)
def test_wrong_tensors(server: Spoken, inputs: list[Any], words: str) -> None:
    check(server.post(INFER, {"inputs": inputs}), words)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"outputs": [{"name": "logit"}]}, "have no output 'logit'; they have answer, logits"),
        ({"outputs": [{"name": "logits"}] * 2}, "asked for twice"),
        ({"outputs": [{"name": "logits", "parameters": {"classification": 3}}]}, "classification"),
        ({"outputs": [{"name": 3}]}, "outputs.0.name"),
        ({"id": 7}, "id"),
        ({"model_name": "other"}, "model_name is 'other'"),
        ({"parameters": {"sequence_id": 7}}, "sequence_id"),
        ({"parameters": {"binary_data_output": "yes"}}, "binary_data_output"),
        ({"timeout": 3}, "timeout"),
    ],
)
def test_wrong_requests(server: Spoken, more: dict[str, Any], words: str) -> None:
    check(server.post(INFER, {"inputs": [text("a")]} | more), words)


def test_an_answer_is_not_given_to_ids(server: Spoken) -> None:
    body = {"inputs": [ids([[2, 3]])], "outputs": [{"name": "answer"}]}
    check(server.post(INFER, body), "have no output 'answer'; they have logits")
    body = {"inputs": [text("a")], "outputs": [{"name": "start_logits"}]}
    body["inputs"].append(text("b", name="pair"))
    check(server.post("/v2/models/question-answering/infer", body), "have no output 'start_logits'")


@pytest.mark.parametrize(
    ("behind", "words"),
    [
        (b"", "has 0 elements"),
        (b"\x01\x00", "end inside of an element's length"),
        (struct.pack("<I", 5) + b"abc", "element 0 is longer"),
        (struct.pack("<I", 2**32 - 1) + b"abc", "element 0 is longer"),
        (strings("a", "b"), "has 2 elements"),
        (struct.pack("<I", 1) + b"\xff", "element 0 is no UTF-8"),
        (struct.pack("<I", 3) + b"\xed\xa0\x80", "element 0 is no UTF-8"),  # a lone surrogate
        (strings(""), "text 0 is empty"),
    ],
)
def test_wrong_bytes_of_texts(server: Spoken, behind: bytes, words: str) -> None:
    check(as_bytes(server, text("a"), behind), words)


@pytest.mark.parametrize("size", [0, 7, 15, 17, 24])
def test_wrong_bytes_of_ids(server: Spoken, size: int) -> None:
    check(as_bytes(server, ids([[2, 3]]), bytes(size)), f"has {size} bytes, and its shape needs 16")


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9999999", "", " ", "٣", "0x10", "9" * 40])
def test_wrong_lengths_of_the_json(server: Spoken, length: str) -> None:
    body, _ = packed({"inputs": [text("a")]})
    reply = server.ask("POST", INFER, body, {LENGTH: length.encode().decode("latin-1")})
    check(reply, "is the length of the JSON")


@pytest.mark.parametrize(("cut", "words"), [(0, "EOF"), (5, "EOF"), (-1, "EOF")])
def test_json_that_ends_elsewhere(server: Spoken, cut: int, words: str) -> None:
    body, headers = packed({"inputs": [text("a")]})
    headers[LENGTH] = str(cut if cut >= 0 else len(body) + cut)
    check(server.ask("POST", INFER, body, headers), words)


def test_bytes_that_no_tensor_has(server: Spoken) -> None:
    body, headers = packed({"inputs": [text("a")]}, b"more")
    check(server.ask("POST", INFER, body, headers), "to have 0 bytes behind the JSON, and there are 4")
    check(server.post(INFER, body), "trailing characters")


@pytest.mark.parametrize("path", ["/v2/models/none", "/v2/models/none/infer", f"/v2/models/{CLASSIFIER}/versions/2"])
def test_wrong_paths(server: Spoken, path: str) -> None:
    method = "POST" if path.endswith("infer") else "GET"
    check(server.ask(method, path, {"inputs": []} if method == "POST" else None), "", 404)
    check(server.ask("PUT", path), "does not answer PUT", 405)
    check(server.ask("GET", f"{path}/config"), "no such path", 404)


def test_arrays_that_padding_would_make_too_large_are_refused(server: Spoken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding is not run, so that no other limit counts it."""
    path = "/v2/models/token-classification/infer"
    rows = [[2, 5, 3] + [0] * 37] * 8
    inputs = [ids(rows), ids([[1] * 3 + [0] * 37] * 8, "attention_mask")]
    shape = next(each["shape"] for each in server.post(path, {"inputs": inputs}).json["outputs"])
    assert shape[:2] == [8, 40]
    monkeypatch.setattr(_arrays, "MOST_NUMBERS", 8 * 40 * shape[2] - 1)
    check(server.post(path, {"inputs": inputs}), "those of about one length together", 413)
    assert server.post(path, {"inputs": [ids(rows[:7]), ids([[1] * 3 + [0] * 37] * 7, "attention_mask")]}).status == 200
