"""An LSTM among a checkpoint's weights: whatever its module and the layer behind it are called, and what is refused."""

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
from tests.tiny_lstm import LABELS, lstm_tensors, write_tiny_lstm


@pytest.mark.parametrize(
    ("module", "emission"),
    [
        ("bilstm.", "hidden2tag"),
        ("lstm.", "fc"),
        ("rnn.lstm.", "classifier"),
        ("", "tagger.out"),
        ("BiLSTM.", "linear"),
    ],
)
@pytest.mark.parametrize("architecture", ["BertForTokenClassification", "BertForMaskedLM", "BertBiLstmCrf", None])
def test_an_lstm_is_found_whatever_its_parts_are_called(
    module: str, emission: str, architecture: str | None, tmp_path: Path
) -> None:
    config = {"architectures": architecture and [architecture]}
    path = write_tiny_lstm(tmp_path, module=module, emission=emission, config=config)
    head, tensors = checkpoint_from_path(path).head, lstm_tensors()
    assert head.task == "token-classification" and head.labels == ("O", "B-person", "I-person")
    assert head.crf is not None and head.lstm is not None and head.lstm.over is Over.TOKENS
    ((ahead, back),) = head.lstm.layers
    for direction, end in ((ahead, ""), (back, "_reverse")):
        assert np.array_equal(direction.inputs.array(), tensors[f"bilstm.weight_ih_l0{end}"])
        assert np.array_equal(direction.states.array(), tensors[f"bilstm.weight_hh_l0{end}"])
        both = tensors[f"bilstm.bias_ih_l0{end}"] + tensors[f"bilstm.bias_hh_l0{end}"]
        assert np.array_equal(direction.bias.array(), both)
    stored = tensors_of(path)
    assert np.array_equal(head.lstm.weight.array(), stored[f"{emission}.weight"])
    assert np.array_equal(head.lstm.bias.array(), stored[f"{emission}.bias"])


@pytest.mark.parametrize("lstm", [{"layers": 2}, {"both": False}, {"biased": False}, {"both": False, "layers": 3}])
@pytest.mark.parametrize("crf", [True, False])
def test_other_shapes_of_it_are_read(lstm: dict[str, Any], crf: bool, tmp_path: Path) -> None:
    head = checkpoint_from_path(write_tiny_lstm(tmp_path, crf=crf, **lstm)).head
    assert head.lstm is not None and (head.crf is not None) is crf
    assert len(head.lstm.layers) == lstm.get("layers", 1)
    assert {len(layer) for layer in head.lstm.layers} == {1 if lstm.get("both") is False else 2}
    assert head.lstm.layers[0][0].bias.array().any() == lstm.get("biased", True)


def test_a_tagger_without_one_has_none(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_bert(tmp_path, task="token-classification"))
    assert checkpoint.head.lstm is None and not checkpoint.notes


def test_what_config_json_says_of_it_counts_and_what_it_leaves_open_is_told(tmp_path: Path) -> None:
    open_ = checkpoint_from_path(write_tiny_lstm(tmp_path / "open", crf=False))
    assert len(open_.notes) == 1 and '"lstm_over": "words"' in open_.notes[0]
    told = checkpoint_from_path(write_tiny_lstm(tmp_path / "told", crf=False, config={"lstm_over": "words"}))
    assert told.head.lstm is not None and told.head.lstm.over is Over.WORDS and not told.notes


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ({"lstm_over": "pieces"}, "lstm_over is 'pieces'; write 'words' or 'tokens'"),
        ({"lstm_over": "words", "crf_over": "tokens"}, "the CRF goes over all tokens, and the LSTM scores the first"),
    ],
)
def test_entries_that_mean_nothing_are_refused(entries: dict[str, Any], told: str, tmp_path: Path) -> None:
    write_tiny_lstm(tmp_path, config=entries)
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(tmp_path)
    edit_json(tmp_path / "config.json", lstm_over="words", crf_over="words")
    assert checkpoint_from_path(tmp_path).head.lstm is not None


