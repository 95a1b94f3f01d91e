"""What every task obeys, whatever it does."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))

from bertc.core.head import Head
from bertc.core.outputs import output_names
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.evaluate.formulas import FORMULAS
from bertc.evaluate.gates import gates_from_options, judge
from bertc.evaluate.metric import metric_from_name
from bertc.evaluate.scores import compare_outputs
from bertc.ir.interpret import Interpreter
from bertc.tasks import outputs_from_head, task_from_name, task_names
from tests.conftest import TinyOf
from tests.evaluate.toy import HEADS, INTENT, GateChoice, ToyEncoder, toy_raw, toy_rows
from tests.tiny import OUTPUTS

LENGTH = 24


def prepared(head: Head, **options: Any) -> tuple[Any, Any, Any]:
    task = task_from_name(head.task)
    rows = task.check_rows(toy_rows(head, **options), head)
    return task, rows, task.features_from_rows(rows, ToyEncoder(), LENGTH)


def test_every_file_is_a_task_with_a_head_here() -> None:
    assert set(task_names()) == {head.task for head in HEADS}
    assert all(task_from_name(name).name == name for name in task_names())


def test_an_unknown_task_is_refused_with_the_list() -> None:
    with pytest.raises(InputError, match="question-answering"):
        task_from_name("translation")


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_outputs_are_the_names_that_users_know_and_what_the_task_reads(head: Head) -> None:
    task, _, features = prepared(head)
    outputs = task.outputs(head)
    assert output_names(outputs) == OUTPUTS[head.task]
    raw = toy_raw(head, features)
    assert {output.key for output in outputs if output.read} == raw.keys()
    for output in outputs:
        if output.per_token and output.read:
            assert all(len(a) == f.length for a, f in zip(raw[output.key], features, strict=True))


@pytest.mark.parametrize("task", OUTPUTS)
def test_the_graph_has_the_task_s_outputs_of_their_shapes(task: str, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    outputs = outputs_from_head(model.checkpoint.head)
    values = Interpreter(model.graph).run(model.batch)
    assert tuple(values) == output_names(outputs)
    rows, length = model.batch.mask.shape
    for output, value in zip(outputs, model.graph.graph.outputs, strict=True):
        places = (rows, length) if output.per_token else (rows,)
        assert values[output.name].shape[: len(places)] == places
        assert value.shape is not None and len(value.shape) == values[output.name].ndim


def test_tasks_are_imported_without_graphs_and_torch() -> None:
    code = "import sys; import bertc.tasks as t; [t.task_from_name(n) for n in t.task_names()]"
    code += "; print(sorted({'onnx', 'onnx_ir', 'onnxruntime', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_features_fit_the_length_and_cover_every_row(head: Head) -> None:
    _, rows, features = prepared(head)
    assert {feature.row for feature in features} == set(range(len(rows)))
    assert all(feature.length <= LENGTH and feature.input_ids.dtype == np.int64 for feature in features)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_outputs_predictions_and_decisions_are_one_per_row(head: Head) -> None:
    task, rows, features = prepared(head)
    outputs = task.row_outputs(rows, features, toy_raw(head, features), head)
    predictions = task.predictions(rows, outputs, head)
    json.dumps(predictions, allow_nan=False)
    assert all(line for prediction in predictions for line in task.lines(prediction))
    packed, decisions = task.packed(outputs), task.decisions(outputs, head)
    assert len(outputs) == len(predictions) == len(packed) == len(decisions) == len(rows)
    assert len(task.graded(outputs, head)) == len(rows)
    assert decisions.dtype == np.uint64 and all(row.ndim == 1 and row.dtype == np.float16 for row in packed)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_the_float_model_agrees_with_itself_and_noise_does_not(head: Head) -> None:
    task, rows, features = prepared(head)
    reference = toy_raw(head, features)
    same = compare_outputs(task, head, rows, features, reference, reference, resamples=50)
    assert all(score.drop == 0 and score.drop_ci95 == (0, 0) for score in same.scores)
    assert same.accuracy.agreement == 1 and same.accuracy.logit_mse == 0
    assert np.array_equal(same.table.decisions_reference, same.table.decisions_engine)
    other = compare_outputs(task, head, rows, features, reference, toy_raw(head, features, noise=2.0), resamples=50)
    assert other.accuracy.agreement is not None and other.accuracy.agreement < 1
    assert other.accuracy.logit_mse is not None and other.accuracy.logit_mse > 0


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_the_main_metrics_come_first_and_have_known_formulas(head: Head) -> None:
    task, rows, features = prepared(head)
    comparison = compare_outputs(
        task, head, rows, features, *[toy_raw(head, features, noise=n) for n in (0.0, 0.1)], resamples=20
    )
    assert comparison.labelled and comparison.accuracy.metric == task.metrics(head)[0].name
    assert task.fidelity(head)[0].name == task.main_fidelity
    assert {"agreement", "logit_mse"} <= {metric.name for metric in task.fidelity(head)}
    for metric in (*task.metrics(head), *task.fidelity(head)):
        assert metric.formula in FORMULAS and metric.direction in ("higher", "lower")
        assert metric_from_name(task, head, metric.name).name == metric.name


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_without_labels_only_fidelity_is_scored_and_gated(head: Head) -> None:
    task, rows, features = prepared(head, labelled=False)
    reference = toy_raw(head, features)
    comparison = compare_outputs(task, head, rows, features, reference, reference, resamples=20)
    assert not comparison.labelled and comparison.accuracy.metric == task.main_fidelity
    assert judge(comparison.scores, gates_from_options(GateChoice(), task, head, labelled=False)).passed
    far = compare_outputs(task, head, rows, features, reference, toy_raw(head, features, noise=3.0), resamples=20)
    assert not judge(far.scores, gates_from_options(GateChoice(), task, head, labelled=False)).passed
    with pytest.raises(InputError, match="needs labels"):
        compare_outputs(task, head, rows, features, reference, reference, extra=[task.metrics(head)[0].name])


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_scores_do_not_depend_on_the_order_of_features(head: Head) -> None:
    task, rows, features = prepared(head)
    raw = toy_raw(head, features)
    turned = {name: values[::-1] for name, values in raw.items()}
    mine = task.packed(task.row_outputs(rows, features, raw, head))
    other = task.packed(task.row_outputs(rows, features[::-1], turned, head))
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(mine, other, strict=True))


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_bad_rows_are_refused(head: Head) -> None:
    task = task_from_name(head.task)
    blank = ("q", "c") if head.task == "question-answering" else ("",)
    bad = [row_from_texts("a", "b", "c"), row_from_texts(*[" " for _ in blank])]
    for row in bad:
        with pytest.raises(InputError):
            task.check_rows([row], head)
    rows = toy_rows(head)
    half = [*rows[:3], *toy_rows(head, labelled=False)[3:5]]
    with pytest.raises(InputError, match="no label"):
        task.check_rows(half, head)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_an_unknown_metric_lists_those_there_are(head: Head) -> None:
    task = task_from_name(head.task)
    for name in ("nonsense", "recall[nobody]", "f1["):
        with pytest.raises(InputError, match=task.metrics(head)[0].name):
            metric_from_name(task, head, name)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_the_schema_names_every_role(head: Head) -> None:
    task = task_from_name(head.task)
    text = task.schema(head)
    assert all(column.role in text for column in task.layout.columns)
    named = () if task.token_scores else head.labels  # a vocabulary is no help
    assert all(label in text for label in named if label != "LABEL_0")


def test_an_empty_set_is_refused() -> None:
    task = task_from_name(INTENT.task)
    with pytest.raises(InputError, match="no rows"):
        compare_outputs(task, INTENT, [], [], {"logits": []}, {"logits": []})
