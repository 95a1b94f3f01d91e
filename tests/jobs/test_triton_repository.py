"""`bertc export --triton-repository`: of an artefact, of a checkpoint, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnxruntime
import pytest

from bertc.cli.main import run
from bertc.core.digest import digest_of_file
from bertc.core.plugins import TARGETS
from bertc.runtime.served import PYTHON
from bertc.targets import target_from_name
from tests.artefacts import Bertc, let_fail
from tests.fixtures import tiny_sentence, write_tiny_bert
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


def test_a_checkpoint_that_bertc_wrote_is_served_and_is_no_artefact_elsewhere(
    bertc: Bertc, classifier: Path, rows: Path, tmp_path: Path
) -> None:
    """It has a manifest, as an artefact has."""
    pruned = tmp_path / "pruned"
    options = ("--calibration-data", rows, "--no-cache", "-q")
    assert bertc("prune", classifier, "-o", pruned, "--sparsity-criterion", "magnitude", *options).code == 0
    called = bertc("export", pruned, "--triton-repository", tmp_path / "models", "--target", "ort-cpu", *options)
    assert called.code == 0, called.err
    assert files_of(tmp_path / "models" / "pruned") == ["1/model.onnx", "config.pbtxt"]
    data = ("--validation-data", rows)
    for verb, *words in (("predict", "--text", "good"), ("validate", *data), ("bench",), ("push", "me/model")):
        called = bertc(verb, pruned, *words)
        assert called.code == 2 and "is a checkpoint that bertc pruned or trained and has no engine" in called.err


@pytest.mark.native
def test_the_python_backend_gets_the_whole_artefact(bertc: Bertc, artefact: Path, tmp_path: Path) -> None:
    called = bertc("export", artefact, "--triton-repository", tmp_path / "models", "--json")
    assert called.code == 0, called.err
    folder = tmp_path / "models" / artefact.name
    copy = folder / "1" / "artefact"
    assert files_of(folder) == sorted(
        ["1/model.py", "config.pbtxt", *(f"1/artefact/{name}" for name in files_of(artefact))]
    )
    assert all(digest_of_file(copy / name) == digest_of_file(artefact / name) for name in files_of(artefact))
    config = read_config((folder / "config.pbtxt").read_text(encoding="utf-8"))
    assert config.backend == "python" and config.parameters["threads"].string_value == "0"
    assert bertc("predict", copy, "--text", "good film").out == bertc("predict", artefact, "--text", "good film").out


def test_another_target_s_artefact_goes_to_the_python_backend_where_that_is_asked(
    bertc: Bertc, ort_artefact: Path, tmp_path: Path
) -> None:
    called = bertc("export", ort_artefact, "--triton-repository", tmp_path / "models", "--triton-backend", "python")
    assert called.code == 0, called.err
    config = read_config((tmp_path / "models" / ort_artefact.name / "config.pbtxt").read_text(encoding="utf-8"))
    assert config.backend == "python" and [list(value.dims) for value in config.output] == [[1], [2]]
    lone = bertc("export", ort_artefact, "--triton-backend", "python", "-o", tmp_path / "model.onnx")
    assert lone.code == 2 and "--triton-backend says how --triton-repository is written; give both" in lone.err


@pytest.mark.native
def test_an_artefact_that_cannot_be_opened_leaves_no_model(
    bertc: Bertc, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertc.jobs.predict.unmet_demands", lambda manifest, features: ["a wing"])
    called = bertc("export", artefact, "--triton-repository", tmp_path / "models")
    assert called.code == 3 and f"error: {artefact} was validated on processors with a wing" in called.err
    assert not list((tmp_path / "models").iterdir())


@pytest.mark.native
def test_a_copy_that_is_not_the_artefact_is_no_model(
    bertc: Bertc, artefact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bertc.jobs.triton_repository.shutil.copyfile", lambda _, to: to.write_bytes(b""))
    called = bertc("export", artefact, "--triton-repository", tmp_path / "models")
    assert called.code == 2 and "manifest" in called.err and not list((tmp_path / "models").iterdir())


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
        (("--target", "openvino"), 2, "Triton's Python backend opens an artefact"),
        (("--target", "native"), 2, "is a checkpoint; build it with bertc build and export the artefact"),
        ((), 2, "Triton's Python backend opens an artefact"),
        (("--target", "ort-cpu", "--triton-backend", "python"), 2, "Triton's Python backend opens an artefact"),
        (
            ("--target", "ort-cpu", "--triton-backend", "tensorrt"),
            2,
            "Triton's backend tensorrt does not open an engine for ort-cpu; leave --triton-backend out (onnxruntime)",
        ),
        (("--triton-backend", "vllm"), 2, "'vllm' is not one of"),
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


@pytest.mark.parametrize("name", ["OUT", "models/OUT", "./OUT"])
def test_what_is_not_there_is_no_checkpoint(
    name: str, bertc: Bertc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    called = bertc("export", name, "--triton-repository", tmp_path / "served")
    assert called.code == 2 and f"{name} does not exist" in called.err


def test_a_hub_id_is_a_checkpoint_and_is_not_looked_up_to_be_refused(
    bertc: Bertc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    called = bertc("export", "org/name", "--triton-repository", tmp_path / "served")
    assert called.code == 2 and "org/name is a checkpoint" in called.err


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
def test_every_target_says_how_it_is_served(name: str) -> None:
    target = target_from_name(name)
    served = target.served
    assert served is PYTHON or served.file in target.runtime.model_files


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with engines of float and ort-cpu, unvalidated."""
    folder = tmp_path_factory.mktemp("several")
    write_tiny_bert(folder / "model", positions=64)
    lines = "".join(f"{tiny_sentence(seed, 6)}\n" for seed in range(20))
    (folder / "texts.txt").write_text(lines, encoding="utf-8")
    options = ["--calibration-data", folder / "texts.txt", "--target", "float,ort-cpu", "--unvalidated", "--no-cache"]
    assert run([str(each) for each in ("build", folder / "model", "-o", folder / "out", *options)]) == 0
    return folder / "out"


