"""Up to which share of its tokens a text is changed where nothing is said: by task, and by what is learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.core.progress import Silent
from bertc.evaluate.task import REPLACED
from bertc.jobs.finetune import Place, finetune
from bertc.jobs.smaller import Smaller
from tests.artefacts import PathOf
from tests.train.runs import recipe_of, run

CLASSIFIER, TAGGER = "sequence-classification", "token-classification"


@pytest.mark.parametrize(
    ("task", "sections", "share"),
    [
        (CLASSIFIER, {}, 0.0),
        (TAGGER, {}, REPLACED),
        (CLASSIFIER, {"quantize": False, "labels": 0.5}, REPLACED),
        (CLASSIFIER, {"replace": 0.2}, 0.2),
        (TAGGER, {"replace": 0.0}, 0.0),
        (TAGGER, {"distill": {}, "labels": 1.0}, 0.0),  # nobody says what becomes of the text
    ],
)
def test_the_share_of_replaced_tokens(
    task: str, sections: dict[str, Any], share: float, tmp_path: Path, checkpoint_of: PathOf, data_of: PathOf
) -> None:
    report = run(recipe_of(checkpoint_of(task), data_of(task), steps=1, **sections), tmp_path / "out")
    assert report["replaced"] == share


def test_a_smaller_student_is_taught_on_replaced_tokens_too(
    tmp_path: Path, checkpoint_of: PathOf, data_of: PathOf
) -> None:
    recipe = recipe_of(checkpoint_of(CLASSIFIER), data_of(CLASSIFIER), steps=1)
    work = Work(StageCache(None), Silent())
    trained = finetune(recipe, Place(out=tmp_path / "out"), work=work, command="test", smaller=Smaller(layers=1))
    assert trained.report["replaced"] == REPLACED
