"""GTE's config.json in both spellings."""

from __future__ import annotations

from typing import Any

import pytest

from bertc.checkpoint.families import gte
from bertc.errors import InputError
from bertc.ir.architecture import Activation, Rotary
from tests.contracts.test_families import CONFIGS

GTE_OF_THE_HUB = {
    "model_type": "new",
    "layer_norm_type": "layer_norm",
    "logn_attention_clip1": False,
    "logn_attention_scale": False,
    "pack_qkv": True,
    "position_embedding_type": "rope",
    "rope_scaling": None,
    "rope_theta": 500.0,
    "unpad_inputs": False,
    "use_memory_efficient_attention": False,
}


def test_gte_s_two_spellings_say_the_same() -> None:
    usual = gte.architecture_from_config(CONFIGS["gte"])
    assert (usual.rotary, usual.activation, usual.gated) == ((Rotary(160_000.0),) * 3, Activation.GELU, True)
    plain = {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}
    hub = gte.architecture_from_config(CONFIGS["gte"] | GTE_OF_THE_HUB)
    assert hub == gte.architecture_from_config(CONFIGS["gte"] | plain) and hub.rotary == (Rotary(500.0),) * 3
    forward = usual.layer_names[1].intermediate
    assert usual.stacked[forward] == ("encoder.layer.1.mlp.gate_proj", "encoder.layer.1.mlp.up_proj")
    assert usual.without_bias == {each.intermediate for each in usual.layer_names}


def test_gte_without_a_base_has_that_of_the_code_that_reads_its_file() -> None:
    """10,000 is the hub's, 160,000 transformers', which reads neither the type `new` nor the scaling `ntk`."""
    bare = {name: value for name, value in CONFIGS["gte"].items() if not name.startswith("rope")}
    for change, wanted in (
        ({}, Rotary(160_000.0)),
        ({"model_type": "gte"}, Rotary(160_000.0)),
        ({"model_type": "new"}, Rotary(10_000.0)),
        ({"model_type": "new", "rope_theta": 500}, Rotary(500.0)),
        ({"model_type": "new", "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}, Rotary(500.0)),
        ({"rope_scaling": {"type": "ntk", "factor": 1}}, Rotary(10_000.0)),
    ):
        given = gte.usual_config(bare | change)
        assert gte.architecture_from_config(given).rotary == (wanted,) * 3, change


def test_gte_has_as_many_token_types_as_its_file_says() -> None:
    none = gte.architecture_from_config(CONFIGS["gte"] | {"type_vocab_size": 0})
    usual = gte.architecture_from_config({k: v for k, v in CONFIGS["gte"].items() if k != "type_vocab_size"})
    assert (none.token_types, none.token_type_embeddings) == (0, None)
    assert (usual.token_types, usual.token_type_embeddings) == (1, "embeddings.token_type_embeddings.weight")


def test_gte_s_ntk_scaling_is_another_base_and_a_factor() -> None:
    scaled = CONFIGS["gte"] | GTE_OF_THE_HUB | {"rope_scaling": {"type": "ntk", "factor": 8.0}}
    found = gte.architecture_from_config(scaled).rotary[0]
    assert (found.base, found.stretch) == (4000.0, 8.0 ** (2 / 12))
    stated = {"rope_type": "linear", "rope_theta": 4000.0, "factor": round(8.0 ** (2 / 12), 4)}
    assert gte.architecture_from_config(scaled | {"rope_parameters": stated}).rotary[0] == found


@pytest.mark.parametrize(
    "change, message",
    [
        ({"logn_attention_scale": True}, "logn_attention_scale is True, and bertc computes GTE without"),
        ({"layer_norm_type": "rms_norm"}, "layer_norm_type is 'rms_norm', .* with 'layer_norm' alone"),
        ({"position_embedding_type": "absolute"}, "position_embedding_type is 'absolute'"),
        ({"pack_qkv": False}, "pack_qkv is False"),
        ({"rope_scaling": {"type": "ntk", "factor": 8.0, "mixed_b": 0.6}}, "rope_scaling is .*mixed_b"),
        (
            {"rope_scaling": {"type": "dynamic", "factor": 8.0}},
            "rope_scaling is .*dynamic.* 'ntk' and its factor",
        ),
        (
            {"rope_scaling": {"type": "ntk", "factor": "8"}},
            "factor of rope_scaling must be a number .* not '8'",
        ),
        ({"rope_scaling": {"type": "ntk", "factor": 8.0}, "rope_theta": [1]}, "the rope_theta must be a number"),
        ({"rope_scaling": {"type": "ntk", "factor": 8.0}, "rope_parameters": {}}, "rope_parameters {} is beside"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rotary positions are scaled .*yarn"),
        (
            {"rope_parameters": {"rope_type": "linear"}},
            "factor of rope_parameters must be a number .* not None",
        ),
        ({"type_vocab_size": -1}, "type_vocab_size must be a positive integer"),
    ],
)
def test_another_gte_is_refused(change: dict[str, Any], message: str) -> None:
    hub = CONFIGS["gte"] | GTE_OF_THE_HUB
    assert gte.architecture_from_config(hub).layers == 3
    with pytest.raises(InputError, match=message):
        gte.architecture_from_config(hub | change)
