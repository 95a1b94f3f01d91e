"""A real checkpoint in the file for ONNX Runtime's CUDA provider, on a CPU: FP16 weights in FP32 kernels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bertc.cache.stages import Work
from bertc.cache.store import StageCache
from bertc.core.batch import batches_from_features
from bertc.core.progress import Silent
from bertc.export.ort import lower as ort
from bertc.export.ort.lower_cuda import lower_graph
from bertc.graph.encoder import graph_from_checkpoint
from bertc.jobs.build import read_inputs
from bertc.recipe import recipe_from_document
from tests.tiny import rms, run_engine


@pytest.mark.shared
@pytest.mark.slow
def test_a_real_checkpoint_decides_as_the_float_model(shared_path: Path) -> None:
    recipe = recipe_from_document(
        {
            "checkpoint": str(shared_path / "models/minilm-sst2"),
            "engine": {"target": "ort-cuda", "max_length": 128},
            "validation": {"data": str(shared_path / "data/sst2/dev.tsv")},
        },
        "test",
    )
    inputs, _ = read_inputs(recipe, work=Work(StageCache(None), Silent()))
    assert inputs.proof is not None
    texts = inputs.proof.texts
    graph = graph_from_checkpoint(inputs.checkpoint)
    logits = []
    for model in (ort.lower_graph(graph), lower_graph(graph, half=False), lower_graph(graph, half=True)):
        batches = batches_from_features(texts.encode(texts.rows), 4096)
        logits.append(np.concatenate([run_engine(model, batch, ["logits"])[0] for batch in batches]))
    exact, single, half = logits
    print(f"rms FP32 {rms(single - exact) / rms(exact):.2g}, FP16 {rms(half - exact) / rms(exact):.2g}")
    print(f"same decisions {(half.argmax(1) == exact.argmax(1)).mean():.4f} of {len(exact)}")
    assert rms(single - exact) <= 1e-5 * rms(exact)
    assert rms(half - exact) <= 5e-3 * rms(exact)
    assert (half.argmax(1) == exact.argmax(1)).mean() >= 0.998
