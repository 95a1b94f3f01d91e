"""Every name of TensorRT that is used exists, version by version.

mypy shows that the code uses nothing that the stubs lack; this file shows that the stubs have nothing that the public
binding sources lack (`stubs/names`, made by `stubs/read_names.py`): classes, members, arguments, values, functions.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bertc.export.tensorrt.limits import NATIVE, NEEDS
from bertc.export.tensorrt.plugin import ATTRIBUTES

ROOT = Path(__file__).parents[2]
NAMES = ROOT / "stubs" / "names"
VERSIONS = sorted(path.stem for path in NAMES.glob("*.json"))
ATTENTION_NAMES = {"IAttention", "AttentionNormalizationOp", "add_attention"}
"""What `--attention native` and `packed` use, and nothing else does."""

PYTHON_OWN = {"__buffer__", "__iter__", "__int__"}
"""What Python says by other means: a buffer, a sequence, a number."""

Names = dict[str, Any]


def names_of(version: str) -> Names:
    names: Names = json.loads((NAMES / f"{version}.json").read_text(encoding="utf-8"))
    return names


def number(version: str) -> tuple[int, int]:
    major, minor = version.removeprefix("v").split(".")[:2]
    return int(major), int(minor)


def stub_of(version: str, module: str = "__init__") -> str:
    folder = f"tensorrt-{number(version)[0]}"
    return (ROOT / "stubs" / folder / "tensorrt" / f"{module}.pyi").read_text(encoding="utf-8")


def quick_names_of(version: str) -> Names:
    """Return the names of `tensorrt.plugin`, in which quick plugins are written."""
    names = names_of(version)
    return {"enums": {}} | {key: names[f"quick_{key}"] for key in ("classes", "functions", "values")}


def faults(stub: str, names: Names, without: set[str] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """Say what a stub has and the names lack."""
    found: list[str] = []
    for node in ast.parse(stub).body:
        if isinstance(node, ast.ClassDef) and node.name not in without:
            found += class_faults(node, node.name, names, without)
        elif isinstance(node, ast.FunctionDef):
            found += call_faults(node, node.name, names["functions"].get(node.name))
        elif isinstance(node, ast.AnnAssign) and ast.unparse(node.target) not in [
            *names.get("values", ()),
            "__version__",
        ]:
            found.append(f"there is no {ast.unparse(node.target)}")
    return found


def class_faults(node: ast.ClassDef, name: str, names: Names, without: set[str]) -> Iterator[str]:
    if any(isinstance(base, ast.Name) and base.id == "Enum" for base in node.bases):
        yield from enum_faults(node, name, names["enums"].get(name))
    elif name not in names["classes"]:
        yield f"the class {name} does not exist"
    else:
        members = members_of(name, names)
        for part in node.body:
            if isinstance(part, ast.ClassDef):
                yield from class_faults(part, f"{name}.{part.name}", names, without)
            elif isinstance(part, ast.FunctionDef) and part.name not in PYTHON_OWN | without:
                yield from member_faults(part, name, members)
            elif isinstance(part, ast.AnnAssign) and ast.unparse(part.target) not in members:
                yield f"{name} has no property {ast.unparse(part.target)}"


def enum_faults(node: ast.ClassDef, name: str, values: list[str] | None) -> Iterator[str]:
    if values is None:
        yield f"the enumeration {name} does not exist"
        return
    for part in node.body:
        if isinstance(part, ast.Assign) and ast.unparse(part.targets[0]) not in values:
            yield f"{name} has no value {ast.unparse(part.targets[0])}"


def member_faults(node: ast.FunctionDef, name: str, members: dict[str, list[list[str]]]) -> Iterator[str]:
    if "property" not in [ast.unparse(each) for each in node.decorator_list]:
        yield from call_faults(node, f"{name}.{node.name}", members.get(node.name))
    elif members.get(node.name) != []:
        yield f"{name} has no property {node.name}"


def members_of(name: str, names: Names) -> dict[str, list[list[str]]]:
    """Return a class's members, the inherited ones too."""
    found = names["classes"][name]
    inherited = [members_of(base, names) for base in found["bases"]]
    merged: dict[str, list[list[str]]] = {}
    for members in [*inherited, found["members"]]:
        merged |= members
    return merged


def call_faults(node: ast.FunctionDef, name: str, overloads: list[list[str]] | None) -> Iterator[str]:
    """Compare a function's arguments with those of one overload: all it requires, and none that it lacks."""
    if overloads is None:
        yield f"{name} does not exist"
        return
    taken = [argument.arg for argument in node.args.args if argument.arg != "self"]
    for overload in overloads:
        known = [argument.rstrip("=") for argument in overload]
        required = [argument for argument in overload if not argument.endswith("=")]
        if taken == known[: len(taken)] and len(taken) >= len(required):
            return
    if not node.name.startswith("__") or node.name == "__init__":
        yield f"{name} does not take ({', '.join(taken)}); it takes {overloads}"


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_that_is_used_exists(version: str) -> None:
    native = number(version) >= NEEDS[NATIVE].since
    assert not faults(stub_of(version), names_of(version), set() if native else ATTENTION_NAMES)


