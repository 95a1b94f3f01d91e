"""LoRA beside or among the weights is merged as PEFT computes it; every other adapter is refused by its name."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.write import write_checkpoint
from bertc.core.batch import batch_from_features
from bertc.core.feature import Feature
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from tests.fixtures import edit_json, tiny_sentence, write_json, write_safetensors, write_tiny_bert
from tests.foreign import tensors_of, write_tensors

Tensors = dict[str, NDArray[Any]]
TEXTS = [tiny_sentence(seed, 3 + 2 * seed) for seed in range(4)]
LAYER = "bert.encoder.layer.{}.attention.self.{}"
ADAPTED = [LAYER.format(layer, kind) for layer in range(2) for kind in ("query", "value")]
TABLE = "bert.embeddings.word_embeddings"
CONFIG = {
    "peft_type": "LORA",
    "task_type": "SEQ_CLS",
    "r": 4,
    "lora_alpha": 10,
    "lora_dropout": 0.1,
    "target_modules": ["query", "value"],
    "modules_to_save": ["classifier", "score"],
    "bias": "none",
    "fan_in_fan_out": False,
    "inference_mode": True,
    "init_lora_weights": True,
    "use_rslora": False,
    "use_dora": False,
    "alpha_pattern": {},
    "loftq_config": {},
    "base_model_name_or_path": "somebody/bert",
}


def factors(seed: int = 0) -> Tensors:
    """Return the tensors of an adapter as PEFT's save_pretrained names them."""
    dice = np.random.default_rng(seed)
    found: Tensors = {}
    for module in ADAPTED:
        found[f"{module}.lora_A.weight"] = dice.normal(size=(4, 64)).astype(np.float32) / 8
        found[f"{module}.lora_B.weight"] = dice.normal(size=(64, 4)).astype(np.float32) / 4
    return found


def wrapped(tensors: Tensors) -> Tensors:
    """Put PEFT's prefix before names."""
    return {f"base_model.model.{name}": values for name, values in tensors.items()}


def write_adapter(folder: Path, tensors: Tensors, **config: Any) -> Path:
    """Write an adapter's two files into the folder of its model."""
    write_json(folder / "adapter_config.json", {**CONFIG, **config})
    write_safetensors(folder / "adapter_model.safetensors", wrapped(tensors))
    return folder


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_tiny_bert(tmp_path / "base", dtype="float32")


def logits_of(checkpoint: Checkpoint) -> NDArray[np.float32]:
    """Run the float graph on the texts."""
    encoded = checkpoint.encoder.encode_batch(TEXTS)
    features = [Feature(input_ids=one.ids, token_type_ids=one.type_ids, row=row) for row, one in enumerate(encoded)]
    batch = batch_from_features(features, range(len(features)))
    found: NDArray[np.float32] = Interpreter(graph_from_checkpoint(checkpoint)).run(batch)["logits"]
    return found


