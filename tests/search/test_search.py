"""A build with --search, on tiny models: what it finds, what it says when nothing passes, and what it never reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.cli.main import run as run_command
from bertc.core.workers import Workers
from bertc.errors import InputError
from bertc.ir.scheme import DEFAULT_SMOOTHING
from bertc.jobs.build import Built, build
from bertc.recipe import recipe_from_document, recipe_from_path
from bertc.search import cost, pool, run, trials
from bertc.search.judge import Judged
from bertc.targets import TargetModel
from tests.artefacts import Bertc
from tests.fixtures import tiny_sentence, write_tiny_bert
from tests.jobs.test_build import Noted

LABELS = ("negative", "positive")
Search = Callable[..., Built]


def invented(models: Mapping[str, TargetModel]) -> Mapping[str, float]:
    """Time nothing: float is slow, and each role in float costs more the later it comes in the data."""
    return {name: 100.0 if name == "float" else 10.0 + number for number, name in enumerate(models)}


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Search:
    """Give a function that builds a tiny classifier with a search whose times are invented."""
    monkeypatch.setattr(run, "timing_at", lambda *_, **__: invented)
    folder = tmp_path / "in"
    checkpoint = write_tiny_bert(folder / "model", positions=64)
    for name, seeds in (("train", range(80)), ("dev", range(80, 120))):
        rows = [f"{tiny_sentence(seed, 6)}\t{LABELS[seed % 2]}\n" for seed in seeds]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")

    def of(out: str = "out", *, workers: Workers | None = None, **sections: dict[str, Any]) -> Built:
        defaults: dict[str, dict[str, Any]] = {
            "calibration": {"data": str(folder / "train.tsv"), "samples": 20},
            "validation": {"data": str(folder / "dev.tsv"), "gates": ["logit_mse:0.0001abs"]},
            "engine": {"threads": 1},
            "quantization": {"mode": "2", "granularity": "tensor"},
            "search": {"enabled": True, "rows": 40, "workers": 1},
        }
        document = {name: {**values, **sections.get(name, {})} for name, values in defaults.items()}
        recipe = recipe_from_document({"checkpoint": str(checkpoint), **document}, "test")
        with StageCache(tmp_path / "cache") as cache:
            return build(recipe, tmp_path / out, work=Work(cache, Noted(), workers=workers), command="bertc build")

    return of


def found_of(built: Built) -> dict[str, Any]:
    assert built.report.search is not None
    return built.report.search.model_dump(mode="json")


def test_the_fastest_scheme_that_passes_is_built(search: Search, tmp_path: Path) -> None:
    built = search(quantization={"granularity": None})
    found = built.report.search
    assert found is not None
    tried = {(trial.granularity, trial.smoothing) for trial in found.trials}
    assert tried >= {("tensor", None), ("channel", DEFAULT_SMOOTHING)}
    chosen = found.trials[found.chosen]
    assert found.passed and chosen.passed and chosen.timed and chosen.used <= 1
    fastest = min(trial.milliseconds for trial in found.trials if trial.passed and trial.timed)
    assert chosen.milliseconds <= fastest * 1.01
    reasons = {part.site: part.reason for part in built.report.quantization.sites_float}
    assert {left.site for left in found.left} <= set(reasons)
    assert all("by the search" in reasons[left.site] for left in found.left)
    recipe = recipe_from_path(tmp_path / "out" / "recipe.toml", {})
    assert not recipe.search.enabled
    assert recipe.quantization.keep_float == chosen.float_sites
    assert recipe.quantization.granularity == chosen.granularity == built.report.quantization.granularity
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Budget used over milliseconds" in page and "sensitivity spared" in page


def test_a_loose_budget_leaves_nothing_that_costs_time(search: Search) -> None:
    found = search(validation={"gates": ["logit_mse:100abs"]}).report.search
    assert found is not None and found.passed
    assert len(found.trials) <= 2, "only the beginnings"


def test_what_the_recipe_names_stays(search: Search) -> None:
    found = found_of(search(quantization={"keep_float": ["layer.0.gelu"]}))
    assert {trial["granularity"] for trial in found["trials"]} == {"tensor"}
    assert {trial["smoothing"] for trial in found["trials"]} == {None}
    assert all("layer.0.gelu" in trial["float_sites"] or "gelu" in trial["float_sites"] for trial in found["trials"])


def test_without_a_search_there_is_none(search: Search) -> None:
    built = search(search={"enabled": False})
    assert built.report.search is None
    assert "search" not in {stage.name for stage in built.report.stages}


def test_nothing_that_passes_is_said_and_the_best_is_built(search: Search) -> None:
    built = search(validation={"gates": ["logit_mse:0abs"]})
    found = built.report.search
    assert found is not None and not found.passed and not built.report.passed
    assert found.trials[found.chosen].used == min(trial.used for trial in found.trials)
    assert any("found no scheme within the budget" in text for text in built.report.warnings)


@pytest.mark.parametrize("passes", [True, False])
def test_a_validation_of_the_same_gates_ends_as_the_search_did(
    search: Search, bertc: Bertc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: bool
) -> None:
    """On the validation data the gates pass both times: what fails is the search's margin on its own rows."""
    used = 0.5 if passes else 1.5

    def judged(*_: Any, **__: Any) -> Judged:
        return Judged(used=used, drop=0.0, error=0.0, agreement=1.0, logit_mse=0.0)

    monkeypatch.setattr(trials, "judged_from_comparison", judged)
    report = search(validation={"gates": ["logit_mse:100abs"], "any_reference": True}).report
    assert {gate.verdict for gate in report.gates} == {"pass"} and report.passed is passes
    words = ("validate", tmp_path / "out", "--validation-data", tmp_path / "in/dev.tsv")
    for more in ((), ("--checkpoint", tmp_path / "in/model")):
        again = bertc(*words, *more)
        assert again.code == int(not passes) and ("not passed: the search found no scheme" in again.err) is not passes
        assert bertc(*words, *more, "--json").json["passed"] is passes
    other = bertc(*words, "--gate", "logit_mse:90abs", "--json")
    assert other.code == 0 and other.json["passed"]
    assert any("by other gates: the search found" in note for note in other.json["notes"]) is not passes


