"""BERT's dimensions and weight names from its configuration, and what the family refuses."""

from __future__ import annotations

from typing import Any

import pytest

from bertc.checkpoint.families.bert import architecture_from_config
from bertc.errors import InputError
from bertc.ir.architecture import Activation

CONFIG = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "intermediate_size": 100,
    "vocab_size": 99,
    "max_position_embeddings": 50,
    "type_vocab_size": 2,
}


def test_dimensions_are_read() -> None:
    found = architecture_from_config(CONFIG)
    assert (found.hidden, found.heads, found.layers, found.head_size) == (64, 4, 3, 16)
    assert (found.intermediate, found.vocabulary, found.positions, found.token_types) == (100, 99, 50, 2)
    assert found.activation is Activation.GELU and found.epsilon == 1e-12
    assert found.layer_names[2].query == "encoder.layer.2.attention.self.query"


def test_a_classifier_of_texts_has_the_pooler() -> None:
    found = architecture_from_config(CONFIG)
    assert (found.dense, found.classifier) == ((("pooler.dense", "Tanh"),), "classifier")


@pytest.mark.parametrize(
    "name, activation",
    [
        ("gelu", Activation.GELU),
        ("gelu_new", Activation.GELU_TANH),
        ("gelu_pytorch_tanh", Activation.GELU_TANH),
        ("relu", Activation.RELU),
    ],
)
def test_activations(name: str, activation: Activation) -> None:
    assert architecture_from_config(CONFIG | {"hidden_act": name}).activation is activation


@pytest.mark.parametrize(
    "change, message",
    [
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not supported; supported are gelu"),
        ({"hidden_act": ["gelu"]}, "hidden_act"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder"),
        ({"add_cross_attention": True}, "add_cross_attention"),
        ({"num_attention_heads": 5}, "64 is not a multiple of num_attention_heads 5"),
        ({"hidden_size": None}, "hidden_size must be a positive integer, not None"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"intermediate_size": -1}, "intermediate_size"),
        ({"vocab_size": "99"}, "vocab_size"),
        ({"max_position_embeddings": True}, "max_position_embeddings"),
        ({"type_vocab_size": 2**31}, "type_vocab_size"),
    ],
)
def test_what_is_absurd_or_another_model_is_refused_by_its_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        architecture_from_config(CONFIG | change)


@pytest.mark.parametrize("change", [{"is_decoder": False}, {"position_embedding_type": "absolute"}, {"extra": 1}])
def test_the_same_fields_with_ordinary_values_are_taken(change: dict[str, Any]) -> None:
    assert architecture_from_config(CONFIG | change).hidden == 64
