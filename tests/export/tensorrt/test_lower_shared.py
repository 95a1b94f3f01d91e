"""The file for TensorRT of a real checkpoint, as `bertc export` makes it, in ONNX Runtime on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.core.batch import batches_from_features
from bertc.core.progress import Silent
from bertc.export.embeddings import store_embeddings
from bertc.export.tensorrt.limits import DECOMPOSED, KERNEL
from bertc.export.tensorrt.lower import lower_graph
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.jobs.build import read_inputs
from bertc.jobs.inputs import table_from_inputs
from bertc.quantize.insert import quantize_graph
from bertc.recipe import recipe_from_document
from tests.tiny import Array, rms, run_engine

ROWS = 436
"""Half of the rows: the decompositions run in float, with every two tokens of a batch against each other."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Logits over the validation rows: float model, simulator, the FP32 variant, that with noise, the FP16 file."""

    exact: Array
    simulated: Array
    single: Array
    noised: Array
    half: Array


def found_on_sst2(shared_path: Path, attention: str = DECOMPOSED, **quantization: str) -> Found:
    data = shared_path / "data/sst2"
    recipe = recipe_from_document(
        {
            "checkpoint": str(shared_path / "models/minilm-sst2"),
            "engine": {"target": "tensorrt", "max_length": 128, "attention": attention},
            "calibration": {"data": str(data / "train.tsv")},
            "validation": {"data": str(data / "dev.tsv"), "limit": ROWS},
            "quantization": quantization,
        },
        "test",
    )
    work = Work(StageCache(None), Silent())
    inputs, plan = read_inputs(recipe, work=work)
    graph = graph_from_checkpoint(inputs.checkpoint)
    table = table_from_inputs(inputs, graph, work=work)
    assert plan.scheme is not None and inputs.proof is not None
    source = quantize_graph(store_embeddings(graph).graph, table, plan.scheme, plan.method).graph
    single = lower_graph(source, attention=attention)
    files = [single, with_noise(single), lower_graph(source, attention=attention, half=True)]
    logits: list[list[Array]] = [[] for _ in range(5)]
    models = [Interpreter(each, threads=1) for each in (graph, source)]
    texts = inputs.proof.texts
    # The kernel's body computes the products of every two tokens of a batch, so the batches are small.
    for batch in batches_from_features(texts.encode(texts.rows), 1024):
        every = [model.run(batch)["logits"] for model in models]
        every += [run_engine(file, batch, ["logits"])[0] for file in files]
        for values, value in zip(logits, every, strict=True):
            values.append(value)
    exact, simulated, *ran = map(np.concatenate, logits)
    return Found(exact=exact, simulated=simulated, single=ran[0], noised=ran[1], half=ran[2])


def with_noise(model: ir.Model) -> ir.Model:
    """Return a copy whose word embeddings are off by what FP16 rounds at most, 2 ** -11 of each; the rest is exact."""
    other = model.clone()
    words = other.graph.initializers["embeddings.word.table"]
    noise = np.random.default_rng(0).uniform(-(2.0**-11), 2.0**-11, array_of(words).shape)
    set_constant(words, (array_of(words) * (1 + noise)).astype(np.float32))
    return other


def check_close(found: Found) -> None:
    assert rms(found.single - found.simulated) <= 0.3 * rms(found.simulated - found.exact)
    assert agreement(found.single, found.simulated) >= 0.995


def agreement(logits: Array, other: Array) -> float:
    return float((logits.argmax(1) == other.argmax(1)).mean())


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("attention", [DECOMPOSED, KERNEL])
def test_a_real_checkpoint_s_file_is_close_to_the_simulator(attention: str, shared_path: Path) -> None:
    found = found_on_sst2(shared_path, attention)
    check_close(found)
    assert agreement(found.half, found.simulated) >= 0.99


@pytest.mark.shared
@pytest.mark.slow
def test_what_fp16_moves_in_mode_2_per_tensor_noise_in_the_embeddings_alone_moves_too(shared_path: Path) -> None:
    """Untrained, it decides by codes that tip over at the slightest touch, whatever is computed in FP16."""
    found = found_on_sst2(shared_path, mode="2")
    check_close(found)
    half, noised = (rms(each - found.simulated) for each in (found.half, found.noised))
    assert half <= 1.2 * noised
    assert agreement(found.half, found.simulated) >= agreement(found.noised, found.simulated) - 0.02
    assert agreement(found.noised, found.simulated) < 0.97
