"""Second moments of the GEMM inputs over text: what rounding, pruning and the choice of ranges weigh errors with.

A GEMM's output error for a change D of its weights is trace(D^T X^T X D), so X^T X is all that has to be kept of the
text (Hassibi & Stork 1992; Frantar et al. 2022, arXiv:2208.11580).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.core.batch import batches_from_features
from bertc.core.feature import Feature
from bertc.core.progress import Progress
from bertc.errors import InputError
from bertc.ir.interpret import Interpreter
from bertc.ir.sites import GEMM_INPUTS, Site

TOKENS_PER_BATCH = 1024
SAMPLE = 768
"""Tokens of each site that are kept as they are."""


@dataclass(frozen=True, slots=True)
class Gram:
    """The sum over `rows` tokens of x x^T, float64 [channels, channels], and of x, float64 [channels].

    `sample` holds some of the tokens, float32 [tokens, channels].
    """

    rows: int
    matrix: NDArray[np.float64]
    total: NDArray[np.float64]
    sample: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))

    def divided(self, factors: NDArray[np.float32]) -> Gram:
        """Return the moments of x / factors."""
        inverse = 1 / factors.astype(np.float64)
        return Gram(self.rows, self.matrix * np.outer(inverse, inverse), self.total * inverse, self.sample / factors)

    def selected(self, channels: NDArray[np.int64]) -> Gram:
        """Return the moments of some channels, in their order; a channel may come more than once."""
        matrix = self.matrix[np.ix_(channels, channels)]
        return Gram(self.rows, matrix, self.total[channels], self.sample[:, channels])

    @property
    def mean(self) -> NDArray[np.float64]:
        """The mean of x."""
        return self.total / self.rows

    @property
    def centred(self) -> NDArray[np.float64]:
        """The sum of (x - mean) (x - mean)^T."""
        return self.matrix - np.outer(self.total, self.mean)


def grams_from_batches(
    graph: ir.Model, features: Sequence[Feature], sites: Sequence[Site], *, progress: Progress
) -> dict[Site, Gram]:
    """Run a float graph over the features and sum up the sites' second moments, padding left out.

    `sites` are GEMM inputs (hidden, context, attention_norm, gelu). Raises `InputError` when there is no text, or
    values are not finite.
    """
    if not features:
        raise InputError("there is no calibration text; name a file with --calibration-data")
    assert all(site.role in GEMM_INPUTS for site in sites)
    interpreter = Interpreter(graph, observe_sites=True)
    batches = list(batches_from_features(features, TOKENS_PER_BATCH))
    step = max(1, sum(feature.length for feature in features) // SAMPLE)
    sampled = sum(len(range(0, int(np.count_nonzero(batch.mask)), step)) for batch in batches)
    sums: dict[Site, Gram] = {}
    rows = taken = 0
    progress.stage("second moments", total=len(features))
    for batch in batches:
        visible = batch.mask.astype(bool)
        for site, values in interpreter.run_sites(batch, sites):
            tokens = values[visible]
            if not np.isfinite(tokens).all():
                raise InputError(f"{site} is not finite on the calibration text; the checkpoint's weights overflow")
            if site not in sums:
                sums[site] = _empty_gram(tokens.shape[1], sampled)
            gram, some = sums[site], tokens[::step]
            # Float32 within a batch, where BLAS is fast and a thousand terms lose nothing; float64 across batches.
            np.add(gram.matrix, tokens.T @ tokens, out=gram.matrix)
            np.add(gram.total, tokens.sum(axis=0, dtype=np.float64), out=gram.total)
            # Into an array of its own: a view would keep the tokens of all batches, a copy the heap around it.
            gram.sample[taken : taken + len(some)] = some
        rows += int(visible.sum())
        taken += len(range(0, int(visible.sum()), step))
        progress.advance(batch.size)
    return {site: replace(gram, rows=rows) for site, gram in sums.items()}


def _empty_gram(channels: int, sampled: int) -> Gram:
    return Gram(0, np.zeros((channels, channels)), np.zeros(channels), np.empty((sampled, channels), np.float32))
