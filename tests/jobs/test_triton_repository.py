"""`bertc export --triton-repository`: of an artefact, of a checkpoint, and what is refused."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest

from bertc.core.digest import digest_of_file
from bertc.core.plugins import TARGETS
from bertc.targets import target_from_name
from tests.artefacts import Bertc
from tests.triton_schema import read_config


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_an_artefact_is_served_as_it_was_validated(bertc: Bertc, ort_artefact: Path, tmp_path: Path) -> None:
    called = bertc("export", ort_artefact, "--triton-repository", tmp_path / "models", "--json")
    assert called.code == 0, called.err
    assert called.json["unvalidated"] is False and "unvalidated" not in called.err
    folder = tmp_path / "models" / ort_artefact.name
    assert called.json["model"] == str(folder) and files_of(folder) == ["1/model.onnx", "config.pbtxt"]
    assert digest_of_file(folder / "1" / "model.onnx") == digest_of_file(ort_artefact / "model.onnx")
    config = read_config((folder / "config.pbtxt").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(folder / "1" / "model.onnx"), providers=["CPUExecutionProvider"])
    for declared, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        shapes = {value.name: [-1 if isinstance(size, str) else size for size in value.shape[1:]] for value in real}
        assert {value.name: list(value.dims) for value in declared} == shapes
    again = bertc("export", ort_artefact, "--triton-repository", tmp_path / "models")
    assert again.code == 2 and "is not overwritten" in again.err


def test_a_checkpoint_is_served_unvalidated(bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path) -> None:
    options = ("--target", "ort-cpu", "--calibration-data", rows, "--no-cache", "-q")
    called = bertc("export", classifier, "--triton-repository", tmp_path / "models", *options)
    assert called.code == 0, called.err
    folder = tmp_path / "models" / classifier.name
    assert files_of(folder) == ["1/model.onnx", "config.pbtxt"]
    config = read_config((folder / "config.pbtxt").read_text(encoding="utf-8"))
    assert config.backend == "onnxruntime" and config.name == classifier.name
    called = bertc("export", classifier, "--target", "float", "--triton-repository", tmp_path / "others")
    assert "unvalidated" in called.err


def test_a_damaged_artefact_is_not_served(bertc: Bertc, ort_artefact: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in ort_artefact.iterdir():
        if path.is_file():
            (copy / path.name).write_bytes(path.read_bytes())
    (copy / "model.onnx").write_bytes(b"other")
    called = bertc("export", copy, "--triton-repository", tmp_path / "models")
    assert called.code == 2 and "manifest mismatch" in called.err and not (tmp_path / "models").exists()


@pytest.mark.parametrize(
    "options, code, message",
    [
        (("--target", "openvino"), 2, "the target openvino cannot be served: Triton's OpenVINO backend"),
        (("--target", "native"), 2, "the target native cannot be served: Triton has no backend for bertc's own engine"),
        ((), 2, "the target native cannot be served"),
        (("-o", "model.onnx"), 2, "exclude each other"),
    ],
)
def test_what_cannot_be_served_is_refused_at_once(
    options: tuple[str, ...], code: int, message: str, bertc: Bertc, classifier: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "there-is-no-such.tsv"  # it would be the error if it were looked for first
    arguments = ("--triton-repository", tmp_path / "models", "--calibration-data", missing, "--no-cache", "-q")
    called = bertc("export", classifier, *arguments, *options)
    assert called.code == code and message in called.err
    assert not (tmp_path / "models").exists()


def test_a_plan_is_not_written_without_tensorrt(
    bertc: Bertc, classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertc.runtime.tensorrt.library.find_spec", lambda name: None)
    arguments = ("--triton-repository", tmp_path / "models", "--calibration-data", tmp_path / "none.tsv", "-q")
    called = bertc("export", classifier, "--target", "tensorrt", *arguments)
    assert called.code == 3 and called.err.count("\n") == 1 and "TensorRT is not installed" in called.err
    assert not (tmp_path / "models").exists()


def test_an_artefact_takes_no_other_flags(bertc: Bertc, artefact: Path, tmp_path: Path) -> None:
    called = bertc("export", artefact, "--triton-repository", tmp_path / "models", "--target", "float")
    assert called.code == 2 and "served as it was built" in called.err


@pytest.mark.parametrize("name", TARGETS.names())
def test_every_target_says_how_it_is_served_or_why_not(name: str) -> None:
    target = target_from_name(name)
    served = target.served
    assert bool(served.backend) != bool(served.refusal)
    assert served.refusal or served.file in target.runtime.model_files
