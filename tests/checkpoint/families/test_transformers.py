"""Every family computes what transformers computes on text that both tokenize alike, and goes through a build."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.config_json import SYNONYMS
from bertc.core.batch import batch_from_features
from bertc.core.feature import Feature
from bertc.core.plugins import FAMILIES
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from tests.artefacts import Bertc
from tests.checkpoint.families.test_gte import GTE_OF_THE_HUB
from tests.fixtures import edit_json, tiny_sentence
from tests.foreign import tensors_of, write_tensors
from tests.tiny import OUTPUTS
from tests.tiny_families import MODEL_TYPES, class_of_family, tasks_of_family, write_tiny_family

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXTS = [tiny_sentence(seed, 3 + 2 * seed) for seed in range(8)]
PAIRS = [tiny_sentence(50 + seed, 2 + seed) for seed in range(8)]
TOLERANCE = 1e-4
MASKED = 2
"""The column of the token that is masked for a masked language model."""
Outputs = dict[str, NDArray[Any]]


def theirs(folder: Path, task: str) -> tuple[Any, Outputs]:
    """Return what transformers makes of the texts and their pairs."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer(TEXTS, PAIRS, padding=True, return_tensors="pt")
    if task == "fill-mask":
        tokens["input_ids"][:, MASKED] = tokenizer.mask_token_id
    model_type = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    kind = getattr(transformers, class_of_family(model_type, task))
    with torch.no_grad():
        out = kind.from_pretrained(folder, dtype=torch.float32).eval()(**tokens)
    found = {name: getattr(out, name).numpy() for name in OUTPUTS[task] if hasattr(out, name)}
    return tokens, {"logits": found["logits"][:, MASKED]} if task == "fill-mask" else found


def largest_difference(folder: Path, task: str) -> float:
    """Return how far the float graph is from transformers on real tokens."""
    tokens, expected = theirs(folder, task)
    checkpoint = checkpoint_from_path(folder)
    encoded = checkpoint.encoder.encode_batch(TEXTS, PAIRS)
    for one in encoded if task == "fill-mask" else ():
        one.ids[MASKED] = checkpoint.encoder.mask_id
    for one, ids, shown in zip(encoded, tokens["input_ids"], tokens["attention_mask"], strict=True):
        assert one.ids.tolist() == ids[shown.bool()].tolist()
    features = [Feature(input_ids=one.ids, token_type_ids=one.type_ids, row=row) for row, one in enumerate(encoded)]
    batch = batch_from_features(features, range(len(features)))
    found = Interpreter(graph_from_checkpoint(checkpoint)).run(batch)
    mask = batch.mask.astype(bool)
    assert expected
    shown = tokens["attention_mask"].numpy().astype(bool)  # XLNet's tokenizer pads at the left
    differences = []
    for name, right in expected.items():
        per_token = right.shape[:2] == mask.shape
        left, right = (found[name][mask], right[shown]) if per_token else (found[name], right)
        differences.append(np.abs(left - right).max())
    return float(max(differences))


def test_every_family_and_every_other_name_of_it_is_here() -> None:
    assert {*FAMILIES.names(), *SYNONYMS} - {"qdqbert", "new"} == set(MODEL_TYPES)


@pytest.mark.parametrize("model_type, task", [(each, task) for each in MODEL_TYPES for task in tasks_of_family(each)])
def test_every_head_equals_transformers_on_pairs_with_padding(model_type: str, task: str, tmp_path: Path) -> None:
    assert largest_difference(write_tiny_family(tmp_path, model_type, task=task), task) < TOLERANCE


HEADS = [
    *((family, {"tie_word_embeddings": False}) for family in ("bert", "roberta", "distilbert", "modernbert", "albert")),
    ("modernbert", {"decoder_bias": False}),
    ("deberta-v2", {"legacy": False}),
    ("electra", {"embedding_size": 64}),
]


