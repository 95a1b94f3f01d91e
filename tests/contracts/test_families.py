"""What every model family obeys: one file that says dimensions and names, and refuses what it does not compute."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.config_json import config_from_path, family_from_config, positions_from_config
from bertc.checkpoint.families import gte, nomic_bert
from bertc.checkpoint.inventory import READ_KEYS
from bertc.core.plugins import FAMILIES
from bertc.errors import InputError
from bertc.ir.architecture import Architecture, LayerNames
from tests.fixtures import edit_json, write_json, write_tiny_bert

BERT = {
    "hidden_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "vocab_size": 99,
    "max_position_embeddings": 50,
    "type_vocab_size": 2,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": {"model_type": "bert", **BERT},
    "roberta": {"model_type": "roberta", **BERT, "type_vocab_size": 1, "pad_token_id": 1},
    "electra": {"model_type": "electra", **BERT, "embedding_size": 16},
    "albert": {"model_type": "albert", **BERT, "embedding_size": 16},
    "deberta-v2": {
        "model_type": "deberta-v2",
        **BERT,
        "relative_attention": True,
        "pos_att_type": "p2c|c2p",
        "position_buckets": 8,
        "share_att_key": True,
        "norm_rel_ebd": "layer_norm",
    },
    "modernbert": {"model_type": "modernbert", **BERT},
    "eurobert": {"model_type": "eurobert", **BERT},
    "nomic-bert": {"model_type": "nomic_bert", **BERT},
    "gte": {"model_type": "gte", **BERT},
    "mpnet": {"model_type": "mpnet", **BERT, "pad_token_id": 1},
    "t5": {
        "model_type": "t5",
        "d_model": 48,
        "d_kv": 12,
        "num_heads": 4,
        "num_layers": 3,
        "d_ff": 96,
        "vocab_size": 99,
        "max_position_embeddings": 50,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": True,
    },
    "xlnet": {
        "model_type": "xlnet",
        "d_model": 48,
        "n_layer": 3,
        "n_head": 4,
        "d_inner": 96,
        "vocab_size": 99,
        "max_position_embeddings": 50,
    },
    "distilbert": {
        "model_type": "distilbert",
        "dim": 48,
        "n_heads": 4,
        "n_layers": 3,
        "hidden_dim": 96,
        "vocab_size": 99,
        "max_position_embeddings": 50,
    },
}
"""A small configuration of each family: who adds a family adds one here."""

ACTIVATION = {
    "distilbert": "activation",
    "modernbert": "hidden_activation",
    "t5": "feed_forward_proj",
    "xlnet": "ff_activation",
}
"""The field that names the activation, where it is not hidden_act."""

LONGEST = {"t5": 2048, "nomic-bert": 2048, "xlnet": 512}
"""How many tokens a text may have in a family without a table of positions, where config.json does not say."""

NAMES = FAMILIES.names()


def architecture(family: str, **changes: Any) -> Architecture:
    module = FAMILIES.module(family)
    found: Architecture = module.architecture_from_config(CONFIGS[family] | changes)
    return found


def prefixes(found: Architecture) -> list[str]:
    """Return every weight name and prefix."""
    names = [found.word_embeddings, *([found.embeddings_norm] if found.embeddings_norm else [])]
    names += [found.position_embeddings] if found.position_embeddings else []
    names += [found.embedding_projection] if found.embedding_projection else []
    names += [found.dense_norm] if found.dense_norm else []
    names += [found.relative_bias.weight] if found.relative_bias else []
    names += [found.token_type_embeddings] if found.token_type_embeddings else []
    names += [found.classifier, *(prefix for prefix, _ in found.dense)]
    fields = [field.name for field in dataclasses.fields(LayerNames)]
    return names + [getattr(layer, name) for layer in dict.fromkeys(found.layer_names) for name in fields]


def test_every_family_has_a_configuration_here_and_bert_is_one() -> None:
    assert set(NAMES) == set(CONFIGS) and "bert" in NAMES


@pytest.mark.parametrize("family", NAMES)
def test_a_configuration_finds_its_file(family: str, tmp_path: Any) -> None:
    assert family_from_config(CONFIGS[family], tmp_path) == family
    with pytest.raises(InputError, match=family):
        family_from_config(CONFIGS[family] | {"model_type": "unheard-of"}, tmp_path)


@pytest.mark.parametrize("family", NAMES)
def test_every_family_has_an_architecture(family: str) -> None:
    found = architecture(family)
    assert isinstance(found, Architecture) and len(found.layer_names) == found.layers > 0
    assert found.head_size * found.heads == found.attention_size == found.hidden
    assert all(activation in ("Tanh", "Relu", "Gelu") for _, activation in found.dense)


@pytest.mark.parametrize("family", NAMES)
def test_no_weight_is_used_twice(family: str) -> None:
    names = prefixes(architecture(family))
    assert len(set(names)) == len(names) and all(names)
    assert not any(name.startswith(f"{family}.") for name in names)  # the checkpoint takes the prefix off


@pytest.mark.parametrize("family", NAMES)
def test_an_activation_that_no_graph_has_is_refused(family: str) -> None:
    with pytest.raises(InputError, match="sigmoid_of_the_day"):
        architecture(family, **{ACTIVATION.get(family, "hidden_act"): "sigmoid_of_the_day"})


@pytest.mark.parametrize("family", NAMES)
def test_the_texts_length_is_what_the_position_table_has(family: str, tmp_path: Any) -> None:
    found = architecture(family)
    assert found.positions == positions_from_config(CONFIGS[family], tmp_path)
    assert found.positions + found.first_position == 50
    without = {name: value for name, value in CONFIGS[family].items() if name != "max_position_embeddings"}
    assert positions_from_config(without, tmp_path) == LONGEST.get(family)


@pytest.mark.parametrize("family", NAMES)
def test_the_file_is_documented_and_knows_no_arrays_and_no_nodes(family: str) -> None:
    module = FAMILIES.module(family)
    assert inspect.getdoc(module) and inspect.getdoc(module.architecture_from_config)
    assert not {"np", "numpy", "ir", "onnx_ir", "onnx"} & set(vars(module))
    assert list(inspect.signature(module.architecture_from_config).parameters) == ["config"]
    assert inspect.getdoc(module.first_position)


HUB_NOMIC = {"model_type": "nomic_bert", "n_embd": 48, "n_head": 4, "n_layer": 3, "n_inner": 96, "vocab_size": 99}
NAMED_OTHERWISE = {"rope_parameters", "pad_token_id"}
OF_THE_HUB = (*nomic_bert.RENAMED, *nomic_bert.OTHERS, *nomic_bert.READ, *nomic_bert.READ_BESIDE)
OF_GTE = {**CONFIGS["gte"], "model_type": "new", "rope_scaling": {"type": "ntk", "factor": 8.0}}
ODD: tuple[Any, ...] = (
    *([], ["late"], {"rope_type": ["default"], "full_attention": [1]}, {"rope_theta": [1]}),
    *("late", None, -3, 10**400),
)


@pytest.mark.parametrize(
    "config", [*CONFIGS.values(), HUB_NOMIC, OF_GTE], ids=[*CONFIGS, "nomic-bert of the hub", "gte of the hub"]
)
def test_an_entry_may_have_any_value_and_is_read_or_refused(config: dict[str, Any], tmp_path: Any) -> None:
    refused = 0
    for name in sorted({*READ_KEYS, *OF_THE_HUB, *gte.WANTED, *gte.OTHERS, *config}):
        for value in ODD:
            write_json(tmp_path / "config.json", config | {name: value})
            try:
                found = config_from_path(tmp_path)
                module = FAMILIES.module(family_from_config(found, tmp_path))
                assert positions_from_config(found, tmp_path) is not None or name == "max_position_embeddings"
                assert module.architecture_from_config(found).layers > 0
            except InputError as error:
                refused += 1
                assert name in str(error) or "rotary base" in str(error) or name in NAMED_OTHERWISE, error
            except Exception as error:
                raise AssertionError(f"{name} {value!r:.60}") from error
    assert refused > 15


def test_an_entry_of_heads_and_tokenizers_may_have_any_value(tmp_path: Any) -> None:
    folder = write_tiny_bert(tmp_path)
    names = ("architectures", "id2label", "num_labels", "problem_type", "tokenizer_class", "pad_token_id")
    names += (
        "sentence_transformers",
        "sbert_ce_default_activation_function",
        "crf_over",
        "crf_constrained",
        "lstm_over",
    )
    for name in (*names, "tie_word_embeddings"):
        before = (folder / "config.json").read_bytes()
        for value in ODD:
            edit_json(folder / "config.json", **{name: value})
            try:
                assert checkpoint_from_path(folder).head.labels
            except InputError:
                pass  # a refusal in a sentence is as right as taking it; anything else is the fault looked for
            except Exception as error:
                raise AssertionError(f"{name} {value!r:.60}") from error
            (folder / "config.json").write_bytes(before)
