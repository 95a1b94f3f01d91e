"""All that is used of TensorRT, checked against its released Python bindings, which need no GPU to be read.

Type stubs are written from the docstrings of each version, and mypy checks the code with each of them: names, members,
keywords, types, what may be None. The plugin of `--attention kernel` goes through the real package `tensorrt.plugin`.
The double that other tests use is compared with the same stubs. Nothing of TensorRT itself runs: its libraries are
empty here.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bertc.export.tensorrt.limits import NATIVE, NEEDS, PACKED
from tests.contracts.released_bindings import NUMPYS, PACKAGES, ROOT, run
from tests.tensorrt_api import Api, api_of, number

pytestmark = [pytest.mark.tensorrt_bindings, pytest.mark.xdist_group("tensorrt_bindings")]
OLDEST, NEWEST = min(PACKAGES, key=number), max(PACKAGES, key=number)
CODE = ROOT / "bertc" / "runtime" / "tensorrt"
FILES = sorted(path for path in CODE.glob("*.py") if path.name != "__init__.py")
LAYER = "attention_layer.py"
"""What uses the attention layer, which came with 10.14; the others use what every version has."""

StubsOf = Callable[[str], Path]


@pytest.fixture(scope="module")
def stubs_of(tmp_path_factory: pytest.TempPathFactory) -> StubsOf:
    """Give a function that writes the stubs of a version once."""
    folder = tmp_path_factory.mktemp("stubs")

    def of(version: str) -> Path:
        path = folder / version
        if not path.exists():
            run("tensorrt_stubs.py", version, path)
        return path

    return of


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which mypy keeps what it knows of everything else, for all versions."""
    return tmp_path_factory.mktemp("mypy")


