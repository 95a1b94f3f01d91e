"""What in a checkpoint's folder counts, and what does not: one list for tensors, one for entries of config.json.

Whatever can change a model's outputs is read, or refused by its name. What cannot is named here, with the reason; what
is in neither list is refused (a tensor) or told (an entry of config.json, which transformers' own classes ignore too).
docs/checkpoints.md has the same for people, with the files and the tokens.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bertc.errors import InputError
from bertc.ir.architecture import Architecture, RelativeEmbeddings

HARMLESS_TENSORS: Mapping[str, str] = MappingProxyType(
    {
        r"(^|\.)position_ids$|^embeddings\.token_type_ids$": "buffers that count from 0",
        r"^(predictions|sop_classifier)\.": "heads of ALBERT's pre-training",
        r"^(cls|lm_head|vocab_transform|vocab_layer_norm|vocab_projector|discriminator_predictions|generator_\w+)\."
        r"|^(lm|mask)_predictions\.|^lm_loss\.|^decoder\.(weight|bias)$": "heads of pre-training",
        r"^decoder\.(embed_tokens|block|final_layer_norm)\.": "T5's decoder, which T5EncoderModel does not have",
        r"^optimizer\.|^global_step$|[./](adam_m|adam_v|exp_avg|exp_avg_sq)(/|$|\.)|^(exp_avg|exp_avg_sq)\.": (
            "an optimizer's state (TensorFlow's and torch's names)"
        ),
        r"(^|\.)__\w+_mma_(mask|pruned_p)$": (
            "masks that ASP keeps beside weights to which it has applied them (NVIDIA/apex, contrib/sparsity/asp.py)"
        ),
        r"\.original_module\.": "what PEFT's modules_to_save has replaced",
    }
)
"""Plain names of tensors that no model computes with; they are left out, and their bytes counted."""

IGNORED = re.compile("|".join(HARMLESS_TENSORS))

UNREAD_HEADS = (
    *("pooler", "classifier", "pre_classifier", "qa_outputs", "head"),
    *("sequence_summary", "logits_proj"),
)
"""What stands on an encoder. A head that the task does not read is another task's, and transformers drops it too."""

LOSSES = re.compile(r"^(criterion|loss|loss_fct|loss_fn|class_weights)(\.|$)")
"""Buffers of a loss (the weights of classes), which only training computes with."""

WITHOUT = "give the model without it, or with it merged into the weights"
UNREAD_PARTS = (
    (
        r"(weight|bias)_[ih]h_l\d",
        "is of an LSTM between encoder and tags, which bertc computes for token classification alone; choose that task",
    ),
    (
        r"_constraint_mask\b",
        'is AllenNLP\'s mask of forbidden tags; remove it, and write "crf_constrained": true into config.json',
    ),
    (r"adapter|lora|ia3|prompt|prefix_", f"is an adapter's, and bertc merges LoRA of PEFT alone; {WITHOUT}"),
    (r"crf|transitions|lstm|gru", f"is of a part behind the encoder that bertc does not compute; {WITHOUT}"),
)
"""What tensors that nothing reads may be, by what their names hold: in words, with what to do."""

READ_KEYS = frozenset(
    (
        *("model_type", "architectures", "vocab_size", "max_position_embeddings", "type_vocab_size", "layer_norm_eps"),
        *("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "hidden_act"),
        *("dim", "n_layers", "n_heads", "hidden_dim", "activation", "embedding_size", "pad_token_id"),
        *("relative_attention_num_buckets", "num_hidden_groups", "inner_group_num"),
        *("relative_attention", "max_relative_positions", "position_buckets", "pos_att_type", "share_att_key"),
        *("norm_rel_ebd", "position_biased_input", "conv_kernel_size", "attention_head_size"),
        *("pooler_hidden_act", "pooler_hidden_size"),
        *("id2label", "label2id", "num_labels", "problem_type", "position_embedding_type"),
        *("is_decoder", "add_cross_attention"),
        *("crf_over", "crf_constrained", "exit_pooling", "lstm_over"),
        *("tokenizer_class", "sentence_transformers", "sbert_ce_default_activation_function"),
        *("hidden_activation", "norm_eps", "norm_bias", "attention_bias", "mlp_bias", "classifier_bias"),
        *("classifier_activation", "classifier_pooling", "local_attention", "global_attn_every_n_layers"),
        *("global_rope_theta", "local_rope_theta", "layer_types", "rope_parameters", "rope_scaling", "rope_theta"),
        *("num_key_value_heads", "head_dim", "rms_norm_eps", "clf_pooling"),
        *("is_encoder_decoder", "d_model", "num_layers", "num_heads", "d_kv", "d_ff", "feed_forward_proj"),
        *("relative_attention_max_distance", "layer_norm_epsilon", "dense_act_fn", "is_gated_act"),
        *("tie_word_embeddings", "decoder_bias", "legacy"),
        *("n_layer", "n_head", "d_inner", "d_head", "ff_activation", "attn_type", "bi_data", "clamp_len"),
        *("summary_type", "summary_use_proj", "summary_activation"),
    )
)

REFUSED_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "quantization_config": "give the checkpoint before any quantization",
        "compression_config": "give the checkpoint before any compression",
        "pruned_heads": "the heads that it names are gone from the weights; give the checkpoint before that pruning",
        "adapters": "merge the adapters into the model, or give the checkpoint without them",
        "adapter_fusion_config_map": "merge the adapters into the model, or give the checkpoint without them",
    }
)
"""Entries that, when set, make another model of the same type; each with what to do."""

