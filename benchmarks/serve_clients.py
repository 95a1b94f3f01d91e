"""No speed: every route of `bertc serve` asked by the real clients, and their answers beside those of `bertc predict`.

    python benchmarks/serve_clients.py [NAME=]OUT... [--allow-failed] [--environment DIR] [--out FILE.md]

Makes an environment with the clients, of the versions in `CLIENTS`, in DIR (it is kept, and not made again), starts
`bertc serve` on the artefacts, and prints a line for each question: equal, or how they differ. The exit status is 1
where one does. What the clients do themselves is in benchmarks/serve_clients_asked.py, which runs in DIR.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from machine import heading, run_facts

import bertc
from bertc.jobs.predict import Predictor
from bertc.serve.server import named_folders

CLIENTS = (
    "tritonclient[http]==2.73.0",
    "openai==3.57.0",
    "cohere==7.3.1",
    "huggingface_hub==2.4.0",
    "kserve==0.21.0",
)
ASKED = Path(__file__).with_name("serve_clients_asked.py")
TEXTS = (
    "a gripping film",
    "Ünïcode, and a naïve ending 🎬",
    "it was not good",
    "John Smith moved from Paris to New York to work for Google, and nobody knows why he did.",
)
PAIRS = (
    ("who moved to New York?", TEXTS[3]),
    ("where did John Smith live before?", TEXTS[3]),
    ("how was the film?", TEXTS[0]),
)


def main() -> int:
    """Ask, print and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("outs", nargs="+", metavar="[NAME=]OUT")
    parser.add_argument("--allow-failed", action="store_true")
    parser.add_argument("--environment", type=Path, metavar="DIR")
    parser.add_argument("--out", type=Path, metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        python = environment(given.environment or Path(scratch) / "clients")
        expected = {name: answers(folder) for name, folder in named_folders(given.outs).items()}
        document = Path(scratch) / "expected.json"
        document.write_text(json.dumps(expected), encoding="utf-8")
        with served(given.outs, allow_failed=given.allow_failed) as url:
            asked = subprocess.run([python, str(ASKED), url, str(document)], check=True, stdout=subprocess.PIPE)
    lines = [json.loads(line) for line in asked.stdout.splitlines()]
    page = table(lines, expected)
    print("\n".join(page))
    if given.out is not None:
        given.out.write_text("\n".join(page) + "\n", encoding="utf-8")
    return int(any(line["result"] != "equal" for line in lines))


def environment(folder: Path) -> str:
    """Make an environment with the clients; return its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    subprocess.run([python, "-m", "pip", "install", "-qq", *CLIENTS], check=True)
    return str(python)


def answers(folder: Path) -> dict[str, Any]:
    """Return what an artefact says of the texts that its task takes: inputs, answers, ids of the first, and names."""
    with bertc.load(folder, threads=1) as model:
        paired = {len(choice) for choice in model.task.layout.choices} == {2}
        pairs = list(PAIRS) if paired else []
        texts = [first for first, _ in pairs] or masked(model)
        seconds = [second for _, second in pairs]
        said = model.predict(texts, seconds) if paired else model.predict(texts)
        encoded = model.encoder.encode_batch(texts, seconds or None, max_length=model.max_length)
        return {
            "task": model.task.name,
            "labels": model.head.labels,
            "mask": model.head.mask,
            "texts": texts,
            "pairs": seconds,
            "answers": said,
            "ids": [list(map(int, each.ids)) for each in encoded],
            "types": [list(map(int, each.type_ids)) for each in encoded],
        }


def masked(model: Predictor) -> list[str]:
    """Return the texts, with a mask where one is needed."""
    if model.head.mask is None:
        return list(TEXTS)
    return [f"{text} {model.head.labels[model.head.mask]} ." for text in TEXTS]


@contextmanager
def served(outs: Sequence[str], *, allow_failed: bool) -> Iterator[str]:
    """Serve artefacts; give the URL, and end the server."""
    command = [sys.executable, "-m", "bertc", "serve", *outs, "--port", "0", *["--allow-failed"] * allow_failed]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        try:
            for line in server.stderr:
                if "serving at " in line:
                    break
            else:
                raise SystemExit(f"the server did not start: {shlex.join(command)}")
            url = line.split("serving at ")[1].strip()
            yield url
        finally:
            server.terminate()
            server.stderr.read()


def table(lines: Sequence[dict[str, str]], expected: dict[str, Any]) -> list[str]:
    """Return the page."""
    facts = run_facts("starlette", "uvicorn", "pydantic", "orjson")
    facts["command"] = "python benchmarks/serve_clients.py OUT..."
    page = heading("What the real clients get from bertc serve", facts)
    page += [f"Clients: {', '.join(CLIENTS)}.", ""]
    page += ["Models: " + ", ".join(f"{name} ({model['task']})" for name, model in expected.items()) + ".", ""]
    page += ["| client | asks | model | beside `bertc predict` |", "| --- | --- | --- | --- |"]
    return page + ["| {client} | {asks} | {model} | {result} |".format(**line) for line in lines]


if __name__ == "__main__":
    sys.exit(main())
