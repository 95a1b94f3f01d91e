"""Tensors read where they lie in the mapped file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bertc.checkpoint.safetensors_file import SafetensorsFile


def test_a_mapped_tensor_is_the_file_s_own_bytes(tmp_path: Path) -> None:
    tensors = {
        "floats": np.arange(6, dtype=np.float32).reshape(2, 3),
        "sums": np.arange(-2, 2, dtype=np.int32),
        "codes": np.arange(-5, 5, dtype=np.int8),
    }
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    file = SafetensorsFile(path)
    for name, tensor in tensors.items():
        found = file.mapped(name)
        np.testing.assert_array_equal(found, tensor)
        assert found.dtype == tensor.dtype and not found.flags.owndata
        begin = file.begin(name)
        assert path.read_bytes()[begin : begin + file.size(name)] == tensor.tobytes()
        with pytest.raises(ValueError, match="read-only"):
            found[...] = 0


def test_bf16_is_mapped_by_its_bits(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_tensors

    path = tmp_path / "a.safetensors"
    save_tensors({"halves": torch.tensor([1.0, -2.0], dtype=torch.bfloat16)}, path)
    found = SafetensorsFile(path).mapped("halves")
    assert found.dtype == np.uint16 and found.tolist() == [0x3F80, 0xC000] and not found.flags.owndata


def test_a_tensor_that_has_no_mapped_type_is_not_mapped(tmp_path: Path) -> None:
    save_file({"halves": np.zeros(2, np.float16)}, tmp_path / "a.safetensors")
    with pytest.raises(KeyError, match="F16"):
        SafetensorsFile(tmp_path / "a.safetensors").mapped("halves")