def test_the_attention_layer_came_in_the_version_that_is_asked_for() -> None:
    assert NEEDS[NATIVE].since == (10, 14) and {"v10.13.3", "v10.14"} <= set(VERSIONS)
    lacking = faults(stub_of("v10.13.3"), names_of("v10.13.3"))
    assert lacking and all(any(name in fault for name in ATTENTION_NAMES) for fault in lacking)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_plugin_has_the_fields_that_its_node_gives(version: str) -> None:
    assert set(ATTRIBUTES) - {"plugin_version", "plugin_namespace"} == set(names_of(version)["plugin_fields"])


@pytest.mark.parametrize(
    "right, wrong, message",
    [
        ("class Builder:", "class Bilder:", "the class Bilder does not exist"),
        ("create_network(", "create_netwerk(", "Builder.create_netwerk does not exist"),
        ("STRONGLY_TYPED", "STRONGLY_TYPPED", "NetworkDefinitionCreationFlag has no value STRONGLY_TYPPED"),
        ("WORKSPACE", "WORK_SPACE", "MemoryPoolType has no value WORK_SPACE"),
        ("stream_handle: int", "stream: int", r"set_optimization_profile_async does not take \(profile_index, stream"),
        ("builder_optimization_level: int", "optimization_level: int", "IBuilderConfig has no property optimization_"),
        ("def num_io_tensors", "def num_tensors", "ICudaEngine has no property num_tensors"),
        ("init_libnvinfer_plugins(logger: ILogger, ", "init_libnvinfer_plugins(", r"does not take \(namespace\)"),
        ("def log(self, severity: Severity", "def log(self, level: Severity", r"ILogger.log does not take \(level"),
        ("INTERNAL_ERROR", "FATAL", "ILogger.Severity has no value FATAL"),
    ],
)
@pytest.mark.parametrize("version", ["v10.14", "v11.1"])
def test_a_misspelt_name_is_found(version: str, right: str, wrong: str, message: str) -> None:
    stub = stub_of(version)
    assert right in stub
    found = faults(stub.replace(right, wrong, 1), names_of(version))
    assert found and re.search(message, "; ".join(found))


@pytest.mark.parametrize("version", VERSIONS)
def test_every_name_of_quick_plugins_that_is_used_exists(version: str) -> None:
    assert not faults(stub_of(version, "plugin"), quick_names_of(version))


@pytest.mark.parametrize(
    "right, wrong, message",
    [
        ("def aot_impl(", "def ahead_impl(", "ahead_impl does not exist"),
        ("register(plugin_id: str", "register(name: str", r"register does not take \(name\)"),
        ("grid_x: SymInt32", "grid_1: SymInt32", "KernelLaunchParams has no property grid_1"),
        ("def like(self)", "def alike(self)", "TensorDesc.alike does not exist"),
        ("def shape_expr(self)", "def shape_expression(self)", "TensorDesc has no property shape_expression"),
        ("class SymIntExprs", "class SymIntegers", "the class SymIntegers does not exist"),
        ("op: Any", "ops: Any", "there is no ops"),
    ],
)
def test_a_misspelt_name_of_quick_plugins_is_found(right: str, wrong: str, message: str) -> None:
    stub = stub_of("v11.1", "plugin")
    assert right in stub
    found = faults(stub.replace(right, wrong, 1), quick_names_of("v11.1"))
    assert found and re.search(message, "; ".join(found))


def test_the_names_say_where_they_are_from() -> None:
    assert {number(version) for version in VERSIONS} >= {(10, 12), (10, 14), (11, 0), (11, 1)}
    for version in VERSIONS:
        source = names_of(version)["source"]
        assert source["version"] == version and len(source["commit"]) == 40
        assert source["repository"] == "https://github.com/NVIDIA/TensorRT"


# --- mypy against both stubs ------------------------------------------------------------------------------------------

FILES = ("bertc/runtime/tensorrt/*.py",)
CONSTANT = {"tensorrt-10": "always_false", "tensorrt-11": "always_true"}


def mypy(stubs: str, folder: Path, *edits: tuple[str, str]) -> subprocess.CompletedProcess[str]:
    """Check copies of the files that use TensorRT, with edits, against one version's stubs."""
    files = []
    for path in sorted(path for pattern in FILES for path in ROOT.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        for before, after in edits:
            text = text.replace(before, after)
        files.append(folder / f"checked_{path.name}")
        files[-1].write_text(text, encoding="utf-8")
    config = folder / "mypy.ini"
    paths = ":".join(str(each) for each in (ROOT / "stubs" / "cuda", ROOT / "stubs" / stubs, ROOT))
    config.write_text(
        f"[mypy]\nstrict = True\nmypy_path = {paths}\n{CONSTANT[stubs]} = TENSORRT_11\n", encoding="utf-8"
    )
    cache = folder.parent / "mypy-cache"
    command = [sys.executable, "-m", "mypy", "--config-file", config, "--follow-imports", "silent"]
    command += ["--cache-dir", cache, *files]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("stubs", CONSTANT)
def test_mypy_finds_what_a_version_does_not_have(stubs: str, tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="needs the development environment")
    done = mypy(stubs, tmp_path)
    assert done.returncode == 0, done.stdout
    done = mypy(stubs, tmp_path, ("build_serialized_network", "build_serialised_network"))
    assert done.returncode == 1 and 'has no attribute "build_serialised_network"' in done.stdout
