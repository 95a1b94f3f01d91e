"""The rows file, the committed baseline, and the gate between them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from bertc.core.head import Head
from bertc.data.rows import Row
from bertc.errors import InputError
from bertc.evaluate.baseline import baseline_from_report, rows_from_baseline
from bertc.evaluate.metric import value_of
from bertc.evaluate.reference import is_constant
from bertc.evaluate.regression import Regression, regression_from_reports
from bertc.evaluate.rows_file import REPORT_SCHEMA, bytes_from_rows, rows_from_path, rows_from_report, write_rows
from bertc.evaluate.scores import Comparison, compare_outputs
from bertc.report.junit import junit_from_regression, junit_from_verdict
from bertc.report.markdown import markdown_from_regression
from bertc.report.schema import Report
from bertc.tasks import task_from_name
from tests.evaluate.toy import EMBED, HEADS, INTENT, QA, STARS, ToyEncoder, toy_raw, toy_rows

ORIGIN = {"cpu": "Xeon", "bertc": "0.1.0"}


def comparison(
    head: Head = INTENT, noise: float = 0.2, change: Callable[[list[Row]], list[Row]] = list, count: int = 120
) -> Comparison:
    task = task_from_name(head.task)
    rows = task.check_rows(change(list(toy_rows(head, count))), head)
    features = task.features_from_rows(rows, ToyEncoder(), 32)
    reference, engine = (toy_raw(head, features, noise=n) for n in (0.0, noise))
    return compare_outputs(task, head, rows, features, reference, engine, resamples=20)


def report(folder: Path, found: Comparison, origin: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    origin, main = ORIGIN if origin is None else origin, found.table.metrics[0]
    value = value_of(main.formula, main.engine)
    write_rows(folder / "rows.npz", found.table, origin)
    said = {
        "schema": 1,
        "rows": "rows.npz",
        "engine": {"target": origin.get("target", "native")},
        "checkpoint": {"digest": "c0ffee"},
        "data": {"validation": {"digest": "da7a"}},
        "accuracy": {"metric": main.name, "engine": value if np.isfinite(value) else None},
    }
    (folder / "report.json").write_text(json.dumps(said))
    return folder / "report.json"


def gated(tmp_path: Path, old: Comparison, new: Comparison, **options: object) -> Regression:
    baseline = tmp_path / "baseline.json"
    baseline.write_text(baseline_from_report(report(tmp_path / "old", old)))
    origin = options.pop("origin", None)
    return regression_from_reports(report(tmp_path / "new", new, origin), baseline, **options)  # type: ignore[arg-type]


def doubted(path: Path, *, grave: bool) -> Path:
    doubt = {"metric": "accuracy", "reason": "the float model itself scores 0.1", "value": 0.1, "floor": 0.5}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"doubt": doubt | {"grave": grave}}))
    return path


def test_a_float_model_that_is_no_better_than_a_guess_fails_here_too(tmp_path: Path) -> None:
    found = comparison()
    path, baseline = report(tmp_path / "new", found), tmp_path / "baseline.json"
    baseline.write_text(baseline_from_report(path))
    assert regression_from_reports(path, baseline).verdict.passed
    failed = regression_from_reports(doubted(path, grave=True), baseline)
    assert not failed.verdict.passed and failed.verdict.summary == "the float model itself scores 0.1"
    assert [gate.verdict for gate in failed.verdict.gates] == ["fail", "pass"]
    taken = regression_from_reports(path, baseline, any_reference=True)
    assert taken.verdict.passed and "the float model itself scores 0.1" in taken.notes
    light = regression_from_reports(doubted(path, grave=False), baseline)
    assert light.verdict.passed and "the float model itself scores 0.1" in light.notes


@pytest.mark.parametrize("doubt", ["no object", {"reason": "lacks the rest"}])
def test_a_damaged_doubt_is_refused(tmp_path: Path, doubt: object) -> None:
    path, baseline = report(tmp_path / "new", comparison()), tmp_path / "baseline.json"
    baseline.write_text(baseline_from_report(path))
    path.write_text(json.dumps(json.loads(path.read_text()) | {"doubt": doubt}))
    with pytest.raises(InputError, match="no report of bertc"):
        regression_from_reports(path, baseline)


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_rows_come_back(tmp_path: Path, head: Head) -> None:
    found = comparison(head)
    write_rows(tmp_path / "rows.npz", found.table, ORIGIN)
    saved = rows_from_path(tmp_path / "rows.npz")
    table = saved.table
    assert dict(saved.origin) == ORIGIN and table.task == head.task
    assert np.array_equal(table.hashes, found.table.hashes) and np.array_equal(table.labels, found.table.labels)
    assert np.array_equal(table.decisions_engine, found.table.decisions_engine)
    for mine, other in zip(table.outputs_engine, found.table.outputs_engine, strict=True):
        assert np.array_equal(mine, other, equal_nan=True)
    for metric, other in zip(table.metrics, found.table.metrics, strict=True):
        assert (metric.name, metric.formula, metric.direction) == (other.name, other.formula, other.direction)
        assert np.allclose(metric.engine, other.engine) and np.allclose(metric.reference, other.reference)
    assert bytes_from_rows(found.table, ORIGIN) == bytes_from_rows(comparison(head).table, ORIGIN)


@pytest.mark.parametrize("factor", [1.0, 1e5])
def test_large_numbers_are_told_apart_and_come_back(tmp_path: Path, factor: float) -> None:
    """A regression of prices: in float16 all are infinite, so alike, and the same again whatever an engine says."""
    task, scores = task_from_name(STARS.task), np.array([[-1.2], [3.5], [3.6]], np.float32) * np.float32(factor)
    kept = tuple(task.packed(scores))
    assert {row.dtype for row in kept} == {np.dtype(np.float32 if factor > 1 else np.float16)}
    np.testing.assert_allclose(np.concatenate(kept), scores[:, 0], rtol=1e-3)
    assert not is_constant(kept) and is_constant(task.packed(scores[[0, 0]]))
    found = comparison(STARS, count=3)
    write_rows(tmp_path / "rows.npz", replace(found.table, outputs_engine=kept), ORIGIN)
    again = rows_from_path(tmp_path / "rows.npz").table.outputs_engine
    assert all(np.array_equal(mine, other) for mine, other in zip(again, kept, strict=True))
    assert not np.array_equal(again[1], again[2])


@pytest.mark.parametrize("head", HEADS, ids=str)
def test_the_same_run_passes_with_nothing_to_say(tmp_path: Path, head: Head) -> None:
    result = gated(tmp_path, comparison(head), comparison(head), limit="0%")
    assert result.verdict.passed and result.paired == 120 and not result.notes
    assert not (result.flipped or result.changed or result.vanished or result.added)
    assert all(score.drop == 0 for score in result.scores)


def test_the_baseline_is_compact_and_deterministic(tmp_path: Path) -> None:
    path = report(tmp_path / "a", comparison(QA))
    text = baseline_from_report(path)
    assert text == baseline_from_report(path) and text.endswith("\n")
    assert json.loads(text)["figures"]["f1"] > 0 and len(text) < 20_000


@pytest.mark.parametrize("head", [INTENT, EMBED, QA], ids=str)
def test_a_worse_engine_fails(tmp_path: Path, head: Head) -> None:
    # The toy's labels are random, so the gate is on nearness to float, which noise surely lowers.
    metric = task_from_name(head.task).main_fidelity
    result = gated(tmp_path, comparison(head, 0.05), comparison(head, 3.0), gates=[f"{metric}:1%"], limit="100%")
    assert not result.verdict.passed and metric in result.verdict.summary
    back = gated(tmp_path, comparison(head, 3.0), comparison(head, 0.05), gates=[f"{metric}:1%"], limit="100%")
    assert back.verdict.gates[1 if back.verdict.gates[0].metric != metric else 0].verdict == "pass"


def test_changed_vanished_and_new_rows_are_listed(tmp_path: Path) -> None:
    def change(rows: list[Row]) -> list[Row]:
        relabelled = [replace(row, label="spam" if row.label == "ham" else "ham") for row in rows[:2]]
        return [*rows[60:], *relabelled, *rows[2:50], replace(rows[59], hash="00000000000000aa")]

    result = gated(tmp_path, comparison(), comparison(change=change), limit="0%")
    assert (len(result.changed), len(result.vanished), len(result.added)) == (2, 10, 1)
    assert result.paired == 108 and result.added == ("00000000000000aa",)
    text = markdown_from_regression(result)
    assert "2 rows with another label" in text and result.changed[0] in text and "passed" in text


def test_equal_texts_pair_in_their_order(tmp_path: Path) -> None:
    def double(rows: list[Row]) -> list[Row]:
        return [*rows, *rows[:5]]

    result = gated(tmp_path, comparison(change=double), comparison(change=double))
    assert result.paired == 125 and not result.vanished
    assert len(gated(tmp_path, comparison(change=double), comparison()).vanished) == 5


def test_equal_texts_with_other_labels_pair_by_their_label(tmp_path: Path) -> None:
    """Two annotators' labels of one text, in a file whose rows come in another order; a changed one is another one."""

    def annotated(rows: list[Row], second: str = "spam") -> list[Row]:
        first = [replace(row, label="ham") for row in rows[:20]]
        return [*first, *(replace(row, label=second) for row in first), *rows[20:]]

    result = gated(tmp_path, comparison(change=annotated), comparison(change=lambda rows: annotated(rows)[::-1]))
    assert result.paired == 140 and not (result.changed or result.vanished or result.added)
    third = gated(tmp_path, comparison(change=annotated), comparison(change=lambda rows: annotated(rows, "ham")))
    assert third.paired == 120 and len(third.changed) == 20 and not (third.vanished or third.added)


