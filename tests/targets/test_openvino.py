"""The target `openvino`: what it asks of a machine, and (with the extra) what OpenVINO really runs."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bertc.artefact.manifest import verify_artefact
from bertc.errors import EnvironmentLackError, InputError
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.interpret import Interpreter
from bertc.runtime.machine.cpu import Cpu
from bertc.runtime.openvino import compiled_model as runtime
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.tiny import LAYERS, Array, TinyModel, quantized, rms, tiny_scheme

TARGET = target_from_name("openvino")
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, openvino_int8: None) -> Write:
    """Give a function that writes a tiny model in a scheme; mode None is float."""

    def of(model: TinyModel, mode: str | None, granularity: str | None = None, *kept: str) -> Path:
        graph = model.graph
        if mode is not None:
            graph = quantized(model, tiny_scheme(mode, granularity, keep_float=kept)).graph
        return TARGET.runtime.write_model(TARGET.onnx_from_graph(graph), tmp_path)

    return of


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make importing OpenVINO fail."""
    monkeypatch.setitem(sys.modules, "openvino", None)


def cpu(*features: str) -> Cpu:
    return Cpu(model="Old CPU", machine="x86_64", features=frozenset(features), cores=2)


def answers(path: Path, model: TinyModel) -> Array:
    engine = TARGET.runtime.engine_from_path(path, threads=1)
    try:
        (found,) = engine.run(model.batch, ["logits"])
        return found
    finally:
        engine.close()


# --- without OpenVINO -------------------------------------------------------------------------------------------------


def test_the_versions_in_errors_are_those_of_the_extra() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["openvino"] == [runtime.REQUIREMENT]


def test_x86_without_vnni_is_refused_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "check_installed", lambda: None)
    with pytest.raises(EnvironmentLackError, match=r"Old CPU has no VNNI .*OpenVINO's INT8 .*--target native or"):
        TARGET.check_machine(cpu("avx2", "avx512f"))
    TARGET.check_machine(cpu("avx_vnni"))


def test_a_missing_library_is_said_by_every_function(missing: None, tiny_classifier: TinyModel, tmp_path: Path) -> None:
    lowered = TARGET.onnx_from_graph(tiny_classifier.graph)
    path = tmp_path / "openvino_model.xml"
    for call in (
        lambda: TARGET.check_machine(cpu("avx_vnni")),
        lambda: TARGET.runtime.write_model(lowered, tmp_path),
        lambda: TARGET.runtime.engine_from_path(path, threads=1),
        lambda: TARGET.runtime.optimized_from_path(path),
    ):
        with pytest.raises(EnvironmentLackError, match=r'pip install "bertc\[openvino\]"'):
            call()
    assert not list(tmp_path.iterdir())