@pytest.mark.parametrize(("limit", "code"), [("0.0001abs", 0), ("0abs", 1)])
def test_the_exit_code_is_the_gates(search: Search, tmp_path: Path, capsys: Any, limit: str, code: int) -> None:
    data = tmp_path / "in"
    arguments = ["build", str(data / "model"), "-o", str(tmp_path / "out"), "--calibration-data", "TRAIN"]
    arguments += [
        "--validation-data",
        str(data / "dev.tsv"),
        "--calibration-samples",
        "20",
        "--search",
        "-q",
        "--int8-mode",
        "2",
    ]
    arguments += ["--granularity", "tensor", "--target", "ort-cpu"]  # whose errors the limit is chosen by
    arguments += ["--search-workers", "1", "--cache-dir", str(tmp_path / "cache"), "--gate", f"logit_mse:{limit}"]
    arguments[arguments.index("TRAIN")] = str(data / "train.tsv")
    assert run_command(arguments) == code
    assert ("the search found no scheme" in capsys.readouterr().err) is bool(code)
    assert json.loads((tmp_path / "out" / "report.json").read_text())["passed"] is not bool(code)


def test_the_number_of_processes_changes_nothing(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = found_of(search(search={"workers": 1}, calibration={"seed": 3}))
    monkeypatch.setattr("bertc.search.trials.Memory.get", lambda *_: None)
    with Workers(2) as workers:  # those of the job, where the search has none of its own
        assert found_of(search("two", workers=workers, search={"workers": 0}, calibration={"seed": 3})) == alone


def test_a_killed_search_goes_on_where_it_was(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    real, evaluated = pool.outputs_from_model, [0]

    def dying(*arguments: Any) -> Any:
        if evaluated[0] == 5:
            raise KeyboardInterrupt
        evaluated[0] += 1
        return real(*arguments)

    monkeypatch.setattr(pool, "outputs_from_model", dying)
    with pytest.raises(KeyboardInterrupt):
        search()
    evaluated[0] = -1000
    resumed = found_of(search())
    again = evaluated[0] + 1000
    evaluated[0] = -1000
    monkeypatch.setattr("bertc.search.trials.Memory.get", lambda *_: None)
    undisturbed = found_of(search("fresh"))
    assert resumed == undisturbed
    assert again == evaluated[0] + 1000 - 5, "what was evaluated before the kill is not evaluated again"


def test_a_second_search_evaluates_nothing(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    first = found_of(search())
    monkeypatch.setattr(pool, "outputs_from_model", lambda *_: pytest.fail("evaluated again"))
    assert found_of(search("again")) == first


def test_other_rows_are_another_search(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    search()
    monkeypatch.setattr(pool, "outputs_from_model", lambda *_: pytest.fail("evaluated again"))
    with pytest.raises(pytest.fail.Exception, match="evaluated again"):
        search("again", search={"rows": 30})


def problem_of(build_of: Search, monkeypatch: pytest.MonkeyPatch, **sections: dict[str, Any]) -> run.SearchProblem:
    """Return what the search was asked."""
    seen: list[run.SearchProblem] = []
    real = run.search_scheme

    def spy(problem: run.SearchProblem, **options: Any) -> run.SearchResult:
        seen.append(problem)
        return real(problem, **options)

    monkeypatch.setattr("bertc.jobs.build.search_scheme", spy)
    build_of(**sections)
    return seen[0]


def test_the_search_reads_neither_calibration_nor_validation_rows(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, dev = ((tmp_path / "in" / f"{name}.tsv").read_text(encoding="utf-8") for name in ("train", "dev"))
    (tmp_path / "in" / "train.tsv").write_text(train + dev.partition("\n")[2], encoding="utf-8")
    problem = problem_of(search, monkeypatch, search={"rows": 500})
    held, calibrated = problem.held, {row.hash for row in problem.calibration.rows}
    texts = {row.texts[0] for row in held.texts.rows}
    validation = {line.partition("\t")[0] for line in dev.splitlines()[1:]}
    assert not texts & validation
    assert len(calibrated) == 20 and not calibrated & {row.hash for row in held.texts.rows}
    assert len(texts) >= 60, "all others of the 80 rows"
    assert held.labelled


def test_its_verdict_does_not_depend_on_the_validation_data(search: Search, tmp_path: Path) -> None:
    first = found_of(search())
    path = tmp_path / "in" / "dev.tsv"
    path.write_text(path.read_text().replace("\tnegative", "\tpositive", 5), encoding="utf-8")
    assert found_of(search("again")) == first


def test_text_without_labels_is_judged_by_the_distance_from_float(
    search: Search, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in" / "train.txt"
    path.write_text("".join(tiny_sentence(seed, 6) + "\n" for seed in range(200, 400)), encoding="utf-8")
    wanted = {"gates": [], "max_drop": "20%"}
    held = problem_of(search, monkeypatch, calibration={"data": str(path)}, validation=wanted).held
    assert not held.labelled
    assert [gate.metric for gate in held.gates] == ["agreement"]


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"calibration": {"samples": 256}}, "none is left"),
        ({"validation": {"gates": [], "max_drop": "0.5%"}}, "cannot tell a drop of 0.5%"),
        ({"engine": {"target": "ort-cpu-dynamic"}}, "static INT8"),
    ],
)
def test_what_cannot_be_searched_is_refused_at_once(
    search: Search, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr("bertc.jobs.build.graph_from_checkpoint", lambda *_: pytest.fail("too late"))
    with pytest.raises(InputError, match=reason):
        search(**sections)


@pytest.mark.parametrize(("decide", "enough"), [("point", True), ("bound", False)])
def test_a_budget_that_float_itself_would_not_keep_is_refused_before_the_search(
    search: Search, monkeypatch: pytest.MonkeyPatch, decide: str, enough: bool
) -> None:
    """One of forty rows is 0.025, and the bound asks for 1.96 of them."""
    wanted = {"gates": ["accuracy:0.03abs"], "decide": decide}
    if enough:
        assert search(validation=wanted).report.search is not None
        return
    monkeypatch.setattr("bertc.search.run._Search._family", lambda *_: pytest.fail("too late"))
    with pytest.raises(InputError, match=r"40 held-out rows cannot tell .* needs about 66: .* --search-rows"):
        search(validation=wanted)


def test_the_shape_stands_for_the_text() -> None:
    from tests.tiny import random_features

    assert cost.shape_of_text(random_features(9, shortest=17, longest=17)) == (8, 24)
    assert cost.shape_of_text(random_features(9, shortest=16, longest=16)) == (8, 16)
