"""A tampered artefact is refused by the name of the file."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bertc.artefact.manifest import (
    Binding,
    Provenance,
    ValidOn,
    read_manifest,
    unmet_demands,
    verify_artefact,
    write_manifest,
)
from bertc.errors import InputError
from bertc.runtime.machine.cpu import Cpu

CPU = Cpu(model="AMD EPYC", vendor="AuthenticAMD", machine="x86_64", features=frozenset({"avx2", "avx512f"}), cores=2)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "OUT"
    (folder / "engine").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"model")
    (folder / "engine" / "plan").write_bytes(b"plan")
    write_manifest(
        folder,
        Provenance(target="ort-cpu", checkpoint="c" * 64, cpu=CPU, versions={"onnxruntime": "1.23.2"}),
    )
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_the_content_is_the_designs(artefact: Path) -> None:
    content = json.loads((artefact / "manifest.json").read_text())
    assert content["schema"] == 1
    created = datetime.fromisoformat(content["created"])
    assert created.tzinfo == UTC and abs(datetime.now(UTC) - created) < timedelta(minutes=10)
    assert sorted(content["files"]) == ["engine/plan", "model.onnx"]
    assert content["files"]["model.onnx"]["bytes"] == 5 and len(content["files"]["model.onnx"]["sha256"]) == 64
    assert content["cpu"] == {"vendor": "AuthenticAMD", "model": "AMD EPYC", "features": ["avx2", "avx512f"]}
    assert set(content["versions"]) == {"python", "onnxruntime"}
    assert content["unvalidated"] is False and content["binding"] is None


def test_what_was_written_is_read_and_verified(artefact: Path) -> None:
    assert verify_artefact(artefact) == read_manifest(artefact)


def test_an_untouched_copy_is_valid_also_by_links(artefact: Path, tmp_path: Path) -> None:
    shutil.copytree(artefact, tmp_path / "copy")
    assert verify_artefact(tmp_path / "copy")
    (tmp_path / "blob").write_bytes(b"model")
    (artefact / "model.onnx").unlink()
    (artefact / "model.onnx").symlink_to(tmp_path / "blob")  # as a hub's cache lays it out
    assert verify_artefact(artefact)


@pytest.mark.parametrize(
    ("tamper", "words"),
    [
        (lambda folder: (folder / "model.onnx").write_bytes(b"MODEL"), r"model\.onnx has another content"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"models"), r"model\.onnx has 6 bytes instead of 5"),
        (lambda folder: (folder / "engine" / "plan").unlink(), "engine/plan is missing"),
        (lambda folder: shutil.rmtree(folder / "engine"), "engine/plan is missing"),
        (lambda folder: (folder / "evil.so").touch(), r"evil\.so was added"),
        (lambda folder: (folder / "engine" / "README.md").touch(), r"engine/README\.md was added"),
        (lambda folder: (folder / "link").symlink_to("/etc"), "link was added"),
    ],
)
def test_a_tampered_file_is_named(artefact: Path, tamper: Callable[[Path], object], words: str) -> None:
    tamper(artefact)
    with pytest.raises(InputError, match=f"manifest mismatch, {words}"):
        verify_artefact(artefact)


def test_what_is_not_read_is_compared_by_size_alone(artefact: Path) -> None:
    (artefact / "model.onnx").write_bytes(b"MODEL")
    verify_artefact(artefact, unread=["model.onnx"])
    for unread in ([], ["engine/plan"]):
        with pytest.raises(InputError, match=r"model\.onnx has another content"):
            verify_artefact(artefact, unread=unread)
    (artefact / "model.onnx").write_bytes(b"longer")
    with pytest.raises(InputError, match=r"model\.onnx has 6 bytes instead of 5"):
        verify_artefact(artefact, unread=["model.onnx"])


def test_a_pipe_in_the_place_of_a_file_does_not_hang(artefact: Path) -> None:
    (artefact / "model.onnx").unlink()
    os.mkfifo(artefact / "model.onnx")
    with pytest.raises(InputError, match="not a plain file"):
        verify_artefact(artefact)


def test_what_a_hub_adds_is_no_mismatch(artefact: Path) -> None:
    for name in ("README.md", ".gitattributes", "LICENSE"):
        (artefact / name).touch()
    (artefact / ".git").mkdir()
    (artefact / ".git" / "HEAD").touch()
    assert verify_artefact(artefact)


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "a/../../b", "C:\\x", "a\\b", "", "a//b", "./a", "a\0b"])
def test_a_path_that_leads_out_is_refused(artefact: Path, path: str) -> None:
    edit(artefact, lambda content: content["files"].update({path: content["files"]["model.onnx"]}))
    with pytest.raises(InputError, match="leads out of the folder"):
        verify_artefact(artefact)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"schema": 2}', '{"name": "other"}', "\x00" * 10, "[" * 100_000],
    ids=["empty", "cut", "list", "newer", "foreign", "binary", "deep"],
)
def test_something_else_is_not_a_manifest(artefact: Path, text: str) -> None:
    (artefact / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="is not a bertc manifest") as refusal:
        read_manifest(artefact)
    assert "\n" not in str(refusal.value)


def test_unknown_fields_and_bad_digests_are_refused(artefact: Path) -> None:
    edit(artefact, lambda content: content["files"]["model.onnx"].update(sha256="xyz"))
    with pytest.raises(InputError, match="not a bertc manifest"):
        read_manifest(artefact)


def test_no_artefact_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(InputError, match="is not a bertc artefact"):
            verify_artefact(folder)


def test_a_folder_that_is_not_there_is_said_not_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent does not exist; give the folder of an artefact"):
        verify_artefact(tmp_path / "absent")


def test_demands_that_this_machine_does_not_meet(artefact: Path) -> None:
    manifest = read_manifest(artefact)
    assert unmet_demands(manifest, CPU) == ()
    valid_on = ValidOn(machine="x86_64", cpu_features=("avx2", "fma"), cpu_features_any=("avx512_vnni", "avx_vnni"))
    strict = manifest.model_copy(update={"valid_on": valid_on})
    assert unmet_demands(strict, CPU) == ("fma", "avx512_vnni or avx_vnni")
    able = Cpu(model="", machine="x86_64", features=frozenset({"avx2", "fma", "avx_vnni"}), cores=1)
    assert unmet_demands(strict, able) == ()
    unknown = Cpu(model="", machine="arm64", features=frozenset(), cores=1, features_known=False)
    assert unmet_demands(strict, unknown) == ("a x86_64 processor",)


def test_a_binding_is_kept(artefact: Path) -> None:
    binding = Binding(device="NVIDIA H100", driver="570.1", runtime="tensorrt 10.12")
    made = Provenance(target="tensorrt", checkpoint="c", cpu=CPU, versions={})
    write_manifest(artefact, made, binding=binding)
    assert verify_artefact(artefact).binding == binding


def test_a_manifest_without_files_is_no_manifest(artefact: Path) -> None:
    edit(artefact, lambda content: content["files"].clear())
    with pytest.raises(InputError, match=r"manifest\.json is not a bertc manifest \(files: .* at least 1 item"):
        verify_artefact(artefact)
    edit(artefact, lambda content: content.pop("files"))
    with pytest.raises(InputError, match=r"not a bertc manifest \(files: Field required"):
        read_manifest(artefact)
