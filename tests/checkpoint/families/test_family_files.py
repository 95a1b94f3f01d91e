"""Dimensions and names of the families beside BERT from their configurations, and what each refuses."""

from __future__ import annotations

from typing import Any

import pytest

from bertc.checkpoint.families import (
    albert,
    distilbert,
    electra,
    eurobert,
    gte,
    modernbert,
    mpnet,
    nomic_bert,
    roberta,
    t5,
)
from bertc.core.head import Pooling
from bertc.errors import InputError
from bertc.ir.architecture import Activation, Norm, Rotary
from tests.contracts.test_families import CONFIGS

FILES = {
    "roberta": roberta,
    "electra": electra,
    "distilbert": distilbert,
    "mpnet": mpnet,
    "albert": albert,
    "modernbert": modernbert,
    "t5": t5,
    "eurobert": eurobert,
    "nomic-bert": nomic_bert,
    "gte": gte,
}


@pytest.mark.parametrize(
    "family, dense, classifier",
    [
        ("roberta", (("classifier.dense", "Tanh"),), "classifier.out_proj"),
        ("electra", (("classifier.dense", "Gelu"),), "classifier.out_proj"),
        ("distilbert", (("pre_classifier", "Relu"),), "classifier"),
        ("mpnet", (("classifier.dense", "Tanh"),), "classifier.out_proj"),
        ("albert", (("pooler", "Tanh"),), "classifier"),
        ("modernbert", (("head.dense", "Gelu"),), "classifier"),
        ("eurobert", (("dense", "Gelu"),), "classifier"),
        ("nomic-bert", (("pooler.dense", "Tanh"),), "classifier"),
        ("gte", (("pooler.dense", "Tanh"),), "classifier"),
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


@pytest.mark.parametrize("padding", [0, 1, 5])
def test_mpnet_s_positions_begin_at_2_whatever_its_padding_is(padding: int) -> None:
    found = mpnet.architecture_from_config(CONFIGS["mpnet"] | {"pad_token_id": padding})
    assert (found.first_position, found.positions, found.token_types) == (2, 48, 0)
    assert found.relative_bias is not None and found.layer_names[1].query == "encoder.layer.1.attention.attn.q"


@pytest.mark.parametrize(
    "layers, groups, inner, runs",
    [
        (3, 1, 1, ["0.0", "0.0", "0.0"]),
        (3, 3, 1, ["0.0", "1.0", "2.0"]),
        (3, 2, 1, ["0.0", "0.0", "1.0"]),
        (2, 1, 2, ["0.0", "0.1", "0.0", "0.1"]),
        (2, 2, 2, ["0.0", "0.1", "1.0", "1.1"]),
    ],
)
def test_albert_s_layers_share_weights_in_groups(layers: int, groups: int, inner: int, runs: list[str]) -> None:
    sizes = {"num_hidden_layers": layers, "num_hidden_groups": groups, "inner_group_num": inner}
    found = albert.architecture_from_config(CONFIGS["albert"] | sizes)
    assert found.layers == len(runs)
    assert [names.output for names in found.layer_names] == [
        f"encoder.albert_layer_groups.{group}.albert_layers.{place}.ffn_output"
        for group, place in (run.split(".") for run in runs)
    ]


def test_albert_s_defaults_are_transformers() -> None:
    config = {name: value for name, value in CONFIGS["albert"].items() if name != "embedding_size"}
    found = albert.architecture_from_config(config)
    assert (found.embedding, found.activation) == (128, Activation.GELU_TANH)


@pytest.mark.parametrize("embedding, projection", [(16, "embeddings_project"), (48, None), (None, None)])
def test_electra_has_a_projection_where_its_embeddings_are_narrow(
    embedding: int | None, projection: str | None
) -> None:
    config = {name: value for name, value in CONFIGS["electra"].items() if name != "embedding_size"}
    sizes = {} if embedding is None else {"embedding_size": embedding}
    found = electra.architecture_from_config(config | sizes)
    assert (found.embedding_size, found.embedding_projection) == (embedding or 48, projection)


HUB = {"global_attn_every_n_layers": 2, "global_rope_theta": 5e4, "local_rope_theta": 2e3, "local_attention": 20}
OF_TRANSFORMERS_5 = {
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 5e4},
        "sliding_attention": {"rope_type": "default", "rope_theta": 2e3},
    },
    "local_attention": 20,
}


