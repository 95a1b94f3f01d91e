"""A server over a long time: swapped artefacts, clients that vanish, malformed requests. Nothing may be wrong or lost.

    python benchmarks/serving_soak.py ENGINE [OTHER] --data sst2/dev.tsv --column text=content --seconds 3600 \
        --rate 400 [--swap 300] [--out FILE.json]

`bertc serve` runs in a process of its own on a copy of ENGINE, which is replaced every `--swap` seconds (by OTHER and
back, where it is given) and opened again by SIGHUP. Clients send `--rate` requests a second in all; each answer is
compared with what `bertc.load` says of the text (with one of the two artefacts' answers). All the time a client sends
requests and does not wait for the answers; in the middle twelfth half of the requests are malformed. Memory (anonymous
pages) and open files of the server are read every second. Prints what was found, and exits with 1 where something is
wrong.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import bertc
from bertc.data.dataset import rows_from_path

CLIENTS = 4
MALFORMED = (b"{", b"[]", b'{"inputs": 1}', b'{"inputs": NaN}', b'{"inputs": ""}', b"\xff", b'{"x": "y"}', b"[" * 3000)
TOLERANCE = 1e-6

Scores = dict[str, float]


@dataclass
class Found:
    """What clients saw."""

    statuses: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)
    swaps: int = 0


class Soak:
    """A server's process, and clients that ask it until the time is over."""

    def __init__(
        self, process: subprocess.Popen[str], port: int, wanted: Mapping[str, Sequence[Scores]], seconds: float
    ) -> None:
        self.process, self.port, self.wanted = process, port, wanted
        self.begin, self.end = time.monotonic(), time.monotonic() + seconds
        self.found = Found()

    @property
    def share(self) -> float:
        """How much of the time is over."""
        return (time.monotonic() - self.begin) / (self.end - self.begin)

    def client(self, seed: int, rate: float) -> None:
        """Ask at random times; compare answers."""
        draw, texts = random.Random(seed), list(self.wanted)
        connection: http.client.HTTPConnection | None = None
        while time.monotonic() < self.end:
            time.sleep(draw.expovariate(rate))
            malformed = 5.5 / 12 < self.share < 6.5 / 12 and draw.random() < 0.5
            text = draw.choice(texts)
            body = draw.choice(MALFORMED) if malformed else json.dumps({"inputs": text}).encode()
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                connection.request("POST", "/predict", body)
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.found.wrong.append(f"lost: {type(error).__name__}")
                if connection is not None:
                    connection.close()
                connection = None
                continue
            self.found.statuses[f"{'malformed' if malformed else 'good'} {response.status}"] += 1
            if malformed:
                if response.status not in (400, 422):
                    self.found.wrong.append(f"malformed {body[:20]!r} was answered by {response.status}")
            elif response.status != 200 or not self.right(text, answer):
                self.found.wrong.append(f"{response.status} {answer}"[:200])
        if connection is not None:
            connection.close()

    def right(self, text: str, answer: list[dict[str, Any]]) -> bool:
        """Say whether an answer is that of one of the artefacts."""
        scores = {each["label"]: each["score"] for each in answer}
        return any(
            scores.keys() == each.keys() and all(abs(scores[label] - each[label]) < TOLERANCE for label in scores)
            for each in self.wanted[text]
        )

    def vanishing(self) -> None:
        """Send requests, whole or in part, and go."""
        draw, texts = random.Random(0), list(self.wanted)
        while time.monotonic() < self.end:
            time.sleep(draw.uniform(0.02, 0.1))
            body = json.dumps({"inputs": [[draw.choice(texts)] for _ in range(draw.randint(1, 64))]}).encode()
            head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
            with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
                connection.sendall((head + body)[: draw.choice((len(head) + len(body), len(head) // 2, len(head) + 9))])
                time.sleep(draw.choice((0.0, 0.01)))

    def swapping(self, folder: Path, others: Sequence[Path], every: float) -> None:
        """Replace the artefact's folder and tell the server."""
        number = 0
        while time.monotonic() + every < self.end:
            time.sleep(every)
            number += 1
            new = folder.with_name("new")
            shutil.copytree(others[number % len(others)], new)
            folder.rename(folder.with_name("old"))
            new.rename(folder)
            shutil.rmtree(folder.with_name("old"))
            os.kill(self.process.pid, signal.SIGHUP)
            self.found.swaps += 1

    def watching(self) -> None:
        """Read the server's memory and open files (Linux)."""
        at = Path("/proc") / str(self.process.pid)
        while time.monotonic() < self.end:
            lines = (at / "status").read_text(encoding="ascii").splitlines()
            (line,) = [line for line in lines if line.startswith("RssAnon:")]
            self.found.memory.append(int(line.split()[1]) / 1024)
            self.found.files.append(len(list((at / "fd").iterdir())))
            time.sleep(1)

    def run(self, folder: Path, others: Sequence[Path], *, rate: float, swap: float) -> Found:
        """Do all of it at the same time."""
        threads = [threading.Thread(target=self.client, args=(seed, rate / CLIENTS)) for seed in range(CLIENTS)]
        threads.append(threading.Thread(target=self.vanishing))
        threads.append(threading.Thread(target=self.swapping, args=(folder, others, swap)))
        threads.append(threading.Thread(target=self.watching))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.found


def answers_of(folders: Sequence[Path], texts: Sequence[str]) -> dict[str, list[Scores]]:
    """Return what each artefact says of each text."""
    found: dict[str, list[Scores]] = {text: [] for text in texts}
    for folder in folders:
        with bertc.load(folder, threads=1) as model:
            for text, answer in zip(texts, model.predict(texts), strict=True):
                assert answer is not None
                found[text].append(answer["scores"])
    return found


def soak(folders: Sequence[Path], texts: Sequence[str], *, seconds: float, rate: float, swap: float) -> dict[str, Any]:
    """Serve a copy of the first artefact for so long; return what was found."""
    wanted = answers_of(folders, texts)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(shutil.copytree(folders[0], Path(temporary) / "model"))
        log = Path(temporary) / "log"
        command = [sys.executable, "-m", "bertc", "serve", str(folder), "--port", "0"]
        with log.open("w") as stream, subprocess.Popen(command, stderr=stream, text=True) as process:
            try:
                port = _port(log)
                found = Soak(process, port, wanted, seconds).run(folder, folders, rate=rate, swap=swap)
                process.terminate()
                code = process.wait(60)
            finally:
                process.kill()
        lines = log.read_text(encoding="utf-8")
    tenths = np.array_split(np.arange(len(found.memory)), 10)
    return {
        "seconds": seconds,
        "swaps": found.swaps,
        "opened again": lines.count("was opened again"),
        "statuses": dict(sorted(found.statuses.items())),
        "wrong": found.wrong[:20],
        "wrong answers": len(found.wrong),
        "exit code": code,
        "memory MiB": [max((found.memory[i] for i in each), default=None) for each in tenths],
        "open files": [max((found.files[i] for i in each), default=None) for each in tenths],
        "texts in the log": sum(text in lines for text in texts if len(text) > 20),
        "tracebacks in the log": lines.count("Traceback"),
    }


def _port(log: Path) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if found := re.search(r"serving at http://[^ ]*:(\d+)", log.read_text(encoding="utf-8")):
            return int(found[1])
        time.sleep(0.05)
    raise AssertionError(log.read_text(encoding="utf-8"))


def main() -> None:
    """Run, print and write."""
    from machine import run_facts

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--column", action="append", default=[])
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--rate", type=float, default=400)
    parser.add_argument("--swap", type=float, default=300)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    columns = dict(each.split("=", 1) for each in options.column)
    with bertc.load(options.engines[0]) as model:
        texts = [row.texts[0] for row in rows_from_path(str(options.data), layout=model.task.layout, columns=columns)]
    found = soak(options.engines, texts, seconds=options.seconds, rate=options.rate, swap=options.swap)
    print(json.dumps(found, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(run_facts() | found, indent=1) + "\n", encoding="utf-8")
    if found["wrong answers"] or found["exit code"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
