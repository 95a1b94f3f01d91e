"""Corrections in the Q/DQ graph: codes and biases are those that were computed, and the mean error goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.calibrate.gram import Gram, grams_from_batches
from bertc.calibrate.method import RangeMethod
from bertc.core.outputs import Output
from bertc.core.progress import Silent
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.emit import array_of
from bertc.ir.sites import GEMM_INPUTS, GEMM_OUTPUTS, Role, Site
from bertc.quantize.correction import Correction, correction_from_grams, output_divergence, weight_scales
from bertc.quantize.insert import Quantized, quantize_graph
from bertc.quantize.smooth import smooth_graph
from tests.tiny import LAYERS, TinyModel, random_features, tiny_checkpoint, tiny_scheme

LOGITS = (Output(name="logits", per_token=False),)
SITES = tuple(Site(layer, role) for layer in range(LAYERS) for role in GEMM_INPUTS)


@pytest.fixture(scope="module")
def grams(tiny_classifier: TinyModel) -> dict[Site, Gram]:
    return grams_from_batches(tiny_classifier.graph, tiny_classifier.features, SITES, progress=Silent())


def quantized(model: TinyModel, correction: Correction, mode: str = "1") -> Quantized:
    scheme = tiny_scheme(mode, "channel" if mode == "2" else None)
    return quantize_graph(model.graph, model.table, scheme, RangeMethod(), correction=correction)


@pytest.mark.parametrize("mode", ["1", "2"])
def test_the_graph_holds_the_corrected_codes_and_biases(
    tiny_classifier: TinyModel, grams: dict[Site, Gram], mode: str
) -> None:
    scheme = tiny_scheme(mode, "channel" if mode == "2" else None)
    correction = correction_from_grams(
        tiny_classifier.graph, tiny_classifier.table, scheme, grams, gptq=True, bias=True
    )
    assert {site.role for site in correction.gemms} == set(GEMM_OUTPUTS)
    plain, corrected = (
        quantized(tiny_classifier, which, mode).graph.graph.initializers for which in (Correction(), correction)
    )
    changed = 0
    for gemm, rounded in correction.gemms.items():
        assert np.array_equal(array_of(corrected[f"{gemm.name}.weight"]), rounded.codes)
        shift = array_of(corrected[f"{gemm.name}.bias"]) - array_of(plain[f"{gemm.name}.bias"])
        np.testing.assert_allclose(shift, rounded.shift, atol=1e-6)
        changed += not np.array_equal(array_of(plain[f"{gemm.name}.weight"]), rounded.codes)
        scale = array_of(plain[f"{gemm.name}.weight_scale"])
        assert np.array_equal(scale, array_of(corrected[f"{gemm.name}.weight_scale"]))
    assert changed == len(correction.gemms)


def test_the_bias_takes_the_mean_error_of_each_gemm(tiny_classifier: TinyModel, grams: dict[Site, Gram]) -> None:
    scheme = tiny_scheme("1")
    floats = smooth_graph(tiny_classifier.graph, tiny_classifier.table, scheme).graph.initializers
    for gptq in (False, True):
        correction = correction_from_grams(
            tiny_classifier.graph, tiny_classifier.table, scheme, grams, gptq=gptq, bias=True
        )
        site, gemm = Site(0, Role.ACTIVATION), Site(0, Role.OUTPUT_GEMM)
        weights = array_of(floats[f"{gemm.name}.weight"])
        (scale,) = weight_scales([weights], scheme)
        mean = grams[site].divided(tiny_classifier.table.smoothing[site]).mean
        lost = mean @ (weights - correction.gemms[gemm].codes * scale)
        np.testing.assert_allclose(correction.gemms[gemm].shift, lost, rtol=1e-3, atol=1e-6)
        assert np.abs(lost).max() > 0


def test_sites_in_float_are_not_rounded(tiny_classifier: TinyModel, grams: dict[Site, Gram]) -> None:
    scheme = tiny_scheme("1", keep_float=("gelu",))
    correction = correction_from_grams(
        tiny_classifier.graph, tiny_classifier.table, scheme, grams, gptq=True, bias=False
    )
    assert not any(gemm.role is Role.OUTPUT_GEMM for gemm in correction.gemms)
    assert not any(rounded.shift.any() for rounded in correction.gemms.values())


def test_divergence_is_zero_for_the_float_graph_and_only_for_it(tiny_classifier: TinyModel) -> None:
    graphs = {"itself": lambda: tiny_classifier.graph, "int8": lambda: quantized(tiny_classifier, Correction()).graph}
    errors = output_divergence(tiny_classifier.graph, graphs, tiny_classifier.features, LOGITS, Silent())
    assert errors["itself"] == 0 < errors["int8"]


def test_as_many_labels_as_tokens_are_still_labels(tmp_path: Path) -> None:
    labels = [f"label {number}" for number in range(12)]
    graph = graph_from_checkpoint(tiny_checkpoint(tmp_path, labels=labels))
    features = random_features(24, shortest=3, longest=len(labels))
    assert max(feature.length for feature in features) == len(labels) > min(feature.length for feature in features)

    def shifted() -> ir.Model:
        model = graph.clone()
        bias = model.graph.initializers["head.classifier_gemm.bias"]
        bias.const_value = ir.tensor(array_of(bias) + np.float32([*[0] * 11, 2]), name=bias.name)
        return model

    errors = output_divergence(graph, {"shifted": shifted}, features, LOGITS, Silent())
    assert errors["shifted"] == pytest.approx(4 / len(labels))
