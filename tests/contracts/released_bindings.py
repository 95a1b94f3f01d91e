"""Released Python bindings of TensorRT on a machine without TensorRT: installed, and given empty libraries.

The bindings miss nine C functions, and an import calls none of them. Wheels come from the package index, once: the
folder is `$BERTC_TENSORRT_BINDINGS`, or bertc-tests/tensorrt-bindings in the user's cache. They are NVIDIA's: they are
installed, and nothing of them is copied.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bertc.cache.store import default_cache_directory

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "10.12.0.36": "tensorrt_cu12",
    "10.15.1.29": "tensorrt_cu12",
    "10.16.1.11": "tensorrt_cu12",
    "11.1.0.106": "tensorrt_cu12",
    "11.2.1.2": "tensorrt_cu12",
    "11.4.0.106": "tensorrt_cu13",
}
"""The versions that are checked: the first, those between which something changed, and the last."""

NUMPYS = ("2.0.2" if sys.version_info < (3, 13) else "2.1.3", "2.4.1")
CREATED = ("InferBuilder", "InferRuntime", "InferRefitter", "NvOnnxParser", "NvOnnxParserRefitter")
FUNCTIONS = [f"create{name}_INTERNAL" for name in CREATED]
FUNCTIONS += ["getNvOnnxParserVersion", "getPluginRegistry", "getBuilderPluginRegistry", "initLibNvInferPlugins"]
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
LOADER = """import ctypes, pathlib
for path in sorted(pathlib.Path(__file__).parent.glob("*.so.*")):
    ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
"""


def folder_of_bindings(version: str) -> Path:
    """Return the folder with a version's bindings, ready to be imported. Skips where it cannot be made."""
    if sys.platform != "linux":
        pytest.skip("the bindings' empty libraries are made on Linux alone")
    compiler = _compiler()
    package = PACKAGES[version]
    return _made(version, [f"{package}_bindings=={version}", f"{package}=={version}"], compiler)


def folder_of_numpy(version: str) -> Path:
    """Return the folder with a numpy. Skips where it cannot be installed."""
    return _made(f"numpy-{version}", [f"numpy=={version}"], None)


def run(script: str, version: str, *arguments: str | Path, numpy: str = NUMPYS[-1]) -> str:
    """Run a script of this folder with a version's bindings and a numpy; returns its stdout."""
    paths = (folder_of_bindings(version), folder_of_numpy(numpy), ROOT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-P", str(Path(__file__).with_name(script)), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _compiler() -> list[str]:
    """Return the command of a C compiler."""
    if shutil.which("cc"):
        return ["cc"]
    if find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    pytest.skip("needs a C compiler (cc, or the package ziglang) for TensorRT's empty libraries")


def _made(name: str, requirements: list[str], compiler: list[str] | None) -> Path:
    """Install packages into the folder, whole or not at all."""
    given = os.environ.get("BERTC_TENSORRT_BINDINGS")
    base = Path(given) if given else default_cache_directory().with_name("bertc-tests") / "tensorrt-bindings"
    folder = base / f"{name}-python{sys.version_info[0]}.{sys.version_info[1]}"
    if folder.is_dir():
        return folder
    work = base / f"{folder.name}.{os.getpid()}"
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", "install", "--no-deps", "--target"]
    done = subprocess.run([*command, work, *requirements], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        shutil.rmtree(work, ignore_errors=True)
        reason = next((line for line in reversed(done.stderr.splitlines()) if "ERROR" in line), "pip does not say why")
        pytest.skip(f"needs {' and '.join(requirements)} from the package index: {reason}")
    if compiler is not None:
        _compile(work / "tensorrt_libs", compiler, major=name.partition(".")[0])
    try:
        work.rename(folder)
    except OSError:  # another process was faster
        shutil.rmtree(work)
    return folder


def _compile(folder: Path, compiler: list[str], *, major: str) -> None:
    """Write the libraries that the bindings are linked with: functions that return a null pointer."""
    folder.mkdir()
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS), encoding="utf-8")
    for name in LIBRARIES:
        path = folder / f"lib{name}.so.{major}"
        command = [*compiler, "-shared", "-fPIC", f"-Wl,-soname,{path.name}", "-o", str(path), str(source)]
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    (folder / "__init__.py").write_text(LOADER, encoding="utf-8")
