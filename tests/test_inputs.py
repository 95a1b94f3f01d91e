"""What a recipe names, read and checked before anything slow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.errors import EnvironmentLackError, InputError
from bertc.graph.scheme import DEFAULT_SMOOTHING
from bertc.graph.sites import Site
from bertc.inputs import (
    calibration_from_recipe,
    checked_target,
    exponent_from_recipe,
    gates_from_recipe,
    given_table,
    layers_of,
    length_from_recipe,
    scheme_from_recipe,
    validation_from_recipe,
)
from bertc.recipe import Recipe, recipe_from_document
from bertc.runtime.cpu import Cpu
from bertc.targets import target_from_name
from tests.fixtures import tiny_sentence, write_tiny_bert

TEXTS = [tiny_sentence(seed, 5) for seed in range(12)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint_from_path(write_tiny_bert(tmp_path_factory.mktemp("tiny"), positions=48))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "data.tsv"
    lines = [f"{text}\t{('negative', 'positive')[index % 2]}" for index, text in enumerate(TEXTS)]
    path.write_text("text\tlabel\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def recipe(**sections: Any) -> Recipe:
    return recipe_from_document({"checkpoint": "tiny", **sections}, "test")


def test_calibration_text_has_no_labels_and_validation_text_has(checkpoint: Checkpoint, data: Path) -> None:
    wanted = recipe(calibration={"data": str(data), "samples": 5}, validation={"data": str(data)})
    calibration = calibration_from_recipe(wanted, checkpoint)
    validation = validation_from_recipe(wanted, checkpoint)
    assert validation is not None
    assert [row.label for row in calibration.rows] == [None] * 5
    assert [row.label for row in validation.rows] == [index % 2 for index in range(len(TEXTS))]
    assert len(calibration.features) == 5
    assert calibration.path == str(data)


def test_the_sample_depends_on_the_seed_alone(checkpoint: Checkpoint, data: Path) -> None:
    def hashes(seed: int) -> list[str]:
        wanted = recipe(calibration={"data": str(data), "samples": 5, "seed": seed})
        return [row.hash for row in calibration_from_recipe(wanted, checkpoint).rows]

    assert hashes(0) == hashes(0)
    assert hashes(0) != hashes(1)


def test_the_limit_takes_rows_away_and_changes_the_digest(checkpoint: Checkpoint, data: Path) -> None:
    whole = validation_from_recipe(recipe(validation={"data": str(data)}), checkpoint)
    part = validation_from_recipe(recipe(validation={"data": str(data), "limit": 4}), checkpoint)
    assert whole is not None
    assert part is not None
    assert len(part.rows) == 4
    assert {row.hash for row in part.rows} < {row.hash for row in whole.rows}
    assert part.digest != whole.digest


def test_no_validation_data_has_to_be_asked_for(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="--unvalidated"):
        validation_from_recipe(recipe(), checkpoint)
    assert validation_from_recipe(recipe(validation={"unvalidated": True}), checkpoint) is None


def test_no_calibration_text(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="--calibration-data"):
        calibration_from_recipe(recipe(), checkpoint)


def test_gates_are_read_before_anything_runs(checkpoint: Checkpoint, data: Path) -> None:
    encoded = validation_from_recipe(recipe(validation={"data": str(data)}), checkpoint)
    assert [gate.metric for gate in gates_from_recipe(recipe(), checkpoint.head, encoded)] == ["accuracy"]
    assert gates_from_recipe(recipe(), checkpoint.head, None) == ()
    with pytest.raises(InputError, match="bleu"):
        gates_from_recipe(recipe(validation={"gates": ["bleu:1%"]}), checkpoint.head, encoded)


@pytest.mark.parametrize(("asked", "length"), [(None, 48), (48, 48), (8, 8)])
def test_lengths(checkpoint: Checkpoint, asked: int | None, length: int) -> None:
    assert length_from_recipe(recipe(engine={"max_length": asked}), checkpoint) == length


def test_a_length_beyond_the_positions(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="48 positions"):
        length_from_recipe(recipe(engine={"max_length": 49}), checkpoint)


@pytest.mark.parametrize(("positions", "length"), [(64, 64), (512, 384)])
def test_questions_have_their_own_length(tmp_path: Path, positions: int, length: int) -> None:
    path = write_tiny_bert(tmp_path, task="question-answering", positions=positions)
    assert length_from_recipe(recipe(), checkpoint_from_path(path)) == length


def test_features_are_cut_to_the_length(checkpoint: Checkpoint, data: Path) -> None:
    wanted = recipe(validation={"data": str(data)}, engine={"max_length": 8})
    encoded = validation_from_recipe(wanted, checkpoint)
    assert encoded is not None
    assert max(feature.length for feature in encoded.features) == 8
    assert any(feature.truncated for feature in encoded.features)


def test_the_scheme_leaves_out_what_the_target_cannot_run(checkpoint: Checkpoint) -> None:
    target = target_from_name("ort-cpu")
    whole, part = (scheme_from_recipe(recipe(), checkpoint, wanted) for wanted in (None, target))
    assert whole is not None
    assert part is not None
    roles = frozenset(target.FLOAT_ROLES)
    assert part == replace(whole.without_roles(roles), one_sided=True, split_outliers=True)
    assert any(whole.quantizes(Site(0, role)) for role in roles)
    assert not any(part.quantizes(Site(0, role)) for role in roles)
    assert scheme_from_recipe(recipe(), checkpoint, target_from_name("float")) is None


@pytest.mark.parametrize(
    "target, mode, one_sided", [("openvino", "1", True), ("openvino", "2", False), ("tensorrt", "1", False)]
)
def test_a_zero_point_is_for_targets_that_have_them_and_for_scales_per_column(
    target: str, mode: str, one_sided: bool, checkpoint: Checkpoint
) -> None:
    found = scheme_from_recipe(recipe(quantization={"mode": mode}), checkpoint, target_from_name(target))
    assert found is not None and found.one_sided is found.split_outliers is one_sided


def test_exponents(checkpoint: Checkpoint) -> None:
    assert layers_of(checkpoint) == 2
    assert exponent_from_recipe(recipe()) == DEFAULT_SMOOTHING
    assert exponent_from_recipe(recipe(quantization={"smoothing": 0.5})) == 0.5
    assert exponent_from_recipe(recipe(quantization={"smoothing": 0})) == DEFAULT_SMOOTHING, "the table keeps factors"


def test_a_target_is_asked_whether_the_machine_can_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = Cpu(vendor="none", model="old", machine="x86_64", features=frozenset({"avx2"}), cores=1)
    monkeypatch.setattr("bertc.inputs.cpu_features", lambda: weak)
    with pytest.raises(EnvironmentLackError, match="VNNI"):
        checked_target("ort-cpu")
    assert checked_target("float") is target_from_name("float")
    with pytest.raises(InputError, match="ort-cpu"):
        checked_target("ort-gpu")


def test_a_table_belongs_to_its_checkpoint(checkpoint: Checkpoint, tmp_path: Path) -> None:
    empty: dict[str, Any] = {key: {} for key in ("origin", "sites", "smoothed", "smoothing", "overrides")}
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"schema": 1, "exponent": None, "checkpoint": checkpoint.digest, **empty}))
    assert given_table(str(path), checkpoint).checkpoint == checkpoint.digest
    path.write_text(json.dumps({"schema": 1, "exponent": None, "checkpoint": "other", **empty}))
    with pytest.raises(InputError, match="another checkpoint"):
        given_table(str(path), checkpoint)
