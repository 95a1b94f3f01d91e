"""Names of tensors: TensorFlow's words for BERT put into torch's, and what is a fake quantizer's.

TensorFlow-era checkpoints (google-research/bert modeling.py and run_classifier.py, run_squad.py; FasterTransformer's
examples/tensorflow/bert) write `bert/encoder/layer_0/attention/self/query/kernel`, a kernel being [in, out].
"""

from __future__ import annotations

import re

QUANTIZER = re.compile(r"(^|\.)\w*quantizer\.")
HEADS = {
    "output_weights": "classifier.weight",
    "output_bias": "classifier.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
}


def torch_name(stored: str) -> str:
    """Return a tensor's name in torch's words; what is no TensorFlow name stays as it is.

    >>> torch_name("bert/encoder/layer_3/attention/self/query/kernel:0")
    'bert.encoder.layer.3.attention.self.query.weight'
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


def is_kernel(stored: str) -> bool:
    """Say whether a tensor is TensorFlow's matrix of a dense layer, which is the transpose of torch's."""
    return stored.removesuffix(":0").endswith("/kernel")


def plain_name(stored: str, prefix: str) -> str:
    """Return a tensor's name without the encoder's prefix, with LayerNorm's parameters in today's words.

    >>> plain_name("bert.embeddings.LayerNorm.gamma", "bert.")
    'embeddings.LayerNorm.weight'
    """
    name = torch_name(stored).removeprefix(prefix)
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
