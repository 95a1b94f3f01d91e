"""The rules of the house, as tests (CONTRIBUTING.md). Each check gives faults as lines of text; each has a twin that
shows it find something.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bertc"
MOST_LINES = 400
MOST_LINES_OF_A_FUNCTION = 60
BANNED_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
MODE_OWNERS = {"ir/scheme.py"}
COMMAND_LINE = {"cli", "commands"}

# Imported where they are used, inside a function, so that nobody waits for or has to install what he does not use.
LATE = {
    "bertc.runtime.tensorrt.kernels",
    "bertc.train",
    "huggingface_hub",
    "onnx",
    "onnxruntime",
    "openvino",
    "pyarrow",
    "tensorrt",
    "torch",
    "transformers",
    "triton",
}
OWNERS = {"torch": "train", "bertc.train": "train", "triton": "kernels", "bertc.runtime.tensorrt.kernels": "kernels"}
"""The room that is made of such a package, and so is itself imported late by everybody else."""

GRAPH_ROOMS = {"graph", "calibrate", "quantize", "sparsity", "train", "export", "dialects", "targets"}

# What may be imported by whom. A room is a folder of bertc/ or a module in it; a module that is not listed belongs to
# the pipeline. Everybody may use the shared language; a stage sees no other stage, save the values that it takes: a
# checkpoint, a table, rows.
LANGUAGE = {"errors", "features", "example", "outputs", "batches", "linalg", "keys", "packing", "plugins", "graph"}
EVERYTHING = None
RELATIVE = "(relative)"
ROOMS: dict[str, set[str] | None] = {
    "errors": set(),
    "features": set(),
    "example": set(),
    "task": {"data", "evaluate"},
    "outputs": set(),
    "batches": set(),
    "linalg": set(),
    "packing": set(),
    "plugins": set(),
    "recipe": {"plugins"},
    "manifest": {"runtime.cpu"},
    "graph": {"checkpoint", "tasks"},
    "checkpoint": {"families", "task", "tasks"},
    "families": set(),
    "calibrate": {"calibrators"},
    "calibrators": {"calibrate.histogram"},
    "quantize": {"calibrate"},
    "sparsity": {"calibrate.gram", "calibrate.smoothing"},
    "train": {
        "calibrate",
        "checkpoint",
        "export.embeddings",
        "quantize",
        "data",
        "task",
        "tasks",
        "evaluate",
        "recipe",
    },
    "export": {"dialects"},
    "dialects": set(),
    "runtime": {"tasks", "manifest", "kernels"},
    "kernels": set(),
    "targets": {"dialects", "runtime"},
    "data": {"tasks"},
    "tasks": {"data", "evaluate", "task"},
    "evaluate": {"data", "task"},
    "artefact": {"manifest"},
    "search": {"artefact", "calibrate", "checkpoint", "data", "evaluate", "inputs", "quantize"}
    | {"recipe", "runtime", "targets", "tasks", "versions"},
    "cli": EVERYTHING,
    "commands": EVERYTHING,
}

Module = tuple[str, str, ast.Module]
Check = Callable[[Module], Iterator[str]]


def read_module(path: Path) -> Module:
    """Return a file's name inside bertc/, its text and its tree."""
    text = path.read_text(encoding="utf-8")
    return path.relative_to(PACKAGE).as_posix(), text, ast.parse(text)


TASKS = {path.stem.replace("_", "-") for path in (PACKAGE / "tasks").glob("*.py") if not path.stem.startswith("_")}
MODULES = [read_module(path) for path in sorted(PACKAGE.rglob("*.py"))]


def room_of(name: str) -> str:
    """Return the room of a file: its folder in bertc/, or its own name if it lies in bertc/ itself."""
    return name.split("/")[0].removesuffix(".py")


