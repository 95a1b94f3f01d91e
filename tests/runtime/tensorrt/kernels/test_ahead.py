"""Kernels compiled ahead of time, without a GPU: what instructions they have, and the parameters that TensorRT passes.

Triton compiles for real in a process of its own (in this one it may be the interpreter), and its package's assembler
takes the result. That a GPU runs it is not tested here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.triton
COMPILE = """
import json, sys
from dataclasses import asdict
from bertc.runtime.tensorrt.kernels.ahead import compiled_attention
wanted = json.loads(sys.argv[1])
print(json.dumps([asdict(compiled_attention(sm, size=size, half_scales=half)) for sm, size, half in wanted]))
"""
KERNELS = [(80, 32, False), (89, 64, True), (90, 64, False), (100, 64, True), (120, 64, False)]
"""Compute capability times ten, head size, and whether the scales are float16."""

PRODUCT = re.compile(r"(mma\.sync\S*|wgmma\.mma_async\S*|tcgen05\.mma\.\S*)")
"""The matrix instructions of compute capability 8 and 12, 9, and 10."""

DROP = """
import sys
from bertc.errors import EnvironmentLackError
from bertc.runtime.tensorrt.kernels.ahead import drop_scratch_parameters
try:
    print(drop_scratch_parameters(sys.argv[1], 2))
except EnvironmentLackError as error:
    print(error)
"""


def run(code: str, argument: str, cache: Path) -> str:
    """Run Python without the interpreter of Triton, and with a cache of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(cache)
    command = [sys.executable, "-c", code, argument]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int, bool], dict[str, Any]]:
    """The kernels, compiled once."""
    if find_spec("triton") is None:
        pytest.skip("needs the extra triton")
    text = run(COMPILE, json.dumps(KERNELS), tmp_path_factory.mktemp("triton"))
    return dict(zip(KERNELS, json.loads(text), strict=True))


Kernels = dict[tuple[int, int, bool], dict[str, Any]]


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_both_products_are_int8_matrix_instructions(kernel: tuple[int, int, bool], compiled: Kernels) -> None:
    products = PRODUCT.findall(compiled[kernel]["ptx"])
    assert len(products) >= 3, "the first product stands in both passes"
    assert all(".s8.s8" in name or ".kind::i8" in name for name in products), products


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_the_parameters_are_inputs_and_output_and_the_assembler_takes_it(
    kernel: tuple[int, int, bool], compiled: Kernels, tmp_path: Path
) -> None:
    found = compiled[kernel]
    entry = re.search(rf"\.entry {found['name']}\((.*?)\)", found["ptx"], re.DOTALL)
    assert entry is not None
    assert entry[1].count(".param .u64") == entry[1].count(".param") == 7
    target = re.search(r"\.target (\w+)", found["ptx"])
    assert target is not None and target[1].rstrip("a") == f"sm_{kernel[0]}"
    assert found["threads"] == 128 and found["rows"] == 64 and 0 < found["shared"] <= 48 * 1024
    source, binary = tmp_path / "kernel.ptx", tmp_path / "kernel.cubin"
    source.write_text(found["ptx"], encoding="utf-8")
    spec = find_spec("triton")  # not imported: the interpreter's tests have to be the first to do that
    assert spec is not None and spec.origin is not None
    name = "ptxas-blackwell" if kernel[0] >= 100 else "ptxas"
    ptxas = Path(spec.origin).parent / "backends" / "nvidia" / "bin" / name
    command = [ptxas, f"-arch={target[1]}", "-v", source, "-o", binary]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and binary.stat().st_size > 1000, done.stderr
    assert "0 bytes spill stores" in done.stderr


def test_a_scratch_parameter_that_is_read_is_refused(compiled: Kernels, tmp_path: Path) -> None:
    head = ".visible .entry kernel(\n\t.param .u64 kernel_param_0,\n\t.param .u64 kernel_param_1,\n"
    head += "\t.param .u64 .ptr kernel_param_2\n)\n{\n\tld.param.b64 %rd1, [kernel_param_0];\n"
    assert "kernel_param_2" not in run(DROP, f"{head}}}\n", tmp_path)
    refused = run(DROP, f"{head}\tld.param.b64 %rd2, [kernel_param_2];\n}}\n", tmp_path)
    assert refused.startswith("Triton ") and "a parameter of its own (kernel_param_2)" in refused