@pytest.mark.parametrize("model_type, changes", HEADS, ids=str)
def test_every_form_of_a_masked_language_model_equals_transformers(
    model_type: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_tiny_family(tmp_path, model_type, task="fill-mask", **changes)
    assert largest_difference(folder, "fill-mask") < TOLERANCE


def test_a_decoder_of_its_own_that_is_missing_is_refused(tmp_path: Path) -> None:
    folder = write_tiny_family(tmp_path, "bert", task="fill-mask")
    edit_json(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(InputError, match=r"lacks the tensor cls\.predictions\.decoder\.weight of a masked"):
        checkpoint_from_path(folder)
    with pytest.raises(InputError, match="t5 has no masked language model's head, which fill-mask needs"):
        checkpoint_from_path(write_tiny_family(tmp_path / "t5", "t5", task="feature-extraction"), task="fill-mask")


NOMIC_OF_THE_HUB = {
    "model_type": "nomic_bert",
    "activation_function": "swiglu",
    "attn_pdrop": 0.0,
    "causal": False,
    "dense_seq_output": True,
    "fused_bias_fc": True,
    "layer_norm_epsilon": 1e-12,
    "max_trained_positions": 128,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "n_embd": 64,
    "n_head": 2,
    "n_inner": 96,
    "n_layer": 2,
    "n_positions": 512,
    "pad_vocab_size_multiple": 1,
    "parallel_block": False,
    "prenorm": False,
    "qkv_proj_bias": False,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": 2,
    "scale_attn_weights": True,
    "type_vocab_size": 2,
    "use_flash_attn": True,
    "use_rms_norm": False,
}
INTERPOLATED = {"rope_type": "linear", "rope_theta": 30.0, "factor": 3.0}
VARIANTS = [
    {"classifier_pooling": "mean"},
    {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True},
    {"layer_types": ["sliding_attention", "full_attention", "sliding_attention"], "local_attention": 6},
    {"global_rope_theta": 500.0, "local_rope_theta": 20.0, "hidden_activation": "relu"},
    {"rope_parameters": {"full_attention": INTERPOLATED, "sliding_attention": {**INTERPOLATED, "factor": 1.5}}},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda changes: next(iter(changes)))
def test_every_variant_of_modernbert_equals_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    task = "sequence-classification"
    assert largest_difference(write_tiny_family(tmp_path, "modernbert", **changes), task) < TOLERANCE


EUROBERTS = [
    {"classifier_pooling": "mean"},
    {"classifier_pooling": "bos", "hidden_act": "gelu"},
    {"attention_bias": True, "mlp_bias": True},
    {"head_dim": 16, "rms_norm_eps": 1e-3},
    {"rope_parameters": INTERPOLATED},
    {"num_key_value_heads": 1},
    {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "attention_bias": True},
]


@pytest.mark.parametrize("changes", EUROBERTS, ids=lambda changes: "-".join(map(str, changes.values())))
def test_every_variant_of_eurobert_equals_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    task = "sequence-classification"
    assert largest_difference(write_tiny_family(tmp_path, "eurobert", **changes), task) < TOLERANCE


def test_eurobert_as_the_hub_spells_it_equals_transformers(tmp_path: Path) -> None:
    task = "token-classification"
    folder = write_tiny_family(tmp_path, "eurobert", task=task, labels=["O", "B-a"])
    edit_json(folder / "config.json", rope_parameters=None, classifier_pooling=None, rope_theta=500.0)
    assert largest_difference(folder, task) < TOLERANCE


@pytest.mark.parametrize(
    "changes", [{"head_dim": 16}, {"hidden_act": "gelu"}, {"rope_parameters": INTERPOLATED}], ids=str
)
def test_every_variant_of_nomic_bert_equals_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    task = "feature-extraction"
    folder = write_tiny_family(tmp_path, "nomic-bert", task=task, **changes)
    assert largest_difference(folder, task) < TOLERANCE


@pytest.mark.parametrize("base", [1000.0, 30.0])
def test_nomic_bert_as_the_hub_spells_it_equals_transformers(
    base: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = "sequence-classification"
    folder = write_tiny_family(tmp_path, "nomic-bert", rope_parameters={"rope_type": "default", "rope_theta": base})
    known = theirs(folder, task)
    monkeypatch.setattr("tests.checkpoint.families.test_transformers.theirs", lambda folder, task: known)
    config = json.loads((folder / "config.json").read_bytes())
    kept = {name: config[name] for name in ("architectures", "id2label", "label2id")}
    spelled = {**NOMIC_OF_THE_HUB, **kept, "vocab_size": config["vocab_size"], "rotary_emb_base": base}
    (folder / "config.json").write_text(json.dumps(spelled), encoding="utf-8")
    checkpoint = checkpoint_from_path(folder)
    assert checkpoint.encoder.max_length == 128 and not checkpoint.notes
    assert largest_difference(folder, task) < TOLERANCE
    edit_json(folder / "config.json", rotary_emb_base=2 * base)
    assert largest_difference(folder, task) > 10 * TOLERANCE


GTES = [
    {"hidden_act": "relu"},
    {"type_vocab_size": 0},
    {"rope_parameters": INTERPOLATED},
]


@pytest.mark.parametrize("changes", GTES, ids=lambda changes: next(iter(changes.values())))
def test_every_variant_of_gte_equals_transformers(changes: dict[str, Any], tmp_path: Path) -> None:
    task = "sequence-classification"
    assert largest_difference(write_tiny_family(tmp_path, "gte", task=task, **changes), task) < TOLERANCE


def test_gte_as_the_hub_spells_it_equals_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names begin with `new.`, and NTK scaling by 8 of heads of 32 is a factor of 8^(2 / 32) beside eight times the
    base, as transformers' own page on GTE says."""
    task = "sequence-classification"
    parameters = {"rope_type": "linear", "rope_theta": 240.0, "factor": 8 ** (2 / 32)}
    folder = write_tiny_family(tmp_path, "gte", task=task, rope_parameters=parameters)
    known = theirs(folder, task)
    monkeypatch.setattr("tests.checkpoint.families.test_transformers.theirs", lambda folder, task: known)
    write_tensors(folder, {name.replace("gte.", "new."): array for name, array in tensors_of(folder).items()})
    config = json.loads((folder / "config.json").read_bytes())
    del config["rope_parameters"]
    scaling = {"rope_theta": 30.0, "rope_scaling": {"factor": 8.0, "type": "ntk"}}
    named = {"model_type": "new", "architectures": ["NewForSequenceClassification"]}
    (folder / "config.json").write_text(json.dumps(config | GTE_OF_THE_HUB | scaling | named), encoding="utf-8")
    assert not checkpoint_from_path(folder).notes
    assert largest_difference(folder, task) < TOLERANCE
    edit_json(folder / "config.json", rope_scaling=None)
    assert largest_difference(folder, task) > 10 * TOLERANCE


@pytest.mark.parametrize("forward", ["relu", "gated-relu", "gated-silu"])
def test_every_feed_forward_of_t5_equals_transformers(forward: str, tmp_path: Path) -> None:
    task = "feature-extraction"
    folder = write_tiny_family(tmp_path, "t5", task=task, feed_forward_proj=forward, d_kv=32)
    assert largest_difference(folder, task) < TOLERANCE


def test_a_decoder_beside_t5_s_encoder_is_left_out(tmp_path: Path) -> None:
    task = "feature-extraction"
    folder = write_tiny_family(tmp_path, "t5", task=task)
    tensors = tensors_of(folder)
    more = {name.replace("encoder.", "decoder."): array for name, array in tensors.items() if "encoder." in name}
    write_tensors(folder, tensors | more | {"lm_head.weight": tensors["shared.weight"]})
    edit_json(folder / "config.json", architectures=["T5ForConditionalGeneration"])
    with pytest.raises(InputError, match="T5ForConditionalGeneration, whose head bertc does not compute"):
        checkpoint_from_path(folder)
    checkpoint = checkpoint_from_path(folder, task=task)
    assert checkpoint.ignored_bytes == sum(array.nbytes for array in (*more.values(), tensors["shared.weight"]))


def test_modernbert_as_the_hub_spells_it_equals_transformers(tmp_path: Path) -> None:
    task = "token-classification"
    folder = write_tiny_family(tmp_path, "modernbert", task=task, labels=["O", "B-a"])
    spelled = {"global_attn_every_n_layers": 2, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0}
    edit_json(folder / "config.json", layer_types=None, rope_parameters=None, **spelled)
    assert largest_difference(folder, task) < TOLERANCE


@pytest.mark.parametrize(
    "model_type, change",
    [
        ("roberta", {"hidden_act": "relu"}),
        ("electra", {"hidden_act": "relu"}),
        ("distilbert", {"activation": "relu"}),
        ("modernbert", {"local_attention": 4}),
        ("eurobert", {"hidden_act": "gelu"}),
        ("eurobert", {"rope_parameters": {"rope_type": "default", "rope_theta": 20.0}}),
        ("eurobert", {"classifier_pooling": "mean"}),
    ],
)
def test_another_activation_is_seen(
    model_type: str, change: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = "sequence-classification"
    folder = write_tiny_family(tmp_path, model_type, task=task)
    known = theirs(folder, task)
    monkeypatch.setattr("tests.checkpoint.families.test_transformers.theirs", lambda folder, task: known)
    edit_json(folder / "config.json", **change)
    assert largest_difference(folder, task) > 10 * TOLERANCE


@pytest.fixture(scope="module")
def family_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give a function that writes a family's classifier once."""
    made: dict[str, Path] = {}

    def of(model_type: str) -> Path:
        if model_type not in made:
            made[model_type] = write_tiny_family(tmp_path_factory.mktemp(model_type), model_type)
        return made[model_type]

    return of


GATED = ("eurobert", "nomic-bert", "gte")
WITH_NATIVE = ("roberta", "electra", "distilbert", "mpnet", "albert")
BUILT = [
    *itertools.product([*WITH_NATIVE, "modernbert", *GATED], ["ort-cpu", "ort-cpu-dynamic", "openvino"]),
    *(pytest.param(each, "native", marks=pytest.mark.native) for each in GATED),
    *(pytest.param(each, "native", marks=pytest.mark.native) for each in WITH_NATIVE),
]


@pytest.mark.parametrize("model_type, target", BUILT)
def test_a_family_goes_through_a_build_and_answers(
    model_type: str, target: str, family_of: Callable[[str], Path], bertc: Bertc, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", family_of(model_type), "-o", out, "--target", target, *options)
    assert called.code == 0, called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["checkpoint"]["family"] == model_type
    assert report["quantization"]["gemms_int8"] >= 12
    assert report["accuracy"]["agreement"] > 0.9
    if target == "native":
        layers = [each for each in report["engine"]["float_gemms"] if each["gemm"].startswith("layer.")]
        told = "the projection behind the embeddings: the scheme has no site for its operand"
        assert [each["reason"] for each in layers] == [told] * (model_type in ("albert", "electra"))
    assert bertc("predict", out, "--text", "good film").code == 0


@pytest.mark.parametrize("model_type", ["roberta", "electra", "distilbert", "mpnet", "modernbert", *GATED])
def test_what_is_trained_and_pruned_opens_in_transformers(
    model_type: str, family_of: Callable[[str], Path], bertc: Bertc, rows: Path, tmp_path: Path
) -> None:
    checkpoint = family_of(model_type)
    trained, pruned = tmp_path / "trained", tmp_path / "pruned"
    calls = (
        ("finetune", checkpoint, "-o", trained, "--train-data", rows, "--steps", 3, "--held-out", 0, "-q"),
        ("prune", checkpoint, "-o", pruned, "--calibration-data", rows, "--no-cache", "-q"),
    )
    for call in calls:
        called = bertc(*call)
        assert called.code == 0, called.err
    for folder in (trained, pruned):
        kind = transformers.AutoModelForSequenceClassification
        _, loaded = kind.from_pretrained(folder, output_loading_info=True)
        assert not any(loaded.values()), loaded
        assert largest_difference(folder, "sequence-classification") < TOLERANCE


def tagged_rows(path: Path) -> Path:
    """Write words with tags."""
    words = [tiny_sentence(seed, 8).split() for seed in range(16)]
    lines = [{"words": each, "tags": ["B-a" if len(word) % 2 else "O" for word in each]} for each in words]
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("target", ["ort-cpu", "openvino"])
def test_t5_goes_through_a_build_and_all_its_norms_are_fused(target: str, bertc: Bertc, tmp_path: Path) -> None:
    rows, out = tagged_rows(tmp_path / "rows.jsonl"), tmp_path / "out"
    checkpoint = write_tiny_family(tmp_path / "model", "t5", task="token-classification", labels=["O", "B-a"])
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", checkpoint, "-o", out, "--target", target, "--any-reference", *options)
    assert called.code == 0, called.err
    quantization = json.loads((out / "report.json").read_text(encoding="utf-8"))["quantization"]
    assert quantization["fused"]["layer_norm"] == 5 and quantization["gemms_int8"] >= 12


def test_what_is_trained_and_pruned_of_t5_opens_in_transformers(bertc: Bertc, tmp_path: Path) -> None:
    task, rows = "token-classification", tagged_rows(tmp_path / "rows.jsonl")
    checkpoint = write_tiny_family(tmp_path / "model", "t5", task=task, labels=["O", "B-a"])
    trained, pruned = tmp_path / "trained", tmp_path / "pruned"
    for call in (
        ("finetune", checkpoint, "-o", trained, "--train-data", rows, "--steps", 2, "--held-out", 0, "-q"),
        ("prune", checkpoint, "-o", pruned, "--calibration-data", rows, "--no-cache", "-q"),
    ):
        called = bertc(*call)
        assert called.code == 0, called.err
    before = tensors_of(checkpoint)
    for folder in (trained, pruned):
        after = tensors_of(folder)
        assert after.keys() == before.keys()
        assert not all(np.array_equal(after[name], before[name]) for name in before if "wi_1" in name)
        assert largest_difference(folder, task) < TOLERANCE


@pytest.mark.parametrize("command", ["finetune", "prune"])
def test_layers_that_share_their_weights_are_neither_trained_nor_pruned(
    command: str, family_of: Callable[[str], Path], bertc: Bertc, rows: Path, tmp_path: Path
) -> None:
    data = "--train-data" if command == "finetune" else "--calibration-data"
    called = bertc(command, family_of("albert"), "-o", tmp_path / "out", data, rows, "-q")
    assert called.code == 2 and "the layers of this model share their weights" in called.err
    assert not (tmp_path / "out").exists()