@pytest.mark.parametrize("shared", [3, 4])
def test_hardly_a_shared_row_proves_nothing(tmp_path: Path, shared: int) -> None:
    def others(rows: list[Row]) -> list[Row]:
        return [*rows[:shared], *(replace(row, hash=f"{index:016x}") for index, row in enumerate(rows[shared:]))]

    if shared < 4:
        with pytest.raises(InputError, match=r"share too few rows .*\(3, at least 4 .* --update"):
            gated(tmp_path, comparison(), comparison(change=others))
    else:
        assert gated(tmp_path, comparison(), comparison(change=others)).paired == 4


def test_another_machine_is_noted(tmp_path: Path) -> None:
    result = gated(tmp_path, comparison(), comparison(), origin={"cpu": "EPYC", "bertc": "0.1.0"})
    assert result.notes == ("another cpu: the baseline has Xeon, this run EPYC",) and result.verdict.passed


def test_what_one_side_alone_names_is_no_other_version(tmp_path: Path) -> None:
    """A library that one target needs, or that older files do not name; bertc's own version has two keys."""
    baseline = tmp_path / "baseline.json"
    old = {"bertc": "0.3.0", "version bertc": "0.3.0", "version openvino": "2026.4.1", "target": "openvino"}
    baseline.write_text(baseline_from_report(report(tmp_path / "old", comparison(), old)))
    new = {"bertc": "0.4.0", "version bertc": "0.4.0", "version tokenizers": "0.23.3", "target": "native"}
    result = regression_from_reports(report(tmp_path / "new", comparison(), new), baseline)
    assert result.notes == (
        "another target: the baseline has openvino, this run native",
        "another version of bertc: the baseline has 0.3.0, this run 0.4.0",
        "the baseline has the version of openvino 2026.4.1, this run names none",
        "this run has the version of tokenizers 0.23.3, the baseline names none",
    )
    assert not regression_from_reports(report(tmp_path / "same", comparison(), old), baseline).notes


