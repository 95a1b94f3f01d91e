"""Late interaction's settings: Stanford's and PyLate's files say the same, and what is missing or other is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.interaction_files import InteractionFiles, interaction_from_files
from bertc.checkpoint.write import write_checkpoint
from bertc.core.head import Interaction, Projection
from bertc.errors import InputError
from tests.fixtures import PUNCTUATION, edit_json, tiny_vocab, write_tiny_bert, write_tiny_pylate, write_tiny_sentences

IDS = {token: id for id, token in enumerate(tiny_vocab())}


def stanford(path: Path) -> Path:
    return write_tiny_bert(path, task="late-interaction")


def test_stanford_s_files(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(stanford(tmp_path))
    head = checkpoint.head
    assert head.task == "late-interaction" and head.normalize
    assert head.projections == (Projection(folder="", sizes=(64, 48), bias=False),)
    assert head.interaction == Interaction(
        query_marker=IDS["the"],
        document_marker=IDS["a"],
        query_length=12,
        document_length=128,
        filler=IDS["[MASK]"],
        filler_seen=False,
        skipped=tuple(sorted({IDS[sign] for sign in PUNCTUATION} | {IDS["[UNK]"]})),  # signs that it cannot spell
    )
    assert checkpoint.encoder.max_length == 128


def test_pylate_s_files(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_pylate(tmp_path, dense=2))
    head, found = checkpoint.head, checkpoint.head.interaction
    assert [each.folder for each in head.projections] == ["1_Dense", "2_Dense"] and head.pooling is None
    assert found is not None and found.skipped == (IDS["."], IDS[","])
    assert (found.query_marker, found.document_marker, found.filler) == (IDS["the"], IDS["a"], IDS["[MASK]"])
    assert checkpoint.encoder.max_length == 30, "max_seq_length is whatever was tokenized last"


def test_pylate_s_defaults_and_other_choices(tmp_path: Path) -> None:
    path = write_tiny_pylate(tmp_path, query_prefix="", do_query_expansion=False, attend_to_expansion_tokens=True)
    found = checkpoint_from_path(path).head.interaction
    assert found is not None
    assert (found.query_marker, found.filler, found.filler_seen) == (None, None, False)
    edit_json(path / "config_sentence_transformers.json", do_query_expansion=None, query_length=None)
    found = checkpoint_from_path(path).head.interaction
    assert found is not None
    assert (found.query_length, found.filler, found.filler_seen) == (32, IDS["[MASK]"], True)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"query_token_id": "[unused0]"}, "query_token_id has '.unused0.', which is no token of the tokenizer"),
        ({"doc_token_id": None}, "doc_token_id has None, which is no token"),
        ({"query_maxlen": "32"}, "query_maxlen is '32', not a number of tokens"),
        ({"doc_maxlen": 500}, "a document has 500 tokens, and the model takes 4 to 128"),
        ({"query_maxlen": 3}, "a query has 3 tokens"),
        ({"similarity": "l2"}, "similarity is 'l2', and bertc computes 'cosine'"),
        ({"interaction": "flipr"}, "interaction is 'flipr', and bertc computes 'colbert'"),
        ({"mask_punctuation": None}, "mask_punctuation is None, not true or false"),
        ({"attend_to_mask_tokens": "no"}, "attend_to_mask_tokens is 'no'"),
        ({"dim": 64}, r"dim is 64, and linear\.weight gives 48"),
    ],
)
def test_stanford_s_files_that_are_refused(entries: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = stanford(tmp_path)
    edit_json(path / "artifact.metadata", **entries)
    with pytest.raises(InputError, match=rf"artifact\.metadata: {told}"):
        checkpoint_from_path(path)


def test_without_its_file_nothing_is_guessed(tmp_path: Path) -> None:
    path = stanford(tmp_path)
    (path / "artifact.metadata").unlink()
    with pytest.raises(
        InputError, match=r"holds no artifact\.metadata, which says how queries and documents are marked"
    ):
        checkpoint_from_path(path)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"query_prefix": None}, r"query_prefix has '\[Q\] ', which is no token"),
        ({"document_prefix": "[D] "}, r"document_prefix has '\[D\] ', which is no token"),
        ({"skiplist_words": "."}, "skiplist_words is '.', no list of tokens"),
        ({"skiplist_words": [".", "§"]}, "skiplist_words has '§', which is no token"),
        ({"truncate_dim": 16}, "truncate_dim is set"),
        ({"similarity_fn_name": "cosine"}, "similarity_fn_name 'cosine' is not supported; tokens take MaxSim"),
        ({"default_prompt_name": "query"}, "the default prompt 'query' is not supported"),
    ],
)
def test_pylate_s_files_that_are_refused(entries: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(write_tiny_pylate(tmp_path, **entries))


def test_queries_wider_than_a_window_are_refused_where_nothing_sees_their_end(tmp_path: Path) -> None:
    for attend, window in ((False, 12), (True, 11), (False, 11)):
        checkpoint = checkpoint_from_path(write_tiny_pylate(tmp_path, attend_to_expansion_tokens=attend))
        files = InteractionFiles(
            root=tmp_path,
            folder=tmp_path,
            encoder=checkpoint.encoder,
            projection=checkpoint.head.projections[-1],
            architecture=replace(checkpoint.architecture, windows=(window, None, 64)),
        )
        if attend or window == 12:
            assert interaction_from_files(files).query_length == 12
        else:
            with pytest.raises(
                InputError, match=r"filled up to 12 tokens, of which the last see nothing .* windows of 11"
            ):
                interaction_from_files(files)


@pytest.mark.parametrize("words", [["[CLS]", "a", "[SEP]"], [*tiny_vocab()]], ids=["frame", "all"])
def test_documents_that_may_have_no_token_left_are_refused(words: list[str], tmp_path: Path) -> None:
    path = write_tiny_pylate(tmp_path, skiplist_words=words)
    with pytest.raises(InputError, match=r"without every special token and without their marker.*\(skiplist_words\)"):
        checkpoint_from_path(path)
    for kept in ("[CLS]", "a", "[SEP]"):
        edit_json(path / "config_sentence_transformers.json", skiplist_words=[each for each in words if each != kept])
        found = checkpoint_from_path(path).head.interaction
        assert found is not None and IDS[kept] not in found.skipped, "a token that every document has is left"
    edit_json(path / "config_sentence_transformers.json", skiplist_words=["[CLS]", "[SEP]"], document_prefix="")
    with pytest.raises(InputError, match="without every special token"):
        checkpoint_from_path(path)


def test_the_other_task_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a vector for every token and none for the text; choose the task late-inter"):
        checkpoint_from_path(write_tiny_pylate(tmp_path / "pylate"), task="feature-extraction")
    with pytest.raises(InputError, match="pool the tokens into one vector of the text; choose the task feature-extrac"):
        checkpoint_from_path(write_tiny_sentences(tmp_path / "sentences"), task="late-interaction")
    with pytest.raises(InputError, match=r"lacks the tensor linear\.weight, which late-interaction needs"):
        checkpoint_from_path(write_tiny_bert(tmp_path / "bert"), task="late-interaction")


def test_a_written_copy_is_the_same_model(tmp_path: Path) -> None:
    for name, path in (("a", stanford(tmp_path / "stanford")), ("b", write_tiny_pylate(tmp_path / "pylate"))):
        checkpoint = checkpoint_from_path(path)
        write_checkpoint(checkpoint, tmp_path / name, {})
        written = checkpoint_from_path(tmp_path / name)
        assert written.head == checkpoint.head
        for each in checkpoint.weights:
            np.testing.assert_array_equal(written.weights.array(each), checkpoint.weights.array(each))
