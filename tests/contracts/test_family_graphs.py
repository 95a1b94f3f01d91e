"""What the graph of every family that is more than BERT under other names obeys, in rows, last layers, modes, dialects.

Whoever adds a family with a feature of its own adds its name to `FAMILIES`, and its tiny checkpoint to
`tests/tiny_families.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx_ir as ir
import pytest

from bertc.calibrate.gram import grams_from_batches
from bertc.calibrate.method import RangeMethod
from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.plugins import TARGETS
from bertc.core.progress import Silent
from bertc.errors import InputError
from bertc.export.ort import lower as ort
from bertc.export.ort import lower_cuda
from bertc.export.tensorrt import lower as tensorrt
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.ir.last_layer import slice_last_layer
from bertc.ir.sites import GEMM_INPUTS, GEMM_OUTPUTS, Role, Site
from bertc.quantize.correction import correction_from_grams
from bertc.quantize.insert import quantize_graph
from bertc.runtime.cuda.cuda_runtime import CudaRuntime
from bertc.runtime.cuda.lacking import check_steps
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.plan_files import PLAN
from bertc.targets import Target, target_from_name
from tests.artefacts import Bertc
from tests.contracts.test_dialects import each_dialect
from tests.tiny import (
    LAYERS,
    TinyModel,
    calibrated,
    engine_scheme,
    quantized,
    random_features,
    rms,
    run_engine,
    tiny_scheme,
)
from tests.tiny_families import tasks_of_family, write_tiny_family

FAMILIES = ("mpnet", "albert", "electra", "deberta-v2", "modernbert", "t5", "eurobert", "nomic-bert", "gte", "xlnet")
REFUSED = {"deberta-v2": (lower_cuda, tensorrt), "xlnet": (lower_cuda, tensorrt)}
"""Dialects that say in a sentence that they do not have a family's feature."""

SCHEMES = [("1", None), ("2", None), ("2", "channel"), ("3", None)]
FEATURES = random_features(7)
ROWS = ((0, 3, 5), (2,), (6, 1), (4,))
APART = batch_from_features(FEATURES, range(len(FEATURES)))
PACKED = packed_batch_from_features(FEATURES, ROWS)
IN_ROW_ORDER = batch_from_features(FEATURES, PACKED.order)
LEFT = Batch(
    input_ids=APART.input_ids[:, ::-1].copy(),
    token_type_ids=APART.token_type_ids[:, ::-1].copy(),
    mask=APART.mask[:, ::-1].copy(),
    order=APART.order,
)
FamilyOf = Callable[[str], TinyModel]
NOT_WRITTEN = ("modernbert", "t5", "eurobert", "nomic-bert", "gte")
WRITE_LESS = ("bertc.export.ort.lower_cuda", "bertc.export.tensorrt.lower")
"""Dialects that refuse the families before them (`tests/ir/test_rotary.py`, `tests/ir/test_rms_norm.py`)."""

each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="session")
def family_of(tmp_path_factory: pytest.TempPathFactory) -> FamilyOf:
    """Give a function that makes a family's calibrated tiny classifier, or what embeds texts, once: read only."""
    made: dict[str, TinyModel] = {}

    def of(family: str) -> TinyModel:
        if family not in made:
            classifies = "sequence-classification" in tasks_of_family(family)
            task = "sequence-classification" if classifies else "feature-extraction"
            checkpoint = checkpoint_from_path(write_tiny_family(tmp_path_factory.mktemp(family), family, task=task))
            graph = graph_from_checkpoint(checkpoint)
            features = random_features(32)
            table = calibrated(graph, features)
            made[family] = TinyModel(checkpoint=checkpoint, graph=graph, features=features, table=table)
        return made[family]

    return of


def is_refused(dialect: ModuleType, family: str, graph: ir.Model) -> bool:
    """Say whether a dialect does not have the family's feature, and see that it says so."""
    if dialect not in REFUSED.get(family, ()):
        return False
    with pytest.raises(InputError, match=r"which bertc does not write for [\w' ]+; build it with --target native"):
        dialect.lower_graph(graph)
    return True


def skip_refused(dialect: ModuleType, family: str) -> None:
    if family in NOT_WRITTEN and dialect.__name__ in WRITE_LESS:
        pytest.skip("this dialect refuses rotary positions and RMSNorm")


def answer_of(graph: ir.Model) -> str:
    """Return the name of what the head gives for each text: logits, or an embedding."""
    return str(graph.graph.outputs[-1].name)


