"""Other tools' checkpoints: their quantizers' buffers become ranges of sites, and no parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.checkpoint.quantizers import QuantizerRanges, ranges_from_checkpoint
from bertc.checkpoint.write import write_checkpoint
from bertc.errors import InputError
from bertc.ir.sites import Role, Site
from tests.fixtures import write_tiny_bert
from tests.foreign import FASTER_TRANSFORMER, LAYERS, amax_of, change, scalar, tensors_of, write_foreign

INPUT = "bert.encoder.layer.1.intermediate.dense._input_quantizer._amax"
WEIGHT = "bert.encoder.layer.0.output.dense._weight_quantizer._amax"
EVERY = {
    Site(layer, Role(role)): amax_of(layer, module)
    for layer in range(LAYERS)
    for module, role in FASTER_TRANSFORMER.items()
}


def ranges_of(checkpoint: Checkpoint) -> QuantizerRanges | None:
    return ranges_from_checkpoint(checkpoint)


def found_in(folder: Path) -> QuantizerRanges:
    ranges = ranges_of(checkpoint_from_path(folder))
    assert ranges is not None
    return ranges


@pytest.mark.parametrize("per_channel", [False, True])
def test_faster_transformer_has_every_site(tmp_path: Path, per_channel: bool) -> None:
    ranges = found_in(write_foreign(tmp_path, per_channel=per_channel))
    assert ranges.sites == EVERY
    assert not ranges.notes


@pytest.mark.parametrize("tool", ["qdqbert", "model_opt"])
def test_tools_without_gemm_outputs(tmp_path: Path, tool: str) -> None:
    ranges = found_in(write_foreign(tmp_path, tool))
    lacking = {role for role in Role if role.endswith("_gemm")} | {Role.SCORES}
    assert ranges.sites == {site: amax for site, amax in EVERY.items() if site.role not in lacking}
    assert not ranges.notes


def test_an_output_quantizer_stands_behind_the_bias(tmp_path: Path) -> None:
    """ModelOpt quantizes a linear layer's whole result, so Q's is `query` and no `query_gemm`."""
    write_foreign(tmp_path, "model_opt")
    change(
        tmp_path,
        **{
            "bert.encoder.layer.0.attention.self.q_bmm_quantizer._amax": None,
            "bert.encoder.layer.0.attention.self.query.output_quantizer._amax": scalar(9),
            "bert.encoder.layer.0.output.dense.output_quantizer._amax": scalar(8),
        },
    )
    sites = found_in(tmp_path).sites
    assert sites[Site(0, Role.QUERY)] == 9
    assert not {Site(0, Role.QUERY_GEMM), Site(0, Role.OUTPUT_GEMM)} & sites.keys()


def test_tensorflow_s_names_are_the_same_model(tmp_path: Path) -> None:
    ours = checkpoint_from_path(write_foreign(tmp_path / "torch"))
    theirs = checkpoint_from_path(write_foreign(tmp_path / "tensorflow", "tensorflow"))
    assert set(ours.weights) == set(theirs.weights)
    for name in ours.weights:
        assert theirs.weights.shape(name) == ours.weights.shape(name)
        np.testing.assert_array_equal(theirs.weights.array(name), ours.weights.array(name))
        assert "/" not in theirs.weights.stored_name(name)
    assert theirs.parameters == ours.parameters
    assert ranges_of(theirs) == ranges_of(ours)


def test_buffers_are_no_parameters_but_part_of_the_digest(tmp_path: Path) -> None:
    plain = checkpoint_from_path(write_tiny_bert(tmp_path / "plain", dtype="float32", positions=64))
    foreign = checkpoint_from_path(write_foreign(tmp_path / "foreign"))
    assert set(foreign.weights) == set(plain.weights)
    assert foreign.parameters == plain.parameters
    assert ranges_of(plain) is None
    change(tmp_path / "foreign", **{INPUT: scalar(7)})
    assert checkpoint_from_path(tmp_path / "foreign").digest != foreign.digest


def test_a_table_in_the_folder_is_no_part_of_the_digest(tmp_path: Path) -> None:
    before = checkpoint_from_path(write_tiny_bert(tmp_path)).digest
    (tmp_path / "calibration.json").write_text("{}", encoding="utf-8")
    assert checkpoint_from_path(tmp_path).digest == before


def test_buffers_of_one_tensor_that_differ_give_the_largest(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    change(tmp_path, **{"bert.encoder.layer.1.attention.self.value._input_quantizer._amax": scalar(6)})
    ranges = found_in(tmp_path)
    assert ranges.sites[Site(1, Role.HIDDEN)] == 6
    (note,) = ranges.notes
    assert "disagree at 1 sites (first: layer.1.hidden, 2 to 6)" in note


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 0.0])
@pytest.mark.parametrize("name", [INPUT, WEIGHT])
def test_ranges_that_are_none(tmp_path: Path, name: str, value: float) -> None:
    write_foreign(tmp_path)
    change(tmp_path, **{name: scalar(value)})
    with pytest.raises(InputError, match=r"_quantizer\._amax is .*, not positive and finite; .*--calibration-data"):
        found_in(tmp_path)


def test_an_activation_has_one_range(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    change(tmp_path, **{INPUT: np.full((1, 1, 1), 5, np.float32)})
    assert found_in(tmp_path).sites[Site(1, Role.ATTENTION_NORM)] == 5
    change(tmp_path, **{INPUT: np.full(64, 5, np.float32)})
    with pytest.raises(InputError, match=r"shape \[64\], but an activation has one range"):
        found_in(tmp_path)


def test_a_weight_beyond_its_range_is_told(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    largest = tensors_of(tmp_path)[WEIGHT]
    change(tmp_path, **{WEIGHT: np.asarray(largest / 2, np.float32)})
    (note,) = found_in(tmp_path).notes
    assert note.startswith("1 weights exceed the range")
    assert "encoder.layer.0.output.dense.weight, by 100.0%" in note
    change(tmp_path, **{WEIGHT: np.asarray(largest * 2, np.float32)})
    assert not found_in(tmp_path).notes


def test_a_weight_s_range_of_another_width(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    change(tmp_path, **{WEIGHT: np.ones((3, 1), np.float32)})
    with pytest.raises(InputError, match=r"shape \[3, 1\], which is neither one range nor one for each of the 64"):
        found_in(tmp_path)


def test_an_emptied_channel_may_have_the_range_0_and_no_other(tmp_path: Path) -> None:
    write_foreign(tmp_path, per_channel=True)
    name = "bert.encoder.layer.0.output.dense.weight"
    weight, amax = (np.array(tensors_of(tmp_path)[key]) for key in (name, WEIGHT))
    amax[5] = 0
    change(tmp_path, **{WEIGHT: amax})
    with pytest.raises(InputError, match=r"is 0 where .* is not"):
        found_in(tmp_path)
    weight[5] = 0
    change(tmp_path, **{name: weight})
    assert not found_in(tmp_path).notes


def test_a_quantizer_s_buffer_that_is_no_range(tmp_path: Path) -> None:
    write_foreign(tmp_path)
    change(tmp_path, **{INPUT.replace("_amax", "_zero_point"): scalar(1)})
    with pytest.raises(InputError, match=r"_zero_point is no range that bertc reads"):
        found_in(tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bert.encoder.layer.0.output.dense._weight_mask", r"call mts\.export\(model\) before saving"),
        ("bert.encoder.layer.0.amaxList", "packed the weights for a GPU"),
    ],
)
def test_converted_weights_are_not_the_model_s(tmp_path: Path, name: str, message: str) -> None:
    write_foreign(tmp_path)
    change(tmp_path, **{name: np.ones(128, np.float32)})
    with pytest.raises(InputError, match=message):
        checkpoint_from_path(tmp_path)


def test_masks_of_asp_are_no_parameters(tmp_path: Path) -> None:
    before = checkpoint_from_path(write_tiny_bert(tmp_path, dtype="float32"))
    mask = np.ones((64, 64), np.float32)
    prefix = "bert.encoder.layer.0.attention.self.query"
    change(tmp_path, **{f"{prefix}.__weight_mma_mask": mask, f"{prefix}.__weight_mma_pruned_p": mask})
    after = checkpoint_from_path(tmp_path)
    assert set(after.weights) == set(before.weights)
    assert (after.parameters, after.ignored_bytes) == (before.parameters, before.ignored_bytes + 2 * mask.nbytes)


@pytest.mark.parametrize("tool", ["faster_transformer", "tensorflow"])
def test_a_rewritten_checkpoint_has_the_weights_and_no_ranges(tmp_path: Path, tool: str) -> None:
    """Ranges belong to weights; changed weights take none along."""
    before = checkpoint_from_path(write_foreign(tmp_path / "before", tool))
    (tmp_path / "after").mkdir()
    write_checkpoint(before, tmp_path / "after", {})
    after = checkpoint_from_path(tmp_path / "after")
    assert set(after.weights) == set(before.weights)
    for name in before.weights:
        np.testing.assert_array_equal(after.weights.array(name), before.weights.array(name))
    assert before.quantizers
    assert not after.quantizers
