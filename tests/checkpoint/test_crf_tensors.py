"""A CRF among a checkpoint's weights: whose names they are, what it goes over, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.core.crf import Over
from bertc.errors import InputError
from tests.fixtures import edit_json, write_tiny_bert
from tests.foreign import tensors_of, write_tensors
from tests.tiny_crf import NAMES, crf_scores, write_tiny_crf


@pytest.mark.parametrize("library", NAMES)
@pytest.mark.parametrize("architecture", ["BertForTokenClassification", "BertCrfForNer", None])
def test_a_crf_is_found_by_each_library_s_names_whatever_the_class_is_called(
    tmp_path: Path, library: str, architecture: str | None
) -> None:
    path = write_tiny_crf(tmp_path, library, architectures=architecture and [architecture])
    head = checkpoint_from_path(path).head
    transitions, start, end = crf_scores(3)
    assert head.task == "token-classification" and head.labels == ("O", "B-person", "I-person")
    assert head.crf is not None and (head.crf.over, head.crf.constrained) == (Over.WORDS, False)
    assert np.array_equal(np.float32(head.crf.transitions), transitions)
    assert np.array_equal(np.float32(head.crf.start), start) and np.array_equal(np.float32(head.crf.end), end)


def test_a_tagger_without_one_has_none(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path, task="token-classification"))
    assert checkpoint.head.crf is None and not checkpoint.notes


def test_what_config_json_says_of_it_counts_and_what_it_leaves_open_is_told(tmp_path: Path) -> None:
    open_ = checkpoint_from_path(write_tiny_crf(tmp_path / "open"))
    assert len(open_.notes) == 1 and '"crf_over": "tokens"' in open_.notes[0]
    told = checkpoint_from_path(write_tiny_crf(tmp_path / "told", crf_over="tokens", crf_constrained=True))
    assert told.head.crf is not None and (told.head.crf.over, told.head.crf.constrained) == (Over.TOKENS, True)
    assert not told.notes


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"crf_over": "pieces"}, "crf_over is 'pieces'; write 'words' or 'tokens'"),
        ({"crf_over": None, "crf_constrained": "yes"}, "crf_constrained is 'yes'; write true or false"),
        ({"crf_constrained": True, "id2label": {"0": "a", "1": "b", "2": "c"}}, "tags a, b, c have no scheme"),
    ],
)
def test_entries_that_mean_nothing_are_refused(tmp_path: Path, entries: dict[str, Any], told: str) -> None:
    write_tiny_crf(tmp_path)
    edit_json(tmp_path / "config.json", **entries)
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"crf.start_transitions": None}, r"crf\.transitions without crf\.start_transitions: a CRF of another library"),
        ({"crf.start_transitions": None, "crf.end_transitions": None}, "without .* and .*save it as pytorch-crf does"),
        ({"crf.transitions": np.zeros((5, 5))}, r"has the shape \[5, 5\], and 3 labels need \[3, 3\]"),
        ({"crf.end_transitions": np.zeros((3, 1))}, r"end_transitions has the shape \[3, 1\]"),
        ({"crf.transitions": np.full((3, 3), -np.inf)}, "NaN or infinite"),
        ({"second.trans_matrix": np.zeros((3, 3))}, r"crf\.transitions and second\.trans_matrix, two CRFs"),
        ({"crf._constraint_mask": np.ones((5, 5))}, 'AllenNLP.*"crf_constrained": true'),
        ({"lstm.weight_ih_l0_reverse": np.zeros((4, 32))}, r"lstm\.weight_ih_l0_reverse without lstm\.weight_ih_l0"),
        ({"classifier.weight": None}, r"lacks the tensor classifier\.weight"),
    ],
)
def test_a_crf_that_cannot_be_is_refused(tmp_path: Path, tensors: dict[str, Any], told: str) -> None:
    found = tensors_of(write_tiny_crf(tmp_path)) | tensors
    write_tensors(tmp_path, {name: np.float32(values) for name, values in found.items() if values is not None})
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(tmp_path)


@pytest.mark.parametrize("task", ["sequence-classification", "feature-extraction"])
def test_no_other_task_leaves_a_crf_out_unseen(tmp_path: Path, task: str) -> None:
    with pytest.raises(InputError, match=r"holds crf\.transitions, .* of a part behind the encoder"):
        checkpoint_from_path(write_tiny_crf(tmp_path), task=task)


def test_what_is_written_again_has_it(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_crf(tmp_path / "in", "TorchCRF", crf_over="tokens"))
    (tmp_path / "out").mkdir()
    write_checkpoint(checkpoint, tmp_path / "out", {})
    assert checkpoint_from_path(tmp_path / "out").head == checkpoint.head
