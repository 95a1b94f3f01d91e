"""A tagger with an LSTM from its checkpoint to its answers: what decides in float and INT8, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bertc as package
from bertc.artefact.layout import HEAD_FILE
from bertc.checkpoint import checkpoint_from_path
from bertc.cli.main import run as run_command
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.jobs.predict import Predictor, head_from_document
from tests.artefacts import Bertc, PathOf
from tests.fixtures import tiny_sentence
from tests.foreign import tensors_of
from tests.tiny import Array
from tests.tiny_lstm import WIDTH, write_tiny_lstm
from tests.train.runs import recipe_of, run

TASK = "token-classification"
TEXTS = [tiny_sentence(seed, 2 + seed % 9) for seed in range(12)]
FORMS: dict[str, dict[str, Any]] = {"tokens": {"emission": "hidden2tag"}, "words": {"crf": False, "layers": 2}}


@pytest.fixture(scope="module", params=FORMS)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny tagger with an LSTM over tokens and a CRF, and one over words with two layers and none."""
    folder = tmp_path_factory.mktemp("lstm")
    return write_tiny_lstm(folder, config={"lstm_over": request.param}, **FORMS[request.param])


def built(checkpoint: Path, data: Path, out: Path, target: str) -> Path:
    options = ["--target", target, "--max-drop", "2abs", "--any-reference", "--no-cache", "-q"]
    rows = ["--calibration-data", str(data), "--validation-data", str(data)]
    assert run_command(["build", str(checkpoint), "-o", str(out), *rows, *options]) == 0
    return out


def torchs_scores(checkpoint: Path, features: Any) -> list[Array]:
    """Return the scores of the words' first pieces by transformers and torch, each text alone."""
    import torch
    import transformers

    encoder = transformers.BertModel.from_pretrained(checkpoint, dtype=torch.float32).eval()
    head, stored = checkpoint_from_path(checkpoint).head, tensors_of(checkpoint)
    assert head.lstm is not None
    lstm = torch.nn.LSTM(32, WIDTH, num_layers=len(head.lstm.layers), batch_first=True, bidirectional=True)
    of_lstm = {name.removeprefix("bilstm."): values for name, values in stored.items() if name.startswith("bilstm.")}
    lstm.load_state_dict({name: torch.from_numpy(np.array(values)) for name, values in of_lstm.items()})
    name = "hidden2tag" if "hidden2tag.weight" in stored else "classifier"
    weight, bias = (torch.from_numpy(np.array(stored[f"{name}.{leaf}"])) for leaf in ("weight", "bias"))
    found = []
    with torch.no_grad():
        for feature in features:
            ids, first = torch.from_numpy(feature.input_ids)[None], feature.detail["first"]
            states = encoder(ids).last_hidden_state
            if head.lstm.over == "words":
                scores = lstm(states[:, first])[0] @ weight.T + bias
            else:
                scores = (lstm(states)[0] @ weight.T + bias)[:, first]
            found.append(scores[0].numpy())
    return found


def rows_of(model: Predictor) -> tuple[Any, Any]:
    rows = model.task.check_rows([row_from_texts(text) for text in TEXTS], model.head)
    return rows, model.features_from_rows(rows)


def test_the_float_model_is_torch_s_for_texts_of_all_lengths_together(
    checkpoint: Path, data_of: PathOf, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    with package.load(built(checkpoint, data_of(TASK), tmp_path / "out", "float"), threads=1) as model:
        assert model.head == checkpoint_from_path(checkpoint).head
        rows, features = rows_of(model)
        found = model.task.row_outputs(rows, features, model.run_features(features), model.head)
    assert len({feature.length for feature in features}) > 5
    for tagging, expected in zip(found, torchs_scores(checkpoint, features), strict=True):
        np.testing.assert_allclose(tagging.logits, expected, rtol=0, atol=1e-4)
        if model.head.crf is None:
            assert np.array_equal(tagging.tags, expected.argmax(-1))


@pytest.mark.parametrize("target", [pytest.param("native", marks=pytest.mark.native), "ort-cpu", "openvino"])
def test_an_int8_engine_s_scores_are_near_and_its_verdict_is_of_the_whole(
    target: str, checkpoint: Path, data_of: PathOf, tmp_path: Path, bertc: Bertc, request: pytest.FixtureRequest
) -> None:
    pytest.importorskip("transformers")
    if target == "openvino":
        request.getfixturevalue("openvino_int8")
    out = built(checkpoint, data_of(TASK), tmp_path / "out", target)
    with package.load(out, threads=1) as model:
        rows, features = rows_of(model)
        found = model.task.row_outputs(rows, features, model.run_features(features), model.head)
        answers = model.predict(TEXTS)
        alone = [model.predict(text)[0] for text in TEXTS[:4]]
    expected = np.concatenate(torchs_scores(checkpoint, features))
    scores = np.concatenate([each.logits for each in found])
    error = np.linalg.norm(scores - expected) / np.linalg.norm(expected)
    assert 0 < error < 0.2
    assert [answer["tags"] for answer in answers[:4] if answer] == [answer["tags"] for answer in alone if answer]
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    called = bertc("validate", out, "--validation-data", data_of(TASK), "--checkpoint", checkpoint, "--json")
    again: Any = called.json
    assert again["accuracy"]["engine"] == report["accuracy"]["engine"], called.err
    assert again["accuracy"]["agreement"] == report["accuracy"]["agreement"] > 0.5


def test_inspect_names_it_without_its_numbers(checkpoint: Path, bertc: Bertc) -> None:
    head: Any = bertc("inspect", checkpoint, "--json").json["head"]
    over = checkpoint_from_path(checkpoint).head.lstm
    assert over is not None and head["lstm"] == {"widths": [[WIDTH, WIDTH]] * len(over.layers), "over": str(over.over)}
    assert f"12 + 12 units, over {over.over}" in bertc("inspect", checkpoint).out.replace(" and 12 + 12", "")


@pytest.mark.parametrize(
    "broken",
    [
        {"over": "pieces"},
        {"layers": []},
        {"layers": None},
        {"weight": {"shape": [3, 5], "numbers": ""}},
        {"bias": 1},
        [],
    ],
    ids=str,
)
def test_a_description_of_no_lstm_is_refused(
    broken: Any, checkpoint: Path, data_of: PathOf, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / f"described-{checkpoint.name}"
    if not folder.exists():
        built(checkpoint, data_of(TASK), folder, "ort-cpu")
    head = json.loads((folder / HEAD_FILE).read_text(encoding="utf-8"))["head"]
    assert head_from_document(head, folder).lstm == checkpoint_from_path(checkpoint).head.lstm
    lstm = broken if isinstance(broken, list) else head["lstm"] | broken
    with pytest.raises(InputError, match="describes no head"):
        head_from_document(head | {"lstm": lstm}, folder)


def test_it_is_not_trained(checkpoint: Path, data_of: PathOf, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not train taggers with an LSTM"):
        run(recipe_of(checkpoint, data_of(TASK)), tmp_path / "out")


def test_it_is_pruned_as_any_encoder(checkpoint: Path, data_of: PathOf, tmp_path: Path) -> None:
    data = ["--calibration-data", str(data_of(TASK))]
    assert run_command(["prune", str(checkpoint), "-o", str(tmp_path / "out"), *data, "--no-cache", "-q"]) == 0
    assert checkpoint_from_path(tmp_path / "out").head == checkpoint_from_path(checkpoint).head
