"""What `bertc inspect` tells of a head."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from bertc.cli.commands.inspect import head_lines
from bertc.core.head import Exit, Head, Interaction, Pooling, Projection
from bertc.jobs.inspect import facts_of_checkpoint, facts_of_head
from tests.artefacts import Bertc
from tests.checkpoint.test_exit_classifiers import LAYERS, deebert, rewritten
from tests.fixtures import tiny_sentence, write_tiny_bert

Tensors = dict[str, np.ndarray]
QUERY = "bert.encoder.layer.1.attention.self.query.weight"


def test_of_a_head_is_told_what_it_has_and_a_nought_is_something() -> None:
    head = Head(task="fill-mask", labels=("a", "b"), mask=0, exit_threshold=0.0)
    facts = facts_of_head(head)
    assert (facts["mask"], facts["exit_threshold"], facts["labels"]) == (0, 0.0, ("a", "b"))
    assert not {"normalize", "crf", "lstm", "exits", "layer_weights"} & set(facts)


EXITS = tuple(Exit(layer=layer, dense="a", classifier="b", pooling=Pooling.MEAN) for layer in (0, 3))
INTERACTION = Interaction(
    query_marker=0,
    document_marker=None,
    query_length=32,
    document_length=180,
    filler=103,
    filler_seen=True,
    skipped=(999, 1012),
)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("exits", EXITS, "behind layers 1, 4, on the mean of the tokens"),
        (
            "projections",
            (Projection(folder="1_Dense", sizes=(8, 4), tanh=True),) * 2,
            "folder 1_Dense, sizes 8, 4, bias",
        ),
        ("interaction", INTERACTION, "query marker 0, query length 32, document length 180, filler 103, filler seen, "),
        ("layer_weights", (0.5, 0.25), "0.5, 0.25"),
        ("pooling", Pooling.MEAN, "mean"),
        ("exit_threshold", 0.0, "0"),
        ("normalize", True, "True"),
    ],
)
def test_a_head_is_told_in_words(name: str, value: object, told: str) -> None:
    lines = dict(head_lines(facts_of_head(Head(task="x", **{name: value}))))  # type: ignore[arg-type]
    assert lines[name.replace("_", " ")].startswith(told)
    assert not set("{}<>'") & set(lines[name.replace("_", " ")])


@pytest.mark.parametrize("early", [True, False])
def test_of_a_checkpoint_the_exits_that_it_holds_are_told(early: bool, bertc: Bertc, tmp_path: Path) -> None:
    """It is built without them unless they are asked for, so its head has none."""
    folder = rewritten(tmp_path / "model", deebert if early else lambda tensors: tensors)
    assert ("exits         behind layers 1, 2, on the first token" in bertc("inspect", folder).out) == early
    found = [each["layer"] for each in facts_of_checkpoint(str(folder))["exits"]]
    assert found == [*range(LAYERS - 1)] * early


def without(name: str) -> Callable[[Tensors], Tensors]:
    """Leave out the tensors with a name's part."""
    return lambda tensors: {each: array for each, array in tensors.items() if name not in each}


def not_finite(tensors: Tensors) -> Tensors:
    """Put one infinite number into a matrix."""
    array = tensors[QUERY].copy()
    array[3, 4] = np.inf
    return {**tensors, QUERY: array}


def narrower(tensors: Tensors) -> Tensors:
    """Leave out a row of a matrix."""
    return {**tensors, QUERY: tensors[QUERY][:-1].copy()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("pooler"), "lacks the tensor pooler.dense.weight"),
        (without("layer.1.output.dense.bias"), "lacks the tensor encoder.layer.1.output.dense.bias"),
        (not_finite, "holds 1 NaN or infinite values of 4096"),
        (narrower, "has shape [63, 64] where config.json implies [64, 64]"),
    ],
)
def test_a_checkpoint_that_a_build_refuses_is_refused_in_the_same_words(
    change: Callable[[Tensors], Tensors], said: str, bertc: Bertc, tmp_path: Path
) -> None:
    """Its facts are told all the same, and JSON stays JSON."""
    folder = write_tiny_bert(tmp_path / "model")
    assert bertc("inspect", folder, "--json").json["refused"] is None
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    (tmp_path / "text.txt").write_text("".join(f"{tiny_sentence(seed, 6)}\n" for seed in range(9)), encoding="utf-8")
    options = ("--unvalidated", "--calibration-data", tmp_path / "text.txt", "--no-cache", "-q")
    built = bertc("build", folder, "-o", tmp_path / "out", *options)
    assert built.code == 2 and said in built.err
    told = bertc("inspect", folder)
    assert (told.code, told.err.splitlines()[-1]) == (2, built.err.splitlines()[-1]) and "layers" in told.out
    found = bertc("inspect", folder, "--json")
    assert found.code == 2 and found.json["layers"] == 2
    assert found.json["refused"]["exit_code"] == 2
    assert f"error: {found.json['refused']['reason']}" == built.err.splitlines()[-1]


@pytest.mark.parametrize(("name", "sizes"), [("config.json", {"positions": 2}), ("tokenizer_config.json", {})])
def test_a_checkpoint_without_room_for_text_is_refused_as_a_build_refuses_it(
    name: str, sizes: dict[str, int], bertc: Bertc, tmp_path: Path
) -> None:
    folder = write_tiny_bert(tmp_path / "model", **sizes)  # type: ignore[arg-type]
    if not sizes:
        (folder / name).write_text('{"model_max_length": 2}', encoding="utf-8")
    called = bertc("inspect", folder)
    said = "has 2 positions, which the 2 special tokens fill" if sizes else "choose one from 3 to 128"
    assert called.code == 2 and said in called.err
    (tmp_path / "text.txt").write_text("a text\n", encoding="utf-8")
    options = ("--unvalidated", "--calibration-data", tmp_path / "text.txt", "--no-cache", "-q")
    assert bertc("build", folder, "-o", tmp_path / "out", *options).err.splitlines()[-1] == called.err.splitlines()[-1]