HARMLESS_KEYS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                *(
                    "hidden_dropout_prob",
                    "attention_probs_dropout_prob",
                    "classifier_dropout",
                    "classifier_dropout_prob",
                    "dropout",
                    "qa_dropout",
                ),
                *("attention_dropout", "seq_classif_dropout", "summary_last_dropout", "initializer_range"),
                *("initializer_factor", "gradient_checkpointing", "freeze_layers", "dropout_rate"),
                *("pooler_dropout", "cls_dropout"),
                *("embedding_dropout", "mlp_dropout", "initializer_cutoff_factor", "sparse_prediction"),
                *("sparse_pred_ignore_index", "deterministic_flash_attn"),
            ),
            "matter in training alone",
        ),
        **dict.fromkeys(
            (
                *("_name_or_path", "name_or_path", "transformers_version", "_commit_hash", "finetuning_task"),
                *("task_specific_params", "model_name", "language", "_from_model_config", "directionality"),
            ),
            "say where the model comes from",
        ),
        **dict.fromkeys(("torch_dtype", "dtype"), "the weights say their own type, and are read as float32"),
        **dict.fromkeys(
            (
                *("use_cache", "output_attentions", "output_hidden_states", "return_dict", "use_return_dict"),
                *("output_past", "torchscript", "chunk_size_feed_forward", "use_bfloat16", "_attn_implementation"),
                *("attn_implementation", "_attn_implementation_autoset", "reference_compile", "repad_logits_with_grad"),
            ),
            "change how or what else is computed, not the result",
        ),
        **dict.fromkeys(
            (
                *("bos_token_id", "eos_token_id", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id"),
                *("decoder_start_token_id", "eos_token_ids", "bos_token_ids", "pad_token_ids"),
            ),
            "the tokenizer has its own",
        ),
        **dict.fromkeys(
            (
                *("do_sample", "early_stopping", "max_length", "min_length", "num_beams", "num_beam_groups"),
                *("diversity_penalty", "temperature", "top_k", "top_p", "typical_p", "repetition_penalty"),
                *("length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids"),
                *("num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id"),
                *("forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty"),
                *("suppress_tokens", "begin_suppress_tokens", "prefix", "is_composition", "generation_config"),
            ),
            "generation's, which an encoder does not do",
        ),
        **dict.fromkeys(
            (
                *("pooler_fc_size", "pooler_type", "start_n_top", "end_n_top"),
                *("mem_len", "reuse_len", "same_length", "use_mems_eval", "use_mems_train", "untie_r"),
                *("pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head"),
                *("cross_attention_hidden_size", "tie_encoder_decoder", "tie_weights_"),
                *("down_scale_factor", "gap_size", "net_structure_type", "num_memory_blocks"),
                *("conv_act", "conv_groups", "pretraining_tp"),
                *("num_decoder_layers", "scale_decoder_outputs", "n_positions"),
                *("n_special", "sinusoidal_pos_embds", "auto_map", "custom_pipelines"),
            ),
            "of parts that these heads do not have, or that the weights already contain; code is never run",
        ),
    }
)
"""Entries of config.json that do not change what the supported heads give out, each with the reason."""


def check_config(folder: Path, config: Mapping[str, Any]) -> tuple[str, ...]:
    """Refuse entries that make another model; return sentences on those that nobody knows or that contradict."""
    for name, remedy in REFUSED_KEYS.items():
        if config.get(name):
            raise InputError(f"{folder}/config.json has the entry {name}, which bertc does not compute; {remedy}")
    unknown = sorted({*config} - READ_KEYS - HARMLESS_KEYS.keys() - REFUSED_KEYS.keys())
    notes = _notes_on_numbers(config)
    if unknown:
        notes += (f"config.json: neither bertc nor transformers' model reads {_listed(unknown)}",)
    return notes


