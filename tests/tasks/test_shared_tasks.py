"""Tasks on real data with the real tokenizers: outputs made from the gold labels must score 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.checkpoint.checkpoint import Checkpoint
from bertc.checkpoint.read import checkpoint_from_path
from bertc.core.feature import Feature
from bertc.data.dataset import dataset_from_path
from bertc.data.rows import Row
from bertc.tasks import Task, task_from_name

SHARED = Path(__file__).parents[3] / "shared"

pytestmark = [
    pytest.mark.shared,
    pytest.mark.skipif(not SHARED.is_dir(), reason="no real checkpoints beside the checkout (../shared)"),
]


def prepared(model: str, data: str, rows: int | None = None) -> tuple[Checkpoint, Task, tuple[Row, ...], list[Feature]]:
    checkpoint = checkpoint_from_path(SHARED / "models" / model)
    task = task_from_name(checkpoint.head.task)
    read = dataset_from_path(SHARED / "data" / data, layout=task.layout).rows[:rows]
    checked = task.check_rows(read, checkpoint.head)
    return checkpoint, task, checked, task.features_from_rows(checked, checkpoint.encoder, 512)


def test_sentiment() -> None:
    checkpoint, task, rows, features = prepared("minilm-sst2", "sst2/dev.tsv")
    gold = task.gold(rows, checkpoint.head)
    assert np.bincount(gold).tolist() == [428, 444] and not any(feature.truncated for feature in features)
    outputs = task.row_outputs(rows, features, {"logits": list(np.eye(2, dtype=np.float32)[gold])}, checkpoint.head)
    assert [metric.value(gold, outputs) for metric in task.metrics(checkpoint.head)] == [1, 1, 1, 1]


def test_entities() -> None:
    checkpoint, task, rows, features = prepared("minilm-wnut17", "wnut17/emerging.test.annotated")
    head = checkpoint.head
    raw = []
    for row, feature in zip(rows, features, strict=True):
        logits = np.zeros((feature.length, len(head.labels)), np.float32)
        for word, place in zip(feature.detail["words"], feature.detail["first"], strict=True):
            logits[place, head.labels.index(row.tags[word])] = 1  # type: ignore[index]
        raw.append(logits)
    gold, outputs = task.gold(rows, head), task.row_outputs(rows, features, {"logits": raw}, head)
    graded = task.graded(outputs, head)
    assert sum(len(tags) for tags in gold) == 23_394
    assert [metric.value(gold, graded) for metric in task.metrics(head)] == pytest.approx([1, 1, 1, 1], abs=2e-3)
    found = task.predictions(rows, outputs, head)
    assert sum(len(item["entities"]) for item in found) == pytest.approx(1079, abs=3)


def test_answers() -> None:
    checkpoint, task, rows, features = prepared("minilm-squad", "squad/dev-v1.1.json", 400)
    starts, ends = [], []
    for feature in features:
        row, inside = rows[feature.row], feature.detail["context"]
        first = row.texts[1].index(row.answers[0])
        offsets = feature.detail["offsets"]
        starts.append(((offsets[:, 0] == first) & inside).astype(np.float32) * 9)
        ends.append(((offsets[:, 1] == first + len(row.answers[0])) & inside).astype(np.float32) * 9)
    raw = {"start_logits": starts, "end_logits": ends}
    gold, outputs = task.gold(rows, checkpoint.head), task.row_outputs(rows, features, raw, checkpoint.head)
    f1, exact, _ = (metric.value(gold, outputs) for metric in task.metrics(checkpoint.head))
    # A few answers begin or end within a token ("$5" of "$50"), or have more than 30 tokens.
    assert f1 > 0.97 and exact > 0.95
    assert max(feature.length for feature in features) <= 384