def imports_of(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """Give line and full name of everything imported. `from a import b` is both a and a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def top_level(tree: ast.Module) -> list[ast.AST]:
    """Return the statements that run on import, those under a top-level `try` or `if` too, but not TYPE_CHECKING's."""
    found: list[ast.AST] = []
    for node in tree.body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        found.extend(ast.walk(node) if isinstance(node, ast.If | ast.Try | ast.With) else [node])
    return found


def check_names(module: Module) -> Iterator[str]:
    """Nothing is called utils, helpers or manager: such a name says nothing of what is inside."""
    name, _, tree = module
    for part in name.removesuffix(".py").split("/"):
        if BANNED_NAMES & set(part.split("_")):
            yield f"{name}: a file or folder called {part}"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.lower().endswith(("manager", "helper", "utils")):
            yield f"{name}:{node.lineno}: a class called {node.name}"


def check_sizes(module: Module) -> Iterator[str]:
    """A file and a function can be read in one go."""
    name, text, tree = module
    lines = text.count("\n")
    if lines > MOST_LINES:
        yield f"{name}: {lines} lines, at most {MOST_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > MOST_LINES_OF_A_FUNCTION:
                yield f"{name}:{node.lineno}: {node.name} has {length} lines, at most {MOST_LINES_OF_A_FUNCTION}"


def check_docstrings(module: Module) -> Iterator[str]:
    """Modules, and public classes, functions and methods, say what they are."""
    name, text, tree = module
    if text.strip() and not ast.get_docstring(tree):
        yield f"{name}: the module has no docstring"
    nodes = list(tree.body)
    while nodes:
        node = nodes.pop()
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or node.name.startswith("_"):
            continue
        overload = any("overload" in ast.dump(decorator) for decorator in node.decorator_list)
        if not ast.get_docstring(node) and not overload:
            yield f"{name}:{node.lineno}: {node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            nodes.extend(node.body)


def check_late_imports(module: Module) -> Iterator[str]:
    """Heavy and optional packages are imported in functions; onnx_ir is the language of those who handle graphs."""
    name, _, tree = module
    for line, imported in imports_of(top_level(tree)):
        package = ".".join(imported.split(".")[: 2 if imported.startswith("bertc.") else 1])
        if OWNERS.get(package) == room_of(name):
            continue
        if package in LATE or (package == "onnx_ir" and room_of(name) in ROOMS.keys() - GRAPH_ROOMS):
            yield f"{name}:{line}: imports {package} when it is itself imported; do so in the function that needs it"


def check_rooms(module: Module) -> Iterator[str]:
    """A stage imports the shared language and no other stage."""
    name, _, tree = module
    room = room_of(name)
    if room not in ROOMS and "/" in name:
        yield f"{name}: {room} is not in the table of rooms; add it to tests/test_style.py with what it may import"
        return
    allowed = ROOMS.get(room, EVERYTHING)
    for line, inside in own_imports(tree):
        target = inside.split(".")[0]
        if inside == RELATIVE:
            yield f"{name}:{line}: a relative import; write the full name"
        elif allowed is EVERYTHING or target == room or target in LANGUAGE:
            continue
        elif not any(inside == permitted or inside.startswith(f"{permitted}.") for permitted in allowed):
            yield f"{name}:{line}: {room} imports {inside}; only pipeline and the command line see all stages"


def own_imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Give line and name inside bertc of what is imported from bertc, anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules = [RELATIVE if node.level else node.module or ""]
            if modules == ["bertc"]:
                modules = [f"bertc.{alias.name}" for alias in node.names if not alias.name.startswith("__")]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        else:
            continue
        for module in modules:
            if module == RELATIVE or module.startswith("bertc."):
                yield node.lineno, module.removeprefix("bertc.")


def check_modes(module: Module) -> Iterator[str]:
    """A mode is a value with properties; nobody asks for its number."""
    name, _, tree = module
    if name in MODE_OWNERS or room_of(name) in COMMAND_LINE:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            constant = any(isinstance(part, ast.Constant) for side in sides for part in ast.walk(side))
            compared = any(_is_mode(part) for side in sides for part in ast.walk(side))
            none = any(isinstance(side, ast.Constant) and side.value is None for side in sides)
            if compared and constant and not none:
                yield f"{name}:{node.lineno}: compares a mode with a constant; ask for its roles or granularity"
        elif isinstance(node, ast.Match) and any(_is_mode(part) for part in ast.walk(node.subject)):
            yield f"{name}:{node.lineno}: matches on a mode; ask for its roles or granularity"


def _is_mode(node: ast.AST) -> bool:
    named = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return named.lower() in ("mode", "int8_mode")


def check_tasks(module: Module) -> Iterator[str]:
    """What a task's name decides is asked of the task; its name stands in its own file alone."""
    name, _, tree = module
    if room_of(name) == "tasks":
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in TASKS:
            yield f"{name}:{node.lineno}: knows the task {node.value}; ask the task (bertc/evaluate/task.py)"


def check_silence(module: Module) -> Iterator[str]:
    """No error is swallowed unseen: who ignores one names it. No state is global."""
    name, _, tree = module
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} if node.type else set()
            if not node.type:
                yield f"{name}:{node.lineno}: a bare except"
            elif kinds & {"Exception", "BaseException"} and all(isinstance(part, ast.Pass) for part in node.body):
                yield f"{name}:{node.lineno}: ignores every error; name the one that may be ignored"
        if isinstance(node, ast.Global):
            yield f"{name}:{node.lineno}: global state"


