"""ONNX Runtime sends nothing and keeps no device id where bertc was imported first."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

RECORDED = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 29) and sys.platform != "win32"
SUPPRESSED_BY = ("CI", "GITHUB_ACTIONS", "TF_BUILD", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY")


def files_left(home: Path, code: str, **variables: str) -> list[str]:
    """Run Python with a home folder of its own; return the names of what it left there."""
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if name not in (*SUPPRESSED_BY, "XDG_CACHE_HOME")}
    environment = {**kept, "HOME": str(home), **variables}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, cwd=Path(__file__).parents[3])
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_nothing_is_kept_where_bertc_is_imported(tmp_path: Path) -> None:
    assert files_left(tmp_path / "home", "import bertc, onnxruntime") == []


def test_what_a_user_asked_for_stays(tmp_path: Path) -> None:
    code = "import bertc, os; assert os.environ['ORT_DISABLE_TELEMETRY'] == '0'"
    assert files_left(tmp_path / "home", code, ORT_DISABLE_TELEMETRY="0") == []


@pytest.mark.skipif(not RECORDED, reason="this ONNX Runtime records nothing")
def test_without_bertc_there_is_an_id(tmp_path: Path) -> None:
    left = files_left(tmp_path / "home", "import onnxruntime")
    if not left:
        pytest.skip("this build of ONNX Runtime records nothing here")
    assert "deviceid" in left
