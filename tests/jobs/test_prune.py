"""The stage prune: what a recipe makes of a checkpoint, the cache, the folder that `bertc prune` writes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bertc.artefact.manifest import verify_artefact
from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.calibrate.table import text_from_table
from bertc.checkpoint import checkpoint_from_path
from bertc.core.progress import Silent
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.jobs.build import build
from bertc.jobs.inputs import check_sparsity
from bertc.jobs.inspect import kind_of_path
from bertc.jobs.prune import prune_checkpoint
from bertc.prune.layers import Pruned, State
from bertc.prune.pattern import gemms_of_graph, masks_from_graph
from bertc.prune.stage import Sparsity, VerifiedSparsity, pruned_graph
from bertc.recipe import Recipe, recipe_from_document
from bertc.report.html.page import html_from_report
from bertc.report.schema import Report, report_from_json, report_to_json
from tests.fixtures import tiny_sentence, write_tiny_bert
from tests.tiny import TinyModel

GEMMS = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny classifier and text to calibrate on."""
    write_tiny_bert(tmp_path / "model", positions=64)
    rows = [f"{tiny_sentence(seed, 5)}\t{('negative', 'positive')[seed % 2]}\n" for seed in range(16)]
    (tmp_path / "train.tsv").write_text("text\tlabel\n" + "".join(rows), encoding="utf-8")
    return tmp_path


def recipe_of(folder: Path, model: str = "model", **sections: Any) -> Recipe:
    """Return a recipe that prunes by magnitude; sections change it."""
    defaults: dict[str, Any] = {
        "calibration": {"data": str(folder / "train.tsv")},
        "sparsity": {"pattern": "2:4", "criterion": "magnitude"},
        "validation": {"unvalidated": True},
        "engine": {"threads": 1},
    }
    document = {name: {**values, **sections.get(name, {})} for name, values in defaults.items()}
    return recipe_from_document({"checkpoint": str(folder / model), **document}, "test")


def built(folder: Path, recipe: Recipe, out: str = "out") -> Report:
    with StageCache(folder / "cache", progress=Silent()) as cache:
        return build(recipe, folder / out, work=Work(cache, Silent()), command="bertc build").report


def pruned_into(folder: Path, recipe: Recipe, out: str = "pruned") -> Pruned:
    with StageCache(folder / "cache", progress=Silent()) as cache:
        return prune_checkpoint(recipe, folder / out, work=Work(cache, Silent()))


def test_a_sparse_build_says_so_and_is_verified(folder: Path) -> None:
    sparsity = {"criterion": "sparsegpt", "skip": ["layer.0.key_gemm"], "permute": True}
    report = built(folder, recipe_of(folder, sparsity=sparsity, engine={"target": "ort-cpu"}))
    part = report.sparsity
    assert part is not None and part.verified and part.permuted
    assert (part.pattern, part.criterion, part.tensors, len(part.gemms)) == ("2:4", "sparsegpt", GEMMS - 1, GEMMS)
    assert "ONNX Runtime" in part.unused
    assert [gemm.site for gemm in part.gemms if gemm.state == "skipped"] == ["layer.0.key_gemm"]
    page = html_from_report(report)
    assert "2:4 by sparsegpt, channels permuted" in page and "left dense by the recipe" in page
    assert report_from_json(report_to_json(report)) == report
    assert "prune" in [stage.name for stage in report.stages]


def test_a_dense_build_says_nothing_of_sparsity(folder: Path) -> None:
    report = built(folder, recipe_of(folder, sparsity={"pattern": None}))
    assert report.sparsity is None and 'id="sparsity"' not in html_from_report(report)


def test_pruned_weights_come_from_the_cache_as_they_were(folder: Path) -> None:
    checkpoint = checkpoint_from_path(str(folder / "model"))
    graph = graph_from_checkpoint(checkpoint)
    found = []
    with StageCache(folder / "cache", progress=Silent()) as cache:
        for _ in range(2):
            work = Work(cache, Silent())
            pruned = pruned_graph(graph, Sparsity(criterion="magnitude", permute=True), None, work=work)
            assert pruned is not None
            found.append((pruned, work.times[0].cached))
    (first, cached), (second, cached_again) = found
    assert (cached, cached_again) == (False, True)
    assert first.gemms == second.gemms and first.masks.keys() == second.masks.keys()
    for name, value in first.graph.graph.initializers.items():
        other = second.graph.graph.initializers[name]
        assert value.const_value is not None and other.const_value is not None
        assert np.array_equal(value.const_value.numpy(), other.const_value.numpy())


