"""The float model is judged: what is doubted, what is named as the cause, and what is not doubted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from bertc.core.head import Head
from bertc.data.rows import Row, row_from_texts
from bertc.errors import InputError
from bertc.evaluate.gates import Gate, judge_comparison, limit_from_text
from bertc.evaluate.numbering import better_numberings
from bertc.evaluate.reference import Doubt, check_rows_tell
from bertc.evaluate.scores import Comparison, compare_outputs
from bertc.report.schema import DoubtPart, GatePart
from bertc.tasks import task_from_name
from tests.evaluate.toy import EMBED, INTENT, MULTI, NER, QA, STARS, TOPIC, ToyEncoder

ROWS = 200
MNLI = replace(TOPIC, labels=("CONTRADICTION", "NEUTRAL", "ENTAILMENT"))
NLI = replace(TOPIC, labels=("neutral", "contradiction", "entailment"))
SIX = replace(TOPIC, labels=("zinc", "gold", "tin", "iron", "lead", "copper"))
WNUT = replace(NER, labels=("O", "B-city", "B-person", "I-city", "I-person"))
CONLL = replace(NER, labels=("O", "B-LOC", "B-MISC", "B-ORG", "B-PER", "I-LOC", "I-MISC", "I-ORG", "I-PER"))


@dataclass(frozen=True, kw_only=True)
class Data:
    """Rows with labels as a file has them, and what the float model, right in `share` of the rows, gives."""

    rows: tuple[Row, ...]
    raw: dict[str, list[Any]]


def compared(head: Head, data: Data, engine: Data | None = None) -> Comparison:
    task = task_from_name(head.task)
    rows = task.check_rows(data.rows, head)
    features = task.features_from_rows(rows, ToyEncoder(), 64)
    return compare_outputs(task, head, rows, features, data.raw, (engine or data).raw, resamples=200)


def mistaken(ids: np.ndarray, labels: int, share: float) -> np.ndarray:
    random = np.random.default_rng(3)
    wrong = random.random(len(ids)) >= share
    return np.where(wrong, (ids + random.integers(1, labels, len(ids))) % labels, ids)


def classes(head: Head, numbers: list[int] | None = None, share: float = 0.9, count: int = ROWS) -> Data:
    """Id i of the data means the model's label `numbers[i]`."""
    labels = len(head.labels)
    ids = np.random.default_rng(1).integers(0, labels, count)
    meant = ids if numbers is None else np.array(numbers)[ids]
    rows = tuple(row_from_texts(f"row {index}", label=int(label)) for index, label in enumerate(ids))
    return Data(rows=rows, raw={"logits": list(5 * np.eye(labels, dtype=np.float32)[mistaken(meant, labels, share)])})


def several(numbers: list[int] | None = None) -> Data:
    gold = np.random.default_rng(1).random((ROWS, 3)) < [0.1, 0.2, 0.4]
    given = gold if numbers is None else gold[:, np.argsort(numbers)]
    rows = tuple(row_from_texts(f"row {i}", label=np.flatnonzero(mask).tolist()) for i, mask in enumerate(gold))
    return Data(rows=rows, raw={"logits": list(np.where(given, 3.0, -3.0).astype(np.float32))})


def numbers_of(head: Head, sign: float, noise: float = 0.3) -> Data:
    random = np.random.default_rng(2)
    gold = random.random(ROWS)
    given = sign * gold + noise * random.standard_normal(ROWS)
    if head.task == "sequence-classification":
        rows = tuple(row_from_texts(f"row {i}", label=float(value)) for i, value in enumerate(gold))
        return Data(rows=rows, raw={"logits": [np.array([value], np.float32) for value in given]})
    rows = tuple(row_from_texts(f"row {i}", f"other {i}", label=float(value)) for i, value in enumerate(gold))
    angles = np.arccos(np.clip(given, -1, 1))
    pairs = [vector for angle in angles for vector in ((1.0, 0.0), (np.cos(angle), np.sin(angle)))]
    return Data(rows=rows, raw={"embedding": [np.array(vector, np.float32) for vector in pairs]})


