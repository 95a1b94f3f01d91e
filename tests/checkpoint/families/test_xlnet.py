"""XLNet's kinds of distances, segments and summaries, each as transformers computes it, and what is another model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.families import xlnet
from bertc.core.batch import Batch, batch_from_features
from bertc.core.feature import Feature
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.tasks import task_from_name
from tests.artefacts import Bertc
from tests.checkpoint.families.test_transformers import TOLERANCE, largest_difference, theirs
from tests.contracts.test_families import CONFIGS
from tests.fixtures import edit_json, tiny_sentence
from tests.foreign import tensors_of, write_tensors
from tests.tiny_families import write_tiny_family

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")

TASK = "sequence-classification"
KINDS: dict[str, dict[str, Any]] = {
    "distances that are clamped": {"clamp_len": 3},
    "another activation": {"ff_activation": "gelu_new"},
    "the last token by an index": {"summary_type": "cls_index"},
    "no activation": {"summary_activation": ""},
    "another activation of the summary": {"summary_activation": "relu"},
    "no projection": {"summary_use_proj": False, "summary_activation": ""},
}
OF_A_TEXT = [{"summary_type": "first"}, {"summary_type": "mean"}]


@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS)
def test_every_kind_equals_transformers(change: dict[str, Any], tmp_path: Path) -> None:
    folder = write_tiny_family(tmp_path, "xlnet", **change)
    assert largest_difference(folder, TASK) < TOLERANCE


@pytest.mark.parametrize("change", OF_A_TEXT, ids=lambda change: change["summary_type"])
def test_a_first_token_and_a_mean_are_those_of_a_text_alone(change: dict[str, Any], tmp_path: Path) -> None:
    """transformers would read padding: its first token, or all of it in the mean."""
    folder = write_tiny_family(tmp_path, "xlnet", **change)
    checkpoint = checkpoint_from_path(folder)
    encoded = checkpoint.encoder.encode_batch([tiny_sentence(seed, 3 + 4 * seed) for seed in range(3)])
    features = [Feature(input_ids=one.ids, token_type_ids=one.type_ids, row=row) for row, one in enumerate(encoded)]
    batch = batch_from_features(features, range(3))
    found = Interpreter(graph_from_checkpoint(checkpoint)).run(batch)["logits"]
    model = transformers.XLNetForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    for row, one in enumerate(encoded):
        ids, types = (torch.tensor(each[None]) for each in (one.ids, one.type_ids))
        with torch.no_grad():
            expected = model(input_ids=ids, token_type_ids=types).logits[0].numpy()
        np.testing.assert_allclose(found[row], expected, atol=TOLERANCE)


@pytest.mark.parametrize("change", [{"clamp_len": 3}, {"summary_activation": "relu"}, {"ff_activation": "relu"}])
def test_another_kind_is_seen(change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_family(tmp_path, "xlnet")
    known = theirs(folder, TASK)
    monkeypatch.setattr("tests.checkpoint.families.test_transformers.theirs", lambda folder, task: known)
    edit_json(folder / "config.json", **change)
    assert largest_difference(folder, TASK) > 10 * TOLERANCE


def test_segments_are_those_that_the_tokenizer_gives(tmp_path: Path) -> None:
    folder = write_tiny_family(tmp_path, "xlnet")
    (pair,) = checkpoint_from_path(folder).encoder.encode_batch(["a film"], ["the good"], max_length=6)
    cls, sep = 3, 4  # of the special tokens
    assert pair.ids[-1] == cls and (pair.ids == sep).sum() == 2 and pair.truncated
    assert pair.type_ids.tolist() == [0] * 2 + [1] * 2 + [1, 2] or pair.type_ids.tolist() == [0] * 3 + [1] * 2 + [2]
    tokens, expected = theirs(folder, TASK)
    assert 2 in tokens["token_type_ids"]
    edit_json(folder / "tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
    checkpoint = checkpoint_from_path(folder)
    assert any("all tokens are of one segment" in note for note in checkpoint.notes)
    assert largest_difference(folder, TASK) < TOLERANCE
    assert np.abs(theirs(folder, TASK)[1]["logits"] - expected["logits"]).max() > 10 * TOLERANCE


def test_where_padding_stands_makes_no_difference(tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path, "xlnet"))
    encoded = checkpoint.encoder.encode_batch([tiny_sentence(1, 5), tiny_sentence(2, 11)])
    features = [Feature(input_ids=one.ids, token_type_ids=one.type_ids, row=row) for row, one in enumerate(encoded)]
    right = batch_from_features(features, range(2))
    left = Batch(
        **{
            name: np.stack([np.roll(row, -one.length) for row, one in zip(getattr(right, name), encoded, strict=True)])
            for name in ("input_ids", "token_type_ids", "mask")
        },
        order=right.order,
    )
    assert left.mask[0, 0] == 0 and left.mask[0, -1] == 1
    graph = Interpreter(graph_from_checkpoint(checkpoint))
    np.testing.assert_allclose(graph.run(left)["logits"], graph.run(right)["logits"], atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"attn_type": "uni"}, "attn_type 'uni' is Transformer-XL's"),
        ({"bi_data": True}, "bi_data is set"),
        ({"d_head": 16}, "d_head 16 is not d_model / n_head, 12"),
        ({"n_head": 5}, "d_model 48 is not a multiple of n_head 5"),
        ({"clamp_len": 2.5}, r"clamp_len must be a whole number, -1 for none, not 2\.5"),
        ({"summary_type": "attn"}, "summary_type 'attn' is not supported; supported are last, cls_index, first, mean"),
        ({"summary_activation": "mish"}, "summary_activation 'mish' is not supported; supported are gelu, relu, tanh"),
        ({"summary_use_proj": False}, "summary_use_proj is false with the summary_activation 'tanh'"),
        ({"ff_activation": "mish"}, "ff_activation 'mish' is not supported"),
        ({"architectures": ["XLNetForQuestionAnswering"]}, "train XLNetForQuestionAnsweringSimple"),
    ],
)
def test_another_model_is_refused_by_its_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        xlnet.architecture_from_config(CONFIGS["xlnet"] | change)
    assert "\n" not in str(caught.value)


def test_heads_of_another_number_and_missing_weights_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_family(tmp_path, "xlnet")
    tensors = tensors_of(folder)
    name = "transformer.layer.0.rel_attn.r"
    write_tensors(folder, {key: array for key, array in tensors.items() if key != name})
    with pytest.raises(InputError, match=r"lacks the tensor layer\.0\.rel_attn\.r"):
        graph_from_checkpoint(checkpoint_from_path(folder))
    write_tensors(folder, tensors | {"transformer.mask_embedding": np.ones(2, np.float32)})
    with pytest.raises(InputError, match="mask_embedding, which no part of this model reads"):
        checkpoint_from_path(folder)
    write_tensors(folder, tensors | {"lm_loss.bias": np.ones(2, np.float32)})
    assert not checkpoint_from_path(folder).notes
    write_tensors(folder, tensors)
    edit_json(folder / "config.json", n_head=4, d_head=16)
    with pytest.raises(InputError, match=r"rel_attn\.\w has the shape \[64, 2, 32\].* 4 heads of 16 as config\.json"):
        checkpoint_from_path(folder)


def test_a_question_stands_behind_its_context_and_no_answer_is_the_last_token_s(tmp_path: Path) -> None:
    folder, task = write_tiny_family(tmp_path, "xlnet", task="question-answering"), task_from_name("question-answering")
    encoder = checkpoint_from_path(folder).encoder
    (window,) = encoder.encode_windows("good", "a film the film", max_length=32, stride=4)
    assert window.sequence_ids[0] == 1 and window.sequence_ids.tolist().count(0) < 5
    context = window.sequence_ids == 1
    assert context[: context.sum()].all() and window.ids[-1] == 3
    scores = np.zeros(window.length, np.float32)
    scores[-1] = 7
    rows = [row_from_texts("good", "a film the film")]
    features = task.features_from_rows(rows, encoder, 32)
    (answer,) = task.row_outputs(
        rows, features, {"start_logits": [scores], "end_logits": [scores]}, checkpoint_from_path(folder).head
    )
    assert answer.null_score == pytest.approx(14)
    edit_json(folder / "tokenizer_config.json", padding_side="right")
    (window,) = checkpoint_from_path(folder).encoder.encode_windows("good", "a film", max_length=32, stride=4)
    assert window.sequence_ids[0] == 0


BUILDS = [
    pytest.param("native", "1", marks=pytest.mark.native),
    pytest.param("native", "2", marks=pytest.mark.native),
    ("ort-cpu", "1"),
    ("ort-cpu", "2"),
    pytest.param("openvino", "1", marks=pytest.mark.openvino),
]


@pytest.mark.parametrize("target, mode", BUILDS)
def test_a_build_answers(target: str, mode: str, bertc: Bertc, rows: Path, tmp_path: Path) -> None:
    """Mode 2 divides embeddings whose table is codes already."""
    out, folder = tmp_path / "out", write_tiny_family(tmp_path / "model", "xlnet")
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", folder, "-o", out, "--target", target, "--int8-mode", mode, *options)
    assert called.code == 0, called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["checkpoint"]["family"] == "xlnet"
    assert report["quantization"]["fused"]["layer_norm"] == 4
    assert report["accuracy"]["agreement"] > 0.9
    assert bertc("predict", out, "--text", "good film").code == 0


def test_what_is_pruned_opens_in_transformers_and_training_is_refused(tmp_path: Path, bertc: Bertc, rows: Path) -> None:
    folder, pruned = write_tiny_family(tmp_path / "model", "xlnet"), tmp_path / "pruned"
    called = bertc("prune", folder, "-o", pruned, "--calibration-data", rows, "--no-cache", "-q")
    assert called.code == 0, called.err
    before, after = tensors_of(folder), tensors_of(pruned)
    assert {name: array.shape for name, array in after.items()} == {name: each.shape for name, each in before.items()}
    for name in ("q", "k", "v", "o"):
        stored = after[f"transformer.layer.0.rel_attn.{name}"]
        assert (stored == 0).mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(after["transformer.layer.0.rel_attn.r"], before["transformer.layer.0.rel_attn.r"])
    assert largest_difference(pruned, TASK) < TOLERANCE
    called = bertc("finetune", folder, "-o", tmp_path / "trained", "--train-data", rows, "-q")
    assert called.code == 2 and "embeddings of distances (DeBERTa, XLNet)" in called.err
