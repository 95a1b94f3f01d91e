"""Fixtures that several rooms share: a tiny model of each task, and the real checkpoints and data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.artefacts import (  # noqa: F401  # fixtures
    artefact,
    artefact_of,
    bertc,
    checkpoint_of,
    classifier,
    data,
    data_of,
    rows,
)
from tests.ort_cuda_double import play  # noqa: F401  # a fixture
from tests.tensorrt_tiny import install, wide  # noqa: F401  # fixtures
from tests.tiny import TinyModel, tiny_model

TinyOf = Callable[[str], TinyModel]


@pytest.fixture(scope="session")
def shared_path() -> Path:
    """The folder of real checkpoints and data sets beside the checkout."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (real checkpoints and data)")
    return folder


@pytest.fixture(scope="session")
def tiny_of(tmp_path_factory: pytest.TempPathFactory) -> TinyOf:
    """Give a function that makes the tiny model of a task once: read only."""
    made: dict[str, TinyModel] = {}

    def of(task: str) -> TinyModel:
        if task not in made:
            made[task] = tiny_model(tmp_path_factory.mktemp(task), task=task)
        return made[task]

    return of


@pytest.fixture(scope="session")
def tiny_classifier(tiny_of: TinyOf) -> TinyModel:
    """A calibrated random BERT with two layers and two labels."""
    return tiny_of("sequence-classification")
