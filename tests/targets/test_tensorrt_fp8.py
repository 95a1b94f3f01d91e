"""The target `tensorrt-fp8` against a double of TensorRT 10 and 11: what it asks for, refuses and reads back.

Nothing here shows that TensorRT builds or runs anything: `test_tensorrt_real.py` does, where TensorRT is.
"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from bertc.artefact.manifest import read_manifest
from bertc.errors import EnvironmentLackError, InputError
from bertc.ir.fused import check_attention
from bertc.jobs.plan import scheme_for_target
from bertc.recipe import QuantizationRecipe
from bertc.runtime.machine.cpu import cpu_features
from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert
from tests.tensorrt_double import Double
from tests.tensorrt_tiny import FP8, TARGET, Install, lowered, skip_before
from tests.tiny import TinyModel, tiny_scheme

VERSIONS = ["v10.12.0", "v10.14", "v10.16", "v11.0", "v11.4"]
ATTENTIONS = ["decomposed", "native", "packed"]
TO_TYPE = "IAttention.normalization_quantize_to_type = DataType."


# --- the calls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_build_makes_the_calls_of_int8_but_for_the_softmax_s_type(
    version: str, attention: str, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    skip_before(version, attention)
    calls = []
    for target in (TARGET, FP8):
        double = install(Double(version=version))
        target.runtime.write_model(lowered(tiny_classifier, attention, target=target), tmp_path)
        calls.append(double.calls)
    int8, fp8 = calls
    assert fp8 == [call.replace(f"{TO_TYPE}INT8", f"{TO_TYPE}FP8") for call in int8]
    assert (f"{TO_TYPE}FP8" in fp8) == (attention != "decomposed") and f"{TO_TYPE}INT8" not in fp8


def test_the_layer_gets_the_scale_of_e4m3(tiny_classifier: TinyModel) -> None:
    from bertc.targets._tensorrt import plan_from_model

    int8, fp8 = (
        plan_from_model(lowered(tiny_classifier, "native", target=target), None).probs_scales
        for target in (TARGET, FP8)
    )
    assert set(int8) == set(fp8) == {0, 1}
    assert fp8[0] == pytest.approx(int8[0] * 127 / 448, rel=2e-3)


def test_a_layer_that_does_not_take_fp8_stops_the_build(
    install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    install(Double(version="v11.4", refused=frozenset({"normalization_quantize_to_type"})))
    with pytest.raises(InputError, match="does not take normalization_quantize_to_type; choose --attention decomposed"):
        FP8.runtime.write_model(lowered(tiny_classifier, "packed", target=FP8), tmp_path)
    assert not (tmp_path / "model.plan").exists()


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["2", "3"])
def test_modes_with_an_int8_residual_are_refused_with_the_reason(mode: str) -> None:
    chosen = QuantizationRecipe(mode=mode)
    with pytest.raises(InputError, match=rf"tensorrt-fp8 takes no INT8 mode {mode}: residuals .* use mode 1"):
        scheme_for_target(chosen, FP8, layers=2)
    assert scheme_for_target(chosen, TARGET, layers=2) is not None
    assert scheme_for_target(QuantizationRecipe(mode="1"), FP8, layers=2) is not None


MODE, PLUGIN, SPARSE = ("--int8-mode", "2"), ("--attention", "kernel"), ("--sparsity", "2:4")
NO_MODE = "tensorrt-fp8 takes no INT8 mode 2: residuals"
NO_PLUGIN = "tensorrt-fp8 has no attention 'kernel'; choose one of decomposed, native, packed"


@pytest.mark.parametrize(
    "command, options, message",
    [
        ("export", MODE, NO_MODE),
        ("build", MODE, NO_MODE),
        ("export", PLUGIN, NO_PLUGIN),
        ("build", PLUGIN, NO_PLUGIN),
        ("build", SPARSE, "tensorrt-fp8 takes no --sparsity: nothing says that TensorRT has kernels for 2:4 weights"),
    ],
)
def test_what_it_cannot_do_is_refused_before_any_text_is_read(
    command: str,
    options: tuple[str, ...],
    message: str,
    install: Install,
    bertc: Bertc,
    classifier: Path,
    tmp_path: Path,
) -> None:
    install(Double())
    missing = tmp_path / "there-is-no-such.tsv"  # it would be the error if it were looked for first
    arguments = ("--target", "tensorrt-fp8", "--calibration-data", missing, "--no-cache", "-q")
    more = ("--validation-data", missing) if command == "build" else ()
    called = bertc(command, classifier, "-o", tmp_path / "out", *arguments, *more, *options)
    assert called.code == 2 and called.err.count("\n") == 1, called.err
    assert message in called.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "capability, message",
    [
        ((8, 0), r"NVIDIA Old has compute capability 8\.0, .* FP8 kernels for 8\.9 or more; choose --target tensorrt,"),
        ((8, 7), r"--attention native has FP8 kernels for 8\.9 or more"),
        ((8, 9), ""),
        ((12, 0), ""),
    ],
)
def test_gpus_before_ada_are_refused(capability: tuple[int, int], message: str, install: Install) -> None:
    install(Double(capability=capability, device=b"NVIDIA Old"))
    TARGET.check_machine(cpu_features(), "native")
    if not message:
        FP8.check_machine(cpu_features(), "native")
        return
    with pytest.raises(EnvironmentLackError, match=message):
        FP8.check_machine(cpu_features(), "native")


@pytest.mark.parametrize(
    "version, attention, message",
    [
        ("v10.11.0", "decomposed", r"decomposed needs TensorRT 10\.12 or later, before 12\.0, and 10\.11\.0\.0\.1 is"),
        ("v10.12.0", "native", r"native needs TensorRT 10\.14 or later"),
        ("v10.16", "packed", r"packed needs TensorRT 11\.0 or later"),
        ("v11.4", "packed", ""),
    ],
)
def test_a_version_that_is_too_old_is_refused(version: str, attention: str, message: str, install: Install) -> None:
    install(Double(version=version))
    if not message:
        FP8.check_machine(cpu_features(), attention)
        return
    with pytest.raises(EnvironmentLackError, match=message):
        FP8.check_machine(cpu_features(), attention)


def test_fp8_s_attention_is_not_bound_to_int8_s_heads_and_lengths(tmp_path: Path) -> None:
    from tests.tiny import tiny_checkpoint

    architecture = tiny_checkpoint(tmp_path, hidden=128, heads=1).architecture
    check_attention(FP8.attentions, "native", architecture=architecture, length=2048, scheme=tiny_scheme("1"))
    with pytest.raises(InputError, match=r"takes heads of size 16 or 32 or 64 .*have size 128; choose --attention dec"):
        check_attention(TARGET.attentions, "native", architecture=architecture, length=128, scheme=tiny_scheme("1"))
    narrow = tiny_checkpoint(tmp_path / "narrow", hidden=64, heads=8).architecture
    with pytest.raises(InputError, match=r"takes heads of size 16 .* have size 8; choose --attention decomposed"):
        check_attention(FP8.attentions, "packed", architecture=narrow, length=128, scheme=tiny_scheme("1"))


# --- what is read back, and a whole build -----------------------------------------------------------------------------


@pytest.mark.parametrize("attention, fused", [("decomposed", 0), ("native", 2), ("packed", 2)])
@pytest.mark.parametrize("version", ["v10.14", "v11.4"])
def test_the_inspector_s_layers_in_fp8_are_counted(
    version: str, attention: str, fused: int, install: Install, tiny_classifier: TinyModel, tmp_path: Path
) -> None:
    skip_before(version, attention)
    install(Double(version=version))
    model = lowered(tiny_classifier, attention, target=FP8)
    found = FP8.runtime.optimized_from_path(FP8.runtime.write_model(model, tmp_path))
    assert (found.gemms_int8, found.gemms_float, found.fused["attention"]) == (12, 0, fused)
    assert found.fused["int8_attention"] == 2
    assert found.fused.items() >= FP8.expected_fusion(tiny_scheme("1"), 2).items()


def test_a_build_is_validated_and_says_what_it_is(install: Install, bertc: Bertc, rows: Path, tmp_path: Path) -> None:
    install(Double(version="v11.4"))
    checkpoint = write_tiny_bert(tmp_path / "checkpoint", hidden=64, heads=1)
    out = tmp_path / "out"
    options = ("--calibration-data", rows, "--validation-data", rows, "--max-drop", "2abs", "--no-cache", "-q")
    called = bertc("build", checkpoint, "-o", out, "--target", "tensorrt-fp8", "--attention", "packed", *options)
    assert called.code == 0, called.err
    binding = read_manifest(out).binding
    assert binding is not None and binding.runtime == "tensorrt 11.4.0.1"
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert "had never been executed" in report["engine"]["note"] and "INT8 is FP8" in report["engine"]["note"]
    assert bertc("predict", out, "--text", "good film").code == 0


def test_an_engine_whose_products_are_in_half_is_refused(
    install: Install, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What TensorRT does where it has no FP8 kernel: it dequantizes, and multiplies in FP16."""
    install(Double())
    monkeypatch.setattr("tests.tensorrt_double.said", lambda kind, version: {"Format/Datatype": "Half"})
    options = ("--calibration-data", rows, "--unvalidated", "--no-cache", "-q")
    called = bertc("build", classifier, "-o", tmp_path / "out", "--target", "tensorrt-fp8", *options)
    assert called.code == 3 and "GEMMs: 0 of 12" in called.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("attention", [None, *ATTENTIONS])
def test_the_file_is_written_without_tensorrt(
    attention: str | None, bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    kind = () if attention is None else ("--attention", attention)
    called = bertc(
        "export",
        classifier,
        "-o",
        path,
        "--target",
        "tensorrt-fp8",
        "--calibration-data",
        rows,
        "--no-cache",
        "-q",
        *kind,
    )
    assert called.code == 0, called.err
    onnx.checker.check_model(str(path), full_check=True)
    kinds = {value.dtype for value in ir.load(path).graph.initializers.values()}
    assert kinds >= {ir.DataType.FLOAT16, ir.DataType.FLOAT8E4M3FN} and ir.DataType.INT8 not in kinds