def logits(graph: ir.Model, batch: Batch) -> np.ndarray:
    return Interpreter(graph).run(batch)[answer_of(graph)]


@each_family
def test_sentences_that_share_a_row_answer_as_apart(family: str, family_of: FamilyOf) -> None:
    graph = family_of(family).graph
    expected = logits(graph, IN_ROW_ORDER)
    np.testing.assert_allclose(logits(graph, PACKED), expected, atol=1e-5)
    blind = Batch(
        input_ids=PACKED.input_ids,
        token_type_ids=PACKED.token_type_ids,
        mask=np.minimum(PACKED.mask, 1),
        order=PACKED.order,
    )
    assert np.abs(logits(graph, blind)[0] - expected[0]).max() > 1e-4


@each_family
@pytest.mark.parametrize("scheme", [None, ("2", "channel"), ("3", None)])
def test_a_last_layer_for_first_tokens_gives_the_same_answers(
    family: str, scheme: tuple[str, str | None] | None, family_of: FamilyOf
) -> None:
    model = family_of(family)
    graph = model.graph if scheme is None else quantized(model, tiny_scheme(*scheme)).graph
    cut = slice_last_layer(graph)
    for batch in (APART, LEFT, PACKED):
        expected = logits(graph, batch)
        np.testing.assert_allclose(logits(cut, batch), expected, atol=1e-5)
        if scheme is None:
            (found,) = run_engine(ort.lower_graph(cut), batch, [answer_of(graph)])
            np.testing.assert_allclose(found, expected, atol=1e-5)


@each_dialect
@each_family
def test_a_dialect_keeps_the_float_function(dialect: ModuleType, family: str, family_of: FamilyOf) -> None:
    skip_refused(dialect, family)
    graph = family_of(family).graph
    if is_refused(dialect, family, graph):
        return
    (found,) = run_engine(dialect.lower_graph(graph), APART, [answer_of(graph)])
    np.testing.assert_allclose(found, logits(graph, APART), atol=1e-4)


@each_dialect
@each_family
@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_every_mode_lowers_to_the_simulator_s_numbers(
    dialect: ModuleType, family: str, mode: str, granularity: str | None, family_of: FamilyOf
) -> None:
    skip_refused(dialect, family)
    model = family_of(family)
    if is_refused(dialect, family, model.graph):
        return
    scheme = tiny_scheme(mode, granularity).without_roles(frozenset(dialect.FLOAT_ROLES))
    graph = quantized(model, scheme).graph
    exact, simulated = logits(model.graph, model.batch), logits(graph, model.batch)
    (found,) = run_engine(dialect.lower_graph(graph), model.batch, [answer_of(graph)])
    assert rms(found - simulated) <= 0.3 * rms(simulated - exact) + 1e-6 * rms(exact)


def refuses(target: Target, graph: ir.Model) -> bool:
    """Say whether a target's dialect, or the compiler of plans, refuses a float graph."""
    try:
        lowered = target.onnx_from_graph(graph)
        if PLAN in target.runtime.model_files:
            plan, _ = plan_from_graph(lowered)
            if isinstance(target.runtime, CudaRuntime):
                check_steps(plan.steps, target.runtime.precision)
    except InputError as error:
        assert any(feature in str(error) for feature in ("positions", "distances", "RMSNorm", "heads of 24"))
        return "heads of 24" not in str(error)  # the width of the tiny T5's, which is no feature of the family
    return False


@pytest.mark.parametrize("name", TARGETS.names())
def test_a_target_says_what_its_dialect_does_with_positions_and_norms(name: str, family_of: FamilyOf) -> None:
    target = target_from_name(name)
    assert refuses(target, family_of("deberta-v2").graph) is not target.distance_embeddings
    assert refuses(target, family_of("modernbert").graph) is not target.rotary_positions
    assert refuses(target, family_of("t5").graph) is not target.rms_norm
    assert not refuses(target, family_of("mpnet").graph)
    assert refuses(target, family_of("xlnet").graph) is not target.segments
    assert not refuses(target, family_of("albert").graph)


