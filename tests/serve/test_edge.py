"""Who may ask, how much may be sent and how long it may take; what is counted and logged."""

from __future__ import annotations

import http.client
import json
import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bertc.errors import InputError, OutputError
from bertc.serve import edge
from bertc.serve.bounds import Limits
from bertc.serve.edge import JsonFormatter, keys_from_file
from bertc.serve.listener import TOO_LARGE
from bertc.serve.models import Settings
from bertc.serve.refused import Reason, RefusalError
from tests.serve.running import Running, running

KEY = "a-key-of-some-length"
TEXT = "good film"
BODY = json.dumps({"inputs": TEXT}).encode()


@pytest.fixture(scope="module")
def server(artefact: Path) -> Iterator[Running]:
    limits = Limits(request_bytes=2000, request_texts=10, request_seconds=1.5)
    with running({"a": artefact}, Settings(threads=1, limits=limits)) as found:
        yield found


@pytest.fixture(scope="module")
def locked(artefact: Path) -> Iterator[Running]:
    with running({"a": artefact}, keys=(KEY.encode(), b"another-key-of-length")) as found:
        yield found


@pytest.mark.parametrize("given", [f"Bearer {KEY}", f"bearer {KEY}", "Bearer another-key-of-length"])
def test_a_key_that_is_known_is_answered(locked: Running, given: str) -> None:
    assert locked.post("/predict", {"inputs": TEXT}, Authorization=given)[0] == 200


@pytest.mark.parametrize("given", [None, "", KEY, f"Basic {KEY}", f"Bearer {KEY}x", f"Bearer {KEY[:-1]}", "Bearer"])
def test_another_key_is_not(locked: Running, given: str | None) -> None:
    headers = {} if given is None else {"Authorization": given}
    for path in ("/predict", "/info", "/metrics", "/nowhere"):
        status, answer, found = locked.ask("GET", path, headers=headers)
        assert status == 401 and found["www-authenticate"] == "Bearer" and "key" in answer["error"]


def test_those_who_watch_need_no_key(locked: Running) -> None:
    assert [locked.ask("GET", path)[0] for path in ("/health", "/ready")] == [200, 200]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "no key"),
        ("# a comment\n\n", "no key"),
        ("  # an indented comment\n", "no key"),
        ("short\n", "at least 16"),
        (f"{KEY}\nshort", "key 2"),
    ],
)
def test_a_file_without_good_keys_is_refused(tmp_path: Path, content: str, fault: str) -> None:
    (tmp_path / "keys").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=fault):
        keys_from_file(tmp_path / "keys")


