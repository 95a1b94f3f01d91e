"""`bertc export --target tensorrt` without TensorRT: the file, and what is refused before anything slow."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from bertc.export.tensorrt.kernel import kernel_op
from bertc.targets._tensorrt import TensorrtRuntime
from tests.artefacts import Bertc
from tests.fixtures import write_tiny_bert


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier with heads of size 64."""
    return write_tiny_bert(tmp_path_factory.mktemp("wide"), hidden=64, heads=1)


@pytest.mark.parametrize("mode", ["1", "2"])
@pytest.mark.parametrize("attention", ["decomposed", "native", "packed", "kernel", None])
def test_the_file_is_written_without_tensorrt(
    attention: str | None, mode: str, bertc: Bertc, wide: Path, rows: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    kind = () if attention is None else ("--attention", attention)
    options = ("--target", "tensorrt", "--int8-mode", mode, "--calibration-data", rows, "--no-cache", "-q")
    called = bertc("export", wide, "-o", path, *options, *kind)
    assert called.code == 0, called.err
    onnx.checker.check_model(str(path), full_check=True)
    names = [node.op_type for node in ir.load(path).graph]
    assert names.count(kernel_op(1, 64)) == (2 if attention == "kernel" else 0)
    assert ("Expand" in names) == (attention == "native")
    assert {value.dtype for value in ir.load(path).graph.initializers.values()} >= {
        ir.DataType.FLOAT16,
        ir.DataType.INT8,
    }


@pytest.mark.parametrize(
    "options, message",
    [
        (("--attention", "fused"), "no attention 'fused'; choose one of decomposed, native, packed, kernel"),
        (("--attention", "native", "--int8-mode", "3"), "--keep-float scores"),
        (("--attention", "packed", "--int8-mode", "3"), "--keep-float scores"),
        (("--attention", "kernel", "--int8-mode", "3"), "--attention kernel has no place to quantize scores"),
        (("--attention", "native", "--target", "ort-cpu"), "the target ort-cpu has no attention 'native'"),
    ],
)
@pytest.mark.parametrize("command", ["export", "build"])
def test_what_the_attention_cannot_take_is_refused_before_any_text_is_read(
    command: str,
    options: tuple[str, ...],
    message: str,
    bertc: Bertc,
    classifier: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TensorrtRuntime, "check_here", lambda runtime, attention: None)
    missing = tmp_path / "there-is-no-such.tsv"  # it would be the error if it were looked for first
    out = tmp_path / "out"
    arguments = ("--target", "tensorrt", "--calibration-data", missing, "--no-cache", "-q")
    more = ("--validation-data", missing) if command == "build" else ()
    called = bertc(command, classifier, "-o", out, *arguments, *more, *options)
    assert called.code == 2 and called.err.count("\n") == 1
    assert message in called.err
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_too_long_for_the_layer_is_refused_and_fits_when_cut(
    bertc: Bertc, rows: Path, tmp_path: Path
) -> None:
    long = write_tiny_bert(tmp_path / "long", hidden=64, heads=1, positions=600)
    options = ("--target", "tensorrt", "--attention", "native", "--calibration-data", rows, "--no-cache", "-q")
    called = bertc("export", long, "-o", tmp_path / "model.onnx", *options)
    assert called.code == 2 and "choose --max-length 512" in called.err
    assert bertc("export", long, "-o", tmp_path / "model.onnx", *options, "--max-length", "512").code == 0


def test_a_search_with_an_attention_that_is_int8_throughout_is_refused(
    bertc: Bertc, wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TensorrtRuntime, "check_here", lambda runtime, attention: None)
    missing = tmp_path / "there-is-no-such.tsv"
    options = ("--target", "tensorrt", "--attention", "kernel", "--search", "--no-cache", "-q")
    texts = ("--calibration-data", missing, "--validation-data", missing)
    called = bertc("build", wide, "-o", tmp_path / "out", *options, *texts)
    assert called.code == 2 and "nothing for --search to leave out" in called.err
