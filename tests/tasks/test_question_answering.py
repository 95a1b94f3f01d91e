"""Windows and answers of question answering."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.evaluate.gates import gates_from_options
from bertc.evaluate.metrics.spans import Answer
from bertc.tasks import task_from_name
from bertc.tasks.question_answering import NO_LOGITS
from tests.evaluate.toy import QA, GateChoice, ToyEncoder

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


def test_whether_there_is_an_answer_is_compared_too() -> None:
    """The null score decides that for a model of SQuAD 2.0; the spans are the same here, and so is their agreement."""
    float_model = [answer(-1.0), answer(2.0), answer(3.0), answer(-4.0)]
    engine = [answer(0.5), answer(1.0), answer(3.0), answer(-0.1)]  # the first has gone over to "no answer"
    by_name = {metric.name: metric for metric in TASK.fidelity(QA)}
    assert by_name["agreement"].value(float_model, engine) == 1
    assert by_name["null_agreement"].value(float_model, engine) == 0.75
    assert by_name["null_agreement"].value(float_model, float_model) == 1
    gates = gates_from_options(GateChoice(), TASK, QA, labelled=False)
    assert [gate.metric for gate in gates] == ["agreement", "null_agreement", "divergence"]
    labelled = gates_from_options(GateChoice(), TASK, QA, labelled=True)
    assert [gate.metric for gate in labelled] == ["f1"], "labels tell it"


def answer(null_score: float) -> Answer:
    return Answer(text="one", start=0, end=3, score=0.9, logits=NO_LOGITS, null_score=null_score)
