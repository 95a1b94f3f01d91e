"""Tiny random BERT checkpoints in the Hugging Face layout, for any head. No network, no torch, milliseconds each."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_TEXT = (
    "the a an of and to in is was it this that film movie story good bad great awful boring funny love hate not very "
    "who what where when how does did live city london paris mary john red blue green car house water order card pay "
    "lost my i you he she they we on for with at by from good ##ly ##ing ##ed ##s ##er"
)
WORDS = tuple(_TEXT.split())
PUNCTUATION = ".,;:!?'\"()-"

ARCHITECTURES = {
    "sequence-classification": "BertForSequenceClassification",
    "text-ranking": "BertForSequenceClassification",
    "token-classification": "BertForTokenClassification",
    "question-answering": "BertForQuestionAnswering",
    "feature-extraction": "BertModel",
    "late-interaction": "HF_ColBERT",
    "fill-mask": "BertForMaskedLM",
    "sparse-embedding": "BertForMaskedLM",
}
DEFAULT_LABELS = {
    "sequence-classification": ("negative", "positive"),
    "text-ranking": ("LABEL_0",),
    "token-classification": ("O", "B-person", "I-person"),
    "question-answering": (),
    "feature-extraction": (),
    "late-interaction": (),
    "fill-mask": (),
    "sparse-embedding": (),
}
TINY_METADATA: dict[str, Any] = {
    "dim": 48,
    "query_token_id": "the",
    "doc_token_id": "a",
    "query_maxlen": 12,
    "doc_maxlen": 128,
    "mask_punctuation": True,
    "attend_to_mask_tokens": False,
    "similarity": "cosine",
    "interaction": "colbert",
}
"""What stands in the artifact.metadata of a tiny ColBERT, beside much else."""

SAFETENSORS_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "float64": "F64", "int64": "I64"}


def tiny_vocab() -> tuple[str, ...]:
    """Return a vocabulary with which any lower-case English text can be spelled (about 190 tokens)."""
    spelled = [*LETTERS, *(f"##{letter}" for letter in LETTERS), *PUNCTUATION]
    return tuple(dict.fromkeys([*SPECIAL_TOKENS, *spelled, *WORDS]))


def tiny_sentence(seed: int, words: int) -> str:
    """Return so many words of the tiny vocabulary, with accents, punctuation and unknown words among them."""
    dice = random.Random(seed)
    return " ".join(dice.choice([*WORDS[:50], "zebra", "Ünïcode", "e-mail,", "日本", "x1!"]) for _ in range(words))


def write_tiny_bert(
    path: Path,
    *,
    task: str = "sequence-classification",
    layers: int = 2,
    hidden: int = 64,
    heads: int = 2,
    intermediate: int = 128,
    vocab: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    dtype: str = "float16",
    seed: int = 0,
    positions: int = 128,
    shards: int = 1,
    config: Mapping[str, Any] | None = None,
) -> Path:
    """Write a random BERT checkpoint into the folder `path` (made if missing) and return `path`.

    `dtype` is float32, float16 or bfloat16; `shards` > 1 writes a sharded index; `config` overrides entries of
    config.json (the value None removes one). Weights have standard deviation 1/sqrt(fan in), so that the answers vary
    with the text.
    """
    path.mkdir(parents=True, exist_ok=True)
    words = tuple(vocab) if vocab is not None else tiny_vocab()
    names = tuple(labels) if labels is not None else DEFAULT_LABELS[task]
    sizes = {
        "vocab_size": len(words),
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
        "max_position_embeddings": positions,
        "type_vocab_size": 2,
    }
    write_json(path / "config.json", _config(task, sizes, names, config or {}))
    tensors = tiny_tensors(task, sizes, scores=len(names), seed=seed)
    _write_weights(path, tensors, dtype, shards)
    write_tokenizer(path, words, positions)
    if task == "late-interaction":
        write_json(path / "artifact.metadata", TINY_METADATA | {"doc_maxlen": positions})
    return path


def write_tiny_sentences(path: Path, *, modules: Sequence[str] = ("Transformer", "Pooling", "Normalize")) -> Path:
    """Write a random encoder in the layout of sentence-transformers: mean pooling, by default normalised.

    The first "Dense" is [64 -> 48] with bias and tanh, each further one narrower by 16.
    """
    write_tiny_bert(path, task="feature-extraction")
    folders = ["" if kind == "Transformer" else f"{index}_{kind}" for index, kind in enumerate(modules)]
    entries = [
        {"idx": index, "name": str(index), "path": folder, "type": f"sentence_transformers.models.{kind}"}
        for index, (folder, kind) in enumerate(zip(folders, modules, strict=True))
    ]
    write_json(path / "modules.json", entries)
    write_json(path / "sentence_bert_config.json", {"max_seq_length": 32, "do_lower_case": False})
    for folder, kind in zip(folders, modules, strict=True):
        (path / folder).mkdir(exist_ok=True)
        if kind == "Pooling":
            flags = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
            write_json(path / folder / "config.json", flags)
    dense = [folder for folder, kind in zip(folders, modules, strict=True) if kind == "Dense"]
    for number, folder in enumerate(dense):
        write_tiny_dense(path / folder, (64 - 16 * number, 48 - 16 * number), seed=number)
    return path


def write_tiny_pylate(path: Path, *, dense: int = 1, **settings: Any) -> Path:
    """Write a random late-interaction model in PyLate's layout, with so many projections; `settings` override entries
    of config_sentence_transformers.json (None removes one)."""
    write_tiny_bert(path, task="feature-extraction")
    return write_pylate_files(path, dense=dense, **settings)


def write_pylate_files(path: Path, *, dense: int = 1, **settings: Any) -> Path:
    """Write PyLate's files beside an encoder with vectors of 64 numbers; see `write_tiny_pylate`."""
    folders = ["", *(f"{number}_Dense" for number in range(1, dense + 1))]
    kinds = ["sentence_transformers.models.Transformer", *["pylate.models.Dense.Dense"] * dense]
    entries = [{"path": folder, "type": kind} for folder, kind in zip(folders, kinds, strict=True)]
    write_json(path / "modules.json", entries)
    write_json(path / "sentence_bert_config.json", {"max_seq_length": 7, "do_lower_case": False})
    usual: dict[str, Any] = {
        "query_prefix": "the",
        "document_prefix": "a",
        "query_length": 12,
        "document_length": 30,
        "attend_to_expansion_tokens": False,
        "do_query_expansion": True,
        "skiplist_words": [".", ","],
        "similarity_fn_name": "MaxSim",
        "default_prompt_name": None,
        **settings,
    }
    write_json(path / "config_sentence_transformers.json", {k: v for k, v in usual.items() if v is not None})
    identity = {"bias": False, "activation_function": "torch.nn.modules.linear.Identity", "use_residual": False}
    for number, folder in enumerate(folders[1:]):
        write_tiny_dense(path / folder, (64 - 16 * number, 48 - 16 * number), seed=number, **identity)
    return path