def mypy(version: str, stubs: Path, cache: Path, files: list[Path]) -> str:
    """Check files against a version's stubs, strictly; returns what mypy says."""
    config = stubs / "mypy.ini"
    paths = os.pathsep.join(map(str, (ROOT / "stubs" / "cuda", ROOT / "stubs" / "triton", stubs, ROOT)))
    known = "always_true" if number(version) >= (11, 0) else "always_false"
    sections = [f"[mypy]\nstrict = True\nfollow_imports = silent\nmypy_path = {paths}"]
    sections += [f"[mypy-{package}.*]\n{known} = TENSORRT_11" for package in ("bertc.runtime.tensorrt", "checked")]
    sections += ["[mypy-onnxruntime.*]\nignore_missing_imports = True", "[mypy-tensorrt.*]\nignore_errors = True"]
    config.write_text("\n".join(sections) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", config, "--cache-dir", cache, *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=stubs, timeout=300, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return "" if done.returncode == 0 else done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("version", PACKAGES)
def test_the_code_uses_what_a_version_has(version: str, stubs_of: StubsOf, cache: Path) -> None:
    native = number(version) >= NEEDS[NATIVE].since
    said = mypy(version, stubs_of(version), cache, [path for path in FILES if native or path.name != LAYER])
    assert not said, said


def test_the_attention_layer_came_with_the_version_that_is_asked_for(stubs_of: StubsOf) -> None:
    assert number(OLDEST) < NEEDS[NATIVE].since == (10, 14) and NEEDS[PACKED].since == (11, 0)
    for version in PACKAGES:
        text = (stubs_of(version) / "tensorrt" / "__init__.pyi").read_text(encoding="utf-8")
        assert ("class IAttention(" in text) == (number(version) >= NEEDS[NATIVE].since)
        assert ("PACKED_NHD" in text) == ("def add_attention_v2" in text) == (number(version) >= NEEDS[PACKED].since)


FAULTS = [
    ("builder", "builder.build_serialized_network(", "builder.build_serialised_network(", '"build_serialised_network"'),
    ("builder", "MemoryPoolType.WORKSPACE, W", "MemoryPoolType.WORK_SPACE, W", '"WORK_SPACE"'),
    ("builder", "progress_monitor = _m", "progress_display = _m", '"IBuilderConfig" has no attribute "progress_disp'),
    ("builder", "(profile) < 0", "(config) < 0", "incompatible type"),
    ("builder", 'made(network.get_input(number), "input", said).name', "network.get_input(number).name", '"None" of'),
    ("builder", "_flag(trt.BuilderFlag.TF32)", "_flag(trt.BuilderFlag.INT8)", '"INT8"'),
    ("builder", "trt.DataType.FP8 if", "trt.DataType.FLOAT8 if", '"FLOAT8"'),
    ("timing_cache", "ignore_mismatch=False", "ignore=False", 'Unexpected keyword argument "ignore"'),
    ("timing_cache", "None if cache is None else cache.ser", "cache.ser", '"ITimingCache | None" has no attribute'),
    ("context", "stream_handle=", "stream=", 'Unexpected keyword argument "stream"'),
    ("attention_layer", "PACKED_NHD", "PACKED_NDH", '"PACKED_NDH"'),
    ("attention_layer", "trt.CausalMaskKind.NONE", "False", "incompatible type"),
    ("attention_layer", "_to_type = parsed.codes", "_to_type = scale", "Incompatible types in assignment"),
    ("attention_layer", "n_quantize_to_type ==", "n_quantised_to_type ==", '"normalization_quantised_to_type"'),
    ("attention_layer", "keep_dims=False", "keep=False", 'Unexpected keyword argument "keep"'),
    ("kernel_plugin", "launch.grid_x", "launch.grid_1", '"KernelLaunchParams" has no attribute "grid_1"'),
    ("kernel_plugin", "trtp.aot_impl(", "trtp.ahead_impl(", '"ahead_impl"'),
    ("kernel_plugin", "query.like()", "query.alike()", '"TensorDesc" has no attribute "alike"'),
    ("kernel_plugin", "trtp.cdiv(longest.shape_expr[0], code.rows)", "trtp.cdiv(code.rows)", "Missing positional"),
    ("library", "trt.init_libnvinfer_plugins(listener([]), ", "trt.init_libnvinfer_plugins(", "Missing positional"),
    ("library", "trt.ILogger.Severity.INTERNAL_ERROR", "trt.ILogger.Severity.FATAL", '"FATAL"'),
]


@pytest.mark.slow
@pytest.mark.parametrize("version", [NEWEST])
def test_a_misspelt_name_and_a_wrong_argument_are_found(
    version: str, stubs_of: StubsOf, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "checked"
    folder.mkdir()
    (folder / "__init__.py").touch()
    texts = {name: (CODE / f"{name}.py").read_text(encoding="utf-8") for name, *_ in FAULTS}
    for name, right, wrong, _ in FAULTS:
        assert right in texts[name], right
        texts[name] = texts[name].replace(right, wrong, 1)
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    said = mypy(version, stubs_of(version), cache, sorted(folder.glob("*.py")))
    for name, _, wrong, message in FAULTS:
        lines = [line for line in said.splitlines() if f"{name}.py:" in line and message in line]
        assert lines, f"nothing is said of {wrong}: {said}"


# --- the plugin of the compiler's own kernel --------------------------------------------------------------------------


@pytest.mark.parametrize("numpy", NUMPYS)
@pytest.mark.parametrize("version", PACKAGES)
def test_the_plugin_is_registered_created_and_launched(version: str, numpy: str) -> None:
    found = json.loads(run("tensorrt_probe.py", version, numpy=numpy))  # nothing else is on stdout
    assert found["numpy"] == numpy
    assert found["module"] == ("tensorrt.plugin" if number(version) >= (10, 14) else "tensorrt_bindings.plugin")
    assert found["asked"] == {"capability": 89, "size": 64, "half_scales": True}
    assert found["launch"] == {
        "name": "attend",
        "code": ".entry attend()",
        "grid_x": "CEIL_DIV(longest[0], 64)",
        "grid_y": "12",
        "grid_z": "SUB(ends[0], 1)",
        "block_x": "128",
        "block_y": "1",
        "block_z": "1",
        "shared_mem": "20480",
    }
    assert found["failure"] == "no such GPU"
    # Why it has no attributes: the packages up to 11.1 make a number of an array.
    assert found["attributes"] == (number(version) >= (11, 2) or number(numpy) < (2, 4))
    assert found["without"] == "TensorRT cannot start here: it gives no reason"
    assert found["strongly_typed"] == api_of(version).enumerations["NetworkDefinitionCreationFlag"]["STRONGLY_TYPED"]
    assert found["int8_is_a_number"] is False


# --- the double -------------------------------------------------------------------------------------------------------


def lacking(stub: str, api: Api) -> Iterator[str]:
    """Say what the double has and a version lacks: classes, members, arguments, values."""
    classes = {node.name: node for node in ast.walk(ast.parse(stub)) if isinstance(node, ast.ClassDef)}
    for name, values in api.enumerations.items():
        yield from (f"{name}.{value}" for value in set(values) - set(members(classes, name.rpartition(".")[2])))
    for name, (_, own) in api.classes.items():
        known = members(classes, name)
        for member, arguments in own.items():
            if member not in known:
                yield f"{name}.{member}"
            elif arguments is not None and not any(fits(arguments, each) for each in known[member]):
                yield f"{name}.{member}({', '.join(arguments)})"
            elif arguments is None and known[member]:
                yield f"{name}.{member} is no property"


def members(classes: dict[str, ast.ClassDef], name: str) -> dict[str, list[ast.arguments]]:
    """Return the members of a class and of its bases: the arguments of each overload, none for a property."""
    if name not in classes:
        return {}
    found: dict[str, list[ast.arguments]] = {}
    for base in classes[name].bases:
        found |= members(classes, ast.unparse(base))
    for node in classes[name].body:
        if isinstance(node, ast.AnnAssign):
            found[ast.unparse(node.target)] = []
        elif isinstance(node, ast.FunctionDef):
            is_property = any("overload" not in ast.unparse(each) for each in node.decorator_list)
            found.setdefault(node.name, []).extend([] if is_property else [node.args])
    return found


def fits(wanted: list[str], found: ast.arguments) -> bool:
    """Whether a function takes the arguments, and asks for no more."""
    names = [each.arg for each in found.args if each.arg != "self"]
    required = len(names) - len(found.defaults)
    least = [each for each in wanted if not each.endswith("=")]
    return [each.rstrip("=") for each in wanted] == names[: len(wanted)] and len(least) >= required


@pytest.mark.parametrize("version", PACKAGES)
def test_the_double_has_what_a_version_has(version: str, stubs_of: StubsOf) -> None:
    stub = (stubs_of(version) / "tensorrt" / "__init__.pyi").read_text(encoding="utf-8")
    assert not list(lacking(stub, api_of(version)))


def test_what_a_version_lacks_is_found(stubs_of: StubsOf) -> None:
    stub = (stubs_of(NEWEST) / "tensorrt" / "__init__.pyi").read_text(encoding="utf-8")
    wrong = Api(
        classes={
            "Bilder": ("", {"create_network": ["flags="]}),
            "Builder": ("", {"create_network": ["flag="], "build": [], "create_builder_config": None}),
            "ILogger": ("", {"log": ["severity"]}),
        },
        enumerations={"DataType": {"INT9": 0}, "ILogger.Severity": {"FATAL": 0, "ERROR": 1}},
    )
    assert sorted(lacking(stub, wrong)) == [
        "Bilder.create_network",
        "Builder.build",
        "Builder.create_builder_config is no property",
        "Builder.create_network(flag=)",
        "DataType.INT9",
        "ILogger.Severity.FATAL",
        "ILogger.log(severity)",
    ]
    later = api_of(NEWEST)
    stub = (stubs_of(OLDEST) / "tensorrt" / "__init__.pyi").read_text(encoding="utf-8")
    assert "INetworkDefinition.add_attention_v2" in set(lacking(stub, later))
