"""How many sites of each role a scheme quantizes, pinned. A changed count has to be changed here by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bertc.ir.sites import GEMM_INPUTS, Role
from tests.tiny import LAYERS, TinyModel, engine_scheme, quantized, tiny_scheme

GOLDEN = Path(__file__).parents[1] / "golden"
CASES = json.loads((GOLDEN / "counts.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scheme"])
def test_counts_per_role_are_the_golden_ones(case: dict, tiny_classifier: TinyModel) -> None:
    options = case["options"]
    scheme = tiny_scheme(options["mode"], options.get("granularity"), keep_float=tuple(options.get("keep_float", ())))
    scheme = engine_scheme(scheme) if options.get("engine") else scheme
    found = quantized(tiny_classifier, scheme)
    assert {str(role): number for role, number in found.counts.items()} == case["counts"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scheme"])
def test_the_graph_holds_as_many_pairs_as_the_counts_say(case: dict, tiny_classifier: TinyModel) -> None:
    options = case["options"]
    scheme = tiny_scheme(options["mode"], options.get("granularity"), keep_float=tuple(options.get("keep_float", ())))
    scheme = engine_scheme(scheme) if options.get("engine") else scheme
    found = quantized(tiny_classifier, scheme)
    inner = sum(found.counts.get(role, 0) for role in (Role.PROBS, Role.SCORES))
    sites = sum(found.counts.values()) - found.counts.get("weights", 0)
    nodes = [node.op_type for node in found.graph.graph]
    assert nodes.count("QuantizeLinear") == sites - inner
    assert len(found.scales) == sites
    residuals = sum(str(node.outputs[0].name).endswith(".residual") for node in found.graph.graph)
    assert nodes.count("DequantizeLinear") == sites - inner + found.counts.get("weights", 0) + residuals
    codes = [v for v in found.graph.graph.initializers.values() if v.name.endswith("_gemm.weight")]
    assert sum(str(value.dtype) == "INT8" for value in codes) == found.counts.get("weights", 0)


def test_every_mode_and_granularity_is_pinned() -> None:
    pinned = {(case["options"]["mode"], case["options"].get("granularity", "own")) for case in CASES}
    assert pinned >= {("1", "own"), ("2", "own"), ("2", "channel"), ("3", "own"), ("3", "channel")}
    assert len({case["scheme"] for case in CASES}) == len(CASES)


def test_weights_are_codes_exactly_where_their_input_is(tiny_classifier: TinyModel) -> None:
    """Six GEMMs: three read hidden, one each the other three inputs."""
    for role, number in zip(GEMM_INPUTS, (3, 1, 1, 1), strict=True):
        less = quantized(tiny_classifier, tiny_scheme("1", keep_float=(str(role),)))
        assert less.counts["weights"] == LAYERS * (6 - number)