@pytest.mark.native
@pytest.mark.parametrize("family", ["deberta-v2", "modernbert", "t5", "xlnet"])
def test_a_target_refuses_a_model_before_any_text_is_read(
    family: str, family_of: FamilyOf, bertc: Bertc, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object, **__: object) -> None:
        raise AssertionError("text was read")

    monkeypatch.setattr("bertc.jobs.build.inputs_from_recipe", read)
    monkeypatch.setattr("bertc.jobs.export.inputs_from_recipe", read)
    options = ("--calibration-data", rows, "--validation-data", rows, "--no-cache", "-q")
    model = family_of(family).checkpoint.path
    called = bertc("export", model, "-o", tmp_path / "out", "--target", "tensorrt", *options[:2], *options[4:])
    assert called.code == 2 and f"this model ({family}) has" in called.err
    assert "build it with --target native, --target ort-cpu or --target openvino" in called.err
    assert not list(tmp_path.iterdir())
    for command, more in (("export", options[:2] + options[4:]), ("build", options)):
        other = bertc(command, model, "-o", tmp_path / "out", *more)
        assert other.code == 70 and "text was read" in other.err, "the default runs it"


@pytest.mark.openvino
@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel"), ("3", None)])
@pytest.mark.parametrize("family", FAMILIES)
def test_openvino_computes_what_the_simulator_does(
    family: str, mode: str, granularity: str | None, family_of: FamilyOf, tmp_path: Path, openvino_int8: None
) -> None:
    model, target = family_of(family), target_from_name("openvino")
    graph = quantized(model, engine_scheme(tiny_scheme(mode, granularity))).graph
    exact, simulated = logits(model.graph, model.batch), logits(graph, model.batch)
    path = target.runtime.write_model(target.onnx_from_graph(graph), tmp_path)
    implied = target.implied_fusion(engine_scheme(tiny_scheme(mode, granularity)), model.checkpoint.architecture)
    fused = target.runtime.optimized_from_path(path).fused
    assert fused["layer_norm"] == implied["layer_norm"]  # or a build is refused
    engine = target.runtime.engine_from_path(path, threads=1)
    (found,) = engine.run(model.batch, [answer_of(graph)])
    engine.close()
    assert rms(found - simulated) <= 0.3 * rms(simulated - exact) + 1e-6 * rms(exact)


# --- layers that share their weights ----------------------------------------------------------------------------------

WEIGHTS_OF_LAYER = 4 * 64 * 64 + 2 * 64 * 128
"""Bytes of a tiny layer's GEMMs as codes."""


def codes_of_layers(graph: ir.Model, role: Role) -> list[np.ndarray]:
    return [array_of(graph.graph.initializers[f"{Site(layer, role)}.weight"]) for layer in range(LAYERS)]


def int8_bytes(model: ir.Model) -> int:
    arrays = [array_of(value) for value in model.graph.initializers.values()]
    return sum(array.nbytes for array in arrays if array.dtype == np.int8 and array.ndim == 2)


@pytest.mark.parametrize("mode, granularity", SCHEMES)
def test_shared_layers_have_the_same_codes_and_ranges_of_their_own(
    mode: str, granularity: str | None, family_of: FamilyOf
) -> None:
    model, scheme = family_of("albert"), tiny_scheme(mode, granularity)
    found = quantized(model, scheme)
    for role in GEMM_OUTPUTS:
        first, second = codes_of_layers(found.graph, role)
        np.testing.assert_array_equal(first, second)
    assert found.scales[Site(0, Role.CONTEXT)] != found.scales[Site(1, Role.CONTEXT)]


@pytest.mark.parametrize("family, copies", [("albert", 1), ("electra", LAYERS)])
def test_shared_layers_are_rounded_and_stored_once(family: str, copies: int, family_of: FamilyOf) -> None:
    model, scheme = family_of(family), engine_scheme(tiny_scheme("2", "channel"))
    sites = [Site(layer, role) for layer in range(LAYERS) for role in GEMM_INPUTS]
    grams = grams_from_batches(model.graph, model.features, sites, progress=Silent())
    correction = correction_from_grams(model.graph, model.table, scheme, grams, gptq=True, bias=True)
    first, second = (correction.gemms[Site(layer, Role.OUTPUT_GEMM)] for layer in range(LAYERS))
    assert np.array_equal(first.codes, second.codes) is (copies == 1)
    assert not np.array_equal(first.shift, second.shift)
    method = RangeMethod(percentile=99.99)
    graph = quantize_graph(model.graph, model.table, scheme, method, correction=correction).graph
    assert int8_bytes(ort.lower_graph(graph)) >= copies * WEIGHTS_OF_LAYER
    assert int8_bytes(ort.lower_graph(graph)) < (copies + 1) * WEIGHTS_OF_LAYER
    _, arrays = plan_from_graph(graph)
    panels = sum(array.nbytes for array in arrays.values() if array.dtype == np.int8)
    assert copies <= panels / WEIGHTS_OF_LAYER < copies + 1
