"""The targets that run attention's two products in INT8 too, `native` and `openvino`: what both owe, tested alike."""

from __future__ import annotations

import json
import sys
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.errors import EnvironmentLackError
from bertc.export.embeddings import store_embeddings
from bertc.ir.interpret import Interpreter
from bertc.runtime.native import library
from bertc.runtime.optimized import INT8_ATTENTION, Optimized, check_fusion
from bertc.targets import Target, target_from_name
from tests.artefacts import Bertc
from tests.conftest import TinyOf
from tests.tiny import LAYERS, OUTPUTS, Array, TinyModel, quantized, rms, tiny_scheme

BAR = 0.3
"""Largest rms(engine - simulator) over rms(simulator - float), as docs/modes.md has it."""

BAR_OF_MAXIMA = 0.4
"""The same for maxima over the tokens of a tiny random model, where one code that tips is an answer: 0.309 on a CPU."""

SCHEMES = [("1", None), ("2", None), ("2", "channel"), ("3", None)]
NAMES = ("native", "openvino")
FUSED = {
    "native": {"attention": 2, "int8_attention": 2, "layer_norm": 5},
    "openvino": {"attention": 2, "int8_attention": 2, "layer_norm": 5, "gelu": 2},
}
RUNTIMES = {"native": "bertc ", "openvino": r"openvino 20\d\d"}
LACKING = {"native": "without its native engine", "openvino": "bertc[openvino]"}


@dataclass(frozen=True, slots=True)
class Engine:
    """A target, and a folder that its files are written to."""

    target: Target
    folder: Path

    def graph(self, model: TinyModel, mode: str | None, granularity: str | None = None, *kept: str) -> ir.Model:
        """Return what the target is given in a scheme; mode None is float."""
        if mode is None:
            return model.graph
        scheme = tiny_scheme(mode, granularity, keep_float=kept)
        if self.target.name == "native":
            model = replace(model, graph=store_embeddings(model.graph).graph)
            scheme = replace(scheme, one_sided=scheme.per_channel, split_outliers=scheme.per_channel)
        return quantized(model, scheme).graph

    def write(self, graph: ir.Model) -> Path:
        """Write the files; return the one to open."""
        return self.target.runtime.write_model(self.target.onnx_from_graph(graph), self.folder)

    def optimized(self, graph: ir.Model) -> Optimized:
        """Return what the runtime makes of a graph."""
        return self.target.runtime.optimized_from_path(self.write(graph))

    def answers(self, graph: ir.Model, model: TinyModel, name: str) -> Array:
        """Return what the engine answers to the model's batch."""
        engine = self.target.runtime.engine_from_path(self.write(graph), threads=1)
        try:
            (found,) = engine.run(model.batch, [name])
            return found
        finally:
            engine.close()


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in NAMES])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Each of both; skipped where its library is missing, or this CPU cannot run OpenVINO's INT8 exactly."""
    if request.param == "openvino":
        request.getfixturevalue("openvino_int8")
    return Engine(target_from_name(request.param), tmp_path)