@pytest.mark.parametrize("spelling", [HUB, OF_TRANSFORMERS_5])
def test_modernbert_s_two_spellings_say_the_same(spelling: dict[str, Any]) -> None:
    found = modernbert.architecture_from_config(CONFIGS["modernbert"] | spelling)
    assert (found.rotary, found.windows) == ((Rotary(5e4), Rotary(2e3), Rotary(5e4)), (None, 10, None))


def test_modernbert_without_a_word_is_the_base_model_s() -> None:
    found = modernbert.architecture_from_config(CONFIGS["modernbert"])
    assert [each.base for each in found.rotary] == [160_000.0, 10_000.0, 10_000.0]
    assert found.windows == (None, 64, 64)
    assert found.norm_first and found.gated and found.epsilon == 1e-5
    assert found.layer_names[0].output_norm == "layers.1.attn_norm" and found.layer_names[2].output_norm == "final_norm"
    assert {"layers.2.mlp.Wi", "final_norm", "head.dense", "layers.0.attn.Wqkv.query"} <= found.without_bias


def test_modernbert_s_biases_are_those_that_the_configuration_names() -> None:
    biased = dict.fromkeys(("attention_bias", "mlp_bias", "norm_bias", "classifier_bias"), True)
    assert not modernbert.architecture_from_config(CONFIGS["modernbert"] | biased).without_bias


def test_eurobert_is_rms_norms_rotary_positions_and_a_gate() -> None:
    found = eurobert.architecture_from_config(CONFIGS["eurobert"] | {"rope_theta": 5e4, "num_key_value_heads": 4})
    assert (found.norm, found.rotary, found.activation) == (Norm.RMS, (Rotary(5e4),) * 3, Activation.SILU)
    assert found.norm_first and found.bare_residual and found.gated and found.dense_before_pooling
    assert found.layer_names[0].output_norm == "layers.1.input_layernorm" and found.layer_names[2].output_norm == "norm"
    assert found.stacked["layers.1.mlp.gate_up_proj"] == ("layers.1.mlp.gate_proj", "layers.1.mlp.up_proj")
    assert {"layers.1.self_attn.q_proj", "layers.2.mlp.down_proj"} <= found.without_bias
    biased = eurobert.architecture_from_config(CONFIGS["eurobert"] | {"attention_bias": True, "mlp_bias": True})
    assert not biased.without_bias
    shared = eurobert.architecture_from_config(CONFIGS["eurobert"] | {"num_key_value_heads": 2})
    assert (found.shared_heads, shared.shared_heads, biased.shared_heads) == (1, 2, 1)


@pytest.mark.parametrize("field", ["classifier_pooling", "clf_pooling"])
def test_eurobert_s_pooling_has_two_names(field: str) -> None:
    found = eurobert.architecture_from_config(CONFIGS["eurobert"] | {field: "bos"})
    assert (found.pooling, found.dense_before_pooling) == (Pooling.CLS, False)


def test_nomic_bert_s_two_spellings_say_the_same() -> None:
    usual = nomic_bert.architecture_from_config(CONFIGS["nomic-bert"])
    hub = {"n_embd": 48, "n_head": 4, "n_layer": 3, "n_inner": 96, "vocab_size": 99, "n_positions": 50}
    assert nomic_bert.architecture_from_config({**hub, "type_vocab_size": 2, "rotary_emb_base": 1000}) == usual
    assert (usual.rotary, usual.activation, usual.gated) == ((Rotary(1000.0),) * 3, Activation.SILU, True)
    forward = usual.layer_names[1].intermediate
    assert usual.stacked[forward] == ("encoder.layers.1.mlp.fc12", "encoder.layers.1.mlp.fc11")
    assert forward in usual.without_bias and "encoder.layers.0.norm1" not in usual.without_bias
    padded = nomic_bert.architecture_from_config(hub | {"pad_vocab_size_multiple": 64, "rotary_scaling_factor": 2})
    assert (padded.vocabulary, padded.positions) == (128, 50)
    both = {**hub, "hidden_size": 48, "max_position_embeddings": 50}
    assert nomic_bert.architecture_from_config(both) == nomic_bert.architecture_from_config(hub)
    longer = hub | {"n_positions": 8192}
    assert nomic_bert.architecture_from_config(longer).positions == 8192
    assert nomic_bert.architecture_from_config(longer | {"rotary_scaling_factor": 2}).positions == 2048


