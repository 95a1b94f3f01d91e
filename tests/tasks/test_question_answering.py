"""Windows and answers of question answering."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.tasks import task_from_name
from tests.evaluate.toy import QA, ToyEncoder

TASK = task_from_name("question-answering")
CONTEXT = " ".join(f"w{i:02d}" for i in range(40))


def test_an_answer_is_found_in_its_window() -> None:
    rows = [row_from_texts("who is it", CONTEXT, answers=("w30 w31",))]
    features = TASK.features_from_rows(rows, ToyEncoder(), 24)
    assert len(features) > 2 and all(feature.length <= 24 and feature.row == 0 for feature in features)
    raw: dict[str, list[np.ndarray]] = {"start_logits": [], "end_logits": []}
    for feature in features:
        places = feature.detail["offsets"][:, 0] * feature.detail["context"]
        raw["start_logits"].append((places == CONTEXT.index("w30")).astype(np.float32) * 9)
        raw["end_logits"].append((places == CONTEXT.index("w31")).astype(np.float32) * 9)
    outputs = TASK.row_outputs(rows, features, raw, QA)
    found = TASK.predictions(rows, outputs, QA)[0]
    assert found["answer"] == "w30 w31" == CONTEXT[found["start"] : found["end"]]
    assert [metric.value(TASK.gold(rows, QA), outputs) for metric in TASK.metrics(QA)] == [1, 1, 1]


def test_the_question_is_no_answer() -> None:
    rows = [row_from_texts("who", "one two")]
    features = TASK.features_from_rows(rows, ToyEncoder(), 24)
    high = [np.where(feature.detail["context"], 0, 50).astype(np.float32) for feature in features]
    answer = TASK.row_outputs(rows, features, {"start_logits": high, "end_logits": high}, QA)[0]
    assert answer.text in ("one", "two", "one two")


def test_windows_are_never_longer_than_the_model_or_384() -> None:
    class Recorder(ToyEncoder):
        asked: tuple[int, int] = (0, 0)

        def encode_windows(self, question: str, context: str, *, max_length: int, stride: int) -> list:  # type: ignore[type-arg]
            Recorder.asked = (max_length, stride)
            return super().encode_windows(question, context, max_length=max_length, stride=stride)

    rows = [row_from_texts("who", CONTEXT)]
    for limit, expected in ((512, (384, 128)), (384, (384, 128)), (128, (128, 42))):
        TASK.features_from_rows(rows, Recorder(), limit)
        assert Recorder.asked == expected


def test_single_texts_are_refused() -> None:
    with pytest.raises(InputError, match="takes 2"):
        TASK.check_rows([row_from_texts("only one", line=4)], QA)
