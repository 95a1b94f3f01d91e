"""SPLADE: weights per token of the vocabulary, by the formula; sentence-transformers' folders, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import batch_from_features
from bertc.core.head import Pooling, Similarity
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.runtime.native.bf16_choice import choose_bf16
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import Op, Pooled
from bertc.tasks import task_from_name
from tests.evaluate.toy import SPARSE, ToyEncoder
from tests.fixtures import edit_json, tiny_sentence, tiny_vocab, write_json, write_tiny_bert
from tests.tiny import tiny_model

TASK = task_from_name("sparse-embedding")
TEXTS = [tiny_sentence(seed, 3 + seed) for seed in range(5)]
LIBRARY = "sentence_transformers"


def write_splade(path: Path, *, older: bool = True, **pooling: Any) -> Path:
    """Write a random SPLADE model as sentence-transformers 5 (`older`) or 6 does."""
    write_tiny_bert(path, task="fill-mask", dtype="float32")
    first = "sparse_encoder.models.MLMTransformer" if older else "base.modules.transformer.Transformer"
    second = "sparse_encoder.models.SpladePooling" if older else "sparse_encoder.modules.splade_pooling.SpladePooling"
    entries = [
        {"idx": index, "name": str(index), "path": folder, "type": f"{LIBRARY}.{kind}"}
        for index, (folder, kind) in enumerate((("", first), ("1_SpladePooling", second)))
    ]
    write_json(path / "modules.json", entries)
    (path / "1_SpladePooling").mkdir(exist_ok=True)
    usual = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": len(tiny_vocab())}
    write_json(path / "1_SpladePooling" / "config.json", usual | pooling)
    return path


def test_the_weights_are_those_of_the_formula(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    folder = write_splade(tmp_path)
    checkpoint = checkpoint_from_path(folder)
    rows = TASK.check_rows([row_from_texts(text) for text in TEXTS], checkpoint.head)
    features = TASK.features_from_rows(rows, checkpoint.encoder, 32)
    (found,) = Interpreter(graph_from_checkpoint(checkpoint)).run(batch_from_features(features, range(5))).values()
    model = transformers.BertForMaskedLM.from_pretrained(folder).eval()
    for feature, ours in zip(features, found, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor(feature.input_ids)[None]).logits[0]
        expected = torch.log1p(torch.relu(logits)).amax(0).numpy()
        assert (expected > 0).any() and (expected == 0).any()
        np.testing.assert_allclose(ours, expected, atol=1e-4)


@pytest.mark.parametrize("older", [True, False])
def test_a_folder_of_sentence_transformers_tells(older: bool, tmp_path: Path) -> None:
    folder = write_splade(tmp_path, older=older)
    head = checkpoint_from_path(folder).head
    assert (head.task, head.pooling, head.similarity) == ("sparse-embedding", Pooling.MAX, Similarity.DOT)
    assert head.labels == tiny_vocab()
    write_json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})
    assert checkpoint_from_path(folder).head.similarity is Similarity.COSINE
    assert checkpoint_from_path(folder, task="feature-extraction").head.pooling is Pooling.MEAN
    assert checkpoint_from_path(folder, task="fill-mask").head.task == "fill-mask"


def test_a_plain_masked_language_model_is_one_when_asked(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path, task="fill-mask")
    assert checkpoint_from_path(folder).head.task == "fill-mask"
    assert checkpoint_from_path(folder, task="sparse-embedding").head.similarity is Similarity.DOT


@pytest.mark.parametrize(
    ("pooling", "told"),
    [
        ({"pooling_strategy": "sum"}, "pooling_strategy 'sum' is not supported"),
        ({"activation_function": "log1p_relu"}, "activation_function 'log1p_relu' is not supported"),
    ],
)
def test_another_splade_is_refused(pooling: dict[str, str], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(write_splade(tmp_path, **pooling))


def test_what_is_said_of_other_vectors_is_refused(tmp_path: Path) -> None:
    folder = write_splade(tmp_path)
    with pytest.raises(InputError, match="choose the task sparse-embedding"):
        checkpoint_from_path(folder, task="late-interaction")
    write_json(folder / "config_sentence_transformers.json", {"truncate_dim": 16})
    with pytest.raises(InputError, match="truncate_dim is set, but the weights of the vocabulary's tokens are not cut"):
        checkpoint_from_path(folder)
    write_json(folder / "config_sentence_transformers.json", {"truncate_dim": None})
    assert checkpoint_from_path(folder).head.dimensions is None


def test_modules_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = write_splade(tmp_path)
    entries = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    normalize = {"idx": 2, "name": "2", "path": "2_Normalize", "type": f"{LIBRARY}.models.Normalize"}
    write_json(folder / "modules.json", [*entries, normalize])
    with pytest.raises(InputError, match="Transformer and SpladePooling in this order"):
        checkpoint_from_path(folder)
    write_json(folder / "modules.json", entries)
    edit_json(folder / "config.json", model_type="t5", d_model=64)
    with pytest.raises(InputError):
        checkpoint_from_path(folder)


def test_its_decoder_is_bf16_where_that_pays_and_the_layer_before_is_not(tmp_path: Path) -> None:
    graph = tiny_model(tmp_path, task="sparse-embedding").graph
    plan, _ = choose_bf16(*plan_from_graph(graph), pays=True)
    products = {step.name: bool(step.flag) for step in plan.steps if step.op is Op.GEMM_F32}
    assert products["head.scores"] and not products["head.transform_active"]
    (pooled,) = [step for step in plan.steps if step.op is Op.POOL]
    assert (pooled.flag, pooled.name) == (Pooled.LOG, "sentence_embedding")


def test_answers_have_the_weights_that_are_not_zero_largest_first() -> None:
    rows = TASK.check_rows([row_from_texts("a b"), row_from_texts("c d")], SPARSE)
    features = TASK.features_from_rows(rows, ToyEncoder(), 24)
    vectors = np.zeros((2, len(SPARSE.labels)), np.float32)
    vectors[0, [3, 5]] = 1, 2
    outputs = TASK.row_outputs(rows, features, {"embedding": list(vectors)}, SPARSE)
    one, none = TASK.predictions(rows, outputs, SPARSE)
    assert list(one["tokens"].items()) == [("t5", 2.0), ("t3", 1.0)] and none == {"tokens": {}}
    assert TASK.lines(one) == ["t5  2.0000", "t3  1.0000"] and TASK.lines(none) == ["no token"]
    many = {"tokens": {f"t{number}": 1.0 for number in range(12)}}
    assert TASK.lines(many)[-1] == "and 2 more (--json prints all)"
    pair = TASK.check_rows([row_from_texts("a b", "c d", label="1")], SPARSE)
    both = TASK.row_outputs(
        pair, TASK.features_from_rows(pair, ToyEncoder(), 24), {"embedding": [vectors[0]] * 2}, SPARSE
    )
    assert TASK.predictions(pair, both, SPARSE)[0]["similarity"] == 5.0
