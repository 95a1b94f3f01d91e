"""Every name of the CUDA runtime that is used exists in the package cuda-bindings that is installed.

mypy shows that the code uses nothing that the stub lacks; this shows that the stub has nothing that the package lacks,
and what the package answers where there is no GPU.
"""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from bertc.errors import EnvironmentLackError
from bertc.runtime.tensorrt.cuda_memory import Buffer, Stream, current_device

runtime = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings exists for Linux and Windows")
STUB = Path(__file__).parents[2] / "stubs" / "cuda" / "cuda" / "bindings" / "runtime.pyi"


def faults(stub: str, module: Any) -> list[str]:
    """Say what a stub has and the module lacks."""
    found = []
    for node in ast.parse(stub).body:
        if isinstance(node, ast.FunctionDef):
            wanted = [argument.arg for argument in node.args.args]
            call = getattr(module, node.name, None)
            if call is None or list(inspect.signature(call).parameters) != wanted:
                found.append(f"{node.name}({', '.join(wanted)})")
        elif isinstance(node, ast.ClassDef):
            kind = getattr(module, node.name, object())
            values = [each.targets[0].id for each in node.body if isinstance(each, ast.Assign)]  # type: ignore[attr-defined]
            values += [each.target.id for each in node.body if isinstance(each, ast.AnnAssign)]  # type: ignore[union-attr]
            values += [each.name for each in node.body if isinstance(each, ast.FunctionDef)]
            found += [f"{node.name}.{value}" for value in values if not hasattr(kind, value)]
            found += [node.name] * (not isinstance(kind, type))
    return found


def test_the_stub_has_nothing_that_the_package_lacks() -> None:
    assert 12 <= int(version("cuda-bindings").split(".")[0]) < 14
    assert faults(STUB.read_text(encoding="utf-8"), runtime) == []


@pytest.mark.parametrize(
    "old, new, fault",
    [
        ("cudaGraphLaunch(", "cudaGraphsLaunch(", "cudaGraphsLaunch(graphExec, stream)"),
        ("mode: cudaStreamCaptureMode)", "how: cudaStreamCaptureMode)", "cudaStreamBeginCapture(stream, how)"),
        ("ThreadLocal = ...", "Thread = ...", "cudaStreamCaptureMode.cudaStreamCaptureModeThread"),
        ("class cudaGraph_t:", "class cudaGraph:", "cudaGraph"),
        ("    major: int", "    majors: int", "cudaDeviceProp.majors"),
    ],
)
def test_a_misspelt_name_is_found(old: str, new: str, fault: str) -> None:
    stub = STUB.read_text(encoding="utf-8")
    assert stub.count(old) == 1
    assert faults(stub.replace(old, new), runtime) == [fault]


def test_without_a_gpu_the_package_is_heard_in_one_sentence() -> None:
    if int(runtime.cudaGetDevice()[0]) == 0:
        pytest.skip("there is a GPU here")
    for call in (current_device, Stream, lambda: Buffer().reserve(8)):
        with pytest.raises(EnvironmentLackError, match=r"the NVIDIA GPU does not answer: .*; see nvidia-smi") as caught:
            call()
        assert "\n" not in str(caught.value)
