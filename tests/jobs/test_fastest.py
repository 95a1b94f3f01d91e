"""Target auto-cpu on tiny models: what it keeps, what it says of the others, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.artefact.layout import ROWS_FILE
from bertc.artefact.manifest import verify_artefact
from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.cli.commands import build as build_command
from bertc.cli.main import run as run_command
from bertc.core.batch import Batch
from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.progress import Silent
from bertc.core.workers import Workers
from bertc.errors import EnvironmentLackError, InputError, OutputError
from bertc.evaluate import scores
from bertc.evaluate.reference import Doubt
from bertc.jobs import fastest as auto
from bertc.jobs.build import Built
from bertc.jobs.fastest import Speed, Timed, build_fastest, candidates_from_recipe, measured_speeds, timed_features
from bertc.recipe import Recipe, recipe_from_document
from bertc.report.html.page import html_from_report
from bertc.runtime.native.native_runtime import NativeRuntime
from bertc.runtime.openvino.compiled_model import OpenvinoRuntime
from bertc.targets import native, openvino, openvino_bf16, openvino_float
from tests.fixtures import tiny_sentence, write_tiny_bert
from tests.tiny import random_features

LABELS = ("negative", "positive")
Auto = Callable[..., Built]
Written = Callable[..., Recipe]


def speeds_of(order: Sequence[str]) -> auto.Measure:
    """Invent speeds: the first name is the fastest, those not named are slowest."""

    def measure(engines: Mapping[str, Timed], features: Sequence[Feature], head: Head) -> Mapping[str, Speed]:
        ranks = {name: float(order.index(name) + 1 if name in order else 10) for name in engines}
        return {name: Speed(alone=rank, batched=rank) for name, rank in ranks.items()}

    return measure


@pytest.fixture
def recipe(tmp_path: Path) -> Written:
    """Give a function that makes a recipe for a tiny classifier."""
    folder = tmp_path / "in"
    checkpoint = write_tiny_bert(folder / "model", positions=64)
    for name, seeds in (("train", range(20)), ("dev", range(20, 50))):
        rows = [f"{tiny_sentence(seed, 6)}\t{LABELS[seed % 2]}\n" for seed in seeds]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")

    def of(**sections: dict[str, Any]) -> Recipe:
        defaults: dict[str, dict[str, Any]] = {
            "calibration": {"data": str(folder / "train.tsv")},
            "validation": {"data": str(folder / "dev.tsv"), "max_drop": "1abs", "any_reference": True},
            "engine": {"target": "auto-cpu", "threads": 1},
        }
        document = defaults | {name: {**defaults.get(name, {}), **values} for name, values in sections.items()}
        return recipe_from_document({"checkpoint": str(checkpoint), **document}, "test")

    return of


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a machine that lacks OpenVINO, which is faster to test on too."""

    class Missing(OpenvinoRuntime):
        def check_here(self, attention: str | None) -> None:
            raise EnvironmentLackError("OpenVINO is not installed")

    for module in (openvino, openvino_bf16, openvino_float):
        monkeypatch.setattr(module, "TARGET", replace(module.TARGET, runtime=Missing()))


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a machine on which the native engine was not built."""

    class Missing(NativeRuntime):
        def check_here(self, attention: str | None) -> None:
            raise EnvironmentLackError("bertc was installed without its native engine: zig is missing")

    monkeypatch.setattr(native, "TARGET", replace(native.TARGET, runtime=Missing()))


@pytest.fixture
def fastest(recipe: Written, tmp_path: Path, without_openvino: None) -> Auto:
    """Give a function that builds with invented speeds."""

    def of(
        order: Sequence[str], cached: bool = True, workers: Workers | None = None, **sections: dict[str, Any]
    ) -> Built:
        with StageCache(tmp_path / "cache" if cached else None) as cache:
            work = Work(cache, Silent(), workers=workers)
            return build_fastest(
                recipe(**sections), tmp_path / "out", work=work, command="test", measure=speeds_of(order)
            )

    return of


def test_the_fastest_that_passes_is_kept_as_if_its_target_had_been_named(fastest: Auto, tmp_path: Path) -> None:
    report = fastest(["ort-cpu mode 2 channel", "float"]).report
    assert report.passed
    assert (report.engine.target, report.quantization.mode) == ("ort-cpu", 2)
    assert verify_artefact(tmp_path / "out").target == "ort-cpu"
    assert 'target = "ort-cpu"' in (tmp_path / "out" / "recipe.toml").read_text(encoding="utf-8")
    first, second = report.candidates[:2]
    assert (first.name, first.chosen, first.verdict) == ("ort-cpu mode 2 channel", True, "pass")
    assert (second.name, second.chosen, second.verdict) == ("float", False, None)
    assert second.reason == "slower: 2.00 times the time of ort-cpu mode 2 channel"
    assert run_command(["validate", str(tmp_path / "out"), "-q"]) == 0


def test_workers_change_nothing_that_is_found(fastest: Auto, tmp_path: Path) -> None:
    order = ["ort-cpu mode 1", "ort-cpu-dynamic"]
    gate = {"gates": ["logit_mse:0.0000000001abs"]}  # so that several engines run
    alone = fastest(order, cached=False, validation=gate).report
    rows = (tmp_path / "out" / ROWS_FILE).read_bytes()
    with Workers(2) as workers:
        shared = fastest(order, cached=False, workers=workers, validation=gate).report
    assert shared.candidates == alone.candidates and {each.verdict for each in alone.candidates} >= {"pass", "fail"}
    assert (shared.accuracy, shared.metrics, shared.gates) == (alone.accuracy, alone.metrics, alone.gates)
    assert (tmp_path / "out" / ROWS_FILE).read_bytes() == rows


def test_what_cannot_run_here_is_listed_with_the_reason(without_native: None, fastest: Auto) -> None:
    candidates = fastest(["ort-cpu mode 1"]).report.candidates
    lacking = [candidate for candidate in candidates if candidate.target.startswith(("openvino", "native"))]
    assert len(lacking) == 6 and candidates[-6:] == tuple(lacking)
    reasons = {"openvino": "OpenVINO is not installed", "native": "without its native engine: zig is missing"}
    assert all(reasons[re.split("[- ]", candidate.name)[0]] in candidate.reason for candidate in lacking)
    assert all(candidate.milliseconds_alone is None and not candidate.chosen for candidate in lacking)


@pytest.mark.native
def test_the_native_engine_is_a_candidate(fastest: Auto, tmp_path: Path) -> None:
    report = fastest(["native mode 2 channel", "native mode 1"]).report
    assert report.passed and (report.engine.target, report.quantization.mode) == ("native", 2)
    second = report.candidates[1]
    assert second.name == "native mode 1" and second.reason.startswith("slower: 2.00 times")
    assert verify_artefact(tmp_path / "out").target == "native"
    assert run_command(["validate", str(tmp_path / "out"), "-q"]) == 0


def test_a_faster_engine_that_fails_the_gate_is_passed_over(fastest: Auto) -> None:
    gate = {"gates": ["logit_mse:0.0000000001abs"]}
    report = fastest(["ort-cpu mode 1", "ort-cpu-dynamic"], validation=gate).report
    assert report.passed and report.engine.target == "float"
    assert any("the engine is not INT8" in warning for warning in report.warnings)
    for candidate in report.candidates[:2]:
        assert candidate.verdict == "fail" and candidate.reason.startswith("faster, but not passed: logit_mse")
    html = html_from_report(report)
    assert "Candidates" in html and "faster, but not passed" in html


def break_native(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Make a native engine whose outputs are infinite after so many calls."""
    calls = count()

    class Broken(NativeRuntime):
        def engine_from_path(self, path: Path, *, threads: int, cache: Path | None = None) -> Any:
            engine = super().engine_from_path(path, threads=threads, cache=cache)
            run = engine.run

            def broken(batch: Batch, outputs: Sequence[str]) -> list[Any]:
                given = run(batch, outputs)
                return given if next(calls) < after else [np.full_like(values, np.inf) for values in given]

            monkeypatch.setattr(engine, "run", broken)
            return engine

    monkeypatch.setattr(native, "TARGET", replace(native.TARGET, runtime=Broken()))