def tagged(head: Head, order: tuple[str, ...] | None = None, share: float = 0.95) -> Data:
    """The file's ids number the labels in `order`."""
    random = np.random.default_rng(4)
    kinds = sorted({tag.partition("-")[2] for tag in head.labels if tag != "O"})
    rows, logits = [], []
    for index in range(ROWS):
        kind = kinds[random.integers(len(kinds))]
        tags = ["O", "O", f"B-{kind}", f"I-{kind}", "O", "O"]
        ids = np.array([head.labels.index(tag) for tag in tags])
        named = tags if order is None else [order.index(tag) for tag in tags]
        words = tuple(f"w{index}" for _ in tags)
        rows.append(row_from_texts(" ".join(words), words=words, tags=tuple(named)))
        given = np.array([0, *mistaken(ids, len(head.labels), share), 0])  # [CLS] and [SEP]
        logits.append(4 * np.eye(len(head.labels), dtype=np.float32)[given])
    return Data(rows=tuple(rows), raw={"logits": logits})


def answered(right: bool) -> Data:
    rows, starts, ends = [], [], []
    for index in range(ROWS):
        words = [f"a{index}", *(f"b{i}" for i in range(9))]
        rows.append(row_from_texts("what", " ".join(words), answers=(words[0],)))
        where = np.zeros(14, np.float32)  # [CLS] what [SEP] a0 b0 ... [SEP]
        where[3 if right else 9] = 9
        starts.append(where)
        ends.append(where)
    return Data(rows=tuple(rows), raw={"start_logits": starts, "end_logits": ends})


