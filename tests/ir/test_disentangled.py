"""Which row of the table of embeddings a distance has, as transformers computes it."""

from __future__ import annotations

import numpy as np
import pytest

from bertc.ir.architecture import RelativeEmbeddings
from bertc.ir.disentangled import rows_of_distances


def relative(buckets: int, longest: int) -> RelativeEmbeddings:
    return RelativeEmbeddings(embeddings="table", norm=None, buckets=buckets, longest=longest, keys=(), queries=())


@pytest.mark.parametrize(
    "buckets, longest",
    [(256, 512), (256, 128 + 2), (8, 128), (4, 50), (5, 64), (257, 512), (128, 2048), (320, 512), (0, 512), (0, 7)],
)
def test_every_distance_has_transformers_row(buckets: int, longest: int) -> None:
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    found = rows_of_distances(relative(buckets, longest))
    end = len(found) // 2
    distances = torch.arange(-4 * longest, 4 * longest + 1)
    bucket = theirs.make_log_bucket_position(distances, buckets, longest) if buckets else distances
    span = relative(buckets, longest).span
    expected = torch.clamp(bucket.long() + span, 0, 2 * span - 1).numpy()
    assert np.array_equal(found[np.clip(distances.numpy(), -end, end) + end], expected)


def test_a_table_ends_where_all_longer_distances_have_the_last_row() -> None:
    found = rows_of_distances(relative(8, 128))
    assert (found[0], found[-1]) == (0, 15)
    assert (np.diff(found) >= 0).all() and found[len(found) // 2] == 8
    assert rows_of_distances(relative(0, 3)).tolist() == [0, 1, 2, 3, 4, 5, 5]
