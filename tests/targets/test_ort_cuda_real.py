"""The target `ort-cuda` on a real GPU: `make test-cuda` runs these and says which of them passed.

Everywhere else they skip. Nobody had run them when they were written.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bertc.errors import EnvironmentLackError
from bertc.ir.interpret import Interpreter
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.ort.cuda import open_session
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.conftest import TinyOf
from tests.tiny import LAYERS, OUTPUTS, TinyModel, rms, tiny_model

pytestmark = [pytest.mark.gpu, pytest.mark.cuda]
TARGET = target_from_name("ort-cuda")
HEAD_SIZES = [(64, 2), (128, 2)]
"""Hidden size and heads, of 32 and 64: both have fused kernels."""


@pytest.fixture(autouse=True)
def real() -> None:
    """Skip where the provider or a GPU is missing."""
    try:
        TARGET.check_machine(cpu_features())
    except EnvironmentLackError as error:
        pytest.skip(str(error))


def written(model: TinyModel, folder: Path) -> Path:
    return TARGET.runtime.write_model(TARGET.onnx_from_graph(model.graph), folder)


@pytest.mark.parametrize("task", OUTPUTS)
def test_the_gpu_computes_what_the_float_graph_does(task: str, tiny_of: TinyOf, tmp_path: Path) -> None:
    model = tiny_of(task)
    engine = TARGET.runtime.engine_from_path(written(model, tmp_path), threads=1)
    found = engine.run(model.batch, OUTPUTS[task])
    exact = Interpreter(model.graph).run(model.batch)
    mask = model.batch.mask.astype(bool)
    for name, values in zip(OUTPUTS[task], found, strict=True):
        right = exact[name]
        if right.shape[:2] == mask.shape:
            values, right = values[mask], right[mask]
        assert rms(values - right) < 1e-2 * rms(right), name
    engine.close()


@pytest.mark.parametrize("hidden, heads", HEAD_SIZES)
def test_every_node_is_on_the_gpu_and_attention_is_fused(hidden: int, heads: int, tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "checkpoint", hidden=hidden, heads=heads, intermediate=4 * hidden)
    found = TARGET.runtime.optimized_from_path(written(model, tmp_path))
    assert {name: found.fused[name] for name in ("attention", "layer_norm", "gelu")} == TARGET.expected_fusion(
        None, LAYERS
    )
    assert found.fused["skip_layer_norm"] == 2 * LAYERS
    assert found.fused["nodes_on_gpu"] > 10 * found.fused["nodes_on_cpu"], found.fused


def test_padding_and_batch_mates_do_not_matter(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    engine = TARGET.runtime.engine_from_path(written(tiny_classifier, tmp_path), threads=1)
    batch = tiny_classifier.batch
    (together,) = engine.run(batch, ["logits"])
    for row in (0, 7):
        length = int(batch.mask[row].sum())
        alone = replace(
            batch,
            input_ids=batch.input_ids[row : row + 1, :length],
            token_type_ids=batch.token_type_ids[row : row + 1, :length],
            mask=batch.mask[row : row + 1, :length],
            order=(0,),
        )
        np.testing.assert_allclose(engine.run(alone, ["logits"])[0][0], together[row], atol=0.02)
    engine.close()


@pytest.mark.parametrize("graphs", [False, True])
def test_a_bound_batch_follows_what_is_written_into_it(
    graphs: bool, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    engine = open_session(written(tiny_classifier, tmp_path), graphs=graphs)
    batch = tiny_classifier.batch
    other = replace(batch, input_ids=(batch.input_ids * 7) % 90 * batch.mask)
    bound = engine.bind(batch, ["logits"])
    for each in (batch, other, batch, other):
        bound.write(engine.feeds(each))
        bound.run()
        np.testing.assert_allclose(bound.read()[0], engine.run(each, ["logits"])[0], atol=0.02)
    engine.close()


def test_an_artefact_is_built_asked_and_validated(bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", classifier, "-o", out, "--target", "ort-cuda", *options)
    assert called.code == 0, called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["quantization"]["fused"]["nodes_on_gpu"] > 0
    assert bertc("predict", out, "--text", "good film").code == 0
    assert bertc("validate", out, "--validation-data", rows).code == 0


@pytest.mark.shared
def test_minilm_loses_nothing_in_fp16(bertc: Bertc, shared_path: Path, tmp_path: Path) -> None:
    checkpoint = shared_path / "models/minilm-sst2"
    dev = shared_path / "data/sst2/dev.tsv"
    options = ("--validation-data", dev, "--max-drop", "0.001abs", "--no-cache", "-q")
    assert bertc("build", checkpoint, "-o", tmp_path / "out", "--target", "ort-cuda", *options).code == 0
