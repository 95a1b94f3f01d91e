"""Arrays as values: what is equal, what comes back, and what is none."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from bertc.core.array_value import Packed, packed_from_array
from bertc.core.keys import key_of

ARRAYS = [np.zeros((0, 4), np.float32), np.float32([[1.5, -0.0], [np.pi, 1e-38]]), np.arange(24, dtype=np.float32)]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.shape))
def test_an_array_comes_back_from_json_as_it_was(array: np.ndarray) -> None:
    document = json.loads(json.dumps(asdict(packed_from_array(array))))
    found = Packed(tuple(document["shape"]), document["numbers"])
    assert found == packed_from_array(array) and hash(found) == hash(packed_from_array(array))
    assert found.array().dtype == np.float32 and found.array().tobytes() == array.tobytes()
    assert found.array().shape == array.shape


def test_other_numbers_or_shapes_are_other_values_with_other_keys() -> None:
    values = [packed_from_array(each) for each in (ARRAYS[2], ARRAYS[2] + 1, ARRAYS[2].reshape(4, 6))]
    assert len(set(values)) == 3 and len({json.dumps(key_of(value)) for value in values}) == 3


@pytest.mark.parametrize("shape", [(25,), (5, 5), (23,), (2, 3)])
def test_numbers_of_another_count_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"cannot reshape|longer than it may be"):
        Packed(shape, packed_from_array(ARRAYS[2]).numbers)
