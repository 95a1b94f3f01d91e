"""The pipeline: what a build returns and writes, what it reuses, and what a change makes it compute again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertc.artefact.manifest import verify_artefact
from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.errors import EnvironmentLackError, InputError
from bertc.jobs.build import Built, build
from bertc.recipe import recipe_from_document
from bertc.report.schema import MetricPart
from bertc.runtime.optimized import Optimized
from bertc.runtime.ort.inference_session import OrtRuntime
from tests.fixtures import tiny_sentence, write_tiny_bert

DISTANCES = ("divergence", "logit_mse")
KEPT = ("calibrate", "correct", "evaluate-float", "evaluate-engine", "sensitivity")


class Noted:
    """A progress sink that remembers what was said."""

    def __init__(self) -> None:
        self.stages: list[str] = []
        self.notes: list[str] = []

    def stage(self, name: str, total: int | None = None) -> None:
        self.stages.append(name)

    def advance(self, units: int = 1) -> None: ...

    def end(self) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


Build = Callable[..., tuple[Built, Noted]]


@pytest.fixture
def run(tmp_path: Path) -> Build:
    """Give a function that builds a tiny classifier into a folder, with one cache; sections change its recipe."""
    folder = tmp_path / "in"
    checkpoint = write_tiny_bert(folder / "model", positions=64)
    for name, seeds in (("train", range(20)), ("dev", range(20, 40))):
        rows = [f"{tiny_sentence(seed, 5)}\t{('negative', 'positive')[seed % 2]}\n" for seed in seeds]
        (folder / f"{name}.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")

    def of(out: str = "out", task: str | None = None, **sections: dict[str, Any]) -> tuple[Built, Noted]:
        defaults = {
            "calibration": {"data": str(folder / "train.tsv")},
            "validation": {"data": str(folder / "dev.tsv"), "max_drop": "2abs", "any_reference": True},
            "engine": {"threads": 1},
            "quantization": {},
        }
        document = {name: {**values, **sections.get(name, {})} for name, values in defaults.items()}
        recipe = recipe_from_document({"checkpoint": str(checkpoint), "task": task, **document}, "test")
        noted = Noted()
        with StageCache(tmp_path / "cache", progress=noted) as cache:
            return build(recipe, tmp_path / out, work=Work(cache, noted), command="bertc build"), noted

    return of


def cached(built: Built) -> set[str]:
    return {stage.name for stage in built.report.stages if stage.cached}


def figures(built: Built) -> list[MetricPart]:
    assert built.report.accuracy is not None
    return [built.report.accuracy, *built.report.metrics]


def test_a_build_returns_what_it_writes(run: Build, tmp_path: Path) -> None:
    built, noted = run()
    assert built.verdict is not None
    assert built.verdict.passed
    assert built.report.passed
    manifest = verify_artefact(tmp_path / "out")
    assert {"model.onnx", "report.json", "report.html", "recipe.toml", "rows.npz", "calibration.json"} <= set(
        manifest.files
    )
    (note,) = noted.notes
    assert note.startswith("rounding ") and note.endswith(", the least of 4")
    steps = {"second moments", "compare corrections"}  # of the stage `correct`
    models = {"evaluate-float", "evaluate-engine"}  # of the stage `compare`, shard by shard
    timed = [stage.name for stage in built.report.stages]
    assert [name for name in timed if name not in models] == [name for name in noted.stages if name not in steps]
    assert timed[timed.index("evaluate-float") :][:3] == ["evaluate-float", "evaluate-engine", "compare"]
    assert {path.name for path in tmp_path.iterdir()} == {"in", "out", "cache"}, "no scratch folder is left"


def test_a_second_build_reuses_every_finished_stage(run: Build, tmp_path: Path) -> None:
    first, _ = run()
    second, noted = run("again")
    assert not cached(first)
    assert cached(second) == set(KEPT)
    assert noted.notes == [f"{name}: unchanged, taken from the cache" for name in KEPT]
    assert second.report.accuracy == first.report.accuracy
    assert second.report.metrics == first.report.metrics
    assert second.report.sites == first.report.sites
    assert (tmp_path / "out/model.onnx").read_bytes() == (tmp_path / "again/model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("sections", "reused"),
    [
        ({"quantization": {"mode": "2"}}, {"calibrate", "evaluate-float"}),
        ({"quantization": {"smoothing": 0.5}}, {"evaluate-float"}),
        ({"calibration": {"calibrator": "max"}}, {"calibrate", "evaluate-float"}),
        ({"calibration": {"seed": 1, "samples": 7}}, {"evaluate-float"}),
        ({"validation": {"limit": 5}}, {"calibrate", "correct", "sensitivity"}),
        ({"validation": {"max_drop": "1abs"}}, set(KEPT)),
        ({"engine": {"max_length": 16}}, set()),
        ({"engine": {"threads": 2}}, {"calibrate", "correct", "sensitivity"}),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_changed_is_computed_again_and_nothing_else(
    run: Build, sections: dict[str, Any], reused: set[str]
) -> None:
    run()
    built, _ = run(**sections)
    assert cached(built) == reused


def test_a_given_table_with_another_length_has_its_own_sensitivity(run: Build, tmp_path: Path) -> None:
    run()
    table = {"table": str(tmp_path / "out" / "calibration.json")}
    run("long", calibration=table)
    built, _ = run("short", calibration=table, engine={"max_length": 8})
    assert "sensitivity" not in cached(built)


def test_a_given_table_with_another_head_has_its_own_correction(run: Build, tmp_path: Path) -> None:
    """The correction that is best for a classifier's logits was once taken for an embedding's."""
    run()
    table = {"table": str(tmp_path / "out" / "calibration.json")}
    unvalidated = {"data": None, "unvalidated": True, "max_drop": None}
    run("classifier", calibration=table, validation=unvalidated)
    options: dict[str, Any] = {"calibration": table, "validation": unvalidated}
    embedding, _ = run("embedding", task="feature-extraction", **options)
    assert not {"correct", "sensitivity"} & cached(embedding)
    again, _ = run("again", task="feature-extraction", **options)
    assert {"correct", "sensitivity"} <= cached(again)
    assert again.report.quantization.rounding_errors == embedding.report.quantization.rounding_errors


def test_data_that_changed_under_its_name_is_read_again(run: Build, tmp_path: Path) -> None:
    first, _ = run()
    path = tmp_path / "in" / "dev.tsv"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\tnegative", "\tpositive", 5), encoding="utf-8")
    relabelled, _ = run()
    assert relabelled.report.accuracy is not None and first.report.accuracy is not None
    assert relabelled.report.accuracy.reference != first.report.accuracy.reference
    assert "evaluate-float" in cached(relabelled), "a label changes no output"
    path.write_text(text.replace("\n", "\n" + tiny_sentence(99, 7) + "\tpositive\n", 1), encoding="utf-8")
    longer, _ = run()
    assert "calibrate" in cached(longer) and not {"evaluate-float", "evaluate-engine"} & cached(longer)


def test_shards_change_no_figure_and_are_each_kept(run: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"engine": {"target": "float"}}
    whole, _ = run(**options)
    monkeypatch.setattr("bertc.data.encoded.SHARD_ROWS", 6)
    parts, noted = run("parts", **options)
    assert not {"evaluate-float", "evaluate-engine"} & cached(parts) and not noted.notes
    for mine, theirs in zip(figures(parts), figures(whole), strict=True):
        error = mine.logit_mse, theirs.logit_mse  # of a float model in other batches, 1e-14
        assert error == pytest.approx((0.0, 0.0), abs=1e-12) and mine.samples == 20
        assert mine.model_copy(update={"logit_mse": theirs.logit_mse}) == theirs or mine.metric in DISTANCES
    path = tmp_path / "in" / "dev.tsv"
    path.write_text(path.read_text(encoding="utf-8") + tiny_sentence(99, 5) + "\tpositive\n", encoding="utf-8")
    longer, noted = run("longer", **options)
    assert not {"evaluate-float", "evaluate-engine"} & cached(longer)
    assert "evaluate-float: 3 of 4 parts unchanged, taken from the cache" in noted.notes
    assert not any(note.startswith("evaluate-engine") for note in noted.notes), "its row length follows from all texts"


def test_without_text_beside_a_table_the_validation_text_tells_which_sites_hurt(run: Build, tmp_path: Path) -> None:
    run()
    table = {"table": str(tmp_path / "out" / "calibration.json"), "data": None}
    built, noted = run("again", calibration=table)
    assert "calibrate" not in noted.stages
    assert len(built.report.worst_sites) == 3


def test_an_unvalidated_build_has_no_verdict(run: Build) -> None:
    built, noted = run(validation={"data": None, "unvalidated": True, "max_drop": None})
    assert built.verdict is None
    assert (built.report.unvalidated, built.report.passed, built.report.rows) == (True, False, None)
    assert not any("evaluate" in name for name in noted.stages)


def test_a_failed_gate_is_a_result(run: Build, tmp_path: Path) -> None:
    built, _ = run(quantization={"mode": "3"}, validation={"max_drop": None, "gates": ["logit_mse:0abs"]})
    assert built.verdict is not None
    assert not built.verdict.passed
    assert not built.report.passed
    assert verify_artefact(tmp_path / "out"), "the engine that failed is there to be looked at"


@pytest.mark.parametrize(
    "sections",
    [
        {"validation": {"gates": ["bleu:1%"]}},
        {"validation": {"columns": {"text": "none"}}},
        {"calibration": {"data": "nowhere.tsv"}},
        {"quantization": {"keep_float": ["layer.9"]}},
        {"engine": {"max_length": 65}},
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_anything_slow(
    run: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sections: dict[str, Any]
) -> None:
    def slow(*_: object) -> None:
        raise AssertionError("the graph was built although the input is wrong")

    monkeypatch.setattr("bertc.jobs.build.graph_from_checkpoint", slow)
    with pytest.raises(InputError):
        run(**sections)
    assert not (tmp_path / "out").exists()


def test_an_engine_that_is_not_fused_is_no_artefact(
    run: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bertc.targets import ort_cpu

    class Unfused(OrtRuntime):
        def optimized_from_path(self, model: Path) -> Optimized:
            found = super().optimized_from_path(model)
            return replace(found, fused={**found.fused, "attention": 1})

    monkeypatch.setattr(ort_cpu, "TARGET", replace(ort_cpu.TARGET, runtime=Unfused()))
    with pytest.raises(EnvironmentLackError, match="attention: 1 of 2"):
        run(engine={"target": "ort-cpu"})
    assert not (tmp_path / "out").exists()
