"""A server with a tiny model of every task, and what `bertc.load` says of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bertc
from bertc.cli.main import run
from tests.artefacts import PathOf
from tests.serve.speaking import Spoken, spoken_to
from tests.tiny import OUTPUTS

Predict = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory, artefact_of: PathOf, checkpoint_of: PathOf, data_of: PathOf
) -> dict[str, Path]:
    """An artefact of each task, by the task's name."""
    ranks = tmp_path_factory.mktemp("ranks") / "out"
    rows = str(data_of("late-interaction"))
    command = ["build", str(checkpoint_of("text-ranking")), "-o", str(ranks), "--task", "text-ranking", "--no-cache"]
    assert run([*command, "--calibration-data", rows, "--unvalidated", "-q"]) == 0
    return {task: ranks if task == "text-ranking" else artefact_of(task) for task in OUTPUTS}


@pytest.fixture(scope="session")
def server(served: dict[str, Path]) -> Iterator[Spoken]:
    """A server of all of them."""
    with spoken_to(served) as found:
        yield found


@pytest.fixture(scope="session")
def predict(served: dict[str, Path]) -> Predict:
    """Give a function that answers texts with a task's model, as `bertc predict` does."""

    def answer(task: str, *texts: Any) -> list[dict[str, Any]]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one of them is unvalidated
            with bertc.load(served[task], threads=1) as model:
                return model.predict(*texts)

    return answer