def write_tiny_dense(folder: Path, sizes: tuple[int, int], *, seed: int = 0, **config: Any) -> None:
    """Write a random module Dense with bias and tanh; `config` overrides entries of its config.json."""
    folder.mkdir(exist_ok=True)
    entries = {
        "in_features": sizes[0],
        "out_features": sizes[1],
        "bias": True,
        "activation_function": "torch.nn.modules.activation.Tanh",
        **config,
    }
    write_json(folder / "config.json", entries)
    tensors = _linear(np.random.default_rng(seed), "linear", sizes[::-1])
    if not entries["bias"]:
        del tensors["linear.bias"]
    write_safetensors(folder / "model.safetensors", tensors)


def tiny_tensors(task: str, sizes: Mapping[str, int], *, scores: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Return the float32 tensors of a random BERT under Hugging Face's names (prefix `bert.` unless a bare encoder)."""
    generator = np.random.default_rng(seed)
    prefix = "" if task == "feature-extraction" else "bert."
    tensors = {prefix + name: _random(generator, name, shape) for name, shape in _encoder_shapes(sizes).items()}
    if task in ("sequence-classification", "text-ranking", "feature-extraction"):
        shape = (sizes["hidden_size"], sizes["hidden_size"])
        tensors |= _linear(generator, f"{prefix}pooler.dense", shape)
    if task == "question-answering":
        tensors |= _linear(generator, "qa_outputs", (2, sizes["hidden_size"]))
    elif task == "late-interaction":
        tensors["linear.weight"] = _random(generator, "linear.weight", (TINY_METADATA["dim"], sizes["hidden_size"]))
    elif task in ("fill-mask", "sparse-embedding"):
        tensors |= _token_scores(generator, sizes["vocab_size"], sizes["hidden_size"])
    elif task != "feature-extraction":
        tensors |= _linear(generator, "classifier", (scores, sizes["hidden_size"]))
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[Any]], dtype: str | None = None) -> None:
    """Write arrays as one safetensors file, as `dtype` (None: each array's own type)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs, offset = [], 0
    for name, array in tensors.items():
        kind = dtype if dtype is not None and array.dtype.kind == "f" else array.dtype.name
        blob = _as_bytes(array, kind)
        end = offset + len(blob)
        shape = list(array.shape)
        header[name] = {"dtype": SAFETENSORS_NAMES[kind], "shape": shape, "data_offsets": [offset, end]}
        blobs.append(blob)
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def write_tokenizer(path: Path, words: Sequence[str], positions: int = 128, *, fast: bool = True) -> None:
    """Write vocab.txt, tokenizer_config.json and (when `fast`) tokenizer.json of an uncased WordPiece tokenizer."""
    (path / "vocab.txt").write_text("".join(f"{word}\n" for word in words), encoding="utf-8")
    settings = {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": True,
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "model_max_length": positions,
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    write_json(path / "tokenizer_config.json", settings)
    (path / "tokenizer.json").unlink(missing_ok=True)
    if fast:
        _tokenizer(words).save(str(path / "tokenizer.json"))


def edit_json(path: Path, **entries: Any) -> None:
    """Set entries of a JSON object in a file; the value None removes one."""
    value = json.loads(path.read_text(encoding="utf-8")) | entries
    write_json(path, {key: entry for key, entry in value.items() if entry is not None})


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON with two spaces of indent."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _config(task: str, sizes: Mapping[str, int], names: Sequence[str], extra: Mapping[str, Any]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": [ARCHITECTURES[task]],
        "model_type": "bert",
        **sizes,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "pad_token_id": 0,
    }
    if names:
        config["id2label"] = {str(index): name for index, name in enumerate(names)}
        config["label2id"] = {name: index for index, name in enumerate(names)}
    config |= extra
    return {key: value for key, value in config.items() if value is not None}


def _encoder_shapes(sizes: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    hidden, inner = sizes["hidden_size"], sizes["intermediate_size"]
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (sizes["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (sizes["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (sizes["type_vocab_size"], hidden),
        "embeddings.LayerNorm.weight": (hidden,),
        "embeddings.LayerNorm.bias": (hidden,),
    }
    products = {
        "attention.self.query": (hidden, hidden),
        "attention.self.key": (hidden, hidden),
        "attention.self.value": (hidden, hidden),
        "attention.output.dense": (hidden, hidden),
        "intermediate.dense": (inner, hidden),
        "output.dense": (hidden, inner),
    }
    for layer in range(sizes["num_hidden_layers"]):
        stem = f"encoder.layer.{layer}."
        for name, shape in products.items():
            shapes |= {f"{stem}{name}.weight": shape, f"{stem}{name}.bias": (shape[0],)}
        for name in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{stem}{name}.weight": (hidden,), f"{stem}{name}.bias": (hidden,)}
    return shapes


def _random(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    noise = generator.standard_normal(shape)
    if name.endswith("LayerNorm.weight"):
        noise = 1 + 0.1 * noise
    elif name.endswith("bias"):
        noise = 0.05 * noise
    elif not name.startswith("embeddings"):
        noise = noise / np.sqrt(shape[-1])
    return noise.astype(np.float32)


def _linear(generator: np.random.Generator, name: str, shape: tuple[int, ...]) -> dict[str, NDArray[np.float32]]:
    weight, bias = f"{name}.weight", f"{name}.bias"
    return {weight: _random(generator, weight, shape), bias: _random(generator, bias, shape[:1])}


def _token_scores(generator: np.random.Generator, vocabulary: int, hidden: int) -> dict[str, NDArray[np.float32]]:
    """Return BERT's head of a masked language model, whose last matrix is the embedding table."""
    transform = "cls.predictions.transform"
    vectors = {f"{transform}.LayerNorm.weight": hidden, f"{transform}.LayerNorm.bias": hidden}
    vectors["cls.predictions.bias"] = vocabulary
    found = {name: _random(generator, name, (size,)) for name, size in vectors.items()}
    return found | _linear(generator, f"{transform}.dense", (hidden, hidden))


def _as_bytes(array: NDArray[Any], kind: str) -> bytes:
    if kind == "bfloat16":  # numpy has no bfloat16: it is the upper half of a float32, here cut off
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        return bytes((bits >> 16).astype(np.uint16).tobytes())
    return bytes(np.ascontiguousarray(array).astype(kind).tobytes())


def _write_weights(path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str, shards: int) -> None:
    if shards == 1:
        write_safetensors(path / "model.safetensors", tensors, dtype)
        return
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]
        write_safetensors(path / file, {name: tensors[name] for name in part}, dtype)
        weight_map |= dict.fromkeys(part, file)
    size = sum(array.nbytes for array in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": weight_map}
    write_json(path / "model.safetensors.index.json", index)


def _tokenizer(words: Sequence[str]) -> Tokenizer:
    ids = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", ids["[CLS]"]), ("[SEP]", ids["[SEP]"])],
    )
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens([word for word in SPECIAL_TOKENS if word in ids])
    return tokenizer