DOUBTED = {
    "two swapped": (INTENT, classes(INTENT, [1, 0]), "0 and 1 exchanged it scores 0.9"),
    "glue": (NLI, classes(NLI, [2, 0, 1]), "the labels in GLUE's order"),
    "of three": (MNLI, classes(MNLI, [1, 2, 0]), "0, 1, 2 read as 1, 2, 0"),
    "glue's ends": (MNLI, classes(MNLI, [2, 1, 0]), "0 and 2 exchanged it scores"),
    "alphabetical": (SIX, classes(SIX, [5, 1, 2, 3, 4, 0]), "0 and 5 exchanged"),
    "alphabetical of six": (
        SIX, classes(SIX, [SIX.labels.index(name) for name in sorted(SIX.labels)]), "the labels in alphabetical order",
    ),
    "several labels": (MULTI, several([2, 1, 0]), "0 and 2 exchanged it scores 1.0000"),
    "a negative correlation": (STARS, numbers_of(STARS, -1.0), "the sign of all scores changed"),
    "distances": (EMBED, numbers_of(EMBED, -1.0), "the sign of all scores changed"),
    "wnut": (
        CONLL, tagged(CONLL, ("O", "B-LOC", "I-LOC", "B-MISC", "I-MISC", "B-ORG", "I-ORG", "B-PER", "I-PER")),
        "the order of their types, O first",
    ),
    "tags in no order": (WNUT, tagged(WNUT, ("O", *NER.labels[:0:-1])), "1, 2, 3, 4 read as 3, 1, 4, 2"),
    "six in no order": (SIX, classes(SIX, [3, 2, 4, 0, 5, 1]), "0, 1, 2, 3, 4, 5 read as 3, 2, 4, 0, 5, 1"),
    "tags": (NER, tagged(NER, WNUT.labels), "alphabetical order, O first"),
    "conll": (
        CONLL, tagged(CONLL, ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")),
        "CoNLL-2003's order",
    ),
    "answers": (QA, answered(right=False), "see that the labels, the columns and the checkpoint belong together"),
}  # fmt: skip
BELIEVED = {
    "two": (INTENT, classes(INTENT)),
    "mnli": (MNLI, classes(MNLI)),
    "hardly better than chance": (INTENT, classes(INTENT, share=0.65, count=800)),
    "six": (SIX, classes(SIX)),
    "six, weak": (SIX, classes(SIX, share=0.4)),
    "several labels": (MULTI, several()),
    "scores": (STARS, numbers_of(STARS, 1.0)),
    "similarities": (EMBED, numbers_of(EMBED, 1.0)),
    "wnut": (WNUT, tagged(WNUT)),
    "tags by id": (NER, tagged(NER, NER.labels)),
    "conll": (CONLL, tagged(CONLL)),
    "answers": (QA, answered(right=True)),
}


def doubt_of(found: Comparison) -> Doubt:
    assert found.doubt is not None
    return found.doubt


@pytest.mark.parametrize("case", DOUBTED)
def test_a_float_model_that_fits_nothing_is_doubted_and_the_cause_named(case: str) -> None:
    head, data, words = DOUBTED[case]
    found = compared(head, data)
    doubt = doubt_of(found)
    assert doubt.grave and words in doubt.reason, doubt.reason
    assert doubt.value == found.accuracy.reference and "\n" not in doubt.reason
    assert DoubtPart.model_validate({name: getattr(doubt, name) for name in Doubt.__slots__}).reason == doubt.reason
    generous = [Gate(found.accuracy.metric, limit_from_text("2abs"))]
    verdict = judge_comparison(found, generous)
    assert not verdict.passed and verdict.gates[0].reason == verdict.summary == doubt.reason
    assert GatePart.model_validate(verdict.gates[0].as_dict()).drop_limit is None
    assert judge_comparison(found, generous, any_reference=True).passed


@pytest.mark.parametrize("case", BELIEVED)
def test_a_float_model_that_has_learnt_something_is_believed(case: str) -> None:
    head, data = BELIEVED[case]
    found = compared(head, data)
    assert found.doubt is None and not found.warnings
    assert judge_comparison(found, [Gate(found.accuracy.metric, limit_from_text("0abs"))]).passed


def test_the_sentence() -> None:
    reason = doubt_of(compared(*DOUBTED["two swapped"][:2])).reason
    assert reason.startswith("the float model itself scores 0.0")
    assert "not above the 0.5" in reason and "of always answering 'spam'" in reason
    assert "probably the labels are numbered differently: with 0 and 1 exchanged it scores 0.9" in reason


def test_a_value_that_chance_explains_is_said_and_does_not_fail() -> None:
    found = compared(INTENT, classes(INTENT, share=0.49))
    assert not doubt_of(found).grave
    assert judge_comparison(found, [Gate("accuracy", limit_from_text("1%"))]).passed


def test_random_models_of_any_size_have_no_numbering_that_surely_fits() -> None:
    for seed in range(40):
        random = np.random.default_rng(seed)
        head = (TOPIC, SIX)[seed % 2]
        count = int(random.integers(8, 300))
        rows = tuple(row_from_texts(f"row {i}", label=int(random.integers(len(head.labels)))) for i in range(count))
        logits = list(random.standard_normal((count, len(head.labels))).astype(np.float32))
        found = compared(head, Data(rows=rows, raw={"logits": logits}))
        assert found.doubt is None or "probably" not in found.doubt.reason


def test_a_reference_of_nothing_fails_by_its_own_sentence() -> None:
    found = compared(QA, answered(right=False))
    assert found.accuracy.reference == 0
    verdict = judge_comparison(found, [Gate("f1", limit_from_text("1%"))])
    assert not verdict.passed and verdict.summary.startswith("the float model itself scores 0.0000 (f1)")
    taken = judge_comparison(found, [Gate("f1", limit_from_text("1%"))], any_reference=True)
    assert not taken.passed and "give an absolute limit" in taken.summary
    assert judge_comparison(found, [Gate("f1", limit_from_text("0.01abs"))], any_reference=True).passed


def test_what_the_gates_say_stands_beside_the_doubt() -> None:
    swapped = classes(INTENT, [1, 0])
    worse = replace(swapped, raw={"logits": [np.array([1, 0], np.float32)] * ROWS})
    verdict = judge_comparison(compared(INTENT, classes(INTENT), worse), [Gate("accuracy", limit_from_text("1%"))])
    assert [gate.verdict for gate in verdict.gates] == ["fail"] and "went from" in verdict.summary
    both = judge_comparison(compared(INTENT, swapped, worse), [Gate("accuracy", limit_from_text("1%"))])
    assert [gate.verdict for gate in both.gates] == ["fail", "pass"]


def test_constant_outputs_are_a_warning() -> None:
    good = classes(INTENT)
    constant = replace(good, raw={"logits": [np.array([1, 0], np.float32)] * ROWS})
    assert compared(INTENT, good, constant).warnings == (
        f"the engine gives all {ROWS} rows the same outputs, whatever their text",
    )
    both = compared(INTENT, constant)
    assert [text.split(" gives")[0] for text in both.warnings] == ["the float model", "the engine"]
    verdict = judge_comparison(both, [Gate("accuracy", limit_from_text("1%"))])
    assert verdict.warnings[:2] == both.warnings
    tags = tagged(NER)
    nothing = replace(tags, raw={"logits": [np.eye(5, dtype=np.float32)[np.zeros(8, int)]] * ROWS})
    assert len(compared(NER, tags, nothing).warnings) == 1 and not compared(NER, tags).warnings


def test_a_constant_float_model_does_not_pass_however_balanced_the_labels_are() -> None:
    rows = classes(INTENT, share=0.5)
    constant = replace(rows, raw={"logits": [np.array([1, 0], np.float32)] * ROWS})
    found = compared(INTENT, constant)
    assert doubt_of(found).grave and "as it gives every row the same outputs" in doubt_of(found).reason
    gates = [Gate("accuracy", limit_from_text("1%"))]
    assert not judge_comparison(found, gates).passed
    assert judge_comparison(found, gates, any_reference=True).passed
    nearly = replace(constant, raw={"logits": [np.array([1, row / ROWS / 2], np.float32) for row in range(ROWS)]})
    doubt = compared(INTENT, nearly).doubt
    assert doubt is None or not doubt.grave


ALIKE = {
    "one class": (INTENT, [row_from_texts(f"row {i}", label="spam") for i in range(9)], "have the same label ('spam')"),
    "no label": (MULTI, [row_from_texts(f"row {i}", label=[]) for i in range(9)], "none of the 9 rows has a label"),
    "the same labels": (MULTI, [row_from_texts(f"row {i}", label=["a", "c"]) for i in range(9)], "most frequent ones"),
    "one score": (STARS, [row_from_texts(f"row {i}", label=2) for i in range(9)], "have the same score, 2"),
    "one similarity": (EMBED, [row_from_texts(f"row {i}", "other", label=2) for i in range(9)], "same score, 2"),
    "no entity": (
        NER, [row_from_texts(f"w{i} w", words=(f"w{i}", "w"), tags=("O", "O")) for i in range(9)], "has an entity",
    ),
    "three rows": (INTENT, [row_from_texts(f"row {i}", label=i % 2) for i in range(3)], "3 rows are too few"),
    "one row": (INTENT, [row_from_texts("row", label=1)], "1 row is too few"),
    "three rows without labels": (INTENT, [row_from_texts(f"row {i}") for i in range(3)], "3 rows are too few"),
}  # fmt: skip


@pytest.mark.parametrize("case", ALIKE)
def test_rows_that_tell_nothing_are_refused(case: str) -> None:
    head, rows, words = ALIKE[case]
    task = task_from_name(head.task)
    with pytest.raises(InputError, match=r"dev\.tsv: ") as raised:
        check_rows_tell("dev.tsv", task, head, task.check_rows(rows, head))
    assert words in str(raised.value)


@pytest.mark.parametrize("case", BELIEVED)
def test_rows_that_tell_something_are_not(case: str) -> None:
    head, data = BELIEVED[case]
    task = task_from_name(head.task)
    check_rows_tell("dev.tsv", task, head, task.check_rows(data.rows[:40], head))
    check_rows_tell(
        "dev.tsv", task, head, task.check_rows([replace(r, label=None, tags=None) for r in data.rows], head)
    )


def test_numberings() -> None:
    own = np.diag([5.0, 4, 3, 2, 1])
    assert better_numberings(tuple("abcde"), own) == []
    words, numbers = better_numberings(tuple("abcde"), own[:, [0, 3, 2, 1, 4]])[0]
    assert words == "1 and 3 exchanged" and numbers.tolist() == [0, 3, 2, 1, 4]
    assert better_numberings(("only",), np.ones((1, 1))) == []
    words, numbers = better_numberings(("x", "y", "z"), np.eye(3)[[1, 2, 0]])[0]
    assert words == "0, 1, 2 read as 1, 2, 0" and numbers.tolist() == [1, 2, 0]