@pytest.mark.parametrize(
    ("tensors", "told"),
    [
        ({"bilstm.weight_hh_l0": None}, r"without bilstm\.weight_hh_l0; save the LSTM as torch"),
        ({"bilstm.bias_hh_l0_reverse": None}, r"without bilstm\.bias_hh_l0_reverse"),
        ({"bilstm.weight_ih_l2": np.zeros((48, 24))}, r"without bilstm\.weight_hh_l0|without bilstm\.weight_ih_l1"),
        (
            {"bilstm.weight_ih_l0": np.zeros((48, 31))},
            r"weight_ih_l0 has the shape \[48, 31\], and an LSTM with .*32 chan",
        ),
        ({"bilstm.weight_hh_l0": np.zeros((48, 13))}, r"weight_hh_l0 has the shape \[48, 13\], .* has \[52, 13\]"),
        ({"bilstm.bias_ih_l0": np.zeros(47)}, r"bias_ih_l0 has the shape \[47\], .* has \[48\]"),
        ({"bilstm.weight_hh_l0": np.zeros((36, 12))}, r"weight_hh_l0 has the shape \[36, 12\] and is a GRU's"),
        ({"bilstm.weight_hh_l0": np.zeros((12, 12))}, "is a plain recurrent layer's"),
        ({"bilstm.weight_hr_l0": np.zeros((6, 12))}, "an LSTM with a projection"),
        ({"second.weight_ih_l0": np.zeros((48, 32))}, r"bilstm\..* and second\.weight_ih_l0, two recurrent layers"),
        ({"hidden2tag.weight": None}, "holds no linear layer behind the LSTM, whose output is 24 wide"),
        ({"hidden2tag.weight": np.zeros((3, 23))}, "holds no linear layer behind the LSTM"),
        ({"fc.weight": np.zeros((5, 24))}, "holds (fc|hidden2tag).weight and (fc|hidden2tag).weight behind the LSTM"),
        ({"hidden2tag.weight": np.zeros((4, 24))}, "says 3 labels but the classifier's weight has 4 rows"),
        ({"attention.query.weight": np.zeros((7, 7))}, r"attention\.query\.weight, which no part of this model reads"),
        ({"bilstm.weight_ih_l0": np.full((48, 32), np.nan)}, "NaN or infinite"),
    ],
)
def test_an_lstm_that_cannot_be_is_refused(tensors: dict[str, Any], told: str, tmp_path: Path) -> None:
    found = tensors_of(write_tiny_lstm(tmp_path, emission="hidden2tag", crf=False)) | tensors
    write_tensors(tmp_path, {name: np.float32(values) for name, values in found.items() if values is not None})
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(tmp_path)


def test_a_pooler_as_wide_as_the_lstm_is_not_taken_for_what_is_behind_it(tmp_path: Path) -> None:
    found = tensors_of(write_tiny_lstm(tmp_path, emission="fc", width=16))
    random = np.random.default_rng(0)
    found |= {"fc.weight": random.standard_normal((LABELS, 32)), "bert.pooler.dense.weight": np.zeros((32, 32))}
    found |= {"bert.pooler.dense.bias": np.zeros(32)}
    write_tensors(tmp_path, {name: np.float32(values) for name, values in found.items()})
    lstm = checkpoint_from_path(tmp_path).head.lstm
    assert lstm is not None and np.array_equal(lstm.weight.array(), np.float32(found["fc.weight"]))


@pytest.mark.parametrize("task", ["sequence-classification", "feature-extraction"])
def test_no_other_task_leaves_an_lstm_out_unseen(task: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"of an LSTM between encoder and tags, .* choose that task"):
        checkpoint_from_path(write_tiny_lstm(tmp_path, crf=False), task=task)


@pytest.mark.parametrize("name", ["bilstm_crf", "BiGRU", "rnn-tagger"])
def test_a_model_of_recurrent_layers_alone_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    edit_json(write_tiny_lstm(tmp_path) / "config.json", model_type=name)
    with pytest.raises(InputError, match="has no transformer layers, whose products are what bertc quantizes"):
        checkpoint_from_path(tmp_path)


def test_what_is_written_again_has_it_under_its_own_names(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_lstm(tmp_path / "in", emission="hidden2tag"))
    (tmp_path / "out").mkdir()
    write_checkpoint(checkpoint, tmp_path / "out", {})
    assert checkpoint_from_path(tmp_path / "out").head == checkpoint.head
    assert {*tensors_of(tmp_path / "out")} == {*tensors_of(tmp_path / "in")}
