"""The benchmark for a GPU, as far as a CPU goes: its torch module, its turns, its page, its refusal."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest

from bertc.checkpoint import checkpoint_from_path
from bertc.errors import InputError
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.interpret import Interpreter
from bertc.runtime.ort import cuda as ort_cuda
from bertc.targets import target_from_name
from tests.conftest import TinyOf
from tests.ort_cuda_double import Play, Played
from tests.tensorrt_double import Double
from tests.tiny import OUTPUTS
from tests.tiny_families import write_tiny_family

ROOT = Path(__file__).parents[2]
SCRIPT, DEMO = ROOT / "benchmarks" / "gpu.py", ROOT / "demo"
TASKS = ("sequence-classification", "token-classification", "question-answering")


@pytest.fixture(scope="module")
def gpu() -> Any:
    """The script as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPT.parent))
        spec = importlib.util.spec_from_file_location("benchmarks_gpu", SCRIPT)
        assert spec is not None and spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("task", TASKS)
def test_the_torch_module_computes_the_float_graph(task: str, gpu: Any, tiny_of: TinyOf) -> None:
    model = tiny_of(task)
    engine = gpu.TorchEngine(gpu.Bert(model.checkpoint).eval(), "cpu")
    found = engine.run(model.batch, OUTPUTS[task])
    exact = Interpreter(model.graph).run(model.batch)
    mask = model.batch.mask.astype(bool)
    for name, values in zip(OUTPUTS[task], found, strict=True):
        right = exact[name]
        if right.shape[:2] == mask.shape:
            values, right = values[mask], right[mask]
        np.testing.assert_allclose(values, right, atol=1e-4)


@pytest.mark.parametrize("family", ["roberta", "electra", "distilbert", "albert"])
def test_the_torch_module_computes_every_family(family: str, gpu: Any, tmp_path: Path) -> None:
    checkpoint = checkpoint_from_path(write_tiny_family(tmp_path, family))
    batch = gpu.full_batch(3, 7, 90)
    (found,) = gpu.TorchEngine(gpu.Bert(checkpoint).eval(), "cpu").run(batch, ["logits"])
    exact = Interpreter(graph_from_checkpoint(checkpoint)).run(batch)["logits"]
    np.testing.assert_allclose(found, exact, atol=1e-4)


@pytest.mark.parametrize("family", ["mpnet", "modernbert", "deberta-v2"])
def test_positions_of_another_kind_are_refused(family: str, gpu: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"is a {family}; only absolute positions"):
        gpu.Bert(checkpoint_from_path(write_tiny_family(tmp_path, family)))


def test_a_batch_without_padding_needs_no_mask(gpu: Any, tiny_of: TinyOf) -> None:
    module = gpu.Bert(tiny_of("sequence-classification").checkpoint).eval()
    batch = gpu.full_batch(3, 7, 90)
    ids, types, mask = map(gpu.torch.from_numpy, (batch.input_ids, batch.token_type_ids, batch.mask))
    (with_mask,), (without,) = module(ids, types, mask.bool()), module(ids, types, None)
    np.testing.assert_allclose(with_mask.numpy(), without.numpy(), atol=1e-5)


def test_a_checkpoint_without_a_head_is_refused(gpu: Any, tiny_of: TinyOf) -> None:
    with pytest.raises(InputError, match="has no head to compare"):
        gpu.Bert(tiny_of("feature-extraction").checkpoint)


