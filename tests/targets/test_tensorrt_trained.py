"""The files for TensorRT of a trained model with heads of 64 (`demo/model-head-64`), in every kind of attention.

ONNX Runtime runs them on the CPU, the kernel's node through its function's body. The bounds are those of docs/modes.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import batches_from_features
from bertc.core.progress import Silent
from bertc.export.tensorrt.kernel import KERNEL_DOMAIN, kernel_op
from bertc.export.tensorrt.limits import DECOMPOSED, KERNEL, NATIVE, PACKED
from bertc.export.tensorrt.lower import lower_graph
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.jobs.export import export
from bertc.jobs.inputs import length_of_inputs, proof_from_recipe
from bertc.recipe import Recipe, recipe_from_document
from bertc.tasks import task_from_name
from tests.tiny import Array, rms, run_engine

DEMO = Path(__file__).parents[2] / "demo"
MODEL = DEMO / "model-head-64"
SCHEMES = [("1", None), ("2", None), ("2", "channel")]
LAYERS = 2
OPERATOR = kernel_op(2, 64)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What `bertc export` writes, FP16, and the Q/DQ graph that it was lowered from; the simulator's logits."""

    file: ir.Model
    source: ir.Model
    simulated: Array


@dataclass(frozen=True, kw_only=True)
class Held:
    """The held-out messages: how to run a model over them, the float model's logits, and the labels' numbers."""

    logits_of: Callable[[Callable[..., Array]], Array]
    exact: Array
    labels: Array


ExportedOf = Callable[[str, str, str | None], Exported]


def recipe_of(attention: str, mode: str, granularity: str | None) -> Recipe:
    quantization = {"mode": mode} | ({} if granularity is None else {"granularity": granularity})
    return recipe_from_document(
        {
            "checkpoint": str(MODEL),
            "engine": {"target": "tensorrt", "attention": attention},
            "calibration": {"data": str(DEMO / "data" / "train.tsv")},
            "validation": {"data": str(DEMO / "data" / "validation.tsv")},
            "quantization": quantization,
        },
        "test",
    )


@pytest.fixture(scope="module")
def held() -> Held:
    recipe = recipe_of(DECOMPOSED, "1", None)
    checkpoint = checkpoint_from_path(recipe.checkpoint)
    proof = proof_from_recipe(recipe.validation, checkpoint, length_of_inputs(checkpoint, None))
    assert proof is not None
    validation = proof.texts
    batches = list(batches_from_features(validation.encode(validation.rows), 2048))
    order = np.argsort([place for batch in batches for place in batch.order])

    def logits_of(run: Callable[..., Array]) -> Array:
        found: Array = np.concatenate([run(batch) for batch in batches])[order]
        return found

    interpreter = Interpreter(graph_from_checkpoint(checkpoint), threads=1)
    return Held(
        logits_of=logits_of,
        exact=logits_of(lambda batch: interpreter.run(batch)["logits"]),
        labels=np.array(task_from_name(checkpoint.head.task).gold(validation.rows, checkpoint.head)),
    )


@pytest.fixture(scope="module")
def exported_of(tmp_path_factory: pytest.TempPathFactory, held: Held) -> Iterator[ExportedOf]:
    """Give a function that exports once for each kind of attention and scheme."""
    with StageCache(tmp_path_factory.mktemp("cache"), progress=Silent()) as stages:

        @cache
        def of(attention: str, mode: str, granularity: str | None) -> Exported:
            found = export(recipe_of(attention, mode, granularity), work=Work(stages, Silent()))
            assert found.quantized is not None
            source = found.quantized.graph
            simulator = Interpreter(source, threads=1)
            simulated = held.logits_of(lambda batch: simulator.run(batch)["logits"])
            return Exported(file=found.graph, source=source, simulated=simulated)

        yield of


def ran(model: ir.Model, held: Held) -> Array:
    return held.logits_of(lambda batch: run_engine(model, batch, ["logits"])[0])


def agreement(found: Array, other: Array) -> float:
    return float((found.argmax(1) == other.argmax(1)).mean())


def check_close(single: Array, simulated: Array, exact: Array) -> None:
    """What docs/modes.md asks of an engine."""
    assert rms(single - simulated) <= 0.3 * rms(simulated - exact)
    assert agreement(single, simulated) >= 0.995


def test_the_model_decides(held: Held) -> None:
    assert (held.exact.argmax(1) == held.labels).mean() > 0.85


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("attention", [KERNEL, NATIVE, PACKED, DECOMPOSED])
def test_the_exported_file_passes_the_checker(
    attention: str, mode: str, granularity: str | None, exported_of: ExportedOf
) -> None:
    model = ir.to_proto(exported_of(attention, mode, granularity).file)
    onnx.checker.check_model(model, full_check=True)
    functions = [(function.domain, function.name) for function in model.functions]
    assert functions == ([(KERNEL_DOMAIN, OPERATOR)] if attention == KERNEL else [])
    assert [node.op_type for node in model.graph.node].count(OPERATOR) == (LAYERS if attention == KERNEL else 0)


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("attention", [KERNEL, NATIVE, PACKED, DECOMPOSED])
def test_the_fp32_variant_is_close_to_the_simulator(
    attention: str, mode: str, granularity: str | None, exported_of: ExportedOf, held: Held
) -> None:
    exported = exported_of(attention, mode, granularity)
    check_close(ran(lower_graph(exported.source, attention=attention), held), exported.simulated, held.exact)


@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("attention", [KERNEL, NATIVE, PACKED, DECOMPOSED])
def test_the_exported_file_decides_as_the_simulator_and_keeps_the_accuracy(
    attention: str, mode: str, granularity: str | None, exported_of: ExportedOf, held: Held
) -> None:
    exported = exported_of(attention, mode, granularity)
    found = ran(exported.file, held)
    assert agreement(found, exported.simulated) >= 0.99
    exact, half = ((logits.argmax(1) == held.labels).mean() for logits in (held.exact, found))
    assert half >= exact - 0.01


@pytest.mark.parametrize("attention", [NATIVE, PACKED, DECOMPOSED])
def test_fp8_decides_as_the_float_model_and_keeps_the_accuracy(
    attention: str, exported_of: ExportedOf, held: Held
) -> None:
    source = exported_of(attention, "1", None).source
    found = ran(lower_graph(source, attention=attention, half=True, fp8=True), held)
    assert agreement(found, held.exact) >= 0.99
    exact, fp8 = ((logits.argmax(1) == held.labels).mean() for logits in (held.exact, found))
    assert fp8 >= exact - 0.01
    assert agreement(found[::-1], held.exact) < 0.9


@pytest.mark.parametrize("attention", [KERNEL, NATIVE, PACKED, DECOMPOSED])
def test_a_wrong_scale_is_found_out(attention: str, exported_of: ExportedOf, held: Held) -> None:
    exported = exported_of(attention, "1", None)
    model = lower_graph(exported.source, attention=attention)
    scale = model.graph.initializers["layer.0.context.scale"]
    set_constant(scale, array_of(scale) * np.float32(0.25))
    with pytest.raises(AssertionError):
        check_close(ran(model, held), exported.simulated, held.exact)
