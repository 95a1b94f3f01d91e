"""The LSTM behind an encoder computes what torch's does on packed sequences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from bertc.core.array_value import packed_from_array
from bertc.core.lstm import Direction, Lstm
from bertc.evaluate.lstm import scores_from_vectors
from tests.tiny import Array
from tests.tiny_lstm import lstm_tensors

LENGTHS = (7, 1, 12, 0, 3, 12, 5)
CASES = {
    "both ways": {},
    "forward": {"both": False},
    "two layers": {"layers": 2},
    "three layers forward": {"layers": 3, "both": False},
    "without biases": {"biased": False},
    "one unit": {"width": 1},
}


def lstm_of(tensors: dict[str, np.ndarray], layers: int, both: bool) -> Lstm:
    def direction(suffix: str) -> Direction:
        arrays = {kind: tensors.get(f"{kind}_{suffix}") for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        inputs, states = arrays["weight_ih"], arrays["weight_hh"]
        assert inputs is not None and states is not None
        first, second = (np.zeros(len(states)) if arrays[k] is None else arrays[k] for k in ("bias_ih", "bias_hh"))
        bias = np.float32(first + second)
        return Direction(
            inputs=packed_from_array(inputs), states=packed_from_array(states), bias=packed_from_array(bias)
        )

    ends = ("", "_reverse") if both else ("",)
    found = tuple(tuple(direction(f"l{layer}{end}") for end in ends) for layer in range(layers))
    random = np.random.default_rng(3)
    outputs = len(ends) * found[0][0].width
    weight, bias = random.standard_normal((4, outputs)), random.standard_normal(4)
    return Lstm(layers=found, weight=packed_from_array(np.float32(weight)), bias=packed_from_array(np.float32(bias)))


def vectors_of(lengths: Sequence[int], width: int = 32) -> list[Array]:
    random = np.random.default_rng(1)
    return [random.standard_normal((length, width)).astype(np.float32) for length in lengths]


def torchs_scores(lstm: Lstm, tensors: dict[str, np.ndarray], vectors: Sequence[Array], **case: Any) -> list[Array]:
    """Run torch.nn.LSTM over one padded batch, packed, and the linear layer."""
    import torch

    module = torch.nn.LSTM(
        lstm.inputs,
        lstm.layers[0][0].width,
        num_layers=case.get("layers", 1),
        bias=case.get("biased", True),
        bidirectional=case.get("both", True),
        batch_first=True,
    )
    module.load_state_dict({name: torch.from_numpy(array) for name, array in tensors.items()})
    texts = [torch.from_numpy(each) for each in vectors if len(each)]
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True, padding_value=9.0)
    lengths = torch.tensor([len(each) for each in texts])
    packed = torch.nn.utils.rnn.pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
    with torch.no_grad():
        states, _ = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], batch_first=True)
        scores = states @ torch.from_numpy(lstm.weight.array().T.copy()) + torch.from_numpy(lstm.bias.array())
    rows = iter(row[:length].numpy() for row, length in zip(scores, lengths, strict=True))
    return [next(rows) if len(each) else np.empty((0, 4), np.float32) for each in vectors]


@pytest.mark.parametrize("name", CASES)
def test_it_computes_what_torch_does_on_packed_sequences(name: str) -> None:
    pytest.importorskip("torch")
    case: dict[str, Any] = CASES[name]
    tensors = lstm_tensors("", **case)
    lstm = lstm_of(tensors, case.get("layers", 1), case.get("both", True))
    vectors = vectors_of(LENGTHS)
    found = scores_from_vectors(lstm, vectors)
    for ours, theirs in zip(found, torchs_scores(lstm, tensors, vectors, **case), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_a_text_s_scores_do_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lstm = lstm_of(lstm_tensors("", layers=2), 2, both=True)
    vectors = vectors_of(LENGTHS)
    together = scores_from_vectors(lstm, vectors)
    for one, scores in zip(vectors, together, strict=True):
        np.testing.assert_allclose(scores_from_vectors(lstm, [one])[0], scores, rtol=0, atol=1e-6)
    monkeypatch.setattr("bertc.evaluate.lstm.MOST_TOKENS", 8)  # a part for nearly every text
    for one, scores in zip(scores_from_vectors(lstm, vectors), together, strict=True):
        np.testing.assert_allclose(one, scores, rtol=0, atol=1e-6)


def test_gates_that_are_far_out_stay_numbers() -> None:
    lstm = lstm_of(lstm_tensors(""), 1, both=True)
    assert all(
        np.isfinite(each).all() for each in scores_from_vectors(lstm, [1e4 * each for each in vectors_of((5, 2))])
    )


def test_no_text_at_all_is_no_score() -> None:
    lstm = lstm_of(lstm_tensors(""), 1, both=True)
    assert scores_from_vectors(lstm, []) == []
    assert [each.shape for each in scores_from_vectors(lstm, vectors_of((0, 0)))] == [(0, 4), (0, 4)]


def test_the_backward_direction_reads_from_the_end() -> None:
    """What comes behind a word changes its scores where there is such a direction, and not where there is none."""
    vectors = vectors_of((6,))
    longer = [np.concatenate([vectors[0], vectors_of((3,))[0]])]
    for both in (True, False):
        lstm = lstm_of(lstm_tensors("", both=both), 1, both=both)
        first, second = (scores_from_vectors(lstm, each)[0][:6] for each in (vectors, longer))
        assert np.allclose(first, second, atol=1e-6) is not both


@pytest.mark.parametrize(
    "shapes",
    [((48, 32), (48, 11), (48,)), ((47, 32), (48, 12), (48,)), ((48, 32), (48, 12), (47,)), ((48,), (48, 12), (48,))],
)
def test_sizes_of_a_direction_that_do_not_fit_are_refused(shapes: tuple[tuple[int, ...], ...]) -> None:
    inputs, states, bias = (packed_from_array(np.zeros(shape, np.float32)) for shape in shapes)
    with pytest.raises(ValueError, match="an LSTM of shapes"):
        Direction(inputs=inputs, states=states, bias=bias)


def test_layers_that_do_not_fit_are_refused() -> None:
    good = lstm_of(lstm_tensors("", layers=2), 2, both=True)
    for layers in (good.layers[::-1], (good.layers[0][:1], good.layers[1]), (good.layers[0],) * 2):
        with pytest.raises(ValueError, match="layers of an LSTM that read"):
            Lstm(layers=layers, weight=good.weight, bias=good.bias)
    with pytest.raises(ValueError, match="layers of an LSTM that read"):
        Lstm(layers=good.layers, weight=packed_from_array(np.zeros((4, 23), np.float32)), bias=good.bias)
