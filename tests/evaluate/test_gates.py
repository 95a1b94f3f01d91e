"""Gates: how they are written, and what they decide."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bertc.errors import InputError
from bertc.evaluate.gates import Gate, gate_from_text, gates_from_options, judge, limit_from_text, rows_needed
from bertc.evaluate.scores import Score
from bertc.report.schema import GatePart
from bertc.tasks import task_from_name
from tests.evaluate.toy import EMBED, INTENT, QA, GateChoice

TASK = task_from_name("sequence-classification")
SCORE = Score(
    metric="accuracy", direction="higher", samples=872, truncated=0, reference=0.9, engine=0.892, drop=0.008,
    drop_ci95=(0.001, 0.015), drop_error=0.0036, reference_ci95=(0.88, 0.92), engine_ci95=(0.87, 0.91),
)  # fmt: skip
FPR = replace(SCORE, metric="false_positive_rate[spam]", direction="lower", reference=0.02, engine=0.03, drop=0.01)


def gate(text: str) -> Gate:
    return gate_from_text(text, TASK, INTENT)


@pytest.mark.parametrize(
    ("text", "amount", "relative"),
    [("1%", 0.01, True), ("0.5%", 0.005, True), ("0.01abs", 0.01, False), (" .5 % ", 0.005, True), ("0%", 0, True)],
)
def test_limits(text: str, amount: float, relative: bool) -> None:
    limit = limit_from_text(text)
    assert (limit.amount, limit.relative) == (pytest.approx(amount), relative)


@pytest.mark.parametrize("text", ["", "1", "0.01", "-1%", "1e-2abs", "nan%", "one%", "101%", "1%%", "inf abs"])
def test_bad_limits_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        limit_from_text(text)


@pytest.mark.parametrize("text", ["accuracy", ":1%", "accuracy:", "nothing:1%", "recall[eggs]:1%"])
def test_bad_gates_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        gate(text)


def test_gates_name_metrics_by_their_own_name() -> None:
    assert gate("fpr[spam]@0.7:0.5%").metric == "false_positive_rate[spam]@0.7"
    assert gate("accuracy: 1%").metric == "accuracy"


def test_the_defaults() -> None:
    def chosen(*, labelled: bool = True, **options: Any) -> list[tuple[str, str]]:
        gates = gates_from_options(GateChoice(**options), TASK, INTENT, labelled=labelled)
        return [(gate.metric, gate.limit.text) for gate in gates]

    assert chosen() == [("accuracy", "1%")]
    assert chosen(preset="99.9%") == [("accuracy", "0.1%")]
    assert chosen(max_drop="0.01abs") == [("accuracy", "0.01abs")]
    assert chosen(gates=["recall[spam]:0.5%"]) == [("recall[spam]", "0.5%")]
    assert chosen(gates=["f1:1%"], max_drop="2%") == [("f1", "1%"), ("accuracy", "2%")]
    assert chosen(gates=["f1:1%"], preset="99%") == [("f1", "1%"), ("accuracy", "1%")]
    assert chosen(min_agreement=0.99) == [("accuracy", "1%"), ("agreement", "0.99 at least")]
    assert chosen(labelled=False) == [("agreement", "0.01abs"), ("divergence", "0.01abs")]
    least = ("agreement", "0.5 at least")  # not beside the default of the same metric, which would be the stricter
    assert chosen(labelled=False, min_agreement=0.5) == [("divergence", "0.01abs"), least]
    strict = [("agreement", "0.01abs"), ("divergence", "0.01abs"), least]
    assert chosen(labelled=False, min_agreement=0.5, preset="99%") == strict
    assert chosen(labelled=False, preset="99.9%") == [("agreement", "0.001abs"), ("divergence", "0.001abs")]


@pytest.mark.parametrize(
    "options", [{"preset": "98%"}, {"min_agreement": 1.5}, {"max_drop": "99"}, {"gates": ["f2:1%"]}]
)
def test_bad_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        gates_from_options(GateChoice(**options), TASK, INTENT, labelled=True)


def test_a_gate_on_labels_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="needs labels"):
        gates_from_options(GateChoice(gates=["accuracy:1%"]), TASK, INTENT, labelled=False)


@pytest.mark.parametrize("metric", ["divergence", "logit_mse"])
def test_a_part_of_a_distance_to_the_float_model_itself_is_refused_before_anything_runs(metric: str) -> None:
    with pytest.raises(InputError, match=f"reference's value, which is 0; .* {metric}:0.01abs"):
        gates_from_options(GateChoice(gates=[f"{metric}:1%"]), TASK, INTENT, labelled=True)
    for text in (f"{metric}:0.01abs", "agreement:1%"):
        assert gates_from_options(GateChoice(gates=[text]), TASK, INTENT, labelled=True)


def test_other_tasks_have_their_own_main_metric() -> None:
    question = gates_from_options(GateChoice(), task_from_name(QA.task), QA, labelled=True)
    embed = gates_from_options(GateChoice(), task_from_name(EMBED.task), EMBED, labelled=False)
    assert [gate.metric for gate in question] == ["f1"] and [gate.metric for gate in embed] == ["mean_cosine"]


@pytest.mark.parametrize(
    ("text", "passed"),
    [("accuracy:1%", True), ("accuracy:0.8%", False), ("accuracy:0.008abs", True), ("accuracy:0.0079abs", False)],
)
def test_the_point_decides(text: str, passed: bool) -> None:
    verdict = judge([SCORE, FPR], [gate(text)])
    assert verdict.passed is passed
    assert verdict.gates[0].verdict == ("pass" if passed else "fail")


def test_a_false_positive_rate_must_not_rise() -> None:
    assert not judge([FPR], [gate("fpr[spam]:1%")]).passed
    fewer = replace(FPR, engine=0.01, drop=-0.01)
    assert judge([fewer], [gate("fpr[spam]:0%")]).passed


def test_a_drop_of_exactly_the_limit_passes() -> None:
    exact = replace(SCORE, reference=0.8922, engine=0.8822, drop=0.8922 - 0.8822)
    assert exact.drop > 0.01  # by the last bit
    assert judge([exact], [gate("accuracy:0.01abs")]).passed


def test_the_summary_says_by_how_much() -> None:
    verdict = judge([SCORE, FPR], [gate("accuracy:1%"), gate("fpr[spam]:0.005abs")])
    assert "false_positive_rate[spam] went from 0.0200 to 0.0300" in verdict.summary
    assert "0.0050 beyond the limit of 0.0050" in verdict.summary and "accuracy" not in verdict.summary
    assert "\n" not in verdict.summary


def test_a_small_set_warns_and_a_large_one_does_not() -> None:
    assert "872 rows are too few" in judge([SCORE], [gate("accuracy:0.5%")]).warnings[0]
    assert judge([SCORE], [gate("accuracy:1%")]).warnings == ()
    assert judge([SCORE], [gate("accuracy:0.5%")], decide="bound").warnings == ()


@pytest.mark.parametrize(
    ("limit", "verdict"), [("0.015abs", "pass"), ("0.0005abs", "fail"), ("0.01abs", "inconclusive")]
)
def test_the_bound_decides(limit: str, verdict: str) -> None:
    result = judge([SCORE], [gate(f"accuracy:{limit}")], decide="bound")
    assert result.gates[0].verdict == verdict and result.passed is (verdict == "pass")
    assert (result.gates[0].rows_needed is not None) is (verdict == "inconclusive")


def test_the_rows_that_would_settle_it() -> None:
    # Half the interval is 1.96 * 0.0036 = 0.0071 and must shrink to 0.002: 12.4 times the rows.
    assert rows_needed(SCORE, 0.010) == pytest.approx(872 * (1.96 * 0.0036 / 0.002) ** 2, abs=1)
    assert rows_needed(SCORE, 0.008) is None
    assert "about 10854 rows" in judge([SCORE], [gate("accuracy:0.01abs")], decide="bound").summary


def test_a_part_of_a_reference_of_0_fails_and_says_what_to_give() -> None:
    """It is known when all has run, so that what was built is kept."""
    for none in (replace(FPR, reference=0.0), replace(SCORE, reference=0.0, engine=0.0, drop=0.0)):
        failed = judge([none], [gate(f"{none.metric}:1%")])
        assert not failed.passed and not failed.warnings
        assert "relative to the reference's value, which is 0; give an absolute limit" in failed.summary
        assert GatePart.model_validate(failed.gates[0].as_dict()).drop_limit is None
        assert judge([none], [gate(f"{none.metric}:0.5abs")]).passed
    assert judge([FPR], [gate(f"{FPR.metric}:60%")]).passed


def test_no_gate_and_no_score_are_refused() -> None:
    with pytest.raises(InputError, match="no gate"):
        judge([SCORE], [])
    with pytest.raises(InputError, match="has no score; there are accuracy"):
        judge([SCORE], [gate("f1:1%")])


def test_results_are_what_the_report_takes() -> None:
    for decide in ("point", "bound"):
        for result in judge([SCORE], [gate("accuracy:0.01abs")], decide=decide).gates:  # type: ignore[arg-type]
            assert GatePart.model_validate(result.as_dict()).verdict == result.verdict