def test_of_several_engines_the_one_of_the_wish_is_served(bertc: Bertc, several: Path, tmp_path: Path) -> None:
    own = several / "engines" / "ort-cpu"
    for number, words in enumerate([(own,), (several, "--engine", "ort-cpu")]):
        called = bertc("export", *words, "--triton-repository", tmp_path / str(number))
        assert called.code == 0, called.err
        (model,) = (tmp_path / str(number)).glob("*/1/model.onnx")
        assert digest_of_file(model) == digest_of_file(own / "model.onnx")
    called = bertc("export", several, "--triton-repository", tmp_path / "models", "--engine", "native")
    assert called.code == 2 and "has no engine native" in called.err
    called = bertc("export", several, "--engine", "float", "-o", tmp_path / "model.onnx")
    assert called.code == 2 and "are for an artefact and --triton-repository" in called.err


@pytest.mark.parametrize("words, engine", [((), None), (("--engine", "ort-cpu"), "ort-cpu")])
def test_the_python_backend_gets_all_engines_and_which_is_wanted(
    words: tuple[str, ...], engine: str | None, bertc: Bertc, several: Path, tmp_path: Path
) -> None:
    backend = ("--triton-repository", tmp_path / "models", "--triton-backend", "python")
    called = bertc("export", several, *backend, *words)
    assert called.code == 0, called.err
    folder = tmp_path / "models" / "out"
    assert {f"1/artefact/{name}" for name in files_of(several)} < set(files_of(folder))
    parameters = read_config((folder / "config.pbtxt").read_text(encoding="utf-8")).parameters
    assert (parameters["engine"].string_value if "engine" in parameters else None) == engine


@pytest.mark.parametrize("backend", [None, "python"])
def test_what_failed_its_gates_is_not_served_unasked(
    bertc: Bertc, ort_artefact: Path, tmp_path: Path, backend: str | None
) -> None:
    out = Path(shutil.copytree(ort_artefact, tmp_path / "out"))
    let_fail(out)
    words = ["export", out, "--triton-repository", tmp_path / "models"]
    words += [] if backend is None else ["--triton-backend", backend]
    called = bertc(*words)
    assert called.code == 2 and "did not pass its gates" in called.err and "--allow-failed" in called.err
    assert not (tmp_path / "models").exists()
    assert bertc(*words, "--allow-failed").code == 0
