"""sentence-transformers' own settings: what stands behind a score, how vectors are compared, how many numbers stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.batch import batch_from_features
from bertc.core.head import Similarity, Squash
from bertc.data.rows import row_from_texts
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.tasks import task_from_name
from tests.fixtures import edit_json, tiny_sentence, write_json, write_tiny_bert, write_tiny_sentences

FILE = "config_sentence_transformers.json"
PAIRS = [(tiny_sentence(seed, 5), tiny_sentence(50 + seed, 8)) for seed in range(4)]
SIGMOID, IDENTITY = "torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity"


def answers(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Return what the float graph's outputs become as predictions of pairs."""
    task = task_from_name(checkpoint.head.task)
    rows = task.check_rows([row_from_texts(*pair) for pair in PAIRS], checkpoint.head)
    features = task.features_from_rows(rows, checkpoint.encoder, 64)
    found = Interpreter(graph_from_checkpoint(checkpoint)).run(batch_from_features(features, range(len(features))))
    raw = {output.key: list(found[output.name]) for output in task.outputs(checkpoint.head) if output.read}
    return task.predictions(rows, task.row_outputs(rows, features, raw, checkpoint.head), checkpoint.head)


def scores_of(folder: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([one["score"] for one in answers(checkpoint_from_path(folder))])


@pytest.fixture
def scorer(tmp_path: Path) -> Path:
    """A classifier with one score."""
    return write_tiny_bert(tmp_path / "scorer", labels=["LABEL_0"])


def declare(folder: Path, kind: str, activation: str | None) -> None:
    """Say in one of the three ways what stands behind the score."""
    if kind == "6":
        entries = [("model_type", "CrossEncoder"), ("activation_fn", activation), ("prompts", {})]
        write_json(folder / FILE, {name: value for name, value in entries if value is not None})
        module = {
            "idx": 0,
            "name": "0",
            "path": "",
            "type": "sentence_transformers.base.modules.transformer.Transformer",
        }
        write_json(folder / "modules.json", [module])
    elif kind == "4":
        named = {} if activation is None else {"activation_fn": activation}
        edit_json(folder / "config.json", sentence_transformers={"version": "5.1.0"} | named)
    else:
        edit_json(folder / "config.json", sbert_ce_default_activation_function=activation)


@pytest.mark.parametrize("kind", ["6", "4", "3"])
def test_a_cross_encoder_s_score_is_what_its_predict_gives(scorer: Path, kind: str) -> None:
    raw = scores_of(scorer)
    declare(scorer, kind, IDENTITY)
    np.testing.assert_array_equal(scores_of(scorer), raw)
    declare(scorer, kind, SIGMOID)
    assert checkpoint_from_path(scorer).head.squash is Squash.SIGMOID
    np.testing.assert_allclose(scores_of(scorer), 1 / (1 + np.exp(-raw)), atol=1e-6)


def test_a_score_that_other_libraries_squash_is_told(scorer: Path) -> None:
    edit_json(scorer / "config.json", problem_type=None)
    (note,) = checkpoint_from_path(scorer).notes
    assert "its score is given as it is" in note and '"problem_type": "regression"' in note


@pytest.mark.parametrize("kind", ["6", "4", "3", "regression"])
def test_who_says_what_the_score_is_hears_nothing(scorer: Path, kind: str) -> None:
    if kind == "regression":
        edit_json(scorer / "config.json", problem_type=kind)
    else:
        declare(scorer, kind, SIGMOID)
    assert not checkpoint_from_path(scorer).notes


@pytest.mark.parametrize(("kind", "squash"), [("6", Squash.SIGMOID), ("4", Squash.SIGMOID), ("3", None)])
def test_the_default_of_one_score_is_the_sigmoid_of_cross_encoders_alone(
    scorer: Path, kind: str, squash: Squash | None
) -> None:
    declare(scorer, kind, None)
    assert checkpoint_from_path(scorer).head.squash is squash


def test_transformers_logits_are_behind_it(scorer: Path) -> None:
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    declare(scorer, "4", SIGMOID)
    tokens = transformers.AutoTokenizer.from_pretrained(scorer)(
        *zip(*PAIRS, strict=True), padding=True, return_tensors="pt"
    )
    model = transformers.AutoModelForSequenceClassification.from_pretrained(scorer, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = model(**tokens).logits.sigmoid()[:, 0].numpy()
    np.testing.assert_allclose(scores_of(scorer), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["torch.nn.modules.activation.Tanh", "my.code.Sigmoid"])
def test_other_functions_are_refused_by_name(scorer: Path, name: str) -> None:
    declare(scorer, "4", name)
    with pytest.raises(InputError, match=f"puts {name} behind 1 scores"):
        checkpoint_from_path(scorer)


def test_several_scores(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "model", labels=["a", "b", "c"])
    declare(folder, "4", None)
    assert checkpoint_from_path(folder).head.squash is None
    declare(folder, "4", SIGMOID)
    with pytest.raises(InputError, match="behind 3 scores"):
        checkpoint_from_path(folder)
    edit_json(folder / "config.json", problem_type="multi_label_classification")
    assert checkpoint_from_path(folder).head.squash is None


def test_a_transformer_alone_is_no_sentence_model(scorer: Path) -> None:
    declare(scorer, "6", SIGMOID)
    (scorer / FILE).unlink()
    with pytest.raises(InputError, match="the modules are Transformer"):
        checkpoint_from_path(scorer)


def embeddings(folder: Path, **config: Any) -> list[dict[str, Any]]:
    write_json(folder / FILE, config)
    return answers(checkpoint_from_path(folder))


@pytest.mark.parametrize("modules", [("Transformer", "Pooling"), ("Transformer", "Pooling", "Normalize")])
def test_vectors_are_compared_as_the_file_says(tmp_path: Path, modules: tuple[str, ...]) -> None:
    folder = write_tiny_sentences(tmp_path / "model", modules=modules)
    found = {kind: embeddings(folder, similarity_fn_name=kind) for kind in Similarity}
    for row in range(len(PAIRS)):
        one, two = np.array(found[Similarity.COSINE][row]["embeddings"], np.float64)
        expected = {
            Similarity.COSINE: one @ two / np.linalg.norm(one) / np.linalg.norm(two),
            Similarity.DOT: one @ two,
            Similarity.EUCLIDEAN: -np.linalg.norm(one - two),
            Similarity.MANHATTAN: -np.abs(one - two).sum(),
        }
        for kind, value in expected.items():
            assert found[kind][row]["similarity"] == pytest.approx(value, abs=1e-5)
    assert embeddings(folder)[0]["similarity"] == found[Similarity.COSINE][0]["similarity"]


def test_the_vector_is_cut_behind_the_normalisation(tmp_path: Path) -> None:
    folder = write_tiny_sentences(tmp_path / "model")
    whole = np.array([one["embeddings"] for one in embeddings(folder)])
    cut = np.array([one["embeddings"] for one in embeddings(folder, truncate_dim=16)])
    np.testing.assert_allclose(cut, whole[..., :16], atol=1e-6)
    assert (np.linalg.norm(cut, axis=-1) < 0.99).all()
    np.testing.assert_allclose([one["embeddings"] for one in embeddings(folder, truncate_dim=900)], whole, atol=1e-6)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"similarity_fn_name": "jaccard"}, "similarity_fn_name 'jaccard' is not supported"),
        ({"similarity_fn_name": ["dot"]}, r"similarity_fn_name \['dot'\] is not supported"),
        ({"truncate_dim": 0}, "truncate_dim is 0, not a number"),
        ({"truncate_dim": "64"}, "truncate_dim is '64', not a number"),
        ({"truncate_dim": True}, "truncate_dim is True, not a number"),
    ],
)
def test_settings_that_are_none(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    folder = write_tiny_sentences(tmp_path / "model")
    with pytest.raises(InputError, match=rf"config_sentence_transformers\.json: {told}"):
        embeddings(folder, **config)


def test_the_digest_is_of_these_settings_too(tmp_path: Path) -> None:
    folder = write_tiny_sentences(tmp_path / "model")
    before = checkpoint_from_path(folder).digest
    write_json(folder / FILE, {"truncate_dim": 16})
    assert checkpoint_from_path(folder).digest != before


@pytest.mark.parametrize(("counted", "rows"), [(5, 5), (None, 2)])
def test_the_count_of_labels_goes_before_fewer_names(tmp_path: Path, counted: int | None, rows: int) -> None:
    transformers = pytest.importorskip("transformers")
    folder = write_tiny_bert(tmp_path / "model", labels=[f"L{index}" for index in range(rows)], dtype="float32")
    edit_json(
        folder / "config.json", num_labels=counted, id2label={"0": "no", "1": "yes"}, label2id={"no": 0, "yes": 1}
    )
    labels = checkpoint_from_path(folder).head.labels
    theirs = transformers.AutoConfig.from_pretrained(folder).id2label
    assert labels == tuple(theirs[index] for index in range(rows))
    assert labels == (("LABEL_0", "LABEL_1", "LABEL_2", "LABEL_3", "LABEL_4") if counted else ("no", "yes"))


def test_neither_count_nor_names_fit(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "model", labels=["a", "b", "c"])
    edit_json(folder / "config.json", num_labels=5, id2label={"0": "no", "1": "yes"})
    with pytest.raises(InputError, match=r"says 2 labels but the classifier's weight has 3 rows"):
        checkpoint_from_path(folder)


@pytest.mark.parametrize("name", ["gelu_python", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh", "gelu_python_tanh"])
def test_every_name_of_gelu_is_transformers(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    activations = pytest.importorskip("transformers.activations")
    folder = write_tiny_bert(tmp_path / "model", config={"hidden_act": name})
    exact = checkpoint_from_path(folder).architecture.activation == "gelu"
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    ours = torch.nn.functional.gelu(x, approximate="none" if exact else "tanh")
    torch.testing.assert_close(activations.ACT2FN[name](x), ours, atol=1e-6, rtol=0)


def test_another_gelu_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_bert(tmp_path / "model", config={"hidden_act": "quick_gelu"})
    with pytest.raises(InputError, match="hidden_act 'quick_gelu' is not supported"):
        checkpoint_from_path(folder)
