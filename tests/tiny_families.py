"""Tiny random checkpoints of every family, as transformers writes them. Who adds a family adds one here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from bertc.checkpoint.vocabulary import MPNET_TOKENS, ROBERTA_TOKENS, byte_level_from_files, word_piece_from_file
from tests.fixtures import DEFAULT_LABELS, LETTERS, edit_json, tiny_sentence, tiny_vocab, write_json, write_tokenizer

SIZES = {
    "hidden_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
    "pad_token_id": 0,
}
BRACKETED = ("[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]")
"""ModernBERT's special tokens, as in its tokenizer.json in an order of their own."""

BEHIND_PADDING = {**SIZES, "type_vocab_size": 1, "max_position_embeddings": 130, "pad_token_id": 1}
DISENTANGLED = {
    **SIZES,
    "type_vocab_size": 0,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8,
    "max_relative_positions": -1,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SIZES),
    "roberta": ("Roberta", BEHIND_PADDING),
    "xlm-roberta": ("XLMRoberta", BEHIND_PADDING),
    "camembert": ("Camembert", BEHIND_PADDING),
    "data2vec-text": ("Data2VecText", BEHIND_PADDING),
    "deberta-v2": ("DebertaV2", DISENTANGLED),
    "mpnet": ("MPNet", {**BEHIND_PADDING, "relative_attention_num_buckets": 32}),
    "albert": ("Albert", {**SIZES, "embedding_size": 16}),
    "electra": ("Electra", {**SIZES, "embedding_size": 16}),
    "modernbert": (
        "ModernBert",
        {
            **{name: SIZES[name] for name in ("hidden_size", "num_attention_heads", "max_position_embeddings")},
            "num_hidden_layers": 3,
            "intermediate_size": 96,
            "global_attn_every_n_layers": 2,
            "local_attention": 8,
            "pad_token_id": BRACKETED.index("[PAD]"),
            **{f"{name}_token_id": BRACKETED.index("[CLS]") for name in ("bos", "cls")},
            **{f"{name}_token_id": BRACKETED.index("[SEP]") for name in ("eos", "sep")},
        },
    ),
    "eurobert": (
        "EuroBert",
        {
            **{name: SIZES[name] for name in ("hidden_size", "num_attention_heads", "max_position_embeddings")},
            "num_hidden_layers": 2,
            "intermediate_size": 96,
            "pad_token_id": BRACKETED.index("[PAD]"),
            "mask_token_id": BRACKETED.index("[MASK]"),
            "bos_token_id": BRACKETED.index("[CLS]"),
            "eos_token_id": BRACKETED.index("[SEP]"),
        },
    ),
    "nomic-bert": (
        "NomicBert",
        {
            **{name: size for name, size in SIZES.items() if name != "intermediate_size"},
            "intermediate_size": 96,
            "bos_token_id": None,
            "eos_token_id": None,
        },
    ),
    "gte": ("Gte", {**SIZES, "intermediate_size": 96}),
    "t5": (
        "T5",
        {
            "d_model": 64,
            "d_kv": 24,
            "num_heads": 2,
            "num_layers": 2,
            "d_ff": 96,
            "pad_token_id": 0,
            "feed_forward_proj": "gated-gelu",
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 12,
        },
    ),
    "xlnet": (
        "XLNet",
        {
            "d_model": 64,
            "n_layer": 2,
            "n_head": 2,
            "d_inner": 128,
            "pad_token_id": 5,
            "bos_token_id": 1,
            "eos_token_id": 2,
        },
    ),
    "distilbert": (
        "DistilBert",
        {"dim": 64, "n_heads": 2, "n_layers": 2, "hidden_dim": 128, "max_position_embeddings": 128, "pad_token_id": 0},
    ),
}
"""transformers' classes and a small configuration, by model type."""

