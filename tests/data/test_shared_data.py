"""The real data sets read whole, with the numbers that their sources state."""

from __future__ import annotations

from pathlib import Path

import pytest

from bertc.data.rows import sample_rows
from tests.data.reading import dataset_of

SHARED = Path(__file__).parents[3] / "shared" / "data"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real data sets beside the checkout (../shared)"),
]

STSB = {"text_a": "6", "text_b": "7", "score": "5"}


@pytest.mark.parametrize(
    ("file", "task", "columns", "form", "rows"),
    [
        ("sst2/train.tsv", "sequence-classification", None, "tsv", 67_349),
        ("sst2/dev.tsv", "sequence-classification", None, "tsv", 872),
        ("stsb/sts-train.csv", "feature-extraction", STSB, "tsv", 5_749),
        ("stsb/sts-dev.csv", "feature-extraction", STSB, "tsv", 1_500),
        ("wnut17/wnut17train.conll", "token-classification", None, "conll", 3_394),
        ("wnut17/emerging.dev.conll", "token-classification", None, "conll", 1_009),
        ("wnut17/emerging.test.annotated", "token-classification", None, "conll", 1_287),
        ("squad/dev-v1.1.json", "question-answering", None, "squad", 10_570),
    ],
)
def test_every_row_is_read(file: str, task: str, columns: dict[str, str] | None, form: str, rows: int) -> None:
    data = dataset_of(SHARED / file, task=task, columns=columns)
    assert len(data) == rows and data.form == form
    assert all(row.labelled and all(row.texts) for row in data.rows)


def test_words_and_articles_are_counted() -> None:
    tokens = dataset_of(SHARED / "wnut17/emerging.test.annotated", task="token-classification").rows
    assert sum(len(row.words or ()) for row in tokens) == 23_394
    questions = dataset_of(SHARED / "squad/dev-v1.1.json", task="question-answering").rows
    assert len({row.group for row in questions}) == 48


def test_calibration_text_of_sst2_is_long_and_shares_no_sentence_with_dev() -> None:
    train = dataset_of(SHARED / "sst2/train.tsv", task="sequence-classification")
    dev = dataset_of(SHARED / "sst2/dev.tsv", task="sequence-classification")
    chosen = sample_rows(train, 256)
    mean = sum(len(row.texts[0]) for row in chosen) / len(chosen)
    plain = sum(len(row.texts[0]) for row in train.rows) / len(train)
    assert mean > 1.4 * plain
    assert not {row.hash for row in train.rows} & {row.hash for row in dev.rows}
