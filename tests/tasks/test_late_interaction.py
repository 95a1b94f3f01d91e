"""Late interaction: what a query and a document become, their score beside torch's, and rows that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.feature import Feature
from bertc.core.head import Problem
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.evaluate.reference import check_rows_tell
from bertc.export.ort.lower import lower_graph
from bertc.graph.encoder import graph_from_checkpoint
from bertc.jobs.plan import check_architecture, plan_from_recipe
from bertc.recipe import Recipe
from bertc.runtime.engine import outputs_from_features
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.ort.inference_session import open_session
from bertc.runtime.plan.compile import plan_from_graph
from bertc.tasks import head_of_rows, task_from_name
from tests.evaluate.toy import COLBERT, PAIRS, ToyEncoder
from tests.fixtures import edit_json, tiny_sentence, write_tiny_bert, write_tiny_pylate

TASK = task_from_name("late-interaction")
TEXTS = [(tiny_sentence(seed, 2 + 3 * seed), tiny_sentence(100 + seed, 20 - seed)) for seed in range(6)]


def features_of(checkpoint: Checkpoint, texts: Any = TEXTS, length: int = 64) -> tuple[Any, list[Feature]]:
    rows = TASK.check_rows([row_from_texts(*pair) for pair in texts], checkpoint.head)
    return rows, TASK.features_from_rows(rows, checkpoint.encoder, length)


def test_a_query_is_marked_and_filled_up_and_a_document_goes_without_punctuation(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_pylate(tmp_path))
    interaction = checkpoint.head.interaction
    assert interaction is not None
    _, (query, document) = features_of(checkpoint, [("good film.", "bad, bad movie.")])
    cls, sep, good, film, dot = (checkpoint.encoder.token_id(text) for text in ("[CLS]", "[SEP]", "good", "film", "."))
    marked = [cls, interaction.query_marker, good, film, dot, sep]
    assert query.input_ids.tolist() == marked + [interaction.filler] * 6
    assert query.seen == 6 and query.detail["kept"].all() and query.token_type_ids.tolist() == [0] * 12
    assert document.input_ids[1] == interaction.document_marker and document.seen is None
    assert document.detail["kept"].tolist() == [True, True, True, False, True, True, False, True]


def test_lengths_are_the_model_s_and_the_user_s(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_pylate(tmp_path))
    long = " ".join(["good"] * 50)
    for length, expected in ((64, [12, 30]), (20, [12, 20]), (8, [8, 8])):
        _, features = features_of(checkpoint, [(long, long)], length)
        assert [feature.length for feature in features] == expected and all(f.truncated for f in features)
    _, features = features_of(checkpoint, [("good", "bad")])
    assert not any(feature.truncated for feature in features)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"attend_to_expansion_tokens": True},
        {"do_query_expansion": False},
        {"query_prefix": "", "document_prefix": "", "skiplist_words": []},
    ],
    ids=str,
)
@pytest.mark.native
def test_vectors_and_scores_are_torch_s(settings: dict[str, Any], tmp_path: Path) -> None:
    """By transformers' BertModel on padded batches, with a mask of its own."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    checkpoint = checkpoint_from_path(write_tiny_pylate(tmp_path, **settings))
    model = transformers.BertModel.from_pretrained(tmp_path, add_pooling_layer=False).float().eval()
    weight = torch.from_numpy(checkpoint.weights.array("1_Dense.linear.weight"))
    rows, features = features_of(checkpoint)
    expected = []
    for feature in features:
        mask = torch.zeros(1, 40, dtype=torch.long)
        mask[0, : feature.length if feature.seen is None else feature.seen] = 1
        ids = torch.zeros(1, 40, dtype=torch.long)
        ids[0, : feature.length] = torch.from_numpy(feature.input_ids)
        with torch.no_grad():
            states = model(input_ids=ids, attention_mask=mask).last_hidden_state[0, : feature.length]
        expected.append(torch.nn.functional.normalize(states @ weight.T, dim=-1).numpy())
    graph = graph_from_checkpoint(checkpoint)
    engines = [
        NativeEngine(*plan_from_graph(graph), threads=2),
        open_session(_bytes(lower_graph(graph)), threads=1),
    ]
    for engine in engines:
        with engine:
            raw = outputs_from_features(engine, features, checkpoint.head, row_length=64)
        for ours, right in zip(raw["vectors"], expected, strict=True):
            np.testing.assert_allclose(ours, right, atol=2e-5)
    outputs = TASK.row_outputs(rows, features, raw, checkpoint.head)
    for row in range(len(rows)):
        query, document = expected[row], expected[len(rows) + row][features[len(rows) + row].detail["kept"]]
        assert outputs["score"][row] == pytest.approx((query @ document.T).max(axis=1).sum(), abs=1e-4)


