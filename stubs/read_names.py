"""Read the names of TensorRT's Python API from the public sources of its bindings, one JSON file per version.

    python stubs/read_names.py CLONE v10.12.0 v10.13.3 v10.14 v11.0 v11.1

CLONE is a clone of https://github.com/NVIDIA/TensorRT (any kind, also bare). Written are names alone: classes with
their bases, methods with the names of their arguments, properties, enumerations with their values, and functions.
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

REPOSITORY = "https://github.com/NVIDIA/TensorRT"
SOURCES = (
    "python/src/infer/pyFoundationalTypes.cpp",
    "python/src/infer/pyCore.cpp",
    "python/src/infer/pyGraph.cpp",
    "python/src/infer/pyPlugin.cpp",
    "python/src/parsers/pyOnnx.cpp",
)
QUICK_SOURCES = tuple(
    f"python/packaging/bindings_wheel/tensorrt/plugin/{name}.py" for name in ("_lib", "_tensor", "_top_level")
)
"""The module `tensorrt.plugin`, which is Python."""

PLUGIN = "plugin/bertQKVToContextPlugin/qkvToContextInt8InterleavedPlugin.cpp"
NAMES = Path(__file__).parent / "names"
COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)
# A class or enumeration is opened, or a member is defined on the one that was opened last (or on a named one).
STEP = re.compile(
    r"py::(?P<kind>class_|enum_)\s*<(?P<types>[^;{(]*?)>\s*(?P<variable>\w+)?\s*[({]\s*(?P<scope>\w+)\s*,\s*\"(?P<name>\w+)\""
    r"|(?P<owner>\w+)?\s*\.(?P<how>def|def_static|def_property|def_property_readonly|def_property_readonly_static"
    r"|def_readwrite|def_readonly|value)\s*\("
)
ARGUMENT = re.compile(r'(?:"(\w+)"_a|py::arg\("(\w+)"\))(\s*=)?')
PUBLIC = re.compile(r'^public_api\(symbol="(\w+)"\)', re.MULTILINE)
FIELD = re.compile(r'PluginField\(\s*"(\w+)"')


def names_from_sources(texts: list[str]) -> dict[str, Any]:
    """Return classes, enumerations and functions of the modules that C++ sources define."""
    classes: dict[str, Any] = {}
    enums: dict[str, list[str]] = {}
    functions: dict[str, list[list[str]]] = {}
    for text in texts:
        plain = COMMENT.sub("", text)
        opened: dict[str, tuple[str, str]] = {}
        current = ("function", "m")
        for step in STEP.finditer(plain):
            if step["kind"]:
                current = _opened(step, classes, enums, opened)
                if step["variable"]:
                    opened[step["variable"]] = current
                continue
            if step["owner"]:  # what follows in a chain of calls is defined on the same
                current = ("function", "m") if step["owner"] == "m" else opened.get(step["owner"], current)
            _define(step["how"], plain[step.end() - 1 :], current, (classes, enums, functions))
    return {"classes": classes, "enums": enums, "functions": functions}


def names_from_python(texts: list[str]) -> dict[str, Any]:
    """Return classes, functions and values of the module that Python sources define."""
    classes: dict[str, Any] = {}
    functions: dict[str, list[list[str]]] = {}
    for text in texts:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef):
                bases = [base.id for base in node.bases if isinstance(base, ast.Name)]
                classes[node.name] = {"bases": bases, "members": _members(node)}
            elif isinstance(node, ast.FunctionDef) and "public_api()" in map(ast.unparse, node.decorator_list):
                functions[node.name] = [_parameters(node)]
    for found in classes.values():
        found["bases"] = [base for base in found["bases"] if base in classes]
    values = [name for text in texts for name in PUBLIC.findall(text)]
    return {"quick_classes": classes, "quick_functions": functions, "quick_values": values}


def _members(node: ast.ClassDef) -> dict[str, list[list[str]]]:
    """Return a class's methods with their arguments, and its properties: the decorated, and what `__init__` sets."""
    members: dict[str, list[list[str]]] = {}
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            members[part.name] = [] if part.decorator_list else [_parameters(part)]
            if part.name == "__init__":
                names = re.findall(r"^\s*self\.([a-z]\w*) = ", ast.unparse(part), re.MULTILINE)
                members |= {name: [] for name in names}
    return members