def test_keys_stand_in_lines(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{KEY}\r\n\n  # ours\n  another-key-of-length \n", encoding="utf-8-sig")
    assert keys_from_file(tmp_path / "keys") == (KEY.encode(), b"another-key-of-length")
    with pytest.raises(InputError, match="cannot be read"):
        keys_from_file(tmp_path / "nowhere")


def test_a_large_request_is_refused_by_its_length_and_as_it_comes(server: Running) -> None:
    large = json.dumps({"inputs": "x" * 3000}).encode()
    status, answer = server.post("/predict", large)
    assert status == 413 and answer["error"] == "a request has at most 2000 bytes"
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("POST", "/predict", iter([large[:1000], large[1000:2000], large[2000:]]), encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert server.post("/predict", {"inputs": "x" * 1500})[0] == 200


def test_a_request_of_many_texts_is_refused(server: Running) -> None:
    assert server.post("/predict", {"inputs": [["a"]] * 10})[0] == 200
    status, answer = server.post("/predict", {"inputs": [["a"]] * 11})
    assert status == 413 and "at most 10 texts" in answer["error"]


def test_a_body_that_does_not_come_is_not_waited_for(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        begin = time.monotonic()
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        answer = b""
        while b"}" not in answer:
            answer += connection.recv(4096)
        assert b" 504 " in answer and b"longer than 1.5 seconds" in answer
        assert time.monotonic() - begin >= 1.4
    assert server.post("/predict", {"inputs": TEXT})[0] == 200


def test_a_head_without_end_ends_the_connection(server: Running) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nX: ")
        answer = b""
        try:
            for _ in range(64):
                connection.sendall(b"x" * 65536)
            while part := connection.recv(4096):
                answer += part
        except OSError:  # the server has closed it while we were sending
            pass
    assert answer in (b"", TOO_LARGE)
    assert server.post("/predict", {"inputs": TEXT})[0] == 200


def test_an_upgrade_with_a_body_is_named(server: Running) -> None:
    status, answer, _ = server.ask("POST", "/predict", BODY, {"Upgrade": "h2c", "Connection": "Upgrade"})
    assert status == 400 and "Upgrade" in answer["error"]


def test_requests_behind_each_other_are_answered_in_their_order(server: Running) -> None:
    one = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    two = b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(one + two)
        found = b""
        while part := connection.recv(65536):
            found += part
    assert found.count(b"HTTP/1.1 200") == 2 and found.index(b"label") < found.index(b'"status"')


def test_a_client_that_has_gone_is_counted_and_nothing_is_left(server: Running) -> None:
    model = server.models["a"]
    batcher = model._open.batcher  # type: ignore[union-attr]
    run = batcher._run
    batcher._run = lambda features: (time.sleep(0.5), run(features))[1]  # type: ignore[func-returns-value]
    try:
        many = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(6)]
        for connection in many:
            head = b"POST /a/predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s"
            connection.sendall(head % (len(BODY), BODY))
            time.sleep(0.02)
        for connection in many:
            connection.close()
        end = time.monotonic() + 10
        while time.monotonic() < end and (model.waiting_tokens or 'status="499"' not in counted(server)):
            time.sleep(0.05)
    finally:
        batcher._run = run
    assert model.waiting_tokens == 0 and 'route="/{model}/predict",status="499"' in counted(server)
    assert server.post("/predict", {"inputs": TEXT})[0] == 200


def counted(server: Running) -> str:
    return str(server.ask("GET", "/metrics")[1], "utf-8")


def test_requests_are_counted_by_route_and_status_and_never_by_the_clients_words(server: Running) -> None:
    server.post("/predict", {"inputs": TEXT})
    server.ask("GET", "/some-secret-path")
    text = counted(server)
    assert 'bertc_requests_total{route="/predict",status="200"}' in text
    assert 'bertc_requests_total{route="other",status="404"}' in text
    assert 'bertc_batch_tokens_count{model="a"}' in text and "secret" not in text


def test_errors_are_logged_without_a_text(server: Running, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "bertc.serve"):
        server.post("/predict", {"inputs": 7})
        server.post("/predict", {"secret words": 7})
        server.ask("GET", "/secret-path")
        server.post("/predict", {"inputs": TEXT})
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert [line["message"] for line in lines] == ["/predict 422", "/predict 422", "other 404"]
    assert all(set(line) == {"time", "level", "message", "ms", "client"} for line in lines)
    assert "secret" not in caplog.text


def test_an_answer_that_is_no_number_is_the_server_s_fault(
    server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(features: object) -> None:
        raise OutputError("logits of a text of 5 tokens has numbers that are not finite")

    monkeypatch.setattr(server.models["a"]._open.batcher, "_run", broken)  # type: ignore[union-attr]
    status, answer = server.post("/predict", {"inputs": TEXT})
    assert status == 500 and "no finite number" in answer["error"] and "tokens" not in answer["error"]
    assert "5 tokens" in caplog.text


def _overloaded() -> None:
    raise RefusalError(Reason.OVERLOADED, "try again later", retry_after=1)


def test_refusals_for_overload_are_logged_together(
    server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "OVERLOAD_SECONDS", 3600)  # it is the test that says when
    monkeypatch.setattr(server.models["a"]._open.batcher, "check_room", _overloaded)  # type: ignore[union-attr]
    with caplog.at_level(logging.INFO, "bertc.serve"):
        assert [server.post("/predict", {"inputs": TEXT})[0] for _ in range(5)] == [429] * 5
        assert server.post("/predict", {"inputs": 7})[0] == 422
        assert server.ask("GET", "/health")[0] == 200  # it comes behind what is recorded of the others
        assert [record.getMessage() for record in caplog.records] == ["/predict 422"]
        server.edge.log_overloads()
        server.edge.log_overloads()
    line = json.loads(JsonFormatter().format(caplog.records[-1]))
    assert len(caplog.records) == 2
    assert (line["message"], line["count"]) == ("/predict 429", 5) and "client" not in line


def test_refusals_for_overload_are_logged_by_themselves(
    server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "OVERLOAD_SECONDS", 0.01)
    monkeypatch.setattr(server.models["a"]._open.batcher, "check_room", _overloaded)  # type: ignore[union-attr]
    with caplog.at_level(logging.INFO, "bertc.serve"):
        server.post("/predict", {"inputs": TEXT})
        end = time.monotonic() + 30
        while not caplog.records and time.monotonic() < end:
            time.sleep(0.01)
    assert [record.getMessage() for record in caplog.records] == ["/predict 429"]


def test_a_fault_of_the_server_is_no_traceback_to_the_client(
    server: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = "of the secret text"

    def broken(features: object) -> None:
        raise ZeroDivisionError(message)

    monkeypatch.setattr(server.models["a"]._open.batcher, "_run", broken)  # type: ignore[union-attr]
    status, answer = server.post("/predict", {"inputs": TEXT})
    assert status == 500 and answer == {"error": "the server failed; its log says where", "error_type": "Backend"}
    assert "ZeroDivisionError" in caplog.text and "broken" in caplog.text and "secret" not in caplog.text
