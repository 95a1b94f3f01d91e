"""The text encoder: lengths, pairs, words, windows, huge texts, and the files it leaves for others."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from bertc.checkpoint.text_encoder import EncodedText, TextEncoder
from bertc.checkpoint.tokenizer import text_encoder_from_path
from bertc.errors import InputError
from tests.checkpoint.encoded import encoded
from tests.fixtures import WORDS, tiny_vocab
from tests.fixtures import tiny_sentence as sentence

CONFIG = {"model_type": "bert", "vocab_size": 1000, "max_position_embeddings": 128}
CLS, SEP = 2, 3


def encoder_of(path: Path, **config: int) -> TextEncoder:
    return text_encoder_from_path(path, {**CONFIG, **config})


@pytest.fixture
def encoder(tiny: Path) -> TextEncoder:
    return encoder_of(tiny)


def reference(path: Path, **truncation: object) -> Tokenizer:
    """The library's tokenizer, with its own truncation."""
    tokenizer = Tokenizer.from_file(str(path / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(**truncation)  # type: ignore[arg-type]
    return tokenizer


def check_against(expected: object, found: EncodedText) -> None:
    assert found.ids.tolist() == expected.ids  # type: ignore[attr-defined]
    assert found.type_ids.tolist() == expected.type_ids  # type: ignore[attr-defined]
    assert [tuple(pair) for pair in found.offsets.tolist()] == expected.offsets  # type: ignore[attr-defined]
    words = [-1 if word is None else word for word in expected.word_ids]  # type: ignore[attr-defined]
    assert found.word_ids.tolist() == words
    sequences = [-1 if number is None else number for number in expected.sequence_ids]  # type: ignore[attr-defined]
    assert found.sequence_ids.tolist() == sequences
    assert found.truncated == bool(expected.overflowing)  # type: ignore[attr-defined]


def test_one_text(encoder: TextEncoder) -> None:
    found = encoded(encoder, "The MOVIE was good!")
    vocab = {word: index for index, word in enumerate(tiny_vocab())}
    assert found.ids.tolist() == [CLS, *(vocab[word] for word in ("the", "movie", "was", "good", "!")), SEP]
    assert found.ids.dtype == found.type_ids.dtype == np.int64
    assert found.type_ids.tolist() == [0] * 7
    assert found.offsets.tolist() == [[0, 0], [0, 3], [4, 9], [10, 13], [14, 18], [18, 19], [0, 0]]
    assert found.word_ids.tolist() == [-1, 0, 1, 2, 3, 4, -1]
    assert found.sequence_ids.tolist() == [-1, 0, 0, 0, 0, 0, -1]
    assert (found.length, found.truncated) == (7, False)


@pytest.mark.parametrize("text", ["", " ", "\t\n", "\x00\x01", "\u200b"])
def test_nothing_is_two_special_tokens(encoder: TextEncoder, text: str) -> None:
    assert encoded(encoder, text).ids.tolist() == [CLS, SEP]


THREADS = """
import os, sys
from pathlib import Path
from bertc.checkpoint.tokenizer import text_encoder_from_path

encoder = text_encoder_from_path(Path(sys.argv[1]), {"model_type": "bert", "vocab_size": 1000})
before = len(os.listdir("/proc/self/task"))
encoder.encode_batch(["good film"] * int(sys.argv[2]))
print(len(os.listdir("/proc/self/task")) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
@pytest.mark.parametrize(("texts", "some"), [(1, False), (50, True)])
def test_one_text_starts_no_threads(tiny: Path, texts: int, some: bool) -> None:
    variables = {**os.environ, "RAYON_NUM_THREADS": "2"}
    variables.pop("TOKENIZERS_PARALLELISM", None)
    command = [sys.executable, "-c", THREADS, str(tiny), str(texts)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables, cwd=root)
    assert (int(done.stdout) > 0) == some


def test_half_an_emoji_is_read(encoder: TextEncoder) -> None:
    found = encoded(encoder, "good \ud83d movie")
    assert found.offsets.tolist()[-2] == [7, 12]


def test_saved_truncation_and_padding_are_off(tiny: Path) -> None:
    tokenizer = Tokenizer.from_file(str(tiny / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(tiny / "tokenizer.json"))
    assert encoded(encoder_of(tiny), "the movie was good").ids.tolist()[-1] == SEP
    assert encoded(encoder_of(tiny), "the movie was good").length == 6


def test_all_of_a_text_is_tokenized(tiny: Path, encoder: TextEncoder) -> None:
    text = sentence(3, 5000)
    found = encoder.encode_whole(text)
    assert (
        found.ids.tolist() == reference(tiny, max_length=10**6).encode(text).ids and len(found.ids) > encoder.positions
    )
    assert not found.truncated and found.offsets[-2].tolist()[1] == len(text)


def test_a_token_that_continues_a_word_joins_it(encoder: TextEncoder) -> None:
    """As transformers' pipeline decodes it."""
    assert encoder.text_with_token("they play [MASK] now", "[MASK]", "##ing") == "they playing now"
    assert encoder.text_with_token("they play [MASK]", "[MASK]", "ball") == "they play ball"


@pytest.mark.parametrize("length", [3, 4, 7, 32, 128])
def test_truncation_as_in_the_library(tiny: Path, encoder: TextEncoder, length: int) -> None:
    single = reference(tiny, max_length=length)
    texts = [sentence(seed, seed) for seed in range(0, 150, 7)]
    for text, found in zip(texts, encoder.encode_batch(texts, max_length=length), strict=True):
        check_against(single.encode(text), found)


@pytest.mark.parametrize("length", [4, 5, 8, 33, 64, 128])
def test_pairs_as_in_the_library(tiny: Path, encoder: TextEncoder, length: int) -> None:
    library = reference(tiny, max_length=length, strategy="longest_first")
    sizes = (0, 1, 2, 3, 15, 16, 30, 31, 32, 60, 90)
    texts = [sentence(one, one) for one in sizes for _ in sizes]
    pairs = [sentence(100 + two, two) for _ in sizes for two in sizes]
    for text, pair, found in zip(texts, pairs, encoder.encode_batch(texts, pairs, max_length=length), strict=True):
        expected = library.encode(text, pair)
        assert found.ids.tolist() == expected.ids
        assert found.type_ids.tolist() == expected.type_ids
        assert found.length <= length


def test_a_batch_is_its_rows(encoder: TextEncoder) -> None:
    texts = [sentence(seed, seed % 90) for seed in range(1100)]
    batch = encoder.encode_batch(texts, texts[::-1], max_length=40)
    for row in range(0, 1100, 97):
        single = encoded(encoder, texts[row], texts[-1 - row], max_length=40)
        assert single.ids.tolist() == batch[row].ids.tolist()
        assert single.offsets.tolist() == batch[row].offsets.tolist()
    assert encoder.encode_batch([]) == []


def test_a_batch_needs_as_many_pairs(encoder: TextEncoder) -> None:
    with pytest.raises(InputError, match="2 texts came with 1 pairs"):
        encoder.encode_batch(["a", "b"], ["c"])


@pytest.mark.parametrize("length", [-1, 0, 2, 129, 10**6])
def test_impossible_lengths(encoder: TextEncoder, length: int) -> None:
    with pytest.raises(InputError, match="is impossible for this model; choose one from 3 to 128"):
        encoded(encoder, "a", max_length=length)


def test_the_default_length(encoder: TextEncoder) -> None:
    found = encoded(encoder, sentence(0, 500))
    assert (found.length, found.truncated) == (128, True)


def test_words(tiny: Path, encoder: TextEncoder) -> None:
    words = ["The", "zebra", "", "\x00", "don't", "[MASK]", "日本語", "movie"]
    library = Tokenizer.from_file(str(tiny / "tokenizer.json")).encode(words, is_pretokenized=True)
    check_against(library, encoder.encode_words(words))
    assert set(encoder.encode_words(words).word_ids.tolist()) == {-1, 0, 1, 4, 5, 6, 7}
    cut = encoder.encode_words(words, max_length=5)
    assert cut.ids.tolist() == [*library.ids[:4], SEP]
    assert cut.truncated
    assert encoder.encode_words([]).ids.tolist() == [CLS, SEP]


def test_many_words(tiny: Path, encoder: TextEncoder) -> None:
    words = ["\x00"] * 5000 + sentence(3, 3000).split()
    check_against(
        reference(tiny, max_length=64).encode(words, is_pretokenized=True), encoder.encode_words(words, max_length=64)
    )


@pytest.mark.parametrize("count", [0, 1, 40, 53, 54, 55, 100, 1000])
@pytest.mark.parametrize("stride", [0, 5, 30])
def test_windows_as_in_the_library(tiny: Path, encoder: TextEncoder, count: int, stride: int) -> None:
    question, context = "who was the good movie ?", " ".join(WORDS[index % 40] for index in range(count))
    library = reference(tiny, max_length=64, stride=stride, strategy="only_second").encode(question, context)
    found = encoder.encode_windows(question, context, max_length=64, stride=stride)
    expected = [library, *library.overflowing]
    assert [window.ids.tolist() for window in found] == [window.ids for window in expected]
    assert [window.type_ids.tolist() for window in found] == [window.type_ids for window in expected]
    offsets = [[tuple(pair) for pair in window.offsets.tolist()] for window in found]
    assert offsets == [window.offsets for window in expected]
    assert not any(window.truncated for window in found)


def test_windows_say_where_the_context_is(encoder: TextEncoder) -> None:
    context, unknown, plain = sentence(5, 200), 1, str.maketrans("üï", "ui")
    for window in encoder.encode_windows("who ?", context, max_length=48, stride=8):
        inside = window.sequence_ids == 1
        for (first, last), token in zip(window.offsets[inside].tolist(), window.ids[inside].tolist(), strict=True):
            if token != unknown:
                assert context[first:last].lower().translate(plain) == tiny_vocab()[token].removeprefix("##")


def test_a_long_question_is_cut_to_64(encoder: TextEncoder) -> None:
    windows = encoder.encode_windows(" ".join(["movie"] * 200), "the good film", max_length=128, stride=16)
    assert all(window.truncated and (window.sequence_ids == 0).sum() == 64 for window in windows)


@pytest.mark.parametrize(("length", "stride"), [(16, 128), (64, 63), (64, -1), (64, 59)])
def test_windows_that_cannot_move(encoder: TextEncoder, length: int, stride: int) -> None:
    with pytest.raises(InputError, match="use a longer max_length or a smaller stride"):
        encoder.encode_windows("the movie", "the good film", max_length=length, stride=stride)


def huge_texts() -> dict[str, str]:
    dice = random.Random(0)
    return {
        "words": sentence(1, 40_000),
        "spaces": " " * 20_000 + sentence(2, 3000),
        "chinese": "日本語" * 20_000,
        "one word": "a" * 100_000,
        "base64": "".join(dice.choice("abcdefghijklmnopqrstuvwxyz0123456789+/") for _ in range(100_000)),
        "dots": "." * 50_000,
        "long words": " ".join("ab" * 400 for _ in range(100)) + " good movie",
        "controls": "\x01" * 20_000 + "good movie",
    }


@pytest.mark.parametrize("kind", huge_texts())
@pytest.mark.parametrize("length", [8, 128])
def test_a_long_text_is_cut_without_effect(tiny: Path, encoder: TextEncoder, kind: str, length: int) -> None:
    text = huge_texts()[kind]
    check_against(reference(tiny, max_length=length).encode(text), encoded(encoder, text, max_length=length))


@pytest.mark.parametrize("kind", ["words", "spaces", "chinese"])
def test_a_long_context_has_all_its_tokens(tiny: Path, encoder: TextEncoder, kind: str) -> None:
    context = huge_texts()[kind]
    library = Tokenizer.from_file(str(tiny / "tokenizer.json")).encode(context, add_special_tokens=False)
    windows = encoder.encode_windows("who ?", context, max_length=128, stride=0)
    ids = np.concatenate([window.ids[window.sequence_ids == 1] for window in windows])
    offsets = np.concatenate([window.offsets[window.sequence_ids == 1] for window in windows])
    words = np.concatenate([window.word_ids[window.sequence_ids == 1] for window in windows])
    assert ids.tolist() == library.ids
    assert offsets.tolist() == [list(pair) for pair in library.offsets]
    assert words.tolist() == library.word_ids


@pytest.mark.parametrize("text", ["good movie " * 1_000_000, "a" * 10_000_000, " " * 10_000_000])
def test_ten_megabytes_take_no_time(encoder: TextEncoder, text: str) -> None:
    start = time.process_time()
    encoder.encode_batch([text] * 2, max_length=128)
    assert time.process_time() - start < 5
