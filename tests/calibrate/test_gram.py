"""Second moments of the GEMM inputs: over real tokens, whatever the batches."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from bertc.calibrate import gram
from bertc.calibrate.gram import grams_from_batches
from bertc.core.progress import Silent
from bertc.errors import InputError
from bertc.ir.interpret import Interpreter
from bertc.ir.sites import Role, Site
from tests.tiny import TinyModel

SITES = (Site(0, Role.HIDDEN), Site(1, Role.ACTIVATION))


def tokens_of(model: TinyModel, site: Site) -> np.ndarray:
    """All real tokens' vectors, [tokens, channels]."""
    ((_, values),) = Interpreter(model.graph, observe_sites=True).run_sites(model.batch, [site])
    return values[model.batch.mask.astype(bool)].astype(np.float64)


def test_moments_are_those_of_all_real_tokens(tiny_classifier: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (1, 100_000):
        monkeypatch.setattr(gram, "TOKENS_PER_BATCH", size)
        found = grams_from_batches(tiny_classifier.graph, tiny_classifier.features, SITES, progress=Silent())
        for site in SITES:
            x = tokens_of(tiny_classifier, site)
            assert found[site].rows == len(x)
            np.testing.assert_allclose(found[site].matrix, x.T @ x, rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(found[site].mean, x.mean(axis=0), rtol=1e-4, atol=1e-5)
            centred = x - x.mean(axis=0)
            np.testing.assert_allclose(found[site].centred, centred.T @ centred, rtol=1e-3, atol=1e-3)


def test_the_sample_is_of_the_tokens_and_bounded(tiny_classifier: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "SAMPLE", 50)
    found = grams_from_batches(tiny_classifier.graph, tiny_classifier.features, SITES, progress=Silent())
    x = tokens_of(tiny_classifier, SITES[0])
    sample = found[SITES[0]].sample
    assert 25 <= len(sample) <= 100
    assert all(np.isclose(x, token, atol=1e-5).all(axis=1).any() for token in sample)


def test_moments_of_divided_values(tiny_classifier: TinyModel) -> None:
    found = grams_from_batches(tiny_classifier.graph, tiny_classifier.features, SITES[:1], progress=Silent())[SITES[0]]
    factors = np.linspace(0.5, 2, len(found.matrix), dtype=np.float32)
    x = tokens_of(tiny_classifier, SITES[0]) / factors
    np.testing.assert_allclose(found.divided(factors).matrix, x.T @ x, rtol=1e-4, atol=1e-4)


def test_no_text_is_refused(tiny_classifier: TinyModel) -> None:
    with pytest.raises(InputError, match="no calibration text"):
        grams_from_batches(tiny_classifier.graph, (), SITES, progress=Silent())


def test_memory_does_not_grow_with_the_text(tiny_classifier: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample that was a view of a batch's tokens once kept all tokens of all batches: 5 GiB of 256 questions."""
    monkeypatch.setattr(gram, "TOKENS_PER_BATCH", 200)
    monkeypatch.setattr(gram, "SAMPLE", 16)

    def peak(times: int) -> int:
        tracemalloc.start()
        grams_from_batches(tiny_classifier.graph, tiny_classifier.features * times, SITES, progress=Silent())
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(1)
    tokens = sum(feature.length for feature in tiny_classifier.features)
    channels = sum(tokens_of(tiny_classifier, site).shape[1] for site in SITES)
    assert peak(20) - peak(2) < 18 * tokens * channels * 4 / 4, "a quarter of the text's activations"
