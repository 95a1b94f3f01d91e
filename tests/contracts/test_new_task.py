"""A task is one file: a fifth one goes from a checkpoint to a validated engine, and nothing else is edited for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import bertc as package
from bertc import tasks
from bertc.checkpoint import checkpoint_from_path
from bertc.core.plugins import COMMANDS
from bertc.errors import InputError
from bertc.tasks import task_from_name, task_names
from tests.artefacts import Bertc
from tests.fixtures import tiny_sentence, write_safetensors, write_tiny_bert

NAME = "mean-scoring"
TASK = '''
"""Mean scoring: a text's score is the mean of its tokens' scores."""

from dataclasses import dataclass, replace

import numpy as np

from bertc.data.columns import Layout
from bertc.data.labels import check_texts, is_labelled, number_from_label
from bertc.data.usual import ID, LABEL, TEXT, schema_from_layout
from bertc.evaluate.metrics.correlation import correlation_metrics
from bertc.evaluate.metrics.fidelity import agreement_metric, distance_metric
from bertc.evaluate.reference import floor_of_scores
from bertc.core.example import Example
from bertc.core.feature import Feature
from bertc.core.head import Head, Pooling
from bertc.core.outputs import Output


@dataclass(frozen=True)
class MeanScoring:
    name = "mean-scoring"
    layout = Layout(choices=((TEXT,),), optional=(LABEL, ID))
    main_fidelity = "agreement"
    window = 24
    head_weights = ("scorer.weight",)
    sentence_modules = False
    token_scores = False
    hub_name = ""
    crf = False
    no_label_loss = ""

    def has_architecture(self, name):
        return name.endswith("ForMeanScoring")

    def head_from_files(self, files):
        files.scores(self)
        return Head(task=self.name)

    def outputs(self, head):
        return Output(name="token_scores", per_token=True, alias="tokens"), Output(name="score", per_token=False)

    def emit_head(self, builder, head, states):
        from bertc.ir.pooling import emit_pooled

        tokens = builder.linear(states[-1], "scorer", (builder.arch.hidden, 1), "head.score_gemm", "token_scores")
        pooled = emit_pooled(builder.emit, builder.packing, tokens, 1, Pooling.MEAN)
        return [(tokens, (1,)), (builder.emit.op("Identity", pooled, name="score"), (1,))]

    def schema(self, head):
        return schema_from_layout(self.name, self.layout, "The label is a number.")

    def check_rows(self, rows, head):
        check_texts(rows, (1,), self.name)
        return tuple(replace(row, label=number_from_label(row)) for row in rows) if is_labelled(rows) else tuple(rows)

    def features_from_rows(self, rows, encoder, max_length):
        encoded = encoder.encode_batch([row.texts[0] for row in rows], max_length=max_length)
        return [
            Feature(input_ids=np.asarray(e.ids), token_type_ids=np.asarray(e.type_ids), row=i, truncated=e.truncated)
            for i, e in enumerate(encoded)
        ]

    def row_outputs(self, rows, features, raw, head):
        scores = np.zeros(len(rows), np.float32)
        for feature, tokens, score in zip(features, raw["tokens"], raw["score"], strict=True):
            assert tokens.shape == (feature.length, 1) and score.shape == (1,)
            np.testing.assert_allclose(tokens.mean(), score[0], atol=1e-5)
            scores[feature.row] = score[0]
        return scores

    def graded(self, outputs, head):
        return outputs

    def predictions(self, rows, outputs, head):
        return [{"mean": float(score)} for score in outputs]

    def lines(self, prediction):
        return [f"mean {prediction['mean']:.3f}"]

    def gold(self, rows, head):
        return np.array([row.label for row in rows]) if rows[0].label is not None else None

    def metrics(self, head):
        return correlation_metrics(lambda outputs: outputs.astype(np.float64))

    def floor(self, head, gold):
        return floor_of_scores(gold)

    def readings(self, head, gold, graded):
        return []

    def metric(self, head, base, label, threshold):
        return None

    def metric_at(self, head, base, cutoff):
        return None

    def fidelity(self, head):
        def squared(a, b):
            return np.stack([(a.astype(np.float64) - b) ** 2, np.ones(len(a))], -1)

        return agreement_metric(lambda a, b: np.abs(a - b) < 0.1), distance_metric("logit_mse", squared)

    def decisions(self, outputs, head):
        return np.rint(outputs * 10).astype(np.int64).view(np.uint64)

    def packed(self, outputs):
        return list(outputs.astype(np.float16)[:, None])

    def split_unit(self, row):
        return row.hash

    def example(self, row, feature, head):
        if row.label is None:
            return Example(feature=feature)
        return Example(feature=feature, gold=np.float32(row.label), labelled=1)

    def label_loss(self, head, outputs, truth):
        return ((outputs["score"][:, 0] - truth.gold) ** 2).sum()

    def logit_loss(self, head, outputs, teacher, truth, temperature):
        return ((outputs["score"] - teacher["score"]) ** 2).sum()


TASK = MeanScoring()
'''

Add = Callable[[str], Path]


@pytest.fixture
def add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Add]:
    """Give a function that writes a file of the task into a folder of tasks, which is forgotten afterwards."""
    for name in COMMANDS.names():
        COMMANDS.module(name)  # each lists the tasks when it is imported, and stays so for the tests that follow
    folder = tmp_path / "tasks"
    folder.mkdir()
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(folder)])

    def write(text: str) -> Path:
        path = folder / "mean_scoring.py"
        path.write_text(text, encoding="utf-8")
        return path

    yield write
    task_from_name.cache_clear()
    sys.modules.pop("bertc.tasks.mean_scoring", None)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A tiny encoder with a linear layer of one score."""
    path = write_tiny_bert(tmp_path / "model", task="feature-extraction", dtype="float32")
    weights = checkpoint_from_path(path).weights
    tensors = {name: weights.array(name) for name in weights}
    generator = np.random.default_rng(0)
    tensors |= {"scorer.weight": generator.normal(0, 0.1, (1, 64)), "scorer.bias": np.zeros(1)}
    write_safetensors(path / "model.safetensors", {name: np.float32(array) for name, array in tensors.items()})
    config = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config["architectures"] = ["BertForMeanScoring"]
    (path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return path


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    """Texts with scores."""
    path = tmp_path / "scored.tsv"
    lines = [f"{tiny_sentence(seed, 4 + seed % 30)}\t{seed % 7}\n" for seed in range(48)]
    path.write_text("text\tscore\n" + "".join(lines), encoding="utf-8")
    return path


def test_a_new_task_is_built_validated_asked_and_trained(
    add: Add, checkpoint: Path, scored: Path, bertc: Bertc, tmp_path: Path
) -> None:
    add(TASK)
    assert NAME in task_names()
    out = tmp_path / "out"
    options = ["--calibration-data", scored, "--validation-data", scored, "--max-drop", "2abs", "--no-cache", "-q"]
    called = bertc("build", checkpoint, "-o", out, *options)
    assert called.code == 0, called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["checkpoint"]["task"] == NAME
    assert report["engine"]["target"] == "native" and report["quantization"]["gemms_int8"] > 0
    assert report["accuracy"]["metric"] == "pearson" and report["accuracy"]["logit_mse"] > 0
    assert max(site["sensitivity"] for site in report["sites"] if site["sensitivity"] is not None) > 0
    with package.load(out) as predictor:
        assert predictor.max_length == 24, "the task's window"
        assert predictor.predict("a good film")[0].keys() == {"mean"}
        with pytest.raises(InputError, match="mean-scoring takes one text; leave the pair away"):
            predictor.predict("a good film", "and another")
    assert bertc("validate", out, "--validation-data", scored).code == 0
    trained = ["--train-data", scored, "--steps", "2", "--labels", "1", "--held-out", "4", "--batch-size", "8", "-q"]
    called = bertc("finetune", checkpoint, "-o", tmp_path / "trained", "--calibration-data", scored, *trained)
    assert called.code == 0, called.err
    assert checkpoint_from_path(tmp_path / "trained").head.task == NAME


def test_without_its_file_the_head_is_refused(checkpoint: Path) -> None:
    with pytest.raises(InputError, match="BertForMeanScoring, whose head bertc does not compute"):
        checkpoint_from_path(checkpoint)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("def logit_loss(", "def other_loss(", "TASK lacks logit_loss; see the protocol"),
        ("    window = 24\n    head_weights", "    head_weights", "TASK lacks window; see the protocol"),
        (
            "    def emit_head(self, builder, head, states):",
            "    def emit(self, builder, head, states):",
            "lacks emit_head;",
        ),
        ("TASK = MeanScoring()", "", "lacks the constant TASK; add what is missing"),
        ('name = "mean-scoring"', 'name = "mean"', "TASK has the name 'mean'; give it the file's, 'mean-scoring'"),
    ],
)
def test_a_task_that_lacks_something_is_refused(add: Add, old: str, new: str, told: str) -> None:
    assert old in TASK
    path = add(TASK.replace(old, new))
    with pytest.raises(InputError, match=told) as refused:
        task_from_name(NAME)
    assert str(path) in str(refused.value)


def test_a_head_that_writes_other_outputs_than_it_promises_is_refused(add: Add, checkpoint: Path) -> None:
    from bertc.graph.encoder import graph_from_checkpoint

    add(TASK.replace('name="score")', 'name="scored")'))
    with pytest.raises(AssertionError, match="mean-scoring writes scored where it promises score"):
        graph_from_checkpoint(checkpoint_from_path(checkpoint))