def _bytes(model: Any) -> bytes:
    import onnx_ir as ir

    return bytes(ir.to_proto(model).SerializeToString())


def test_what_fills_up_is_seen_only_where_the_model_says_so(tmp_path: Path) -> None:
    seen, unseen = (
        checkpoint_from_path(write_tiny_pylate(tmp_path / str(attend), attend_to_expansion_tokens=attend))
        for attend in (True, False)
    )
    plain = checkpoint_from_path(write_tiny_pylate(tmp_path / "plain", do_query_expansion=False))
    found = []
    for checkpoint in (seen, unseen, plain):
        _, features = features_of(checkpoint)
        with NativeEngine(*plan_from_graph(graph_from_checkpoint(checkpoint))) as engine:
            found.append(outputs_from_features(engine, features, checkpoint.head)["vectors"])
    with_filler, without, bare = ([each[: len(bare)] for each, bare in zip(v, found[2], strict=True)] for v in found)
    assert all(np.array_equal(a, b) for a, b in zip(without, bare, strict=True)), "nothing sees them"
    assert not np.allclose(with_filler[0], bare[0], atol=1e-3)


def test_a_text_alone_is_read_as_both() -> None:
    rows = TASK.check_rows([row_from_texts("good film", label="whatever")], COLBERT)
    features = TASK.features_from_rows(rows, ToyEncoder(), 24)
    raw = {"vectors": [np.eye(feature.length, 32, dtype=np.float32) for feature in features]}
    (answer,) = TASK.predictions(rows, TASK.row_outputs(rows, features, raw, COLBERT), COLBERT)
    assert np.shape(answer["query"]) == (14, 32) and np.shape(answer["document"])[1] == 32
    assert TASK.lines(answer)[0] == "as a query: 14 vectors of 32 numbers (--json prints all)"
    assert rows[0].label is None and TASK.gold(rows, COLBERT) is None
    assert TASK.lines({"document": []}) == ["as a document: no vectors"]


def test_rows_of_queries_rank_and_pairs_without_are_graded() -> None:
    ranked = [row_from_texts("q", f"t{i}", label=i, group="q") for i in range(3)]
    graded = [row_from_texts(f"q{i}", f"t{i}", label=-i) for i in range(3)]
    assert head_of_rows(COLBERT, ranked) == COLBERT == head_of_rows(PAIRS, ranked)
    assert head_of_rows(COLBERT, graded) == PAIRS
    assert [metric.name for metric in TASK.metrics(COLBERT)] == ["ndcg@10", "mrr@10", "map"]
    assert [metric.name for metric in TASK.metrics(PAIRS)] == ["spearman", "pearson"]
    assert TASK.metric_at(COLBERT, "ndcg", 5) is not None and TASK.metric_at(PAIRS, "ndcg", 5) is None
    assert PAIRS.problem == Problem.REGRESSION
    assert [row.label for row in TASK.check_rows(graded, PAIRS)] == [0, -1, -2]
    with pytest.raises(InputError, match="the relevance -1 is negative"):
        TASK.check_rows([row_from_texts("q", "t", label=-1, group="q")], COLBERT)
    with pytest.raises(InputError, match="is no number"):
        TASK.check_rows([row_from_texts("q", "t", label="high")], PAIRS)
    with pytest.raises(InputError, match="has no query though other rows have one"):
        TASK.check_rows([*ranked, row_from_texts("q", "t", label=1)], COLBERT)


def test_grades_that_are_all_alike_prove_nothing() -> None:
    rows = TASK.check_rows([row_from_texts(f"q{i}", f"t{i}", label=2) for i in range(8)], PAIRS)
    with pytest.raises(InputError, match="all 8 rows have the same score"):
        check_rows_tell("pairs.tsv", TASK, PAIRS, rows)


@pytest.mark.parametrize("target", ["tensorrt", "ort-cuda"])
def test_a_target_that_leaves_padding_away_is_refused(target: str, tmp_path: Path) -> None:
    path = write_tiny_bert(tmp_path, task="late-interaction")
    for attend in (False, True):
        edit_json(path / "artifact.metadata", attend_to_mask_tokens=attend)
        checkpoint = checkpoint_from_path(path)
        plan = plan_from_recipe(Recipe.model_validate(_recipe(path, target)), checkpoint, longest=30)
        if attend:
            check_architecture(plan, checkpoint)
        else:
            with pytest.raises(
                InputError, match=f"the target {target} leaves away as padding; build it with --target n"
            ):
                check_architecture(plan, checkpoint)


def _recipe(path: Path, target: str) -> dict[str, Any]:
    return {"checkpoint": str(path), "engine": {"target": target}}