def check_left_work(module: Module) -> Iterator[str]:
    """What is left to do is an issue, not a comment."""
    name, text, _ = module
    for number, line in enumerate(text.splitlines(), start=1):
        if "TODO" in line or "FIXME" in line or "XXX" in line.replace("XXXXXXXX", ""):
            yield f"{name}:{number}: {line.strip()}"


CHECKS: tuple[Check, ...] = (
    check_names,
    check_sizes,
    check_docstrings,
    check_late_imports,
    check_rooms,
    check_modes,
    check_tasks,
    check_silence,
    check_left_work,
)
FAULTY: tuple[tuple[Check, str, str], ...] = (
    (check_names, "graph/onnx_utils.py", ""),
    (check_names, "helpers/text.py", ""),
    (check_names, "runtime/engine.py", "class SessionManager: ..."),
    (check_sizes, "graph/encoder.py", "\n" * (MOST_LINES + 1)),
    (check_sizes, "graph/encoder.py", "def long():\n" + "    call()\n" * MOST_LINES_OF_A_FUNCTION),
    (check_docstrings, "graph/encoder.py", "VALUE = 1"),
    (check_docstrings, "graph/encoder.py", "'''Doc.'''\ndef public(): ..."),
    (check_docstrings, "graph/encoder.py", "'''Doc.'''\nclass Public:\n    '''Doc.'''\n    def method(self): ..."),
    (check_late_imports, "graph/encoder.py", "import torch"),
    (check_late_imports, "graph/encoder.py", "try:\n    from onnxruntime import InferenceSession\nfinally:\n    pass"),
    (check_late_imports, "tasks/ranking.py", "import onnx_ir as ir"),
    (check_late_imports, "train/loop.py", "import onnxruntime"),
    (check_late_imports, "cli/commands/finetune.py", "from bertc.train.network import Network"),
    (check_rooms, "quantize/insert.py", "from bertc.evaluate.scores import Score"),
    (
        check_rooms,
        "calibrate/calibrators/max.py",
        "def lazily():\n    from bertc.calibrate.table import CalibrationTable",
    ),
    (check_rooms, "calibrate/calibrators/max.py", "from ..calibrate import table"),
    (check_rooms, "graph/encoder.py", "import bertc.runtime.engine"),
    (check_rooms, "newroom/file.py", ""),
    (check_modes, "quantize/insert.py", "wanted = scheme.mode == 2"),
    (check_modes, "quantize/insert.py", "wanted = scheme.mode.name in ('2', '3')"),
    (check_modes, "quantize/insert.py", "match mode:\n    case 1: ..."),
    (check_tasks, "runtime/engine.py", "per_token = head.task == 'token-classification'"),
    (check_silence, "data/tsv.py", "try:\n    read()\nexcept:\n    raise"),
    (check_silence, "data/tsv.py", "try:\n    read()\nexcept Exception:\n    pass"),
    (check_silence, "data/tsv.py", "def count():\n    global counter"),
    (check_left_work, "data/tsv.py", "# TODO: read the header"),
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_package_keeps_the_rule(check: Check) -> None:
    faults = [fault for module in MODULES for fault in check(module)]
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize(("check", "name", "text"), FAULTY)
def test_the_rule_finds_what_breaks_it(check: Check, name: str, text: str) -> None:
    assert list(check((name, text, ast.parse(text))))


def test_a_mode_may_be_passed_on_and_asked_for_its_properties() -> None:
    text = "chosen = mode.quantized_residual and role in mode.roles and mode is not None and MODES[mode] is other"
    assert not list(check_modes(("quantize/insert.py", text, ast.parse(text))))


def test_a_task_s_own_file_knows_its_name() -> None:
    text = "name = 'token-classification'"
    assert not list(check_tasks(("tasks/token_classification.py", text, ast.parse(text))))