MODEL_TYPES = tuple(CONFIGS)
CLASSES = {
    "sequence-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
    "question-answering": "ForQuestionAnswering",
    "feature-extraction": "Model",
    "fill-mask": "ForMaskedLM",
}
OWN_CLASSES = {
    "t5": {"token-classification": "T5ForTokenClassification", "feature-extraction": "T5EncoderModel"},
    "nomic-bert": {
        "sequence-classification": "NomicBertForSequenceClassification",
        "token-classification": "NomicBertForTokenClassification",
        "feature-extraction": "NomicBertModel",
    },
    "gte": {
        "sequence-classification": "GteForSequenceClassification",
        "token-classification": "GteForTokenClassification",
        "feature-extraction": "GteModel",
        "fill-mask": "GteForMaskedLM",
    },
    "eurobert": {
        "sequence-classification": "EuroBertForSequenceClassification",
        "token-classification": "EuroBertForTokenClassification",
        "feature-extraction": "EuroBertModel",
    },
    "xlnet": {
        "sequence-classification": "XLNetForSequenceClassification",
        "token-classification": "XLNetForTokenClassification",
        "question-answering": "XLNetForQuestionAnsweringSimple",
        "feature-extraction": "XLNetModel",
    },
}
"""transformers' classes of a family that has not all of them, or calls them otherwise."""

PADDING_FIRST = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""RoBERTa's special tokens by their ids."""

MPNET_FIRST = ("<s>", "<pad>", "</s>", "[UNK]", "<mask>")
XLNET_FIRST = ("<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>")
ALBERT_FIRST = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")


def class_of_family(model_type: str, task: str) -> str:
    """Return the name of transformers' class for a task."""
    family = model_type.replace("_", "-")
    return OWN_CLASSES.get(family, {}).get(task) or f"{CONFIGS[family][0]}{CLASSES[task]}"


def tasks_of_family(model_type: str) -> tuple[str, ...]:
    """Return the tasks that a family has a class for."""
    return tuple(OWN_CLASSES.get(model_type, CLASSES))


def write_tiny_family(
    path: Path,
    model_type: str,
    *,
    task: str = "sequence-classification",
    labels: Sequence[str] | None = None,
    **changes: Any,
) -> Path:
    """Write a random float32 checkpoint with its tokenizer into the folder `path`, and return it.

    `changes` are of the family's configuration.
    """
    import torch
    import transformers

    name, usual = CONFIGS[model_type]
    sizes = usual | changes
    names = DEFAULT_LABELS[task] if labels is None else tuple(labels)
    path.mkdir(parents=True, exist_ok=True)
    padding = sizes["pad_token_id"]
    if model_type in TOKENIZERS:
        vocabulary = TOKENIZERS[model_type](path)
    else:
        vocabulary = write_byte_level(path, sizes["max_position_embeddings"] - 2) if padding else _word_piece(path)
    given: dict[str, Any] = {"vocab_size": vocabulary, **sizes}
    if names:
        given |= {"id2label": dict(enumerate(names)), "label2id": {label: place for place, label in enumerate(names)}}
    config = getattr(transformers, f"{name}Config")(**given)
    torch.manual_seed(0)
    model = getattr(transformers, class_of_family(model_type, task))(config)
    with torch.no_grad():
        for key, values in model.named_parameters():
            if values.ndim == 2 and "embeddings." not in key:
                values.normal_(0, values.shape[1] ** -0.5)
            else:
                values.add_(torch.randn_like(values) * (1 if values.ndim == 2 else 0.1))
    model.save_pretrained(path)
    return path


def _word_piece(path: Path) -> int:
    write_tokenizer(path, tiny_vocab())
    return len(tiny_vocab())


def _mpnet_word_piece(path: Path) -> int:
    words = [*MPNET_FIRST, *(word for word in tiny_vocab() if not word.startswith("["))]
    settings = {**MPNET_TOKENS, "tokenizer_class": "MPNetTokenizer", "do_lower_case": True, "model_max_length": 128}
    (path / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    write_json(path / "tokenizer_config.json", settings)
    word_piece_from_file(path / "vocab.txt", settings, "mpnet").save(str(path / "tokenizer.json"))
    return len(words)


def _albert_unigram(path: Path) -> int:
    import transformers

    words = sorted({word for seed in range(200) for word in tiny_sentence(seed, 12).split()})
    letters = sorted({letter for word in words for letter in word})
    pieces = [*((word, 0.0) for word in ALBERT_FIRST), *((f"▁{word}", -3.0) for word in words)]
    pieces += [("▁", -9.0), *((letter, -10.0) for letter in letters)]
    transformers.AlbertTokenizer(vocab=pieces, model_max_length=128).save_pretrained(path)
    return max(len(pieces), 100)


def _t5_unigram(path: Path) -> int:
    import transformers

    words = sorted({word for seed in range(200) for word in tiny_sentence(seed, 12).split()})
    letters = sorted({letter for word in words for letter in word})
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((f"▁{word}", -3.0) for word in words)]
    pieces += [("▁", -9.0), *((letter, -10.0) for letter in letters)]
    transformers.T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=128).save_pretrained(path)
    return max(len(pieces), 100)


