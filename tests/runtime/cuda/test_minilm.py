"""Two layers of a trained MiniLM on real text in the interpreter of Triton, beside the simulator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = [pytest.mark.triton, pytest.mark.shared, pytest.mark.slow]
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import batch_from_features
from bertc.data.dataset import dataset_from_path
from bertc.export.embeddings import store_embeddings
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.runtime.cuda.cuda_engine import CudaEngine
from bertc.runtime.cuda.lacking import FLOAT_ROLES
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Op
from bertc.tasks import task_from_name
from tests.tiny import TinyModel, calibrated, quantized, rms, tiny_scheme

LAYERS, TEXTS = 2, 8


@pytest.fixture(scope="module")
def model(shared_path: Path, tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """The embeddings, two layers and the classifier of MiniLM, fine-tuned on SST-2, calibrated on 32 texts."""
    source, folder = shared_path / "models" / "minilm-sst2", tmp_path_factory.mktemp("minilm")
    for path in source.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "config.json").unlink()
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": LAYERS}), encoding="utf-8")
    checkpoint = checkpoint_from_path(folder)
    task = task_from_name("sequence-classification")
    dataset = dataset_from_path(shared_path / "data" / "sst2" / "dev.tsv", layout=task.layout)
    rows = task.check_rows(dataset.rows[: 4 * TEXTS], checkpoint.head)
    features = tuple(task.features_from_rows(rows, checkpoint.encoder, 128))
    graph = store_embeddings(graph_from_checkpoint(checkpoint)).graph
    return TinyModel(checkpoint=checkpoint, graph=graph, features=features, table=calibrated(graph, features))


@pytest.mark.parametrize("mode, granularity", [("1", None), ("2", "channel")])
def test_a_trained_model_is_the_simulator_s(mode: str, granularity: str | None, model: TinyModel) -> None:
    """The same with numbers in float32; FP16 between the products stays well below INT8's own error."""
    scheme = tiny_scheme(mode, granularity).without_roles(frozenset(FLOAT_ROLES))
    graph = quantized(model, scheme).graph
    batch = batch_from_features(model.features, range(TEXTS))
    exact, simulated = (Interpreter(each).run(batch)["logits"] for each in (model.graph, graph))
    compiled = plan_from_graph(graph)
    answers = {}
    for floats in (torch.float32, torch.float16):
        with CudaEngine(*compiled, floats=floats) as engine:
            (answers[floats],) = engine.run(batch, ["logits"])
    told = {str(floats): rms(found - simulated) / rms(simulated - exact) for floats, found in answers.items()}
    assert told["torch.float32"] <= 0.1, told
    assert told["torch.float16"] <= 0.4, told
    assert (answers[torch.float16].argmax(1) == simulated.argmax(1)).all()
    plan, arrays = compiled
    step = next(step for step in plan.steps if step.op is Op.GEMM_INT8 and step.residual != NO_BUFFER)
    vector = step.requant or step.scale
    with CudaEngine(plan, {**arrays, vector: arrays[vector] * 1.5}, floats=torch.float32) as engine:
        (wrong,) = engine.run(batch, ["logits"])
    assert rms(wrong - simulated) / rms(simulated - exact) > 0.3
