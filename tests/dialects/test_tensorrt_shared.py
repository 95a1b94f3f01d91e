"""The file for TensorRT of a real checkpoint, as `bertc export` makes it, in ONNX Runtime on the CPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.batches import batches_from_features
from bertc.checkpoint import checkpoint_from_path
from bertc.dialects.tensorrt import lower_graph
from bertc.dialects.tensorrt_needs import DECOMPOSED, KERNEL
from bertc.export.embeddings import store_embeddings
from bertc.features import Silent
from bertc.graph.build import graph_from_checkpoint
from bertc.graph.interpret import Interpreter
from bertc.inputs import calibration_from_recipe, scheme_from_recipe, table_from_text, validation_from_recipe
from bertc.quantize.insert import quantize_graph
from bertc.recipe import recipe_from_document
from bertc.targets import target_from_name
from tests.tiny import Array, rms, run_engine


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.parametrize("attention", [DECOMPOSED, KERNEL])
def test_a_real_checkpoint_s_file_is_close_to_the_simulator(attention: str, shared_path: Path) -> None:
    data = shared_path / "data/sst2"
    recipe = recipe_from_document(
        {
            "checkpoint": str(shared_path / "models/minilm-sst2"),
            "engine": {"target": "tensorrt", "max_length": 128, "attention": attention},
            "calibration": {"data": str(data / "train.tsv")},
            "validation": {"data": str(data / "dev.tsv")},
        },
        "test",
    )
    checkpoint = checkpoint_from_path(recipe.checkpoint)
    graph = graph_from_checkpoint(checkpoint)
    table = table_from_text(recipe, checkpoint, graph, calibration_from_recipe(recipe, checkpoint), Silent())
    scheme = scheme_from_recipe(recipe, checkpoint, target_from_name("tensorrt"))
    validation = validation_from_recipe(recipe, checkpoint)
    assert scheme is not None and validation is not None
    source = quantize_graph(
        store_embeddings(graph).graph, table, scheme, calibrator="percentile", percentile=None
    ).graph
    exact, simulated, single, halves = [], [], [], []
    models = [Interpreter(each, threads=1) for each in (graph, source)]
    files = [lower_graph(source, attention=attention, half=half) for half in (False, True)]
    # The kernel's body computes the products of every two tokens of a batch, so the batches are small.
    for batch in batches_from_features(validation.features, 1024):
        for values, model in zip((exact, simulated), models, strict=True):
            values.append(model.run(batch)["logits"])
        for values, file in zip((single, halves), files, strict=True):
            values.append(run_engine(file, batch, ["logits"])[0])
    check(*(np.concatenate(values) for values in (exact, simulated, single, halves)))


def check(exact: Array, simulated: Array, single: Array, half: Array) -> None:
    assert rms(single - simulated) <= 0.3 * rms(simulated - exact)
    assert (single.argmax(1) == simulated.argmax(1)).mean() >= 0.995
    assert (half.argmax(1) == simulated.argmax(1)).mean() >= 0.99
