"""Tiny checkpoints for the tests of reading."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that `tests.fixtures` is found whatever the import mode

from tests.fixtures import write_tiny_bert, write_tiny_sentences


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A tiny classifier with two labels, in FP16."""
    return write_tiny_bert(tmp_path / "tiny")


@pytest.fixture
def sentences(tmp_path: Path) -> Path:
    """A tiny encoder in the layout of sentence-transformers: mean pooling and normalisation."""
    return write_tiny_sentences(tmp_path / "sentences")
