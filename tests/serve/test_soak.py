"""Three minutes of what benchmarks/serving_soak.py does for hours."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fixtures import tiny_sentence

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "serving_soak.py"
SECONDS = 180


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("serving_soak", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_nothing_is_wrong_lost_or_left(script: Any, artefact: Path) -> None:
    texts = [tiny_sentence(seed, 3 + seed % 11) for seed in range(50)]
    found = script.soak([artefact], texts, seconds=SECONDS, rate=30, swap=15)
    assert found["wrong"] == [] and found["exit code"] == 0
    assert found["swaps"] >= 8 and found["opened again"] == found["swaps"]
    assert found["statuses"]["good 200"] > 1000 and found["statuses"]["malformed 422"] > 0
    _, early, *_, late = found["memory MiB"]  # of ten parts of the time; the first is that of the start
    assert late < early + 32, "memory grows"
    assert found["open files"][-1] <= found["open files"][1] + 2, "files stay open"
    assert found["texts in the log"] == found["tracebacks in the log"] == 0


def test_a_wrong_answer_is_seen(script: Any, artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers_of = script.answers_of

    def others(*arguments: Any) -> Any:
        answers = answers_of(*arguments)
        return dict(zip(answers, [*answers.values()][1:] + [*answers.values()][:1], strict=True))

    monkeypatch.setattr(script, "answers_of", others)
    texts = [tiny_sentence(seed, 3 + seed % 11) for seed in range(8)]
    found = script.soak([artefact], texts, seconds=3, rate=20, swap=60)
    assert found["wrong answers"] > 5 and found["wrong"][0].startswith("200 ")