def _notes_on_numbers(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Say where label2id gives a label another number than id2label, which is the one that is read."""
    named, numbered = config.get("id2label"), config.get("label2id")
    if not isinstance(named, Mapping) or not isinstance(numbered, Mapping):
        return ()
    other = [
        label
        for id, label in named.items()
        if isinstance(label, str) and label in numbered and str(numbered[label]) != str(id)
    ]
    if not other:
        return ()
    first = min(other)
    told = f"config.json: label2id gives {first!r} the number {numbered[first]}, and id2label another"
    return (f"{told}; id2label was read, as transformers' pipelines do: correct the one that is wrong",)


def check_tensors(
    folder: Path,
    names: Iterable[str],
    architecture: Architecture,
    heads: Iterable[str],
    *,
    behind: Iterable[str] = (),
) -> tuple[str, ...]:
    """Refuse tensors that no part of the model reads; return sentences on what transformers leaves out as well.

    `heads` are the weights that the task's head may have, of which it reads the first that is there, `behind` those
    that were read behind the head. Raises `InputError` naming the tensors.
    """
    stored = tuple(names)
    read = {*encoder_names(architecture), *behind}
    head = next((name.rpartition(".")[0] for name in heads if name in stored), "")
    roots = {head.partition(".")[0]}
    read |= _linear_names(head)
    if head == architecture.classifier:
        norm = () if architecture.dense_norm is None else (architecture.dense_norm,)
        for module in (*(module for module, _ in architecture.dense), *norm):
            roots.add(module.partition(".")[0])
            read |= _linear_names(module)
    known = {*UNREAD_HEADS, *(module.partition(".")[0] for module, _ in architecture.dense)}
    left = [name for name in stored if name not in read and not _is_harmless(name, known, roots)]
    beyond = [name for name in left if _layer_of(name, architecture) >= architecture.layers]
    other = [name for name in left if name not in set(beyond)]
    if other:
        raise InputError(f"{folder} holds {_listed(other)}, which {_guess(other)}")
    if not beyond:
        return ()
    first = min(_layer_of(name, architecture) for name in beyond)
    return (
        (
            f"the weights of layers from {first} on were left out: config.json says {architecture.layers} layers "
            f"({len(beyond)} tensors)"
        ),
    )


def encoder_names(architecture: Architecture) -> Iterator[str]:
    """Give the names of all tensors that an encoder may have."""
    tables = (architecture.word_embeddings, architecture.position_embeddings, architecture.token_type_embeddings)
    yield from (table for table in tables if table is not None)
    yield from architecture.unread
    if architecture.relative_embeddings is not None:
        yield from _relative_names(architecture.relative_embeddings)
    for prefix in () if architecture.relative_sinusoids is None else architecture.relative_sinusoids.attentions:
        yield from (f"{prefix}.{name}" for name in ("r.weight", "r_r_bias", "r_s_bias", "seg_embed"))
    if architecture.relative_bias is not None:
        yield architecture.relative_bias.weight
    if architecture.embeddings_norm is not None:
        yield from _linear_names(architecture.embeddings_norm)
    if architecture.embedding_projection is not None:
        yield from _linear_names(architecture.embedding_projection)
    for layer in architecture.layer_names:
        for module in (
            *(layer.query, layer.key, layer.value, layer.attention_output, layer.attention_norm),
            *(layer.intermediate, layer.output, layer.output_norm),
        ):
            for stored in architecture.stacked.get(module, (module,)):
                yield from _linear_names(stored)


def _relative_names(relative: RelativeEmbeddings) -> Iterator[str]:
    yield relative.embeddings
    for module in (*([] if relative.norm is None else [relative.norm]), *relative.keys, *relative.queries):
        yield from _linear_names(module)


def _linear_names(module: str) -> set[str]:
    return {f"{module}.weight", f"{module}.bias"}


def _is_harmless(name: str, heads: set[str], roots: set[str]) -> bool:
    """Say whether a tensor is of a head that the task does not read (it reads those in `roots`), or of a loss."""
    root = name.partition(".")[0]
    return (root in heads and root not in roots) or LOSSES.search(name) is not None


def _layer_of(name: str, architecture: Architecture) -> int:
    """Return the number of the layer that a tensor belongs to, -1 if to none."""
    prefix = architecture.layer_names[0].output.partition(".0.")[0]
    found = re.match(rf"{re.escape(prefix)}\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _guess(names: Iterable[str]) -> str:
    """Say what tensors may be, and what to do, in words for who has them."""
    stored = " ".join(names)
    for pattern, words in UNREAD_PARTS:
        if re.search(pattern, stored, re.IGNORECASE):
            return words
    return f"no part of this model reads; {WITHOUT}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
