"""The build of the native engine: table to commands to library to wheel, and what happens where it cannot be built."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import hatch_build
from bertc.runtime.native import library
from hatch_build import PLATFORMS, NotBuiltError, build_library, compile_commands, link_command, platform_from_name
from tests.native.binaries import platform_from_binary
from tests.native.standin import ROOT, write_project, write_sources

WITHOUT_COMPILER = "import sys; sys.modules['ziglang'] = None; "
BUILD_WHEEL = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
BUILD_EDITABLE = BUILD_WHEEL.replace("build_wheel", "build_editable")


def built(project: Path, program: str = BUILD_WHEEL, target: str | None = None) -> tuple[Path, str]:
    """Build a wheel in a folder beside a project; return it, and what was said."""
    out = project / "out"
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
    environment.pop("BERTC_TARGET", None)
    if target:
        environment["BERTC_TARGET"] = target
    done = subprocess.run(
        [sys.executable, "-c", program, str(out)],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return out / done.stdout.split()[-1], done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / "project")


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_source_of_the_library_is_in_the_table() -> None:
    known = {*hatch_build.ONCE, hatch_build.PER_INSTRUCTION_SET}
    assert {path.name for path in (ROOT / "native").glob("*.c")} == known


@pytest.mark.parametrize("name", PLATFORMS)
def test_each_source_is_compiled_once_and_the_kernels_for_each_instruction_set(name: str) -> None:
    commands = compile_commands(["cc"], PLATFORMS[name], Path("native"), Path("objects"))
    compiled = [command[-3] for command in commands]
    assert sorted(compiled) == sorted(
        [f"native/{each}" for each in hatch_build.ONCE] + ["native/isa.c"] * len(PLATFORMS[name].instruction_sets)
    )
    assert len({command[-1] for command in commands}) == len(commands)
    assert all(command[0] == "cc" and "-fvisibility=hidden" in command for command in commands)
    assert not any("fast-math" in flag for command in commands for flag in command)


def test_flags_of_an_instruction_set_go_to_its_own_object_alone() -> None:
    commands = compile_commands(["cc"], PLATFORMS["x86_64-linux"], Path("native"), Path("objects"))
    amx = [command for command in commands if "-mamx-int8" in command]
    assert [command[-1] for command in amx] == [str(Path("objects/isa-amx.o"))] and "-DISA=amx" in amx[0]
    assert not any(flag.startswith("-m") for command in commands if command[-1].endswith("plain.o") for flag in command)


def test_all_objects_are_linked(tmp_path: Path) -> None:
    for name in ("b.o", "a.o", "other.txt"):
        (tmp_path / name).touch()
    command = link_command(["cc"], tmp_path, Path("x.so"))
    assert [Path(part).name for part in command if str(tmp_path) in part] == ["a.o", "b.o"]


@pytest.mark.parametrize(
    "here, machine, name",
    [
        ("linux-x86_64", "x86_64", "x86_64-linux"),
        ("linux-aarch64", "aarch64", "aarch64-linux"),
        ("macosx-11.0-universal2", "arm64", "aarch64-macos"),
        ("macosx-13.0-x86_64", "x86_64", "x86_64-macos"),
        ("win-amd64", "ARM64", "x86_64-windows"),
        ("win-arm64", "ARM64", "aarch64-windows"),
    ],
)
def test_a_machine_is_recognized(here: str, machine: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: here)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert hatch_build.name_of_machine() == name and name in PLATFORMS


@pytest.mark.parametrize("here", ["linux-riscv64", "win32", "freebsd-14-amd64"])
def test_another_machine_has_no_library(here: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_platform", lambda: here)
    with pytest.raises(NotBuiltError, match=r"no native engine for .*, only for x86_64-linux, "):
        platform_from_name(hatch_build.name_of_machine())


def test_the_library_is_looked_for_where_it_is_built() -> None:
    names = {name.split("-")[1]: each.library for name, each in PLATFORMS.items()}
    assert names == {"linux": "_library.so", "macos": library.FILES["darwin"], "windows": library.FILES["win32"]}
    assert (ROOT / hatch_build.FOLDER).resolve() == library.FOLDER.resolve() and hatch_build.REASON == library.REASON


def test_the_compiler_of_the_build_is_the_one_of_the_tests() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [each for each in settings["build-system"]["requires"] if each.startswith("ziglang")]
    assert [each.split(";")[0] for each in wanted] == [
        each for each in settings["project"]["optional-dependencies"]["dev"] if each.startswith("ziglang")
    ]


# --- with the compiler ------------------------------------------------------------------------------------------------


@pytest.mark.ziglang
@pytest.mark.parametrize("name", PLATFORMS)
def test_the_compiler_takes_every_platform_s_flags(name: str, tmp_path: Path) -> None:
    """Objects need no C library of the platform: `make wheels` links them, which takes minutes the first time."""
    compiler = [*hatch_build.compiler_here(), "-target", PLATFORMS[name].zig]
    for command in compile_commands(compiler, PLATFORMS[name], write_sources(tmp_path / "native"), tmp_path):
        if "isa" in command[-1]:
            hatch_build.run(command)
    objects = list(tmp_path.glob("isa-*.o"))
    assert len(objects) == len(PLATFORMS[name].instruction_sets)
    assert {platform_from_binary(path.read_bytes()) for path in objects} == {name}


@pytest.mark.ziglang
def test_a_wheel_has_the_library_and_the_platform_s_tag(project: Path) -> None:
    (project / hatch_build.FOLDER / "_library.so").write_text("an older one, of an editable install", encoding="utf-8")
    wheel, said = built(project)
    here = hatch_build.name_of_machine()
    file = f"{hatch_build.FOLDER}/{PLATFORMS[here].library}"
    assert wheel.name.endswith(f"-py3-none-{PLATFORMS[here].wheel}.whl") and "native engine" not in said
    with zipfile.ZipFile(wheel) as archive:
        libraries = [name for name in archive.namelist() if "_library" in name]
        archive.extractall(project / "installed")
        metadata = next(archive.read(name).decode() for name in archive.namelist() if name.endswith("/WHEEL"))
    assert libraries == [file] and "Root-Is-Purelib: false" in metadata
    data = (project / "installed" / file).read_bytes()
    assert platform_from_binary(data) == here
    assert ctypes.CDLL(str(project / "installed" / file)).answer() == 42
    assert (project / hatch_build.FOLDER / "_library.so").read_text(encoding="utf-8").startswith("an older one")


@pytest.mark.ziglang
def test_an_editable_install_has_the_library_in_the_tree(project: Path) -> None:
    folder = project / hatch_build.FOLDER
    (folder / hatch_build.REASON).write_text("an older failure", encoding="utf-8")
    built(project, BUILD_EDITABLE)
    (file,) = folder.glob("_library.*")
    assert ctypes.CDLL(str(file)).answer() == 42


@pytest.mark.ziglang
def test_what_the_compiler_refuses_is_told(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "native")
    (sources / "pool.c").write_text("int broken(void) { return missing; }\n", encoding="utf-8")
    with pytest.raises(NotBuiltError, match=r"pool\.c.*failed: .*missing"):
        build_library(platform_from_name(hatch_build.name_of_machine()), sources, tmp_path)
    assert not list(tmp_path.glob("_library.*"))


# --- without it -------------------------------------------------------------------------------------------------------


def test_without_the_compiler_the_wheel_is_pure_and_says_why(project: Path) -> None:
    wheel, said = built(project, WITHOUT_COMPILER + BUILD_WHEEL)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "bertc is built without its native engine: the package ziglang" in " ".join(said.split())
    with zipfile.ZipFile(wheel) as archive:
        reason = archive.read(f"{hatch_build.FOLDER}/{hatch_build.REASON}").decode()
        assert not [name for name in archive.namelist() if "_library" in name and hatch_build.REASON not in name]
    assert "ziglang" in reason


def test_without_the_compiler_an_editable_install_keeps_no_older_library(project: Path) -> None:
    folder = project / hatch_build.FOLDER
    (folder / "_library.so").touch()
    built(project, WITHOUT_COMPILER + BUILD_EDITABLE)
    assert [path.name for path in folder.glob("_library.*")] == [hatch_build.REASON]


def test_a_platform_that_was_asked_for_is_built_or_the_build_fails(project: Path) -> None:
    with pytest.raises(RuntimeError, match="NotBuiltError: the package ziglang"):
        built(project, WITHOUT_COMPILER + BUILD_WHEEL, target="aarch64-linux")
    with pytest.raises(RuntimeError, match="no native engine for vax, only for x86_64-linux"):
        built(project, target="vax")


# --- the source distribution ------------------------------------------------------------------------------------------


def test_a_source_distribution_has_what_the_build_needs(project: Path) -> None:
    (project / hatch_build.FOLDER / "_library.so").touch()
    sdist, _ = built(project, BUILD_WHEEL.replace("build_wheel", "build_sdist"))
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {f"native/{name}" for name in (*hatch_build.ONCE, hatch_build.PER_INSTRUCTION_SET)}
    assert sources | {"hatch_build.py", "pyproject.toml"} <= names
    assert not [name for name in names if "_library" in name]
