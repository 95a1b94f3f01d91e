"""The facts that every part of a report is written from."""

from __future__ import annotations

import pytest

from bertc.report.parts.facts import BuildFacts
from tests.report.sample_facts import facts_of
from tests.tiny import TinyModel, engine_scheme, tiny_scheme


@pytest.fixture
def facts(tiny_classifier: TinyModel) -> BuildFacts:
    """An unvalidated build of the tiny classifier in mode 2 with a scale per column."""
    return facts_of(tiny_classifier, engine_scheme(tiny_scheme("2", "channel")))
