"""The scripts for a GPU that is at hand for minutes: what travels, what runs, and how it is judged, on tiny plans."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import benchmarks.gpu_prepare as prepare
from bertc.core.batch import batch_from_features
from bertc.export.embeddings import store_embeddings
from bertc.runtime.cuda.lacking import FLOAT_ROLES
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.plan_files import write_plan
from tests.native_reference import run_plan
from tests.runtime.plan.compiled_plans import Compiled
from tests.tiny import TinyModel, quantized, tiny_scheme


@pytest.fixture(scope="module")
def compiled(tiny_classifier: TinyModel) -> Compiled:
    stored = replace(tiny_classifier, graph=store_embeddings(tiny_classifier.graph).graph)
    return plan_from_graph(quantized(stored, tiny_scheme("1").without_roles(frozenset(FLOAT_ROLES))).graph)


def test_of_a_table_only_the_rows_that_are_read_travel(compiled: Compiled, tiny_classifier: TinyModel) -> None:
    features = tiny_classifier.features[:4]
    rows, ids = np.unique(np.concatenate([each.input_ids for each in features]), return_inverse=True)
    parts = np.split(ids.astype(np.int64), np.cumsum([each.length for each in features])[:-1])
    renamed = [replace(each, input_ids=part) for each, part in zip(features, parts, strict=True)]
    wanted = run_plan(*compiled, batch_from_features(features, range(4)))["logits"]
    fewer = prepare.with_words(*compiled, rows)
    assert sum(each.nbytes for each in fewer[1].values()) < sum(each.nbytes for each in compiled[1].values())
    np.testing.assert_array_equal(run_plan(*fewer, batch_from_features(renamed, range(4)))["logits"], wanted)
    others = prepare.with_words(*compiled, rows[::-1])
    assert (run_plan(*others, batch_from_features(renamed, range(4)))["logits"] != wanted).any()


def test_the_first_questions_are_cut_in_their_order(tmp_path: Path) -> None:
    asked = [{"id": str(number)} for number in range(5)]
    paragraphs = [{"context": "a", "qas": asked[:3]}, {"context": "b", "qas": asked[3:]}]
    source = tmp_path / "all.json"
    source.write_text(json.dumps({"version": "1.1", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    for count, expected in ((4, [3, 1]), (3, [3]), (9, [3, 2])):
        found = json.loads(prepare.first_questions(source, count, tmp_path / "part.json").read_text())
        assert [len(each["qas"]) for each in found["data"][0]["paragraphs"]] == expected


@pytest.mark.triton
def test_answers_are_written_in_the_order_of_the_texts(
    compiled: Compiled, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")
    import benchmarks.gpu_once as once

    folder = tmp_path / "data" / "minilm-sst2"
    (folder / "mode1").mkdir(parents=True)
    write_plan(*compiled, folder / "mode1")
    features = tiny_classifier.features
    np.savez(
        folder / "texts.npz",
        ids=np.concatenate([each.input_ids for each in features]),
        types=np.concatenate([each.token_type_ids for each in features]),
        lengths=[each.length for each in features],
    )
    (tmp_path / "out").mkdir()
    run = once.Run(tmp_path / "data", tmp_path / "out", 1, False, [], {})
    run.part("answers", lambda: once.answers(run, "minilm-sst2", "mode 1"))
    run.part("nothing", lambda: once.answers(run, "minilm-squad", "mode 1"))
    found = json.loads((tmp_path / "out" / "gpu-once.json").read_text())
    assert found["answers"] == {"texts": len(features)} and "FileNotFoundError" in found["nothing"]["failed"]
    with np.load(tmp_path / "out" / "answers-minilm-sst2-mode1.npz") as file:
        logits = file["logits"].reshape(-1, 2)
    wanted = run_plan(*compiled, batch_from_features(features, range(len(features))))["logits"]
    near = np.abs(logits - wanted).max(axis=1)
    assert np.median(near) < np.abs(logits[::-1] - wanted).max(axis=1).max() / 4