@pytest.mark.native
@pytest.mark.parametrize("after", [0, 2], ids=["at once", "when it is judged"])
def test_an_engine_whose_numbers_are_not_finite_is_passed_over(
    fastest: Auto, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    break_native(monkeypatch, after)
    report = fastest(["native mode 1", "native mode 2 channel", "ort-cpu mode 1"]).report
    assert report.passed and (report.engine.target, report.quantization.mode) == ("ort-cpu", 1)
    left_out = {each.name: each.reason for each in report.candidates if each.target == "native"}
    assert left_out.keys() == {"native mode 1", "native mode 2 channel"}
    assert all("not finite" in reason for reason in left_out.values())


@pytest.mark.native
def test_where_no_engine_gives_finite_numbers_the_error_says_so(
    recipe: Written, tmp_path: Path, without_openvino: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_native(monkeypatch, 0)
    monkeypatch.setattr(auto, "candidates_from_recipe", lambda recipe: candidates_from_recipe(recipe)[:1])
    with StageCache(None) as cache, pytest.raises(OutputError, match="no engine gives finite numbers: logits"):
        work = Work(cache, Silent())
        build_fastest(recipe(), tmp_path / "out", work=work, command="test", measure=speeds_of([]))
    assert not (tmp_path / "out").exists()


def test_int8_slower_than_float_is_not_shipped(fastest: Auto) -> None:
    report = fastest(["float", "ort-cpu mode 1"]).report
    assert report.engine.target == "float" and report.candidates[1].reason.startswith("slower: 2.00 times")


def test_a_gate_that_nothing_passes_leaves_the_best_found_and_no_pass(
    without_native: None, fastest: Auto, tmp_path: Path
) -> None:
    other = write_tiny_bert(tmp_path / "other", positions=64, seed=7)
    report = fastest([], validation={"reference": str(other), "min_agreement": 1.0, "gates": ["logit_mse:0abs"]}).report
    assert not report.passed
    (chosen,) = [candidate for candidate in report.candidates if candidate.chosen]
    assert chosen.reason.startswith("the best found, though none passes")
    drops = [candidate.drop for candidate in report.candidates if candidate.drop is not None]
    assert len(drops) == 4 and chosen.drop == min(drops)


@pytest.mark.parametrize("accepted", [False, True])
def test_a_candidate_is_judged_as_its_build_is_and_the_float_model_with_it(
    without_native: None, fastest: Auto, monkeypatch: pytest.MonkeyPatch, accepted: bool
) -> None:
    """All gates are met, so that they alone would let the first candidate pass."""
    doubt = Doubt(metric="accuracy", reason="float is no better than a guess", value=0.4, floor=0.5, grave=True)
    monkeypatch.setattr(scores, "doubt_of_reference", lambda *arguments, **named: doubt)
    report = fastest(["ort-cpu mode 1"], validation={"any_reference": accepted}).report
    judged = {each.name: each for each in report.candidates if each.verdict is not None}
    assert report.passed == accepted and len(judged) == (1 if accepted else 4)
    assert {each.verdict for each in judged.values()} == {"pass" if accepted else "fail"}
    (chosen,) = [each for each in judged.values() if each.chosen]
    assert chosen.reason.startswith("the fastest that passes" if accepted else "the best found, though none passes")
    assert (doubt.reason in chosen.reason) != accepted


def test_without_a_cache_the_shared_stages_still_run_once(fastest: Auto) -> None:
    stages = {stage.name: stage.cached for stage in fastest(["ort-cpu mode 1"], cached=False).report.stages}
    assert stages["calibrate"] and stages["evaluate-float"] and stages["evaluate-engine"]


def test_a_mode_that_is_named_is_the_only_one(recipe: Written) -> None:
    names = [candidate.name for candidate in candidates_from_recipe(recipe(quantization={"mode": "3"}))]
    assert names == ["native mode 3", "openvino mode 3", "ort-cpu mode 3", *auto.OTHERS]
    assert len(candidates_from_recipe(recipe())) == 6 + len(auto.OTHERS)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"validation": {"data": None, "unvalidated": True, "max_drop": None}}, "no validation data"),
        ({"search": {"enabled": True}}, "--search needs a target"),
    ],
)
def test_what_leaves_nothing_to_choose_by_is_refused(
    fastest: Auto, tmp_path: Path, sections: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        fastest([], **sections)
    assert not (tmp_path / "out").exists()


def test_speeds_are_of_real_lengths_and_both_ways() -> None:
    class Counting:
        def __init__(self) -> None:
            self.shapes: list[tuple[int, ...]] = []

        def run(self, batch: Batch, outputs: Sequence[str]) -> list[Any]:
            self.shapes.append(batch.input_ids.shape)
            return [np.zeros((batch.size, 2), np.float32)]

        def close(self) -> None:
            pass

    features = random_features(40, longest=12)
    engine = Counting()
    head = Head(task="sequence-classification", labels=LABELS)
    speed = measured_speeds({"one": Timed(engine=engine, packs_rows=True)}, features, head)["one"]
    assert speed.alone > 0 and speed.batched > 0 and speed.mean == pytest.approx((speed.alone * speed.batched) ** 0.5)
    assert {shape[1] for shape in engine.shapes if shape[0] == 1} == {feature.length for feature in features}
    kept = timed_features(random_features(2000, shortest=30, longest=30))
    assert 0 < sum(feature.length for feature in kept) <= auto.TIMED_TOKENS


def test_an_engine_that_needs_no_packing_is_timed_without() -> None:
    class Packed:
        def __init__(self) -> None:
            self.packed = False

        def run(self, batch: Batch, outputs: Sequence[str]) -> list[Any]:
            self.packed |= bool(batch.starts)
            return [np.zeros((batch.size, 2), np.float32)]

        def close(self) -> None:
            pass

    features = [*random_features(20, shortest=3, longest=5), *random_features(2, shortest=30, longest=30)]
    engines = {packs: Packed() for packs in (True, False)}
    timed = {str(packs): Timed(engine=engine, packs_rows=packs) for packs, engine in engines.items()}
    measured_speeds(timed, features, Head(task="sequence-classification", labels=LABELS))
    assert {packs: engine.packed for packs, engine in engines.items()} == {True: True, False: False}


def test_the_command_line_takes_the_target(
    recipe: Written, tmp_path: Path, without_openvino: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auto, "measured_speeds", speeds_of(["ort-cpu-dynamic"]))
    assert build_command.AUTO_TARGET == auto.AUTO
    wanted = recipe()
    out = tmp_path / "cli"
    arguments = ["build", wanted.checkpoint, "-o", str(out), "--target", "auto-cpu", "--no-cache", "-q"]
    arguments += ["--calibration-data", str(wanted.calibration.data), "--max-drop", "2abs", "--threads", "1"]
    assert run_command([*arguments, "--validation-data", str(wanted.validation.data)]) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["engine"]["target"] == "ort-cpu-dynamic" and report["candidates"][0]["chosen"]