def test_the_written_checkpoint_is_the_pruned_graph(folder: Path, tiny_classifier: TinyModel) -> None:
    recipe = recipe_of(folder, sparsity={"pattern": None, "permute": True})  # `bertc prune` needs no pattern
    pruned = pruned_into(folder, recipe)
    assert {gemm.state for gemm in pruned.gemms} == {State.PRUNED}
    out = folder / "pruned"
    assert kind_of_path(str(out)) == "checkpoint" and verify_artefact(out).unvalidated
    again = graph_from_checkpoint(checkpoint_from_path(str(out)))
    assert len(masks_from_graph(again)) == GEMMS
    batch = tiny_classifier.batch
    wanted = Interpreter(pruned.graph).run(batch)["logits"]
    np.testing.assert_allclose(Interpreter(again).run(batch)["logits"], wanted, atol=1e-6)
    document = json.loads((out / "sparsity.json").read_text(encoding="utf-8"))
    assert document["pattern"] == "2:4" and len(document["gemms"]) == GEMMS


def test_a_checkpoint_that_is_sparse_already_is_recognised_and_stays_so(folder: Path) -> None:
    pruned_into(folder, recipe_of(folder))
    report = built(folder, recipe_of(folder, "pruned", sparsity={"pattern": None}))
    assert report.sparsity is not None and report.sparsity.verified
    assert (report.sparsity.criterion, report.sparsity.tensors) == ("checkpoint", GEMMS)
    assert "as in the checkpoint" in html_from_report(report)
    again = pruned_into(folder, recipe_of(folder, "pruned"), "again")
    assert {gemm.state for gemm in again.gemms} == {State.KEPT}
    weights = [
        gemms_of_graph(graph_from_checkpoint(checkpoint_from_path(str(folder / name)))) for name in ("pruned", "again")
    ]
    assert all(np.array_equal(weights[0][site], weights[1][site]) for site in weights[0])


def test_a_table_of_the_dense_weights_is_refused(folder: Path, tiny_classifier: TinyModel) -> None:
    table = folder / "table.json"
    table.write_text(text_from_table(tiny_classifier.table), encoding="utf-8")
    with pytest.raises(InputError, match="dense weights"):
        built(folder, recipe_of(folder, calibration={"table": str(table)}))
    dense = checkpoint_from_path(str(folder / "model"))
    own = text_from_table(replace(tiny_classifier.table, checkpoint=dense.digest))
    (folder / "model" / "calibration.json").write_text(own, encoding="utf-8")
    with pytest.raises(InputError, match="ranges of its own"):
        built(folder, recipe_of(folder, calibration={"data": None}))
    built(folder, recipe_of(folder, sparsity={"pattern": None}, calibration={"data": None}))


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"sparsity": {"criterion": "best"}}, "magnitude"),
        ({"sparsity": {"skip": ["layer.9"]}}, "layer.9"),
        ({"sparsity": {"criterion": "wanda"}, "calibration": {"data": None}}, "--calibration-data"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_slow(folder: Path, sections: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_sparsity(recipe_of(folder, **sections), checkpoint_from_path(str(folder / "model")))


def test_a_float_target_reads_the_text_that_pruning_needs(folder: Path) -> None:
    recipe = recipe_of(folder, sparsity={"criterion": "sparsegpt"}, engine={"target": "float"})
    report = built(folder, recipe)
    assert report.sparsity is not None and report.sparsity.verified


def test_verification_is_complete_only_where_every_weight_was_found() -> None:
    masks = {"layer.0.query_gemm.weight": np.ones((4, 4), bool)}
    graph = ir.Model(ir.Graph([], [], nodes=[]), ir_version=9)
    pruned = Pruned(graph=graph, masks=masks, gemms=())
    assert VerifiedSparsity(pruned=pruned, codes=1, exported=1).complete
    assert VerifiedSparsity(pruned=pruned, codes=None, exported=1).complete
    assert not VerifiedSparsity(pruned=pruned, codes=1, exported=0).complete