def test_doctor_says_why_it_cannot_run(missing: None, bertc: Bertc) -> None:
    targets = bertc("doctor", "--json").json["targets"]
    assert isinstance(targets, list)
    (found,) = [target for target in targets if target["target"] == "openvino"]
    assert found["runs"] is False and "bertc[openvino]" in found["reason"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\x08"])
@pytest.mark.parametrize("installed", [True, False])
def test_what_is_no_xml_is_refused_before_it_is_read(
    content: bytes, installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", sys if installed else None)  # any module: none of it may be used
    path = tmp_path / "openvino_model.xml"
    path.write_bytes(content)
    kind = InputError if installed else EnvironmentLackError
    with pytest.raises(kind, match="no openvino_model" if installed else "not installed"):
        TARGET.runtime.engine_from_path(path, threads=1)


# --- with OpenVINO ----------------------------------------------------------------------------------------------------


@pytest.mark.openvino
@pytest.mark.parametrize("mode", ["1", None])
def test_gemms_without_a_bias_are_counted_too(mode: str | None, tiny_classifier: TinyModel, write: Write) -> None:
    graph = tiny_classifier.graph.clone()
    for name, value in graph.graph.initializers.items():
        if name.endswith("_gemm.bias"):
            set_constant(value, np.zeros_like(array_of(value)))
    found = TARGET.runtime.optimized_from_path(write(replace(tiny_classifier, graph=graph), mode))
    assert found.gemms_int8 + found.gemms_float == 6 * LAYERS
    assert found.gemms_int8 == (0 if mode is None else 6 * LAYERS)


@pytest.mark.openvino
@pytest.mark.parametrize("granularity", [None, "channel"])
def test_additions_of_mode_2_read_int8(granularity: str | None, tiny_classifier: TinyModel, write: Write) -> None:
    found = TARGET.runtime.optimized_from_path(write(tiny_classifier, "2", granularity))
    assert found.operators["Eltwise i8"] == 2 * LAYERS
    # What is left: the embeddings' sum, five LayerNorms' gamma and beta.
    assert found.operators["Eltwise f32"] == 6


@pytest.mark.openvino
def test_writing_twice_gives_the_same_bytes(tiny_classifier: TinyModel, write: Write) -> None:
    path = write(tiny_classifier, "2", "channel")
    before = {name: path.with_name(name).read_bytes() for name in TARGET.runtime.model_files}
    assert sorted(each.name for each in path.parent.iterdir()) == sorted(TARGET.runtime.model_files)
    write(tiny_classifier, "2", "channel")
    assert {name: path.with_name(name).read_bytes() for name in TARGET.runtime.model_files} == before
    assert str(path.parent).encode() not in before[TARGET.runtime.model_files[0]]


@pytest.mark.openvino
@pytest.mark.parametrize("damage", ["no bin", "short bin", "half xml", "unknown operator", "no xml"])
def test_damaged_files_are_refused_in_one_sentence(damage: str, tiny_classifier: TinyModel, write: Write) -> None:
    path = write(tiny_classifier, "1")
    weights, text = path.with_suffix(".bin"), path.read_bytes()
    if damage == "no bin":
        weights.unlink()
    elif damage == "short bin":
        weights.write_bytes(weights.read_bytes()[:100])
    elif damage == "half xml":
        path.write_bytes(text[: len(text) // 2])
    elif damage == "unknown operator":
        path.write_bytes(text.replace(b'type="MatMul"', b'type="Unheard"'))
    else:
        path.unlink()
    for call in (
        lambda: TARGET.runtime.engine_from_path(path, threads=1),
        lambda: TARGET.runtime.optimized_from_path(path),
    ):
        with pytest.raises(InputError, match=r"openvino_model\.xml cannot be opened by openvino") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.openvino
def test_an_artefact_is_built_asked_and_validated(
    openvino_int8: None, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    assert bertc("build", classifier, "-o", out, "--target", "openvino", *options).code == 0
    manifest = verify_artefact(out)
    assert set(TARGET.runtime.model_files) <= set(manifest.files) and "model.onnx" not in manifest.files
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    sizes = [manifest.files[name].bytes for name in TARGET.runtime.model_files]
    assert (report["engine"]["bytes"], report["engine"]["onnx_bytes"]) == (sum(sizes), 0)
    quantization = report["quantization"]
    assert (quantization["gemms_int8"], quantization["gemms_float"]) == (12 + 4, 0)
    assert quantization["sites_float"] == []
    assert quantization["fused_expected"].items() <= quantization["fused"].items()
    assert report["environment"]["versions"]["openvino"]
    assert bertc("validate", out, "--validation-data", rows).code == 0
    assert bertc("predict", out, "--text", "good film").code == 0
    (out / "openvino_model.bin").unlink()
    called = bertc("predict", out, "--text", "good film")
    assert called.code == 2 and "openvino_model.bin is missing" in called.err


@pytest.mark.openvino
def test_an_artefact_without_the_library_is_code_3(
    openvino_int8: None, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    options = ("--calibration-data", rows, "--unvalidated", "--no-cache", "-q")
    assert bertc("build", classifier, "-o", out, "--target", "openvino", *options).code == 0
    monkeypatch.setitem(sys.modules, "openvino", None)
    called = bertc("predict", out, "--text", "good film")
    assert called.code == 3 and "bertc[openvino]" in called.err


BARE = """
import json, sys
import numpy, openvino
compiled = openvino.Core().compile_model(sys.argv[1], "CPU")
feeds = {name: numpy.array(ids, numpy.int64) for name, ids in json.loads(sys.argv[2]).items()}
assert [each.any_name for each in compiled.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
found = compiled(feeds)["logits"]
assert not [name for name in sys.modules if name.split(".")[0] in ("bertc", "onnx_ir", "torch", "transformers")]
print(json.dumps(found.tolist()))
"""


@pytest.mark.openvino
def test_plain_openvino_runs_the_files_from_anywhere(tiny_classifier: TinyModel, write: Write, tmp_path: Path) -> None:
    import openvino

    path = write(tiny_classifier, "1")
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in TARGET.runtime.model_files:
        shutil.move(path.with_name(name), moved / name)
    feeds = tiny_classifier.batch.feeds(["input_ids", "attention_mask", "token_type_ids"])
    texts = json.dumps({name: ids.tolist() for name, ids in feeds.items()})
    where = str(Path(openvino.__file__).parents[1])
    code = f"import sys; sys.path.append({where!r}){BARE}"
    command = [sys.executable, "-I", "-c", code, str(moved / path.name), texts]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found, expected = np.array(json.loads(done.stdout)), answers(moved / path.name, tiny_classifier)
    exact = Interpreter(tiny_classifier.graph).run(tiny_classifier.batch)["logits"]
    # Its own hints may choose BF16 for what is not INT8.
    assert rms(found - exact) < 0.1 * rms(exact) and rms(expected - exact) < 0.1 * rms(exact)
