"""What a recipe names, read and checked before anything slow."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bertc.calibrate.carried import given_table
from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.data.encoded import Streamed
from bertc.errors import EnvironmentLackError, InputError
from bertc.ir.scheme import DEFAULT_SMOOTHING
from bertc.ir.sites import Site
from bertc.jobs.inputs import (
    Proof,
    calibration_from_recipe,
    gates_from_recipe,
    inputs_from_recipe,
    length_of_inputs,
    proof_from_recipe,
)
from bertc.jobs.plan import checked_target, plan_from_recipe, scheme_from_recipe
from bertc.recipe import Recipe, recipe_from_document
from bertc.runtime.machine.cpu import Cpu
from bertc.targets import target_from_name
from tests.fixtures import tiny_sentence, write_tiny_bert

LENGTH = 48
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


def validated(wanted: Recipe, checkpoint: Checkpoint, max_length: int = LENGTH) -> Streamed:
    """Read the validation text."""
    proof = proof_from_recipe(wanted.validation, checkpoint, max_length)
    assert isinstance(proof, Proof)
    return proof.texts


def test_calibration_text_has_no_labels_and_validation_text_has(checkpoint: Checkpoint, data: Path) -> None:
    wanted = recipe(calibration={"data": str(data), "samples": 5}, validation={"data": str(data)})
    calibration = calibration_from_recipe(wanted.calibration, checkpoint, LENGTH)
    validation = validated(wanted, checkpoint)
    assert [row.label for row in calibration.rows] == [None] * 5
    assert [row.label for row in validation.rows] == [index % 2 for index in range(len(TEXTS))]
    assert len(calibration.features) == 5
    assert calibration.path == str(data)


def test_the_sample_depends_on_the_seed_alone(checkpoint: Checkpoint, data: Path) -> None:
    def hashes(seed: int) -> list[str]:
        wanted = recipe(calibration={"data": str(data), "samples": 5, "seed": seed})
        return [row.hash for row in calibration_from_recipe(wanted.calibration, checkpoint, LENGTH).rows]

    assert hashes(0) == hashes(0)
    assert hashes(0) != hashes(1)


def test_the_limit_takes_rows_away_and_changes_the_digest(checkpoint: Checkpoint, data: Path) -> None:
    whole = validated(recipe(validation={"data": str(data)}), checkpoint)
    part = validated(recipe(validation={"data": str(data), "limit": 4}), checkpoint)
    assert len(part.rows) == 4
    assert {row.hash for row in part.rows} < {row.hash for row in whole.rows}
    assert part.digest != whole.digest


def test_no_validation_data_has_to_be_asked_for(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="--unvalidated"):
        proof_from_recipe(recipe().validation, checkpoint, LENGTH)
    assert proof_from_recipe(recipe(validation={"unvalidated": True}).validation, checkpoint, LENGTH) is None


def test_no_calibration_text(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="--calibration-data"):
        calibration_from_recipe(recipe().calibration, checkpoint, LENGTH)


def test_gates_are_read_before_anything_runs(checkpoint: Checkpoint, data: Path) -> None:
    proof = proof_from_recipe(recipe(validation={"data": str(data)}).validation, checkpoint, LENGTH)
    assert proof is not None and [gate.metric for gate in proof.gates] == ["accuracy"]
    unlabelled = gates_from_recipe(recipe().validation, checkpoint.head, labelled=False)
    assert [gate.metric for gate in unlabelled] == ["agreement", "divergence"]
    with pytest.raises(InputError, match="bleu"):
        gates_from_recipe(recipe(validation={"gates": ["bleu:1%"]}).validation, checkpoint.head, labelled=True)


@pytest.mark.parametrize(("asked", "length"), [(None, 48), (48, 48), (8, 8)])
def test_lengths(checkpoint: Checkpoint, asked: int | None, length: int) -> None:
    assert length_of_inputs(checkpoint, asked) == length


def test_a_length_beyond_the_positions(checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="48 positions"):
        length_of_inputs(checkpoint, 49)


@pytest.mark.parametrize(("positions", "length"), [(64, 64), (512, 384)])
def test_questions_have_their_own_length(tmp_path: Path, positions: int, length: int) -> None:
    path = write_tiny_bert(tmp_path, task="question-answering", positions=positions)
    assert length_of_inputs(checkpoint_from_path(path), None) == length


def test_features_are_cut_to_the_length(checkpoint: Checkpoint, data: Path) -> None:
    wanted = recipe(validation={"data": str(data)})
    texts = validated(wanted, checkpoint, 8)
    features = texts.sample().features
    assert max(feature.length for feature in features) == 8 == texts.lengths.max()
    assert any(feature.truncated for feature in features)


def test_the_scheme_leaves_out_what_the_target_cannot_run(checkpoint: Checkpoint) -> None:
    target = target_from_name("ort-cpu")
    whole = scheme_from_recipe(recipe().quantization, layers=2)
    part = plan_from_recipe(recipe(engine={"target": "ort-cpu"}), checkpoint, longest=LENGTH).scheme
    assert part is not None
    roles = frozenset(target.float_roles)
    assert part == replace(whole.without_roles(roles), one_sided=True, split_outliers=True)
    assert any(whole.quantizes(Site(0, role)) for role in roles)
    assert not any(part.quantizes(Site(0, role)) for role in roles)
    assert plan_from_recipe(recipe(engine={"target": "float"}), checkpoint, longest=LENGTH).scheme is None
    default = plan_from_recipe(recipe(), checkpoint, longest=LENGTH).scheme
    assert default == replace(whole, one_sided=True, split_outliers=True), "the default leaves nothing out"


@pytest.mark.parametrize(
    "target, mode, one_sided", [("openvino", "1", True), ("openvino", "2", False), ("tensorrt", "1", False)]
)
def test_a_zero_point_is_for_targets_that_have_them_and_for_scales_per_column(
    target: str, mode: str, one_sided: bool, checkpoint: Checkpoint
) -> None:
    wanted = recipe(quantization={"mode": mode}, engine={"target": target})
    found = plan_from_recipe(wanted, checkpoint, longest=LENGTH).scheme
    assert found is not None and found.one_sided is found.split_outliers is one_sided


@pytest.mark.parametrize(("asked", "exponent"), [(None, DEFAULT_SMOOTHING), (0.5, 0.5), (0, DEFAULT_SMOOTHING)])
def test_exponents(checkpoint: Checkpoint, data: Path, asked: float | None, exponent: float) -> None:
    wanted = recipe(quantization={"smoothing": asked}, calibration={"data": str(data)})
    scheme = scheme_from_recipe(wanted.quantization, layers=2)
    inputs = inputs_from_recipe(wanted, checkpoint, scheme, max_length=LENGTH)
    assert inputs.exponent == exponent, "a table keeps factors for those who want some"


def test_a_target_is_asked_whether_the_machine_can_run_it(monkeypatch: pytest.MonkeyPatch) -> None:
    weak = Cpu(vendor="none", model="old", machine="x86_64", features=frozenset({"avx2"}), cores=1)
    monkeypatch.setattr("bertc.jobs.plan.cpu_features", lambda: weak)
    with pytest.raises(EnvironmentLackError, match="VNNI"):
        checked_target("openvino")
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