def _parameters(node: ast.FunctionDef) -> list[str]:
    names = [argument.arg for argument in node.args.args]
    first_default = len(names) - len(node.args.defaults)
    marked = [name + ("=" if place >= first_default else "") for place, name in enumerate(names)]
    return [name for name in marked if name != "self"]


def _opened(
    step: re.Match[str], classes: dict[str, Any], enums: dict[str, list[str]], opened: dict[str, tuple[str, str]]
) -> tuple[str, str]:
    """Note a class or enumeration; one that is defined in a class has its name before a dot."""
    name = step["name"]
    if step["scope"] in opened:
        name = f"{opened[step['scope']][1]}.{name}"
    if step["kind"] == "enum_":
        enums.setdefault(name, [])
        return "enum", name
    types = [part.strip() for part in step["types"].split(",")]
    found = classes.setdefault(name, {"cpp": types[0], "bases": types[1:], "members": {}})
    assert found["cpp"] == types[0], name
    return "class", name


def _define(how: str, rest: str, owner: tuple[str, str], found: tuple[Any, Any, Any]) -> None:
    """Note one member of a class, value of an enumeration, or function of the module."""
    classes, enums, functions = found
    body = _arguments(rest)
    label = re.match(r'\(\s*"(\w+)"', body)
    # An argument that may be left out is written with an equals sign.
    arguments = [(left or right) + ("=" if default else "") for left, right, default in ARGUMENT.findall(body)]
    kind, name = owner
    if label is None:
        if how == "def" and re.match(r"\(\s*py::init", body) and kind == "class":
            classes[name]["members"].setdefault("__init__", []).append(arguments)
        return
    if how == "value":
        enums[name].append(label[1]) if kind == "enum" else None
    elif kind == "class":
        overloads = classes[name]["members"].setdefault(label[1], [])
        overloads.append(arguments) if how in ("def", "def_static") else None
    elif kind == "function":
        functions.setdefault(label[1], []).append(arguments)


def _arguments(text: str) -> str:
    """Return a call's parentheses with all that is between them; strings may hold parentheses."""
    depth = 0
    for match in re.finditer(r'"(?:\\.|[^"\\])*"|[()]', text):
        depth += {"(": 1, ")": -1}.get(match[0], 0)
        if depth == 0:
            return text[: match.end()]
    raise ValueError("a call without an end")


def _resolve_bases(classes: dict[str, Any]) -> None:
    """Give base classes by their Python names, and drop what is no class of the module (holders, trampolines)."""
    python_names = {found["cpp"]: name for name, found in classes.items()}
    for found in classes.values():
        found["bases"] = [python_names[base] for base in found["bases"] if base in python_names]
        del found["cpp"]


def _show(clone: str, version: str, path: str) -> str:
    command = ["git", "-C", clone, "show", f"{version}:{path}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read_version(clone: str, version: str) -> dict[str, Any]:
    """Return the names of one version, with their source."""
    command = ["git", "-C", clone, "rev-parse", f"{version}^{{commit}}"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    names = names_from_sources([_show(clone, version, path) for path in SOURCES])
    _resolve_bases(names["classes"])
    files = [*SOURCES, *QUICK_SOURCES, PLUGIN]
    source = {"repository": REPOSITORY, "version": version, "commit": commit, "files": files}
    quick = names_from_python([_show(clone, version, path) for path in QUICK_SOURCES])
    fields = FIELD.findall(_show(clone, version, PLUGIN))
    return {"source": source, **names, **quick, "plugin_fields": fields}


def text_from_names(names: dict[str, Any]) -> str:
    """Write names as JSON with one class, enumeration or function a line."""
    parts = []
    for key, found in names.items():
        if isinstance(found, dict) and key != "source":
            lines = (
                f"  {json.dumps(name)}: {json.dumps(each, sort_keys=True)}" for name, each in sorted(found.items())
            )
            parts.append(f' "{key}": {{\n' + ",\n".join(lines) + "\n }")
        else:
            parts.append(f' "{key}": {json.dumps(found)}')
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _versions(arguments: list[str]) -> Iterator[str]:
    clone, *versions = arguments
    for version in versions:
        path = NAMES / f"{version}.json"
        path.write_text(text_from_names(read_version(clone, version)), encoding="utf-8")
        yield f"{path}: {path.stat().st_size} bytes"


if __name__ == "__main__":
    for line in _versions(sys.argv[1:]):
        print(line)
