"""Tensor names of TensorFlow and torch."""

from __future__ import annotations

import pytest

from bertc.checkpoint.names import is_kernel, is_quantizer, plain_name


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ("bert/embeddings/word_embeddings", "embeddings.word_embeddings.weight"),
        ("bert/embeddings/LayerNorm/gamma:0", "embeddings.LayerNorm.weight"),
        ("bert/encoder/layer_11/output/LayerNorm/beta", "encoder.layer.11.output.LayerNorm.bias"),
        ("bert/pooler/dense/kernel", "pooler.dense.weight"),
        ("bert/pooler/dense/bias:0", "pooler.dense.bias"),
        ("output_weights", "classifier.weight"),
        ("cls/squad/output_bias", "qa_outputs.bias"),
        ("bert.encoder.layer.0.output.dense.weight", "encoder.layer.0.output.dense.weight"),
        ("kernel", "kernel"),
        ("classifier.word_embeddings", "classifier.word_embeddings"),
    ],
)
def test_tensorflow_s_words_become_torch_s_and_others_stay(stored: str, plain: str) -> None:
    assert plain_name(stored, "bert.") == plain


def test_only_dense_matrices_are_transposed() -> None:
    assert is_kernel("bert/pooler/dense/kernel:0")
    for name in ("output_weights", "bert/pooler/dense/kernel/adam_m", "kernel", "bert.pooler.dense.weight"):
        assert not is_kernel(name)


def test_what_is_a_quantizer_s() -> None:
    for name in ("a.matmul_q_input_quantizer._amax", "input_quantizer._amax", "a.kernel_quantizer.quant_max"):
        assert is_quantizer(name)
    for name in ("a.quantizer", "a._amax", "a.quantizers.weight", "a.weight"):
        assert not is_quantizer(name)