def test_everybody_takes_turns_and_who_fails_is_listed(gpu: Any) -> None:
    log: list[str] = []

    def broken() -> None:
        raise RuntimeError("no kernel\nfor this shape")

    makers = {"a": lambda: lambda: log.append("a"), "b": lambda: broken, "c": lambda: lambda: log.append("c")}
    times, failed = gpu.timed(makers, lambda: log.append("wait"), 2)
    assert failed == {"b": "no kernel"}
    assert times.keys() == {"a", "c"} and all(len(found) == 2 for found in times.values())
    assert log[1::2] == ["wait"] * (len(log) // 2), "every call ends with a synchronized device"
    turns = [name for name, before in zip(log[::2], [None, *log[::2]], strict=False) if name != before]
    assert turns == ["a", "c", "a", "c", "a", "c"], "warm up, then two rounds"


def document(**changes: Any) -> dict[str, Any]:
    score = {"metric": "accuracy", "reference": 0.9, "engine": 0.899, "drop": 0.001, "agreement": 0.998}
    return {
        "cpu": "a CPU",
        "threads": 2,
        "versions": {"torch": "2"},
        "command": "python benchmarks/gpu.py",
        "gpu": "a GPU",
        "driver": "driver for CUDA up to 13.0",
        "checkpoint": "minilm",
        "dimensions": {"layers": 6, "hidden": 384, "heads": 12},
        "rounds": 3,
        "placement": {"nodes_on_gpu": 50, "nodes_on_cpu": 3, "attention": 6, "skip_layer_norm": 12},
        "latency": {"1 x 32": {"torch eager": [2.0, 4.0, 3.0], "bertc ort-cuda": [1.0, 1.0, 1.5]}},
        "failed": {},
        "accuracy": {"bertc ort-cuda": score | {"drop_ci95": [-0.001, 0.003]}},
    } | changes


def test_the_page_has_medians_ratios_within_a_round_and_placement(gpu: Any) -> None:
    page = gpu.page(document())
    assert "| torch eager | 3.000 |" in page
    assert "| bertc ort-cuda | 1.000 (2.00x) |" in page
    assert "50 run on the GPU and 3" in page
    assert "| bertc ort-cuda | accuracy | 0.9000 | 0.8990 | +0.0010 (-0.0010 to +0.0030) | 99.80% |" in page
    assert "did not run" not in page


def test_the_page_lists_who_did_not_run(gpu: Any) -> None:
    page = gpu.page(document(failed={"torch.compile, 1 x 32": "no compiler"}))
    assert "- torch.compile, 1 x 32 did not run: no compiler" in page.splitlines()


def test_the_whole_of_it_runs_on_a_gpu_that_is_played(
    gpu: Any, play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a GPU is shown, but that the parts fit."""
    played = play(Played())
    monkeypatch.setattr(gpu, "DEVICE", "cpu")
    monkeypatch.setattr(gpu, "COMPILED", {})  # minutes, on a CPU
    monkeypatch.setattr(gpu.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu.torch.cuda, "synchronize", lambda: None)
    for name, module in Double().modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    tensorrt = target_from_name("tensorrt")
    graph = graph_from_checkpoint(checkpoint_from_path(str(DEMO / "model")))
    tensorrt.runtime.write_model(tensorrt.onnx_from_graph(graph), tmp_path)
    out = tmp_path / "result.json"
    options = ["--checkpoint", DEMO / "model", "--validation-data", DEMO / "data" / "validation.tsv", "--out", out]
    options += ["--tensorrt", tmp_path]
    more = ["--shapes", "1x8,2x16,1x512", "--rounds", "2"]
    monkeypatch.setattr(sys, "argv", ["benchmarks/gpu.py", *map(str, options), *more])
    gpu.main()
    found = json.loads(out.read_text(encoding="utf-8"))
    assert list(found["latency"]) == ["1 x 8", "2 x 16"], "the model has 128 positions"
    for times in found["latency"].values():
        ours = ("bertc ort-cuda", f"bertc tensorrt, {tmp_path.name}")
        assert list(times) == ["torch eager", *(name + graphs for name in ours for graphs in ("", ", CUDA graphs"))]
        assert all(len(rounds) == 2 for rounds in times.values())
    assert not found["failed"] and found["placement"]["nodes_on_cpu"] == 0
    assert {"-1", "1", "2"} == set(played.graphs)
    for score in found["accuracy"].values():
        assert score["samples"] == 378 and score["agreement"] > 0.99
    assert "| bertc ort-cuda | accuracy |" in out.with_suffix(".md").read_text(encoding="utf-8")


def test_without_a_gpu_it_says_so_in_one_sentence_and_writes_nothing(tmp_path: Path) -> None:
    if ort_cuda.PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("the provider is here")
    options = ["--checkpoint", str(tmp_path / "none"), "--out", str(tmp_path / "result.json")]
    called = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True, check=False)
    assert called.returncode == 3 and called.stderr.count("\n") == 1, called.stderr
    assert "no CUDA provider" in called.stderr and "onnxruntime-gpu" in called.stderr
    assert not list(tmp_path.iterdir())
