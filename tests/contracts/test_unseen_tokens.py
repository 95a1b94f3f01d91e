"""Queries filled up with tokens that nothing sees: every family gives transformers' MaxSim, or says why it does not."""

from __future__ import annotations

from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import batch_from_features
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.tasks import task_from_name
from tests.fixtures import edit_json, tiny_sentence, write_pylate_files
from tests.tiny_families import MODEL_TYPES, class_of_family, write_tiny_family

TASK = task_from_name("late-interaction")
ROWS = [row_from_texts(tiny_sentence(seed, 2), tiny_sentence(100 + seed, 9)) for seed in range(2)]
WIDER = {"modernbert": {"local_attention": 64}}
"""What makes a family's windows wider than a query."""

REFUSED = {
    "deberta-v2": "in this model's family their embeddings are zeros .* attend_to_expansion_tokens true",
    "xlnet": "in this model's family each of them attends to itself as well.* attend_to_expansion_tokens true",
}
MASKLESS = ("t5",)


def vectors_of_transformers(model: Any, weight: Any, feature: Any) -> Any:
    import torch

    mask = (np.arange(feature.length) < (feature.seen or feature.length)).astype(np.int64)
    given = {"input_ids": feature.input_ids, "attention_mask": mask, "token_type_ids": feature.token_type_ids}
    taken = signature(model.forward).parameters
    with torch.no_grad():
        states = model(**{name: torch.from_numpy(each[None]) for name, each in given.items() if name in taken})
    vectors = states.last_hidden_state[0].numpy() @ weight.T
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))[feature.detail["kept"]]


@pytest.mark.parametrize("family", MODEL_TYPES)
def test_max_sim_is_transformers_or_refused(family: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_tiny_family(tmp_path, family, task="feature-extraction", **WIDER.get(family, {}))
    usual = {"query_prefix": "", "document_prefix": "", "skiplist_words": []}
    write_pylate_files(tmp_path, attend_to_expansion_tokens=True, **usual)
    if family in MASKLESS:
        with pytest.raises(InputError, match="queries are filled up with a mask, and the tokenizer has none"):
            checkpoint_from_path(tmp_path)
        return
    model = getattr(transformers, class_of_family(family, "feature-extraction")).from_pretrained(tmp_path).eval()
    for seen in (True, False):
        edit_json(tmp_path / "config_sentence_transformers.json", attend_to_expansion_tokens=seen)
        if family in REFUSED and not seen:
            with pytest.raises(InputError, match=REFUSED[family]):
                checkpoint_from_path(tmp_path)
            continue
        checkpoint = checkpoint_from_path(tmp_path)
        features = TASK.features_from_rows(ROWS, checkpoint.encoder, 64)
        assert all((feature.seen is None) is seen for feature in features[: len(ROWS)]), "queries are filled up"
        weight = checkpoint.weights.array("1_Dense.linear.weight")
        expected = [vectors_of_transformers(model, weight, feature) for feature in features]
        batch = batch_from_features(features, range(len(features)))
        vectors = Interpreter(graph_from_checkpoint(checkpoint)).run(batch)["token_embeddings"]
        raw = {"vectors": [each[: feature.length] for each, feature in zip(vectors, features, strict=True)]}
        found = TASK.row_outputs(ROWS, features, raw, checkpoint.head)["score"]
        scores = [
            (query @ document.T).max(axis=1).sum()
            for query, document in zip(expected[: len(ROWS)], expected[len(ROWS) :], strict=True)
        ]
        np.testing.assert_allclose(found, scores, atol=1e-3)
