"""The simulator's numbers, computed again by hand in integers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.core.outputs import Output
from bertc.core.progress import Silent
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.sites import Role, Site
from bertc.quantize.sensitivity import sensitivity_from_graph
from tests.tiny import Array, TinyModel, quantized, random_features, rms, run_values, tiny_model, tiny_scheme

LOGITS = (Output(name="logits", per_token=False),)
GEMM = {
    Role.QUERY_GEMM: Role.HIDDEN,
    Role.ATTENTION_GEMM: Role.CONTEXT,
    Role.INTERMEDIATE_GEMM: Role.ATTENTION_NORM,
    Role.OUTPUT_GEMM: Role.ACTIVATION,
}


def codes_of(values: Array, scale: Array) -> Array:
    return np.clip(np.rint(values / scale), -128, 127).astype(np.int32)


@pytest.mark.parametrize("output, operand", GEMM.items())
@pytest.mark.parametrize("granularity", [None, "channel"])
def test_a_gemm_is_an_integer_product_requantized(
    output: Role, operand: Role, granularity: str | None, tiny_classifier: TinyModel
) -> None:
    found = quantized(tiny_classifier, tiny_scheme("2", granularity))
    gemm, site = Site(1, output), Site(1, operand)
    names = [site.name, f"{site.name}.codes", gemm.name, f"{gemm.name}.codes", f"{gemm.name}.dequantized"]
    values, codes, product, out_codes, floats = run_values(found.graph, tiny_classifier.batch, names)

    np.testing.assert_array_equal(codes, codes_of(values, found.scales[site]))
    initializers = found.graph.graph.initializers
    weight = array_of(initializers[f"{gemm.name}.weight"]).astype(np.int32)
    weight_scale = array_of(initializers[f"{gemm.name}.weight_scale"]).astype(np.float64)
    accumulated = codes.astype(np.int32) @ weight
    exact = accumulated * (float(found.scales[site]) * weight_scale)
    np.testing.assert_allclose(product, exact, atol=1e-4)
    expected = codes_of(exact, found.scales[gemm].astype(np.float64))
    off = np.abs(out_codes.astype(np.int32) - expected)
    assert off.max() <= 1 and np.mean(off > 0) < 1e-3  # ties, decided by float32
    np.testing.assert_allclose(floats, out_codes * found.scales[gemm], rtol=1e-6)
    assert np.abs(out_codes).max() == 127


def test_attention_s_inside_is_quantized_as_written(tiny_classifier: TinyModel) -> None:
    """scores raw, before 1/sqrt(d) and mask; probs on a grid that ends at 1."""
    found = quantized(tiny_classifier, tiny_scheme("3"))
    layer = "layer.0"
    names = [f"{layer}.{part}" for part in ("query.dequantized", "key.dequantized", "scores", "scores.codes")]
    names += [f"{layer}.probs", f"{layer}.probs.codes"]
    query, key, scores, scores_codes, probs, probs_codes = run_values(found.graph, tiny_classifier.batch, names)
    rows, length, _ = query.shape
    split = [each.reshape(rows, length, 2, 32).transpose(0, 2, 1, 3) for each in (query, key)]
    np.testing.assert_allclose(scores, split[0] @ split[1].swapaxes(2, 3), atol=1e-4)
    np.testing.assert_array_equal(scores_codes, codes_of(scores, found.scales[Site(0, Role.SCORES)]))
    masked = np.where(
        tiny_classifier.batch.mask[:, None, None, :] == 1,
        scores_codes * (found.scales[Site(0, Role.SCORES)] / np.sqrt(np.float32(32))),
        -np.inf,
    )
    powers = np.exp(masked - masked.max(axis=-1, keepdims=True))
    np.testing.assert_allclose(probs, powers / powers.sum(axis=-1, keepdims=True), atol=1e-5)
    assert found.scales[Site(0, Role.PROBS)] == np.float32(1 / 127)
    np.testing.assert_array_equal(probs_codes, codes_of(probs, np.float32(1 / 127)))


def test_more_roles_in_int8_cost_more_and_none_cost_nothing(tiny_classifier: TinyModel) -> None:
    batch = tiny_classifier.batch
    exact = Interpreter(tiny_classifier.graph).run(batch)["logits"]

    def error(mode: str, granularity: str | None = None, **options: object) -> float:
        found = quantized(tiny_classifier, tiny_scheme(mode, granularity, **options))
        return rms(Interpreter(found.graph).run(batch)["logits"] - exact)

    assert error("3", keep_float=("layer.0", "layer.1")) == 0
    partly, whole = error("1", keep_float=("layer.0",)), error("1")
    assert 0 < partly < whole < error("2") < 0.2 * rms(exact)


def test_the_site_with_a_ruined_range_is_the_most_sensitive(tiny_classifier: TinyModel) -> None:
    ruined = Site(1, Role.ACTIVATION)
    table = tiny_classifier.table
    spoiled = type(table)(
        sites=table.sites,
        smoothed=table.smoothed,
        smoothing=table.smoothing,
        exponent=table.exponent,
        overrides={ruined: table.smoothed[ruined].amax / 50},
    )
    for each in (table, spoiled):
        model = TinyModel(
            checkpoint=tiny_classifier.checkpoint,
            graph=tiny_classifier.graph,
            features=tiny_classifier.features,
            table=each,
        )
        found = quantized(model, tiny_scheme("2", "channel"))
        errors = sensitivity_from_graph(found, each, model.features, LOGITS, progress=Silent())
        assert errors.keys() == found.scales.keys() and all(error >= 0 for error in errors.values())
        worst = max(errors, key=lambda site: errors[site])
        assert (worst == ruined) is (each is spoiled)


def test_without_a_quantized_site_nothing_is_sensitive(tiny_classifier: TinyModel) -> None:
    found = quantized(tiny_classifier, tiny_scheme("1", keep_float=("layer.0", "layer.1")))
    assert not sensitivity_from_graph(found, tiny_classifier.table, tiny_classifier.features, LOGITS, progress=Silent())


def test_sensitivity_reads_every_label_where_there_are_as_many_as_tokens(tmp_path: Path) -> None:
    labels = [f"label {number}" for number in range(12)]
    model = tiny_model(tmp_path, labels=labels)
    features = random_features(24, shortest=3, longest=len(labels))
    assert max(feature.length for feature in features) == len(labels) > min(feature.length for feature in features)
    found = quantized(model, tiny_scheme("1"))
    turned = replace(found, graph=found.graph.clone())
    for kind in ("weight", "bias"):
        value = turned.graph.graph.initializers[f"head.classifier_gemm.{kind}"]
        value.const_value = ir.tensor(np.ascontiguousarray(array_of(value)[..., ::-1]), name=value.name)
    errors, other = (
        sensitivity_from_graph(each, model.table, features, LOGITS, progress=Silent()) for each in (found, turned)
    )
    assert other == pytest.approx(errors, rel=1e-4), "the order of the labels means nothing"