def _xlnet_unigram(path: Path) -> int:
    """Write XLNet's tokenizer, and that it gives segments, which those of transformers before 5 did by themselves."""
    import transformers

    words = sorted({word for seed in range(200) for word in tiny_sentence(seed, 12).split()})
    letters = sorted({letter for word in words for letter in word})
    pieces = [*((word, 0.0) for word in XLNET_FIRST), *((f"▁{word}", -3.0) for word in words)]
    pieces += [("▁", -9.0), *((letter, -10.0) for letter in letters)]
    names = ["input_ids", "token_type_ids", "attention_mask"]
    transformers.XLNetTokenizer(vocab=pieces, model_max_length=128).save_pretrained(path)
    edit_json(path / "tokenizer_config.json", model_input_names=names)
    return max(len(pieces), 100)


def write_byte_level(path: Path, positions: int, *, fast: bool = True, prefix_space: bool = True) -> int:
    """Write RoBERTa's tokenizer over the tiny texts' words: vocab.json, merges.txt and (when `fast`) tokenizer.json."""
    trained = _trained_byte_level(PADDING_FIRST)
    trained.model.save(str(path))
    settings = {"tokenizer_class": "RobertaTokenizer", "model_max_length": positions, "add_prefix_space": prefix_space}
    write_json(path / "tokenizer_config.json", settings)
    if fast:
        byte_level_from_files(path, ROBERTA_TOKENS).save(str(path / "tokenizer.json"))
    return int(trained.get_vocab_size())


def write_unigram(path: Path) -> int:
    """Write DeBERTa's tokenizer over the tiny texts' words: tokenizer.json with a unigram model (SentencePiece)."""
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " "), normalizers.NFC(), normalizers.Strip(left=False)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(prepend_scheme="always")])
    trainer = trainers.UnigramTrainer(
        vocab_size=150, special_tokens=special, unk_token="[UNK]", show_progress=False, initial_alphabet=list(LETTERS)
    )
    tokenizer.train_from_iterator((tiny_sentence(seed, 12) for seed in range(200)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": False, "split_by_punct": False}
    write_json(path / "tokenizer_config.json", settings)
    return int(tokenizer.get_vocab_size())


def _modernbert_byte_level(path: Path) -> int:
    """Write a tokenizer over the tiny texts' words: tokenizer.json with a byte-level BPE in BERT's frame."""
    trained = _trained_byte_level(BRACKETED)
    frame = [(token, BRACKETED.index(token)) for token in ("[CLS]", "[SEP]")]
    trained.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=frame
    )
    trained.save(str(path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 128}
    settings |= {"model_input_names": ["input_ids", "attention_mask"]}
    write_json(path / "tokenizer_config.json", settings | {f"{name[1:-1].lower()}_token": name for name in BRACKETED})
    return int(trained.get_vocab_size())


def _trained_byte_level(special: Sequence[str]) -> Tokenizer:
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator((tiny_sentence(seed, 12) for seed in range(200)), trainer)
    return trained


TOKENIZERS = {
    "mpnet": _mpnet_word_piece,
    "albert": _albert_unigram,
    "deberta-v2": write_unigram,
    "t5": _t5_unigram,
    "xlnet": _xlnet_unigram,
    "modernbert": _modernbert_byte_level,
    "eurobert": _modernbert_byte_level,
}
"""What writes a family's tokenizer and returns the size of the vocabulary, where it is neither BERT's nor RoBERTa's."""
