"""Files that torch pickled: plain weights are read, everything else is refused and never run."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from bertc.checkpoint import checkpoint_from_path
from bertc.errors import EnvironmentLackError, InputError
from tests.fixtures import write_tiny_bert

FILE = "model.safetensors"


def torch_twin(folder: Path, dtype: str = "float32") -> Path:
    """Replace the safetensors file by torch's own of the same values."""
    torch = pytest.importorskip("torch")
    tensors = safetensors.numpy.load_file(folder / FILE)
    kind = getattr(torch, dtype)
    torch.save(
        {name: torch.from_numpy(array).to(kind) for name, array in tensors.items()}, folder / "pytorch_model.bin"
    )
    (folder / FILE).unlink()
    return folder


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch_files_hold_the_same(tmp_path: Path, dtype: str) -> None:
    plain = checkpoint_from_path(write_tiny_bert(tmp_path / "plain", dtype="float16"))
    torch = checkpoint_from_path(torch_twin(write_tiny_bert(tmp_path / "torch", dtype="float16"), dtype))
    assert torch.parameters == plain.parameters
    for name in plain.weights:
        values = torch.weights.array(name)
        assert torch.weights.shape(name) == values.shape
        np.testing.assert_allclose(values, plain.weights.array(name), rtol=2**-8 if dtype == "bfloat16" else 0)


def test_safetensors_win_over_torch(tiny: Path) -> None:
    (tiny / "pytorch_model.bin").write_bytes(b"not even a pickle")
    assert checkpoint_from_path(tiny).parameters > 0


def test_torch_files_need_torch(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tiny / FILE).rename(tiny / "pytorch_model.bin")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EnvironmentLackError, match=r"pip install 'bertc\[train\]'"):
        checkpoint_from_path(tiny)


class Hostile:
    """Pickles to a call of `os.mkdir`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [None, 0, 2, 4, 5])
def test_a_hostile_pickle_is_not_run(tiny: Path, tmp_path: Path, protocol: int | None) -> None:
    torch = pytest.importorskip("torch")
    (tiny / FILE).unlink()
    touched = tmp_path / "touched"
    if protocol is None:
        torch.save({"a": Hostile(touched)}, tiny / "pytorch_model.bin")
    else:
        (tiny / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Hostile(touched)}, protocol=protocol))
    with pytest.raises(InputError, match=r"holds (code or objects beside|more than plain) weights"):
        checkpoint_from_path(tiny)
    assert not touched.exists()


@pytest.mark.parametrize("content", [b"not even a pickle", b"\x80\x02nonsense", b"PK\x03\x04" + bytes(100)])
def test_a_damaged_pickle(tiny: Path, content: bytes) -> None:
    pytest.importorskip("torch")
    (tiny / FILE).unlink()
    (tiny / "pytorch_model.bin").write_bytes(content)
    with pytest.raises(InputError, match=r"pytorch_model\.bin is (truncated or )?damaged"):
        checkpoint_from_path(tiny)


@pytest.mark.parametrize("size", [0, 10, 1000, -100])
def test_truncated_torch_files(tiny: Path, size: int) -> None:
    path = torch_twin(tiny) / "pytorch_model.bin"
    os.truncate(path, size if size >= 0 else path.stat().st_size + size)
    with pytest.raises(InputError, match=r"pytorch_model\.bin is truncated or damaged"):
        checkpoint_from_path(tiny)


@pytest.mark.parametrize("content", [[1, 2], {"a": 3}, {}, {1: 2}])
def test_torch_files_of_something_else(tiny: Path, content: Any) -> None:
    torch = pytest.importorskip("torch")
    (tiny / FILE).unlink()
    torch.save(content, tiny / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"no named tensors|no plain tensor"):
        checkpoint_from_path(tiny)