@pytest.mark.parametrize(
    "change, message",
    [
        ({"prenorm": True}, "prenorm is True, and bertc computes nomic-bert without"),
        ({"moe_every_n_layers": 2, "activation_function": "gelu"}, "moe_every_n_layers is 2"),
        ({"qkv_proj_bias": True}, "qkv_proj_bias is True"),
        ({"activation_function": "gelu"}, "activation_function is 'gelu', .* with 'swiglu' alone"),
        ({"rotary_emb_fraction": 0.5}, "rotary_emb_fraction is 0.5"),
        ({"scale_attn_weights": False}, "scale_attn_weights is False"),
        ({"rotary_emb_base": 0}, "the rotary base must be a number above 1, not 0"),
        ({"n_inner": None}, "n_inner must be a positive integer, not None"),
        ({"n_head": 5}, "n_embd 48 is not a multiple of n_head 5"),
        ({"layer_norm_epsilon": 2}, "layer_norm_epsilon is 2, not a number between 0 and 1"),
        ({"hidden_size": 64}, "n_embd 48 and hidden_size 64 are two names of one entry and differ"),
        ({"n_positions": 50, "max_position_embeddings": 60}, "n_positions 50 and max_position_embeddings 60 are two"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' stands beside the hub's n_embd, whose model has 'silu'"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 20.0}}, "rope_parameters .* beside the hub's"),
        ({"pad_vocab_size_multiple": 0}, "pad_vocab_size_multiple must be a positive integer, not 0"),
    ],
)
def test_another_nomic_bert_of_the_hub_is_refused(change: dict[str, Any], message: str) -> None:
    hub = {"n_embd": 48, "n_head": 4, "n_layer": 3, "n_inner": 96, "vocab_size": 99}
    assert nomic_bert.architecture_from_config(hub).layers == 3
    with pytest.raises(InputError, match=message):
        nomic_bert.architecture_from_config(hub | change)


def test_t5_is_rms_norms_without_bias_and_scores_that_are_not_scaled() -> None:
    found = t5.architecture_from_config(CONFIGS["t5"])
    assert (found.norm, found.scaling, found.attention_size) == (Norm.RMS, 1.0, 48)
    assert found.layer_names[0].output_norm == "encoder.block.1.layer.0.layer_norm"
    assert found.layer_names[2].output_norm == "encoder.final_layer_norm"
    forward = found.layer_names[1].intermediate
    assert found.stacked[forward] == (f"{forward}_0", f"{forward}_1") and forward in found.without_bias
    wider = t5.architecture_from_config(CONFIGS["t5"] | {"num_heads": 6})  # which do not divide the hidden size
    assert (wider.head_size, wider.attention_size, wider.hidden) == (12, 72, 48)


@pytest.mark.parametrize(
    "said, gated, activation",
    [
        ({"feed_forward_proj": "relu"}, False, Activation.RELU),
        ({"feed_forward_proj": "gelu"}, False, Activation.GELU),
        ({"feed_forward_proj": "gated-gelu"}, True, Activation.GELU_TANH),
        ({"feed_forward_proj": "gated-relu"}, True, Activation.RELU),
        ({"feed_forward_proj": "gated-gelu", "dense_act_fn": "relu"}, True, Activation.RELU),
        ({"feed_forward_proj": "gated-gelu", "is_gated_act": False}, False, Activation.GELU_TANH),
    ],
)
def test_t5_s_feed_forward_is_what_transformers_reads(
    said: dict[str, Any], gated: bool, activation: Activation
) -> None:
    found = t5.architecture_from_config(CONFIGS["t5"] | said)
    assert (found.gated, found.activation, bool(found.stacked)) == (gated, activation, gated)


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
        ("electra", {"embedding_size": 0}, "embedding_size must be a positive integer, not 0"),
        ("albert", {"embedding_size": None}, "embedding_size must be a positive integer, not None"),
        ("albert", {"num_hidden_groups": 4}, "num_hidden_groups 4 is more than num_hidden_layers 3"),
        ("albert", {"inner_group_num": 0}, "inner_group_num must be a positive integer, not 0"),
        ("mpnet", {"relative_attention_num_buckets": 64}, "relative_attention_num_buckets 64 is not supported"),
        ("mpnet", {"is_decoder": True}, "is_decoder"),
        ("modernbert", {"layer_types": ["full_attention"]}, "layer_types must have 3 entries"),
        ("modernbert", {"layer_types": ["full_attention", "a", "a"]}, "each 'full_attention' or 'sliding_attention'"),
        ("modernbert", {"global_attn_every_n_layers": 0}, "global_attn_every_n_layers must be a positive integer"),
        ("modernbert", {"global_rope_theta": "high"}, "rotary base of full_attention must be a number above 1"),
        ("modernbert", {"local_attention": 0}, "local_attention must be a positive integer"),
        ("modernbert", {"rope_scaling": {"rope_type": "yarn"}}, "are scaled .* take a model with plain ones"),
        (
            "modernbert",
            {"rope_parameters": {"full_attention": {"rope_type": "dynamic", "factor": 2.0}}},
            "rotary positions of full_attention are scaled",
        ),
        (
            "modernbert",
            {"classifier_pooling": "max"},
            "classifier_pooling 'max' is not supported; .* cls, mean",
        ),
        ("modernbert", {"classifier_activation": "gelu_new"}, "classifier_activation 'gelu_tanh' is not supported"),
        ("eurobert", {"num_key_value_heads": 3}, "num_key_value_heads 3 do not divide the 4 heads"),
        ("eurobert", {"num_key_value_heads": 8}, "num_key_value_heads 8 do not divide the 4 heads"),
        ("eurobert", {"num_key_value_heads": 0}, "num_key_value_heads"),
        ("eurobert", {"head_dim": 7}, "heads of 7 channels have no pairs to turn"),
        (
            "eurobert",
            {"classifier_pooling": "max"},
            "classifier_pooling 'max' is not supported; .* late, mean, bos",
        ),
        ("eurobert", {"rope_theta": 1}, "the rotary base must be a number above 1, not 1"),
        ("eurobert", {"rope_parameters": {"rope_type": "yarn"}}, "the rotary positions are scaled"),
        ("eurobert", {"rope_parameters": {"partial_rotary_factor": 0.5}}, "turn a part of each head"),
        ("eurobert", {"rope_parameters": [1]}, r"rope_parameters must be an object, not \[1\]"),
        (
            "eurobert",
            {"rope_parameters": {"rope_type": "default"}, "rope_scaling": {"factor": 8.0}},
            r"are scaled \(rope_scaling {'factor': 8.0}\)",
        ),
        (
            "modernbert",
            {"rope_parameters": {"full_attention": [1]}},
            "rope_parameters of full_attention must be",
        ),
        ("eurobert", {"clf_pooling": ["late"]}, r"clf_pooling \['late'\] is not supported"),
        ("eurobert", {"rms_norm_eps": 0}, "rms_norm_eps is 0, not a number between 0 and 1"),
        ("eurobert", {"is_decoder": True}, "is_decoder"),
        ("modernbert", {"norm_eps": 2}, "norm_eps is 2, not a number between 0 and 1"),
        ("modernbert", {"hidden_size": 36}, "heads of 9 channels have no pairs to turn"),
        ("t5", {"d_kv": 0}, "d_kv must be a positive integer, not 0"),
        ("t5", {"num_layers": None}, "num_layers must be a positive integer, not None"),
        ("t5", {"feed_forward_proj": "gated-mish"}, "feed_forward_proj 'mish' is not supported"),
        ("t5", {"is_gated_act": "yes"}, "is_gated_act must be true or false, not 'yes'"),
        ("t5", {"layer_norm_epsilon": 0}, "layer_norm_epsilon is 0, not a number between 0 and 1"),
        ("t5", {"relative_attention_num_buckets": 2}, "leave no buckets for far tokens"),
        ("t5", {"relative_attention_max_distance": 8}, "leave no buckets for far tokens"),
        ("t5", {"is_decoder": True}, "is_decoder is set"),
        ("t5", {"architectures": ["T5ForSequenceClassification"]}, "reads T5's decoder, which bertc does not compute"),
        ("t5", {"architectures": ["T5Model"]}, "save the encoder with T5EncoderModel, or train"),
        ("roberta", {"is_encoder_decoder": True}, "is_encoder_decoder is set, but bertc compiles encoders only"),
        ("distilbert", {"n_heads": 5}, "dim 48 is not a multiple of n_heads 5"),
        ("distilbert", {"dim": None}, "dim must be a positive integer, not None"),
        ("distilbert", {"activation": "mish"}, "activation 'mish' is not supported"),
    ],
)
def test_what_is_absurd_or_another_model_is_refused_by_its_field(
    family: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        FILES[family].architecture_from_config(CONFIGS[family] | change)  # type: ignore[attr-defined]
