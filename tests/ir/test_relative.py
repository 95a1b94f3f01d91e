"""The buckets of distances are transformers', at every distance."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.ir.relative import buckets_of_distances

LONGEST = 512


@pytest.mark.parametrize("buckets, longest", [(32, 128), (64, 128), (32, 200)])
def test_buckets_are_those_of_transformers(buckets: int, longest: int) -> None:
    torch = pytest.importorskip("torch")
    mpnet = pytest.importorskip("transformers.models.mpnet.modeling_mpnet")
    distances = np.arange(-LONGEST, LONGEST + 1)
    bucket = mpnet.MPNetEncoder.relative_position_bucket
    expected = bucket(torch.tensor(distances), num_buckets=buckets, max_distance=longest).numpy()
    found = buckets_of_distances(buckets, longest)[np.clip(distances, -longest, longest) + longest]
    assert found.tolist() == expected.tolist() and set(expected) == set(range(buckets)) - {buckets // 2}


def test_the_direction_matters() -> None:
    found = buckets_of_distances(32, 128)
    assert len(found) == 257 and not np.array_equal(found, found[::-1])
