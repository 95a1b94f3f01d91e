"""On a real checkpoint the student predicts what the simulator of its build predicts, before the first step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bertc.calibrate.method import RangeMethod
from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.core.batch import batch_from_features
from bertc.data.dataset import dataset_from_path
from bertc.export.embeddings import store_embeddings
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.ir.scheme import scheme_from_options
from bertc.quantize.insert import quantize_graph
from bertc.tasks import task_from_name
from bertc.train.student import student_from_checkpoint, table_from_student, weights_from_student
from tests.tiny import calibrated, rms

ROWS = 100


@pytest.mark.shared
def test_sentiment_in_mode_2(shared_path: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(shared_path / "models" / "minilm-sst2")
    task = task_from_name(checkpoint.head.task)

    def batch_of(file: str, rows: int) -> tuple[object, ...]:
        read = dataset_from_path(shared_path / "data" / "sst2" / file, layout=task.layout).rows[:rows]
        return tuple(task.features_from_rows(task.check_rows(read, checkpoint.head), checkpoint.encoder, 128))

    graph = graph_from_checkpoint(checkpoint)
    table = calibrated(graph, batch_of("train.tsv", 64))  # type: ignore[arg-type]
    scheme = scheme_from_options("2", layers=6)
    student = student_from_checkpoint(
        checkpoint,
        table=table,
        scheme=scheme,
        method=RangeMethod(),
        learned_scales=True,
        masks=None,
    )
    batch = batch_from_features(batch_of("dev.tsv", ROWS), range(ROWS))  # type: ignore[arg-type]
    write_checkpoint(checkpoint, tmp_path / "start", weights_from_student(student))
    written = checkpoint_from_path(tmp_path / "start")
    ranges = table_from_student(student, checkpoint_digest=written.digest)
    start = graph_from_checkpoint(written)
    quantized = quantize_graph(start, ranges, scheme, RangeMethod())
    simulator = store_embeddings(quantized.graph).graph
    expected, exact = (Interpreter(each).run(batch)["logits"] for each in (simulator, graph))
    feeds = {name: torch.from_numpy(array) for name, array in batch.feeds(student.network.inputs).items()}
    with torch.no_grad():
        found = student.network(feeds)["logits"].numpy()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = student.network(feeds)["logits"].numpy()
    for logits in (found, rough):
        assert np.mean(logits.argmax(axis=1) == expected.argmax(axis=1)) >= 0.99
        assert rms(logits - expected) < 0.2 * rms(expected - exact)
