"""The target `native`: what its engine answers, what its artefact consists of, and where it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from bertc.artefact.manifest import verify_artefact
from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.errors import EnvironmentLackError
from bertc.export.embeddings import store_embeddings
from bertc.ir.interpret import Interpreter
from bertc.runtime.engine import outputs_from_features
from bertc.runtime.machine.cpu import Cpu
from bertc.runtime.native import bf16_choice, library, native_runtime
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.conftest import TinyOf
from tests.fixtures import tiny_sentence
from tests.tiny import OUTPUTS, Array, TinyModel, quantized, rms, tiny_scheme

SCHEMES = [("1", None), ("2", None), ("2", "channel"), ("3", None)]
TARGET = target_from_name("native")
FILES = ["model.onnx", "native.json", "native.safetensors"]
Write = Callable[..., Path]


def graph_of(model: TinyModel, mode: str | None, granularity: str | None = None, *kept: str) -> ir.Model:
    """Return what the target is given in a scheme; mode None is float."""
    if mode is None:
        return model.graph
    scheme = tiny_scheme(mode, granularity, keep_float=kept)
    scheme = replace(scheme, one_sided=scheme.per_channel, split_outliers=scheme.per_channel)
    return quantized(replace(model, graph=store_embeddings(model.graph).graph), scheme).graph


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Give a function that writes a tiny model in a scheme."""

    def of(model: TinyModel, *scheme: Any) -> Path:
        return TARGET.runtime.write_model(TARGET.onnx_from_graph(graph_of(model, *scheme)), tmp_path)

    return of


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Make a machine on which the library was not built."""
    folder = tmp_path_factory.mktemp("installed")
    (folder / library.REASON).write_text("the package ziglang was not installed", encoding="utf-8")
    monkeypatch.setattr(library, "FOLDER", folder)
    library.digest_of_library.cache_clear()


def answers(path: Path, batch: Batch, name: str = "logits", threads: int = 1) -> Array:
    engine = TARGET.runtime.engine_from_path(path, threads=threads)
    try:
        (found,) = engine.run(batch, [name])
        return found
    finally:
        engine.close()


def cpu(machine: str, *features: str) -> Cpu:
    return Cpu(model="Old CPU", machine=machine, features=frozenset(features), cores=2)


def built(bertc: Bertc, classifier: Path, rows: Path, out: Path, *options: object) -> dict[str, Any]:
    """Build and return the report."""
    given = ("--calibration-data", rows, "--target", "native", "--no-cache", "-q", *options)
    called = bertc("build", classifier, "-o", out, *given)
    assert called.code == 0, called.err
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


# --- without the library ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "machine", [cpu("x86_64"), cpu("x86_64", "avx2"), cpu("x86_64", "avx512_vnni"), cpu("aarch64", "asimd")]
)
def test_every_cpu_computes_it_exactly(machine: Cpu) -> None:
    TARGET.check_cpu(machine)
    assert TARGET.demands == ()


def test_a_missing_library_is_said_by_what_needs_it(missing: None, tmp_path: Path) -> None:
    with pytest.raises(
        EnvironmentLackError, match=r"ziglang was not installed; install .* or build for another target"
    ):
        TARGET.check_machine(cpu("x86_64", "avx2"))
    assert TARGET.runtime.build == ""


def test_a_default_build_without_the_library_names_both_ways_out(
    missing: None, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    options = ("--calibration-data", rows, "--validation-data", rows, "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", *options)
    assert called.code == 3 and called.out == ""
    assert "install bertc again" in called.err and "build for another target (--target ort-cpu)" in called.err
    assert not list(tmp_path.iterdir())


def test_the_onnx_file_alone_is_written_without_the_library(
    missing: None, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    called = bertc("export", classifier, "-o", path, "--calibration-data", rows, "--target", "native", "--no-cache")
    assert called.code == 0, called.err
    assert {node.domain for node in ir.load(path).graph} == {""}


def test_answers_are_bound_to_the_library_and_its_instruction_set(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = []
    for digest, names in (("a", ("avx512", "avx2")), ("b", ("avx512", "avx2")), ("b", ("avx2",))):
        monkeypatch.setattr(native_runtime, "digest_of_library", lambda digest=digest: digest)
        monkeypatch.setattr(native_runtime, "instruction_sets", lambda names=names: names)
        keys.append(str(TARGET.cache_key()))
        assert str(TARGET.cache_key()) == keys[-1]
    assert len(set(keys)) == 3
    assert len(target_from_name("ort-cpu").cache_key()) == 2


# --- the engine -------------------------------------------------------------------------------------------------------


@pytest.mark.native
@pytest.mark.parametrize("kept", ["layer.0", "hidden", "gelu"])
def test_each_product_in_float_is_named_apart(kept: str, tiny_classifier: TinyModel, write: Write) -> None:
    found = TARGET.runtime.optimized_from_path(write(tiny_classifier, "1", None, kept))
    assert found.float_gemms is not None and not any("+" in name for name in found.float_gemms)
    assert sum(name.startswith("layer.") for name in found.float_gemms) == found.gemms_float > 0


@pytest.mark.native
@pytest.mark.parametrize("mode, granularity", SCHEMES)
@pytest.mark.parametrize("task", OUTPUTS)
def test_no_bit_depends_on_what_else_is_in_a_batch_or_on_threads(
    mode: str, granularity: str | None, task: str, tiny_of: TinyOf, write: Write
) -> None:
    model = tiny_of(task)
    path, head = write(model, mode, granularity), model.checkpoint.head
    with (
        TARGET.runtime.engine_from_path(path, threads=1) as one,  # type: ignore[attr-defined]
        TARGET.runtime.engine_from_path(path, threads=2) as two,  # type: ignore[attr-defined]
    ):
        apart: list[Mapping[str, list[Array]]] = [
            outputs_from_features(one, [feature], head) for feature in model.features
        ]
        for engine, row_length in ((one, None), (two, None), (one, 64), (two, 64)):
            together = outputs_from_features(engine, model.features, head, row_length=row_length)
            for key, values in together.items():
                for value, alone in zip(values, apart, strict=True):
                    np.testing.assert_array_equal(value, alone[key][0])


@pytest.mark.native
def test_packed_rows_are_answered_row_by_row(tiny_classifier: TinyModel, write: Write) -> None:
    path, features = write(tiny_classifier, "1"), tiny_classifier.features[:6]
    packed = packed_batch_from_features(features, ((0, 3), (5,), (1, 2, 4)))
    apart = batch_from_features(features, packed.order)
    np.testing.assert_array_equal(answers(path, packed), answers(path, apart))
    blind = replace(packed, mask=np.minimum(packed.mask, 1), starts=())
    assert answers(path, blind).shape[0] == 3, "without the mask's numbers a row is one text"


# --- the files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode, granularity", [(None, None), *SCHEMES])
def test_model_onnx_is_the_same_model_for_every_other_tool(
    mode: str | None, granularity: str | None, tiny_classifier: TinyModel, write: Write
) -> None:
    import onnxruntime

    from bertc.runtime.ort.inference_session import session_options

    path = write(tiny_classifier, mode, granularity)
    assert sorted(each.name for each in path.parent.iterdir()) == FILES
    onnx = path.with_name("model.onnx")
    assert {node.domain for node in ir.load(onnx).graph} == {""}
    session = onnxruntime.InferenceSession(str(onnx), session_options(0), providers=["CPUExecutionProvider"])
    (found,) = session.run(["logits"], tiny_classifier.batch.feeds([value.name for value in session.get_inputs()]))
    graphs = (tiny_classifier.graph, graph_of(tiny_classifier, mode, granularity))
    exact, simulated = (Interpreter(each).run(tiny_classifier.batch)["logits"] for each in graphs)
    np.testing.assert_allclose(found, simulated, atol=1e-5 if mode is None else 0.3 * rms(simulated - exact) * 4)
    assert rms(found - simulated) <= max(1e-5, 0.3 * rms(simulated - exact))


@pytest.mark.native
def test_the_engine_does_not_read_model_onnx(tiny_classifier: TinyModel, write: Write) -> None:
    path = write(tiny_classifier, "1")
    before = answers(path, tiny_classifier.batch)
    path.with_name("model.onnx").unlink()
    np.testing.assert_array_equal(answers(path, tiny_classifier.batch), before)


# --- the artefact -----------------------------------------------------------------------------------------------------


@pytest.mark.native
def test_an_artefact_is_built_asked_and_validated(bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = built(bertc, classifier, rows, out, "--validation-data", rows, "--max-drop", "2abs")
    manifest = verify_artefact(out)
    assert set(FILES) <= set(manifest.files) and manifest.valid_on.cpu_features_any == ()
    sizes = {name: manifest.files[name].bytes for name in FILES}
    engine, quantization = report["engine"], report["quantization"]
    assert engine["bytes"] == sizes["native.json"] + sizes["native.safetensors"]
    assert engine["onnx_bytes"] == sizes["model.onnx"]
    assert library.instruction_sets()[0] in engine["runtime"] and engine["operators"]["attention"] == 2
    assert [each["gemm"] for each in engine["float_gemms"]] == ["head.dense_0_active", "logits"]
    assert (quantization["gemms_int8"], quantization["gemms_float"]) == (12 + 4, 0)
    assert quantization["fused_expected"] == quantization["fused"] and quantization["sites_float"] == []
    assert json.loads((out / "bertc.json").read_text(encoding="utf-8"))["row_length"] is None
    assert bertc("validate", out, "--validation-data", rows).code == 0
    assert bertc("bench", out, "--shape", "1x8", "--rounds", "2", "--json").code == 0
    onnx, whole = out / "model.onnx", (out / "model.onnx").read_bytes()
    onnx.write_bytes(bytes(len(whole)))  # no part of what is loaded, but of the artefact
    asked = [bertc("predict", out, "--text", "good film", *more).out for more in ((), ("--threads", "1"))]
    assert asked[0] == asked[1] != ""
    assert "model.onnx has another content" in bertc("inspect", out).err
    onnx.write_bytes(whole)
    (out / "native.safetensors").unlink()
    called = bertc("predict", out, "--text", "good film")
    assert called.code == 2 and "native.safetensors is missing" in called.err


@pytest.mark.native
@pytest.mark.parametrize("pays", [True, False])
def test_what_runs_in_float_is_said_with_the_reason(
    pays: bool, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bf16_choice, "multiplies_bf16", lambda: pays)
    out = tmp_path / "out"
    report = built(bertc, classifier, rows, out, "--unvalidated", "--keep-float", "layer.1.context")
    reasons = {each["gemm"]: each["reason"] for each in report["engine"]["float_gemms"]}
    assert list(reasons) == ["layer.1.attention_sum", "head.dense_0_active", "logits"]
    operand = "its operand layer.1.context is in float: kept in float by the recipe"
    assert reasons["layer.1.attention_sum"] == operand
    precisions = [each["precision"] for each in report["engine"]["float_gemms"]]
    assert precisions == ["bf16" if pays else "fp32", "fp32", "fp32"]
    assert report["engine"]["operators"].get("gemm_bf16", 0) == int(pays)
    facts = bertc("inspect", out, "--json").json
    assert facts["engine"] == report["engine"]
    told = bertc("inspect", out).out
    for words in ("gemm_int8", "layer.1.attention_sum", operand, "the head"):
        assert words in " ".join(told.split())
    assert ("layer.1.attention_sum (BF16): its" in " ".join(told.split())) is pays
    assert operand in (out / "report.html").read_text(encoding="utf-8")


@pytest.mark.native
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_runs_on_it(workers: int, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.tsv"
    labels = ("negative", "positive")
    lines = [f"{tiny_sentence(seed, 4 + seed % 9)}\t{labels[seed % 2]}\n" for seed in range(100, 180)]
    text.write_text("text\tlabel\n" + "".join(lines), encoding="utf-8")
    options = ("--validation-data", rows, "--max-drop", "2abs", "--calibration-samples", 16, "--int8-mode", "2")
    searched = ("--search", "--search-rows", 24, "--search-trials", 4, "--search-workers", workers)
    report = built(bertc, classifier, text, tmp_path / "out", *options, *searched)
    assert report["engine"]["target"] == "native" and report["search"]["trials"]
