"""Names of tensors: TensorFlow's words for BERT put into torch's, and what is a fake quantizer's.

TensorFlow-era checkpoints (google-research/bert modeling.py and run_classifier.py, run_squad.py; FasterTransformer's
examples/tensorflow/bert) write `bert/encoder/layer_0/attention/self/query/kernel`, a kernel being [in, out].
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

WRAPPERS = ("module.", "_orig_mod.", "model.", "base_model.model.")
"""What DataParallel, torch.compile, a class around the model, and PEFT put before every name."""

FACTOR = re.compile(
    r"\.(?P<factor>lora_A|lora_B|lora_embedding_A|lora_embedding_B|(?:lora|ia3|vera|hada|oft|boft|lokr)_\w+)"
    r"(?:\.(?!weight$|bias$)\w+)?(?P<leaf>\.weight|\.bias)?$"
)
PEFT_LAYERS = re.compile(r"\.(base_layer|modules_to_save)(\.(?!weight$|bias$|dense\.|out_proj\.)\w+)?(?=\.)")
QUANTIZER = re.compile(r"(^|\.)\w*quantizer\.")
HEADS = {
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
    "cls/predictions/output_bias": "cls.predictions.bias",
}


class Factor(StrEnum):
    """What a tensor of an adapter is to the layer that it adapts."""

    A = "lora_A"
    B = "lora_B"
    BIAS_B = "lora_B.bias"
    TABLE_A = "lora_embedding_A"
    TABLE_B = "lora_embedding_B"
    OTHER = "other"


def factor_of_name(name: str) -> tuple[str, Factor] | None:
    """Return the layer that a tensor of an adapter belongs to, and what it is there; None for an ordinary tensor.

    >>> factor_of_name("encoder.layer.0.attention.self.query.lora_A.default.weight")
    ('encoder.layer.0.attention.self.query', <Factor.A: 'lora_A'>)
    >>> factor_of_name("embeddings.word_embeddings.lora_magnitude_vector")
    ('embeddings.word_embeddings', <Factor.OTHER: 'other'>)
    """
    found = FACTOR.search(name)
    if found is None:
        return None
    kind = found["factor"] + (".bias" if found["leaf"] == ".bias" else "")
    return name[: found.start()], Factor(kind) if kind in set(Factor) else Factor.OTHER


def shared_wrapper(names: Iterable[str]) -> str:
    """Return the wrappers that all names begin with, "" for none.

    >>> shared_wrapper(["module._orig_mod.bert.a", "module._orig_mod.classifier.b"])
    'module._orig_mod.'
    """
    stored, found = list(names), ""
    while stored:
        wrapper = next((w for w in WRAPPERS if all(name.startswith(found + w) for name in stored)), None)
        if wrapper is None:
            return found
        found += wrapper
    return found


def torch_name(stored: str) -> str:
    """Return a tensor's name in torch's words; what is no TensorFlow name stays as it is.

    >>> torch_name("bert/encoder/layer_3/attention/self/query/kernel:0")
    'bert.encoder.layer.3.attention.self.query.weight'
    >>> torch_name("cls/predictions/output_bias")
    'cls.predictions.bias'
    >>> torch_name("bert/embeddings/word_embeddings")
    'bert.embeddings.word_embeddings.weight'
    """
    plain = stored.removesuffix(":0")
    if plain in HEADS:
        return HEADS[plain]
    if "/" not in plain:
        return stored
    name = re.sub(r"(^|/)layer_(\d+)/", r"\1layer/\2/", plain).replace("/", ".")
    if is_kernel(stored):
        return name.removesuffix("kernel") + "weight"
    return f"{name}.weight" if name.endswith("_embeddings") else name


def unwrapped_name(stored: str, wrapper: str = "") -> str:
    """Return a tensor's name without a wrapper and without PEFT's layers around the model's own, in torch's words.

    >>> unwrapped_name("module.classifier.modules_to_save.default.weight", "module.")
    'classifier.weight'
    """
    return PEFT_LAYERS.sub("", torch_name(stored.removeprefix(wrapper)))


def is_kernel(stored: str) -> bool:
    """Say whether a tensor is TensorFlow's matrix of a dense layer, which is the transpose of torch's."""
    return stored.removesuffix(":0").endswith("/kernel")


def plain_name(stored: str, prefix: str | tuple[str, ...]) -> str:
    """Return a tensor's name without the encoder's prefix, or one of several, with LayerNorm's parameters in today's
    words.

    >>> plain_name("bert.embeddings.LayerNorm.gamma", "bert.")
    'embeddings.LayerNorm.weight'
    """
    name = unwrapped_name(stored)
    prefixes = prefix if isinstance(prefix, tuple) else (prefix,)
    name = name.removeprefix(next((each for each in prefixes if name.startswith(each)), ""))
    if name.endswith("LayerNorm.gamma"):
        return name.removesuffix("gamma") + "weight"
    if name.endswith("LayerNorm.beta"):
        return name.removesuffix("beta") + "bias"
    return name


def is_quantizer(name: str) -> bool:
    """Say whether a plain name is a buffer of a fake quantizer, which is no weight.

    >>> is_quantizer("encoder.layer.0.output.dense._input_quantizer._amax")
    True
    """
    return QUANTIZER.search(name) is not None
