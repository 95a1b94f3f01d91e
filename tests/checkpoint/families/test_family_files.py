"""RoBERTa's, ELECTRA's and DistilBERT's dimensions and names from their configurations, and what each refuses."""

from __future__ import annotations

from typing import Any

import pytest

from bertc.checkpoint.families import distilbert, electra, roberta
from bertc.errors import InputError
from tests.contracts.test_families import CONFIGS

FILES = {"roberta": roberta, "electra": electra, "distilbert": distilbert}


@pytest.mark.parametrize(
    "family, dense, classifier",
    [
        ("roberta", (("classifier.dense", "Tanh"),), "classifier.out_proj"),
        ("electra", (("classifier.dense", "Gelu"),), "classifier.out_proj"),
        ("distilbert", (("pre_classifier", "Relu"),), "classifier"),
    ],
)
def test_heads(family: str, dense: tuple[tuple[str, str], ...], classifier: str) -> None:
    found = FILES[family].architecture_from_config(CONFIGS[family])  # type: ignore[attr-defined]
    assert (found.dense, found.classifier) == (dense, classifier)


@pytest.mark.parametrize("padding, first", [(1, 2), (0, 1), (5, 6)])
def test_roberta_s_positions_begin_behind_the_padding_s(padding: int, first: int) -> None:
    found = roberta.architecture_from_config(CONFIGS["roberta"] | {"pad_token_id": padding})
    assert (found.first_position, found.positions) == (first, 50 - first)


def test_roberta_s_padding_is_1_where_nothing_is_said() -> None:
    config = {name: value for name, value in CONFIGS["roberta"].items() if name != "pad_token_id"}
    assert roberta.first_position(config) == 2


def test_distilbert_has_no_token_types() -> None:
    found = distilbert.architecture_from_config(CONFIGS["distilbert"])
    assert found.token_type_embeddings is None and found.token_types == 0
    assert found.layer_names[1].attention_norm == "transformer.layer.1.sa_layer_norm"


@pytest.mark.parametrize(
    "family, change, message",
    [
        ("roberta", {"pad_token_id": -1}, "pad_token_id must be the number of a token, not -1"),
        ("roberta", {"pad_token_id": None}, "pad_token_id must be the number of a token, not None"),
        ("roberta", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("electra", {"embedding_size": 16}, "embedding_size 16 is not hidden_size 48; .* the small ELECTRA"),
        ("distilbert", {"n_heads": 5}, "dim 48 is not a multiple of n_heads 5"),
        ("distilbert", {"dim": None}, "dim must be a positive integer, not None"),
        ("distilbert", {"activation": "silu"}, "activation 'silu' is not supported"),
    ],
)
def test_what_is_absurd_or_another_model_is_refused_by_its_field(
    family: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        FILES[family].architecture_from_config(CONFIGS[family] | change)  # type: ignore[attr-defined]