def adapted_logits(folder: Path, tensors: Tensors, scale: float) -> NDArray[np.float32]:
    """Return what transformers' model answers with the adapter's own computation beside its linear layers."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    plain = shutil.copytree(folder, folder.parent / "plain", dirs_exist_ok=True)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (plain / name).unlink(missing_ok=True)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(plain, dtype=torch.float32).eval()
    modules = dict(model.named_modules())
    given = {name: torch.from_numpy(values) for name, values in tensors.items()}
    for module in {name.partition(".lora_A")[0] for name in given if ".lora_A" in name}:
        a, b = given[f"{module}.lora_A.weight"], given[f"{module}.lora_B.weight"]
        modules[module].register_forward_hook(
            lambda _, inputs, output, a=a, b=b: output + (inputs[0] @ a.T) @ b.T * scale
        )
    if f"{TABLE}.lora_embedding_A" in given:
        a, b = given[f"{TABLE}.lora_embedding_A"], given[f"{TABLE}.lora_embedding_B"]
        modules[TABLE].register_forward_hook(
            lambda _, inputs, output: output + torch.nn.functional.embedding(inputs[0], a.T) @ b.T * scale
        )
    with torch.no_grad():
        for name, values in given.items():
            if "lora_" not in name:
                model.get_parameter(name).copy_(values)
        tokens = transformers.AutoTokenizer.from_pretrained(plain)(TEXTS, padding=True, return_tensors="pt")
        found: NDArray[np.float32] = model(**tokens).logits.numpy()
    return found


@pytest.mark.parametrize(("config", "scale"), [({}, 2.5), ({"use_rslora": True}, 5.0), ({"lora_alpha": 3}, 0.75)])
def test_lora_is_merged_as_its_layers_compute(base: Path, config: dict[str, Any], scale: float) -> None:
    before = logits_of(checkpoint_from_path(base))
    checkpoint = checkpoint_from_path(write_adapter(base, factors(), **config))
    expected = adapted_logits(base, factors(), scale)
    np.testing.assert_allclose(logits_of(checkpoint), expected, atol=1e-4)
    assert np.abs(expected - before).max() > 0.01
    (note,) = checkpoint.notes
    assert note.startswith(f"the LoRA adapter in {base}/adapter_config.json was merged into 4 of the model's tensors")


def test_a_table_a_head_and_biases_are_the_adapter_s(base: Path) -> None:
    dice = np.random.default_rng(1)
    vocabulary = checkpoint_from_path(base).architecture.vocabulary
    extra: Tensors = {
        f"{TABLE}.lora_embedding_A": dice.normal(size=(4, vocabulary)).astype(np.float32),
        f"{TABLE}.lora_embedding_B": dice.normal(size=(64, 4)).astype(np.float32) / 4,
        "classifier.weight": dice.normal(size=(2, 64)).astype(np.float32),
        "classifier.bias": dice.normal(size=2).astype(np.float32),
        "bert.pooler.dense.bias": dice.normal(size=64).astype(np.float32),
    }
    tensors = factors() | extra
    checkpoint = checkpoint_from_path(write_adapter(base, tensors, bias="all"))
    np.testing.assert_allclose(logits_of(checkpoint), adapted_logits(base, tensors, 2.5), atol=1e-4)


def test_a_head_that_only_the_adapter_has(base: Path) -> None:
    whole = tensors_of(base)
    head = {name: whole.pop(name) for name in ("classifier.weight", "classifier.bias")}
    expected = logits_of(checkpoint_from_path(base))
    write_tensors(base, whole)
    with pytest.raises(InputError, match=r"lacks the tensor classifier\.weight"):
        checkpoint_from_path(base)
    silent = {name: values * 0 for name, values in factors().items()}
    checkpoint = checkpoint_from_path(write_adapter(base, silent | head))
    np.testing.assert_allclose(logits_of(checkpoint), expected, atol=1e-6)
    assert checkpoint.parameters == sum(values.size for values in (whole | head).values())


def test_a_pooler_that_neither_has_is_named(base: Path) -> None:
    whole = tensors_of(base)
    pooler = {name: whole.pop(name) for name in list(whole) if ".pooler." in name}
    assert len(pooler) == 2
    head = {name: values for name, values in whole.items() if name.startswith("classifier.")}
    write_tensors(base, whole)
    with pytest.raises(InputError, match=r"lacks the tensor pooler\.dense\.weight, and so does the adapter"):
        logits_of(checkpoint_from_path(write_adapter(base, factors() | head)))
    logits_of(checkpoint_from_path(write_adapter(base, factors() | head | pooler)))


def test_alpha_and_bias_of_single_layers(base: Path) -> None:
    """`alpha_pattern` is PEFT's: the first pattern that a module's name ends with."""
    name = f"{ADAPTED[0]}.lora_B.bias"
    tensors = factors() | {name: np.ones(64, np.float32)}
    plain = checkpoint_from_path(base).weights
    weights = checkpoint_from_path(write_adapter(base, tensors, alpha_pattern={"0.attention.self.query": 2})).weights
    for module, scale in zip(ADAPTED, (0.5, 2.5, 2.5, 2.5), strict=True):
        weight = f"{module.removeprefix('bert.')}.weight"
        added = tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"] * np.float32(scale)
        np.testing.assert_allclose(weights.array(weight), plain.array(weight) + added, atol=1e-6)
    bias = f"{ADAPTED[0].removeprefix('bert.')}.bias"
    np.testing.assert_allclose(weights.array(bias), plain.array(bias) + 0.5, atol=1e-6)


def test_the_state_of_a_peft_model_is_merged_too(base: Path) -> None:
    """Factors among the weights, under the names that a PEFT model's state_dict gives."""
    expected = logits_of(checkpoint_from_path(write_adapter(base, factors())))
    (base / "adapter_model.safetensors").unlink()
    state: Tensors = {}
    for name, values in tensors_of(base).items():
        module, _, leaf = name.rpartition(".")
        if module in ADAPTED:
            name = f"{module}.base_layer.{leaf}"
        if module == "classifier":
            state[f"classifier.original_module.{leaf}"] = values * 0
            name = f"classifier.modules_to_save.default.{leaf}"
        state[name] = values
    state |= {name.replace(".weight", ".default.weight"): values for name, values in factors().items()}
    write_tensors(base, wrapped(state))
    np.testing.assert_allclose(logits_of(checkpoint_from_path(base)), expected, atol=1e-6)


def test_a_written_copy_is_the_merged_model_and_no_adapter(base: Path, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_adapter(base, factors()))
    write_checkpoint(checkpoint, tmp_path / "copy", {})
    assert not (tmp_path / "copy" / "adapter_config.json").exists()
    again = checkpoint_from_path(tmp_path / "copy")
    np.testing.assert_allclose(logits_of(again), logits_of(checkpoint), atol=1e-6)
    assert not again.notes


