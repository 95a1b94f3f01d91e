"""The built wheel, installed in an environment of its own and used from another folder."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import time
import zipfile
from pathlib import Path

import pytest

from bertc import __version__
from hatch_build import FOLDER, PLATFORMS, name_of_machine

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "onnx_ir", "pyarrow", "openvino", "huggingface_hub", "jinja2")
HELP_SECONDS = 0.3

pytestmark = pytest.mark.xdist_group("wheel")


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command that has to succeed; return its standard output."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (found,) = out.glob("bertc-*.whl")
    return found


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel where nothing else is; its dependencies are the development environment's, by a path file.

    Path files of the development environment are not followed from there, so its editable bertc stays invisible.
    """
    folder = tmp_path_factory.mktemp("installed") / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder.parent)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "--python", python]
    run(*pip, "install", "--no-deps", "--no-index", wheel, cwd=folder.parent)
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder.parent).strip()
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "bertc").rglob("*.py")}
    assert sources <= set(names)
    files = [path for path in (ROOT / "bertc").rglob("*") if path.suffix in (".html", ".css")]
    data = {path.relative_to(ROOT).as_posix() for path in files}
    assert len(data) > 1 and data | {"bertc/py.typed"} <= set(names)
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {name.split("/")[0] for name in names} == {"bertc", f"bertc-{__version__}.dist-info"}


def test_the_wheel_has_the_native_engine_of_this_machine(wheel: Path, environment: Path, tmp_path: Path) -> None:
    here = PLATFORMS[name_of_machine()]
    assert wheel.name == f"bertc-{__version__}-py3-none-{here.wheel}.whl"
    assert [name for name in zipfile.ZipFile(wheel).namelist() if "_library" in name] == [f"{FOLDER}/{here.library}"]
    code = "import ctypes; from bertc.runtime.native.library import library_path as path; print(path());"
    printed = run(
        environment / "bin" / "python", "-c", f"{code} assert ctypes.CDLL(str(path())).bertc_abi()", cwd=tmp_path
    )
    assert Path(printed.strip()).is_relative_to(environment)


def test_the_package_is_the_installed_one_and_finds_its_data(environment: Path, tmp_path: Path) -> None:
    code = (
        "import bertc; from importlib.resources import files; print(bertc.__file__);"
        "from bertc.report.html.timings import html_from_timings;"
        "assert '<title>bench</title>' in html_from_timings('bench', '', []);"
        "assert files('bertc').joinpath('py.typed').is_file()"
    )
    printed = run(environment / "bin" / "python", "-c", code, cwd=tmp_path)
    assert Path(printed.strip()).is_relative_to(environment)


def test_import_and_command_line_wait_for_nothing_heavy(environment: Path, tmp_path: Path) -> None:
    code = f"import bertc, bertc.cli.main, sys, json; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    assert json.loads(run(environment / "bin" / "python", "-c", code, cwd=tmp_path)) == []


def test_the_command_says_its_version(environment: Path, tmp_path: Path) -> None:
    assert __version__ in run(environment / "bin" / "bertc", "--version", cwd=tmp_path)


def test_the_command_shows_its_help(environment: Path, tmp_path: Path) -> None:
    run(environment / "bin" / "bertc", "--help", cwd=tmp_path)  # writes the bytecode
    started = time.perf_counter()
    text = run(environment / "bin" / "bertc", "--help", cwd=tmp_path)
    print(f"bertc --help took {time.perf_counter() - started:.2f} s (wanted: below {HELP_SECONDS} s)")
    assert "build" in text
    assert "gate" in text
