"""Two checkpoints that read the same text as the same tokens, or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bertc.checkpoint import Checkpoint, TextEncoder, checkpoint_from_path
from bertc.checkpoint.same_tokens import same_tokens
from bertc.core.feature import Feature
from bertc.data.rows import Row
from bertc.tasks import task_from_name
from tests.fixtures import SPECIAL_TOKENS, tiny_sentence, tiny_vocab, write_tiny_bert, write_tokenizer

ROWS = tuple(Row(texts=(tiny_sentence(seed, 9),), hash=str(seed)) for seed in range(4))


def tiny(folder: Path, vocabulary: tuple[str, ...] | None = None) -> Checkpoint:
    write_tiny_bert(folder, positions=64)
    if vocabulary is not None:
        write_tokenizer(folder, vocabulary, 64)
    return checkpoint_from_path(folder)


def features_of(encoder: TextEncoder) -> Sequence[Feature]:
    return task_from_name("sequence-classification").features_from_rows(ROWS, encoder, 32)


def test_a_copy_reads_the_same_tokens(tmp_path: Path) -> None:
    assert same_tokens(tiny(tmp_path / "a"), tiny(tmp_path / "b"), features_of)
    assert same_tokens(tiny(tmp_path / "a"), tiny(tmp_path / "b"), lambda encoder: ())


def test_another_order_of_the_vocabulary_does_not(tmp_path: Path) -> None:
    turned = (*SPECIAL_TOKENS, *reversed(tiny_vocab()[len(SPECIAL_TOKENS) :]))
    assert not same_tokens(tiny(tmp_path / "a"), tiny(tmp_path / "b", turned), features_of)


def test_another_number_of_windows_does_not(tmp_path: Path) -> None:
    first, second = tiny(tmp_path / "a"), tiny(tmp_path / "b")
    assert not same_tokens(first, second, lambda encoder: features_of(encoder)[: 3 if encoder is first.encoder else 4])
