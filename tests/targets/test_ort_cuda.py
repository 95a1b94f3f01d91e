"""The target `ort-cuda` with a GPU that is only played: its refusals, and what it reads back about placement.

Nothing here shows that the provider takes the file or what it gives: `test_ort_cuda_real.py` does, where a GPU is.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bertc.artefact.manifest import read_manifest
from bertc.errors import EnvironmentLackError, InputError
from bertc.ir.interpret import Interpreter
from bertc.runtime.machine.cpu import cpu_features
from bertc.runtime.machine.gpu import Driver
from bertc.runtime.ort import cuda as library
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.ort_cuda_double import Play, Played
from tests.tiny import LAYERS, TinyModel

TARGET = target_from_name("ort-cuda")


def written(model: TinyModel, folder: Path) -> Path:
    return TARGET.runtime.write_model(TARGET.onnx_from_graph(model.graph), folder)


def test_it_asks_other_programs_for_none_of_the_cpus_options() -> None:
    assert TARGET.runtime.options == {} != target_from_name("ort-cpu").runtime.options


# --- without a GPU ----------------------------------------------------------------------------------------------------


def test_the_versions_in_errors_are_those_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["cuda"] == [library.REQUIREMENT]


@pytest.mark.parametrize(
    "providers, lack, message",
    [
        (["CPUExecutionProvider"], "", r"no CUDA provider here.*onnxruntime-gpu"),
        ([library.PROVIDER], "the NVIDIA driver sees no GPU", "has no GPU: the NVIDIA driver sees no GPU"),
    ],
)
def test_what_is_missing_is_said_by_every_function_that_needs_it(
    providers: list[str],
    lack: str,
    message: str,
    tiny_classifier: TinyModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    monkeypatch.setattr(library, "driver_of_machine", lambda: Driver(cuda=None, gpus=(), lack=lack))
    path = written(tiny_classifier, tmp_path)  # a file can be written anywhere
    for call in (
        lambda: TARGET.check_machine(cpu_features()),
        lambda: TARGET.runtime.engine_from_path(path, threads=1),
        lambda: TARGET.runtime.optimized_from_path(path),
    ):
        with pytest.raises(EnvironmentLackError, match=message):
            call()


@pytest.mark.serial
def test_a_build_without_a_gpu_is_code_3_at_once_and_writes_nothing(classifier: Path, tmp_path: Path) -> None:
    if library.PROVIDER in onnxruntime.get_available_providers():
        pytest.skip("the provider is here")
    out = tmp_path / "out"
    options = ["--target", "ort-cuda", "--validation-data", "none.tsv", "--no-cache", "-q"]
    code = "import sys; from bertc.cli.main import run; sys.exit(run(sys.argv[1:]))"
    called = subprocess.run(
        [sys.executable, "-c", code, "build", str(classifier), "-o", str(out), *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert called.returncode == 3 and called.stderr.count("\n") == 1 and "no CUDA provider" in called.stderr
    assert not list(tmp_path.iterdir())


# --- INT8 -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [("--int8-mode", "1"), ("--int8-mode", "2"), ("--granularity", "channel"), ("--keep-float", "layer.0")]
)
@pytest.mark.parametrize("command", ["export", "build"])
def test_int8_is_refused_with_the_reason(
    command: str, options: tuple[str, ...], bertc: Bertc, classifier: Path, tmp_path: Path, play: Play
) -> None:
    play(Played())
    more = ("--unvalidated",) if command == "build" else ()
    called = bertc(command, classifier, "-o", tmp_path / "out", "--target", "ort-cuda", "-q", *options, *more)
    assert called.code == 2 and called.err.count("\n") == 1 and "this target is FP16" in called.err
    assert not list(tmp_path.iterdir())


def test_the_file_is_exported_anywhere(bertc: Bertc, classifier: Path, tmp_path: Path) -> None:
    called = bertc("export", classifier, "-o", tmp_path / "model.onnx", "--target", "ort-cuda")
    assert called.code == 0 and "never been executed" in called.err


# --- placement --------------------------------------------------------------------------------------------------------


def test_placement_is_read_back_and_counted(tiny_classifier: TinyModel, tmp_path: Path, play: Play) -> None:
    played = play(Played())
    found = TARGET.runtime.optimized_from_path(written(tiny_classifier, tmp_path))
    assert played.asked == [([library.PROVIDER, library.HOST], "1")]
    assert found.fused["nodes_on_gpu"] > 10 * LAYERS and found.fused["nodes_on_cpu"] == 0
    assert found.fused["attention"] == LAYERS and found.gemms_int8 == 0
    assert {"attention", "layer_norm", "gelu"} == set(TARGET.expected_fusion(None, LAYERS))


def test_shapes_may_stay_on_the_cpu(tiny_classifier: TinyModel, tmp_path: Path, play: Play) -> None:
    play(Played(refused=frozenset({"Shape", "Sign"})))
    assert TARGET.runtime.optimized_from_path(written(tiny_classifier, tmp_path)).fused["nodes_on_cpu"] == 2


@pytest.mark.parametrize("kind", ["Attention", "LayerNormalization", "Tanh", "Gemm", "Gather"])
def test_a_node_that_computes_on_the_cpu_is_an_error(
    kind: str, tiny_classifier: TinyModel, tmp_path: Path, play: Play
) -> None:
    play(Played(refused=frozenset({kind})))
    path = written(tiny_classifier, tmp_path)
    for call in (
        lambda: TARGET.runtime.optimized_from_path(path),
        lambda: TARGET.runtime.engine_from_path(path, threads=1),
    ):
        with pytest.raises(EnvironmentLackError, match=rf"did not take \d+ of \d+ nodes \(\d+ {kind}; the first is "):
            call()


@pytest.mark.parametrize(
    "played, message",
    [
        (Played(loads=False), r"could not load its CUDA provider.*onnxruntime-gpu\[cuda,cudnn\]"),
        (Played(records=False), "does not say where its nodes run"),
    ],
)
def test_a_provider_that_is_left_out_in_silence_is_an_error(
    played: Played, message: str, tiny_classifier: TinyModel, tmp_path: Path, play: Play
) -> None:
    play(played)
    with pytest.raises(EnvironmentLackError, match=message):
        TARGET.runtime.engine_from_path(written(tiny_classifier, tmp_path), threads=1)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, play: Play) -> None:
    play(Played())
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(InputError, match="cannot be opened by onnxruntime-gpu"):
        TARGET.runtime.engine_from_path(path, threads=1)


def test_an_engine_answers_as_the_float_graph(
    tiny_classifier: TinyModel, tmp_path: Path, play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play(Played())
    engine = TARGET.runtime.engine_from_path(written(tiny_classifier, tmp_path), threads=1)
    (found,) = engine.run(tiny_classifier.batch, ["logits"])
    exact = Interpreter(tiny_classifier.graph).run(tiny_classifier.batch)["logits"]
    np.testing.assert_allclose(found, exact, atol=0.01)
    assert "Failed" not in capsys.readouterr().out, "what ONNX Runtime prints would break --json"
    engine.close()


@pytest.mark.parametrize("graphs", [False, True])
def test_a_bound_batch_runs_again_on_the_same_memory(
    graphs: bool, tiny_classifier: TinyModel, tmp_path: Path, play: Play
) -> None:
    played = play(Played())
    engine = library.open_session(written(tiny_classifier, tmp_path), graphs=graphs)
    provider = (library.PROVIDER, {"enable_cuda_graph": "1"}) if graphs else library.PROVIDER
    assert played.asked == [([provider, library.HOST], "1")]
    first, second = (engine.bind(tiny_classifier.batch, ["logits"]) for _ in range(2))
    played.graphs.clear()
    for bound in (first, second, first):
        bound.run()
    assert played.graphs == (["1", "2", "1"] if graphs else ["-1"] * 3), "each batch has a graph of its own"
    np.testing.assert_array_equal(first.read()[0], second.read()[0])
    engine.run(tiny_classifier.batch, ["logits"])
    assert played.graphs[-1] == "-1", "a graph of every shape that comes would fill the memory"


def test_an_artefact_is_built_validated_and_says_what_it_is(
    bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, play: Play
) -> None:
    play(Played())
    out = tmp_path / "out"
    options = ("--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", classifier, "-o", out, "--target", "ort-cuda", *options)
    assert called.code == 0, called.err
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    part = report["quantization"]
    assert part["weights"] == "float16" and part["mode"] is None and part["embeddings"] is None
    assert part["gemms_int8"] == 0 and part["fused"]["nodes_on_gpu"] > 0 and part["fused"]["nodes_on_cpu"] == 0
    assert "never been executed" in report["engine"]["note"]
    assert any("never been executed" in text for text in report["warnings"])
    assert read_manifest(out).target == "ort-cuda"
    assert bertc("predict", out, "--text", "good film").code == 0
    again = bertc("build", "--recipe", out / "recipe.toml", "-o", tmp_path / "again", "--no-cache", "-q")
    assert again.code == 0, again.err