def test_the_digest_is_of_the_adapter_too(base: Path) -> None:
    digests = {checkpoint_from_path(base).digest}
    for seed, alpha in ((0, 10), (1, 10), (1, 11)):
        digests.add(checkpoint_from_path(write_adapter(base, factors(seed), lora_alpha=alpha)).digest)
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"peft_type": "IA3"}, "describes a IA3 adapter"),
        ({"peft_type": "PROMPT_TUNING"}, "describes a PROMPT_TUNING adapter"),
        ({"peft_type": None, "config": {"reduction_factor": 16}}, "an adapter that PEFT did not write"),
        ({"use_dora": True}, "use_dora is set"),
        ({"layer_replication": [[0, 2]]}, "layer_replication is set"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is set"),
        ({"something_of_tomorrow": {"a": 1}}, "something_of_tomorrow is set"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa' changes the base model"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"lora_alpha": "ten"}, "lora_alpha is 'ten'"),
        ({"alpha_pattern": {"(": 1}}, "alpha_pattern is no pattern"),
        ({"alpha_pattern": ["query"]}, r"alpha_pattern is \['query'\], no object of patterns"),
    ],
)
def test_what_cannot_be_merged_exactly_is_refused_by_name(base: Path, config: dict[str, Any], told: str) -> None:
    write_adapter(base, factors(), **config)
    with pytest.raises(InputError, match=rf"adapter_config\.json.*{told}.*merge_and_unload"):
        checkpoint_from_path(base)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({f"{ADAPTED[0]}.lora_B.weight": None}, r"the adapter of encoder\.layer\.0\.attention\.self\.query lacks"),
        ({f"{ADAPTED[0]}.lora_magnitude_vector": np.ones(64, np.float32)}, "lora_magnitude_vector"),
        ({f"{ADAPTED[0]}.lora_A.weight": np.ones((4, 32), np.float32)}, r"do not fit the model's .*query\.weight"),
        ({f"{ADAPTED[0]}.lora_A.weight": np.ones((3, 64), np.float32)}, r"do not fit the model's .*query\.weight"),
        (
            {"bert.encoder.layer.9.output.dense.lora_A.weight": np.ones((4, 64), np.float32)},
            "layer.9.output.dense lacks",
        ),
        ({"classifier.weight": np.ones((2, 32), np.float32)}, r"merge the adapter's classifier\.weight"),
        ({"prompt_embeddings": np.ones((4, 64), np.float32)}, "merge the adapter's prompt_embeddings"),
        ({"bert.encoder.layer.0.extra.weight": np.ones(4, np.float32)}, r"encoder\.layer\.0\.extra\.weight"),
    ],
)
def test_factors_that_fit_no_layer(base: Path, change: Tensors, told: str) -> None:
    tensors = {name: values for name, values in (factors() | change).items() if values is not None}
    write_adapter(base, tensors)
    with pytest.raises(InputError, match=told):
        checkpoint_from_path(base)


def test_half_of_an_adapter(base: Path) -> None:
    write_adapter(base, factors())
    (base / "adapter_config.json").rename(base / "away.json")
    with pytest.raises(InputError, match=r"holds adapter_model\.safetensors without adapter_config\.json"):
        checkpoint_from_path(base)
    (base / "away.json").rename(base / "adapter_config.json")
    (base / "adapter_model.safetensors").unlink()
    with pytest.raises(InputError, match=r"has adapter_config\.json but no adapter_model\.safetensors"):
        checkpoint_from_path(base)
    (base / "adapter_config.json").unlink()
    write_tensors(base, tensors_of(base) | factors())
    with pytest.raises(InputError, match=r"holds the adapter's tensor .*lora_A\.weight without adapter_config"):
        checkpoint_from_path(base)


def test_an_adapter_without_its_model(base: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    write_adapter(alone, factors())
    with pytest.raises(InputError, match=r"an adapter without its model .the base model is somebody/bert.; copy"):
        checkpoint_from_path(alone)


def test_ranges_of_the_unadapted_model_are_no_ranges(base: Path) -> None:
    amax = {"bert.encoder.layer.0.output.dense._input_quantizer._amax": np.array(3, np.float32)}
    write_tensors(base, tensors_of(base) | amax)
    write_adapter(base, factors())
    with pytest.raises(InputError, match="ranges are not those of the adapted weights"):
        checkpoint_from_path(base)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.module."])
def test_a_wrapper_of_all_names_is_left_away_and_said(base: Path, wrapper: str, tmp_path: Path) -> None:
    expected = logits_of(checkpoint_from_path(base))
    write_tensors(base, {f"{wrapper}{name}": values for name, values in tensors_of(base).items()})
    checkpoint = checkpoint_from_path(base)
    np.testing.assert_array_equal(logits_of(checkpoint), expected)
    assert checkpoint.notes == (f"all names in model.safetensors begin with {wrapper}, which was left away",)
    write_checkpoint(checkpoint, tmp_path / "copy", {})
    assert "bert.embeddings.LayerNorm.weight" in tensors_of(tmp_path / "copy")


def test_a_wrapper_of_some_names_is_none(base: Path) -> None:
    first, *rest = tensors_of(base).items()
    write_tensors(base, dict([first]) | {f"module.{name}": values for name, values in rest})
    edit_json(base / "config.json", architectures=None)
    with pytest.raises(InputError, match="module"):
        checkpoint_from_path(base)