@pytest.fixture(params=NAMES)
def lacking(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> str:
    """Make a machine on which a target's library is missing; return the target's name."""
    if request.param == "native":
        folder = tmp_path_factory.mktemp("installed")
        (folder / library.REASON).write_text("the package ziglang was not installed", encoding="utf-8")
        monkeypatch.setattr(library, "FOLDER", folder)
        library.digest_of_library.cache_clear()
    else:
        monkeypatch.setitem(sys.modules, "openvino", None)
    return str(request.param)


def test_a_build_without_the_library_is_code_3_and_writes_nothing(
    lacking: str, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    options = ("--calibration-data", rows, "--validation-data", rows, "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", "--target", lacking, *options)
    assert called.code == 3 and called.out == ""
    assert called.err.count("\n") == 1 and LACKING[lacking] in called.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "kept, attentions", [((), 2), (("scores", "probs"), 0), (("layer.0",), 1), (("layer.1.key",), 1), (("gelu",), 2)]
)
def test_int8_attention_is_implied_where_all_its_operands_are(
    name: str, kept: tuple[str, ...], attentions: int
) -> None:
    for mode, granularity in SCHEMES:
        expected = target_from_name(name).expected_fusion(tiny_scheme(mode, granularity, keep_float=kept), LAYERS)
        assert expected[INT8_ATTENTION] == attentions


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_all_products_of_every_layer_run_in_int8(
    mode: str, granularity: str | None, tiny_classifier: TinyModel, engine: Engine
) -> None:
    found = engine.optimized(engine.graph(tiny_classifier, mode, granularity))
    assert (found.gemms_int8, found.gemms_float) == (6 * LAYERS, 0)
    assert found.fused == FUSED[engine.target.name]
    if engine.target.name == "native":
        assert found.float_gemms == ("head.dense_0_active", "logits")
    expected = engine.target.expected_fusion(tiny_scheme(mode, granularity), LAYERS)
    check_fusion(found, expected=expected, gemms_int8=6 * LAYERS)


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("task", OUTPUTS)
def test_the_engine_is_close_to_the_simulator(
    mode: str, granularity: str | None, task: str, tiny_of: TinyOf, engine: Engine
) -> None:
    model = tiny_of(task)
    name = OUTPUTS[task][0]
    graph = engine.graph(model, mode, granularity)
    exact, simulated = (Interpreter(each).run(model.batch)[name] for each in (model.graph, graph))
    found = engine.answers(graph, model, name)
    mask = model.batch.mask.astype(bool)
    if exact.shape[:2] == mask.shape:
        exact, simulated, found = exact[mask], simulated[mask], found[mask]
    assert rms(found - exact) > 0
    bar = BAR_OF_MAXIMA if task == "sparse-embedding" else BAR
    assert rms(found - simulated) <= bar * rms(simulated - exact)


@pytest.mark.parametrize(
    "kept, int8, attentions",
    [
        ("layer.0", 6, 1),
        ("hidden", 6, 2),
        ("context", 10, 2),
        ("gelu", 10, 2),
        ("probs", 12, 0),
        ("query", 12, 0),
        ("value", 12, 0),
    ],
)
def test_what_is_kept_in_float_is_counted_as_float(
    kept: str, int8: int, attentions: int, tiny_classifier: TinyModel, engine: Engine
) -> None:
    found = engine.optimized(engine.graph(tiny_classifier, "1", None, kept))
    assert (found.gemms_int8, found.gemms_float) == (int8, 6 * LAYERS - int8)
    assert found.fused[INT8_ATTENTION] == attentions
    assert engine.target.expected_fusion(tiny_scheme("1", keep_float=(kept,)), LAYERS)[INT8_ATTENTION] == attentions


def test_a_graph_that_stayed_in_float_is_exact_and_refused_as_int8(
    tiny_classifier: TinyModel, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertc.runtime.native.bf16_choice.multiplies_bf16", lambda: False)  # else only nearly
    exact = Interpreter(tiny_classifier.graph).run(tiny_classifier.batch)["logits"]
    found = engine.answers(tiny_classifier.graph, tiny_classifier, "logits")
    np.testing.assert_allclose(found, exact, atol=1e-4)
    optimized = engine.optimized(tiny_classifier.graph)
    assert (optimized.gemms_int8, optimized.gemms_float, optimized.fused[INT8_ATTENTION]) == (0, 12, 0)
    expected = engine.target.expected_fusion(tiny_scheme("1"), LAYERS)
    runtime = RUNTIMES[engine.target.name]
    with pytest.raises(EnvironmentLackError, match=f"{runtime}.*int8_attention: 0 of 2, INT8 GEMMs: 0 of 12"):
        check_fusion(optimized, expected=expected, gemms_int8=12)
    int8 = engine.optimized(engine.graph(tiny_classifier, "1"))
    with pytest.raises(EnvironmentLackError, match="int8_attention: 1 of 2"):
        check_fusion(replace(int8, fused={**int8.fused, INT8_ATTENTION: 1}), expected=expected, gemms_int8=12)


def test_several_callers_get_what_one_gets(tiny_classifier: TinyModel, engine: Engine) -> None:
    """In copies; OpenVINO's threads take turns."""
    opened = engine.target.runtime.engine_from_path(engine.write(engine.graph(tiny_classifier, "1")), threads=2)
    (first,) = opened.run(tiny_classifier.batch, ["logits"])
    found: list[Array] = []

    def call() -> None:
        found.extend(opened.run(tiny_classifier.batch, ["logits"])[0] for _ in range(5))

    workers = [threading.Thread(target=call) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    opened.close()
    assert len(found) == 20
    for each in found:
        np.testing.assert_allclose(each, first, rtol=0, atol=0 if engine.target.name == "native" else 1e-5)


def test_a_pruned_build_is_verified_2_4(
    engine: Engine, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    out, name = tmp_path / "out", engine.target.name
    options = ("--calibration-data", rows, "--unvalidated", "--no-cache", "-q", "--sparsity", "2:4")
    called = bertc("build", classifier, "-o", out, "--target", name, *options)
    assert called.code == 0, called.err
    sparsity = json.loads((out / "report.json").read_text(encoding="utf-8"))["sparsity"]
    assert sparsity["verified"] is True and sparsity["tensors"] == 12
    if name == "native":
        assert bool(sparsity["products"]) is not bool(sparsity["unused"]), "products run 2:4, or it is said why not"
