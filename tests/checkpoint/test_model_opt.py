"""ModelOpt's formats, smoothing and masks: INT8 ranges are used, and what is none is refused or undone."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.checkpoint.quantizers import ranges_from_checkpoint
from bertc.errors import InputError
from tests.foreign import change, scalar, tensors_of, write_foreign

torch = pytest.importorskip("torch")
DENSE = "bert.encoder.layer.0.output.dense"
INT8 = {"_num_bits": 8, "_axis": None, "_disabled": False, "_block_sizes": None}


def write_state(folder: Path, quantizers: dict[str, dict[str, Any]], extra: Any = None) -> Path:
    """Write what ModelOpt's save_pretrained leaves beside the weights."""
    part = {"config": {"extra": extra}, "metadata": {"quantizer_state": quantizers}}
    torch.save(
        {"modelopt_state_dict": [("quantize", part)], "modelopt_version": "0.47.0"}, folder / "modelopt_state.pth"
    )
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_foreign(tmp_path / "model", "model_opt")


def test_int8_is_read_as_before(folder: Path) -> None:
    before = ranges_from_checkpoint(checkpoint_from_path(folder))
    off = INT8 | {"_num_bits": (4, 3), "_disabled": True}
    write_state(folder, {f"{DENSE}.input_quantizer": INT8, "bert.embeddings.word_embeddings.input_quantizer": off})
    checkpoint = checkpoint_from_path(folder)
    assert ranges_from_checkpoint(checkpoint) == before
    (note,) = checkpoint.notes
    assert note.startswith("2 of the checkpoint's quantizers stand where no INT8 mode quantizes (first: classifier")


def test_an_unknown_format_is_said(folder: Path) -> None:
    assert checkpoint_from_path(folder).notes[-1].startswith("ModelOpt's modelopt_state.pth is not there")
    older = checkpoint_from_path(write_foreign(folder.parent / "older", "qdqbert"))
    assert not any("ModelOpt" in note for note in older.notes)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"_num_bits": (4, 3)}, r"the floating-point format \(4, 3\), so"),
        ({"_num_bits": (2, 1), "_block_sizes": {-1: 16}}, r"the floating-point format \(2, 1\) in blocks"),
        ({"_num_bits": 4}, "has 4 bits, so its range is none of INT8"),
        ({"_block_sizes": {-1: 128}}, "has 8 bits in blocks"),
    ],
)
def test_other_formats_are_refused_where_their_ranges_would_be_used(
    folder: Path, state: dict[str, Any], told: str
) -> None:
    write_state(folder, {f"{DENSE}.input_quantizer": INT8 | state})
    checkpoint = checkpoint_from_path(folder)
    with pytest.raises(InputError, match=rf"modelopt_state\.pth: the quantizer {DENSE}.input_quantizer.*{told}"):
        ranges_from_checkpoint(checkpoint)


class Evil:
    """Runs code where it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


def test_nothing_in_the_state_is_run(folder: Path) -> None:
    touched = folder / "touched"
    write_state(folder, {f"{DENSE}.input_quantizer": INT8}, Evil(str(touched)))
    assert ranges_from_checkpoint(checkpoint_from_path(folder)) is not None
    assert not touched.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all"])
def test_a_damaged_state(folder: Path, content: bytes) -> None:
    (folder / "modelopt_state.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"modelopt_state\.pth is damaged"):
        ranges_from_checkpoint(checkpoint_from_path(folder))


@pytest.mark.parametrize("damage", ["compressed", "locked", "newer"])
def test_a_state_whose_archive_is_damaged(folder: Path, damage: str) -> None:
    path = folder / "modelopt_state.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("state/data.pkl", bytes(100))
    content = bytearray(path.read_bytes())
    listed = content.index(b"PK\x01\x02")  # the archive's own list, which has the flags that are read
    changed = {"compressed": 30 + len("state/data.pkl"), "locked": listed + 8, "newer": listed + 6}[damage]
    content[changed] = {"compressed": 0xFF, "locked": 1, "newer": 0x7F}[damage]
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"modelopt_state\.pth is damaged"):
        ranges_from_checkpoint(checkpoint_from_path(folder))


def test_a_state_without_settings(folder: Path) -> None:
    torch.save({"a": 1}, folder / "modelopt_state.pth")
    with pytest.raises(InputError, match=r"modelopt_state\.pth has no quantizers' settings"):
        ranges_from_checkpoint(checkpoint_from_path(folder))


def test_smoothing_is_undone(folder: Path) -> None:
    """x s (W / s)^T is x W^T: the stored weight is divided by what its input is multiplied with."""
    weight = tensors_of(folder)[f"{DENSE}.weight"]
    scale = np.random.default_rng(0).uniform(0.3, 3, weight.shape[1]).astype(np.float32)
    smoothed = {f"{DENSE}.weight": weight / scale, f"{DENSE}.input_quantizer._pre_quant_scale": scale}
    change(folder, **smoothed)
    checkpoint = checkpoint_from_path(folder)
    np.testing.assert_allclose(checkpoint.weights.array(f"{DENSE.removeprefix('bert.')}.weight"), weight, rtol=1e-6)
    assert ranges_from_checkpoint(checkpoint) is None
    assert checkpoint.notes[0].startswith("ModelOpt's smoothing of 1 weights was undone")


@pytest.mark.parametrize("scale", [np.ones(3, np.float32), np.zeros(128, np.float32), scalar(1)])
def test_a_smoothing_that_fits_no_weight(folder: Path, scale: Any) -> None:
    change(folder, **{f"{DENSE}.input_quantizer._pre_quant_scale": scale})
    with pytest.raises(InputError, match="_pre_quant_scale fits no weight"):
        checkpoint_from_path(folder)


def test_a_mask_names_its_cure(folder: Path) -> None:
    change(folder, **{f"{DENSE}._weight_mask": np.ones((64, 128), np.float32)})
    with pytest.raises(InputError, match=r"call mts\.export\(model\) before saving"):
        checkpoint_from_path(folder)


def test_an_onnx_file_is_no_checkpoint(folder: Path) -> None:
    graph = folder / "model.onnx"
    graph.write_bytes(b"\x08\x0a")
    with pytest.raises(InputError, match=r"model\.onnx is an ONNX file, an exported graph; give its folder"):
        checkpoint_from_path(graph)
    assert checkpoint_from_path(folder).family == "bert"