def test_gates_on_other_metrics(tmp_path: Path) -> None:
    result = gated(tmp_path, comparison(), comparison(), gates=["agreement:0.01abs"], decide="bound")
    assert [gate.metric for gate in result.verdict.gates] == ["accuracy", "agreement"]
    for text in ("nothing:1%", "agreement", "agreement:1"):
        with pytest.raises(InputError):
            gated(tmp_path, comparison(), comparison(), gates=[text])


def test_strangers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of the task question-answering"):
        gated(tmp_path, comparison(QA), comparison())
    with pytest.raises(InputError, match="share no row"):
        gated(
            tmp_path,
            comparison(),
            comparison(change=lambda rows: [replace(r, hash="1" + r.hash[1:]) for r in rows][:1]),
        )


def _broken_baselines(text: str) -> dict[str, str]:
    content = json.loads(text)
    arrays = content["arrays"]
    short = {**arrays, "labels": arrays["hashes"] | {"shape": [3]}}
    pickled = {**arrays, "labels": {**arrays["labels"], "dtype": "|O"}}
    return {
        "cut": text[: len(text) // 2],
        "no json": "hello",
        "a list": "[]",
        "another kind": json.dumps({"kind": "something"}),
        "another schema": json.dumps({**content, "schema": 99}),
        "no arrays": json.dumps({**content, "arrays": {}}),
        "bad base64": text.replace('"data": "', '"data": "!!', 1),
        "short array": json.dumps({**content, "arrays": short}),
        "object array": json.dumps({**content, "arrays": pickled}),
        "unknown formula": text.replace('"formula": "ratio"', '"formula": "magic"', 1),
    }


@pytest.mark.parametrize(
    "case",
    ["cut", "no json", "a list", "another kind", "another schema", "no arrays", "bad base64", "short array",
     "object array", "unknown formula"],
)  # fmt: skip
def test_damaged_baselines_are_refused(tmp_path: Path, case: str) -> None:
    path = report(tmp_path / "a", comparison())
    baseline = tmp_path / "baseline.json"
    baseline.write_text(_broken_baselines(baseline_from_report(path))[case])
    with pytest.raises(InputError, match="damaged or no baseline"):
        regression_from_reports(path, baseline)


def test_missing_and_damaged_rows_are_refused(tmp_path: Path) -> None:
    path = report(tmp_path / "a", comparison())
    with pytest.raises(InputError, match="no such baseline"):
        rows_from_baseline(tmp_path / "nothing.json")
    rows = tmp_path / "a" / "rows.npz"
    whole = rows.read_bytes()
    for broken in (b"", b"no zip", whole[: len(whole) // 2], b"\x80\x04N."):
        rows.write_bytes(broken)
        with pytest.raises(InputError, match="damaged or no rows file"):
            rows_from_path(rows)
    np.savez(rows, meta=np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged or no rows file"):
        rows_from_path(rows)
    rows.unlink()
    with pytest.raises(InputError, match="no such file"):
        baseline_from_report(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": null}', '{"rows": "../rows.npz"}', '{"rows": 3}'])
def test_reports_without_rows_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InputError, match=r"no report of bertc|names no rows file"):
        baseline_from_report(tmp_path / "report.json")


def test_junit(tmp_path: Path) -> None:
    bad = gated(tmp_path, comparison(noise=0.05), comparison(noise=3.0), gates=["agreement:1%"], limit="100%")
    root = ElementTree.fromstring(junit_from_regression(bad).split("\n", 1)[1])
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    failure = root.find(".//failure")
    assert failure is not None and "beyond the limit" in (failure.get("message") or "")
    good = gated(tmp_path, comparison(), comparison())
    assert ElementTree.fromstring(junit_from_regression(good).split("\n", 1)[1]).find(".//failure") is None
    hostile = junit_from_verdict(good.verdict, suite='<a>"\x00\x1b', notes=["]]>&"])
    assert ElementTree.fromstring(hostile.split("\n", 1)[1]).get("name") == '<a>"??'


def test_markdown(tmp_path: Path) -> None:
    bad = gated(tmp_path, comparison(noise=0.05), comparison(noise=3.0), gates=["agreement:1%"], limit="100%")
    text = markdown_from_regression(bad)
    assert "not passed" in text and "| accuracy |" in text and "rows decided otherwise" in text


def without_metrics(found: Comparison, *kept: str) -> Comparison:
    table = replace(found.table, metrics=tuple(metric for metric in found.table.metrics if metric.name in kept))
    return replace(found, table=table)


def with_constant_engine(found: Comparison) -> Comparison:
    metrics = [replace(m, engine=m.engine * [1, 0]) if m.formula == "pearson" else m for m in found.table.metrics]
    return replace(found, table=replace(found.table, metrics=tuple(metrics)))


def test_a_main_metric_that_the_baseline_lacks_is_never_skipped(tmp_path: Path) -> None:
    old = without_metrics(comparison(), "agreement")
    with pytest.raises(InputError, match="does not have the main metric of the report, 'accuracy'"):
        gated(tmp_path, old, comparison(), gates=["agreement:1%"])
    assert gated(tmp_path, comparison(), comparison(), gates=["agreement:1%"]).verdict.passed


def test_an_engine_whose_main_metric_became_undefined_fails(tmp_path: Path) -> None:
    good = comparison(STARS)
    result = gated(tmp_path, good, with_constant_engine(good), gates=["agreement:100abs"], limit="100abs")
    assert not result.verdict.passed
    assert "pearson" in result.verdict.summary and "not defined for the engine" in result.verdict.summary
    assert "| undefined |" in markdown_from_regression(result)
    assert ElementTree.fromstring(junit_from_regression(result).split("\n", 1)[1]).get("failures") == "1"
    assert gated(tmp_path, good, good, gates=["agreement:100abs"], limit="100abs").verdict.passed


def test_a_baseline_without_a_value_of_the_main_metric_is_refused(tmp_path: Path) -> None:
    good = comparison(STARS)
    with pytest.raises(InputError, match=r"'pearson' is not defined for the baseline .* --update"):
        gated(tmp_path, with_constant_engine(good), good, gates=["agreement:100abs"])


@pytest.mark.parametrize("head", [INTENT, STARS, QA, EMBED])
def test_rows_are_those_of_their_report(tmp_path: Path, head: Head) -> None:
    origin = {"target": "native", "checkpoint": "c0ffee", "validation": "da7a"}
    path = report(tmp_path / "new", comparison(head), origin)
    assert rows_from_report(path).origin == origin


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ({"target": "openvino"}, "of another build .target openvino instead of native"),
        ({"checkpoint": "f00d"}, "of another build .another checkpoint"),
        ({"validation": "f00d"}, "of another build .another validation"),
    ],
)
def test_rows_of_another_build_are_refused(tmp_path: Path, origin: dict[str, str], message: str) -> None:
    found = comparison()
    path = report(tmp_path / "new", found)
    write_rows(path.parent / "rows.npz", found.table, origin)
    with pytest.raises(InputError, match=message):
        rows_from_report(path)


def test_rows_that_do_not_give_the_reports_value_are_refused(tmp_path: Path) -> None:
    path = report(tmp_path / "good", comparison(noise=0.0))
    write_rows(path.parent / "rows.npz", comparison(noise=3.0).table, ORIGIN)
    with pytest.raises(InputError, match=r"of another build \(accuracy"):
        rows_from_report(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "of schema 2 and this bertc reads 1"),
        ({"schema": "1"}, "of schema '1'"),
        ({"accuracy": None}, "is no report of bertc"),
        ({"engine": []}, "is no report of bertc"),
        ({"rows": ""}, "names no rows file"),
    ],
)
def test_what_is_no_report_of_this_schema_is_not_judged(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = report(tmp_path / "new", comparison())
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        rows_from_report(path)


def test_the_report_s_schema_is_the_one_that_its_rows_are_read_with() -> None:
    assert Report.model_fields["schema_version"].default == REPORT_SCHEMA
