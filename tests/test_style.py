"""The rules of the house that no tool knows, as tests (CONTRIBUTING.md), and that the tools have the others.

Each check gives faults as lines of text; each has a twin that shows it find something.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bertc"
MOST_LINES = 400
MOST_ENTRIES = 26
MOST_LINES_OF_A_FUNCTION = 60
BANNED_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
MODE_OWNERS = {"ir/scheme.py"}
NAMES_FOR_ROUTES = "serve/protocols/_task_names.py"
"""Where tasks are named, since a protocol's routes and shapes are made for one each."""

SAME_MEANING = {
    "attention": "the function in a graph, and the kernel of it",
    "checkpoint": "the room, and the value that it reads",
    "columns": "which columns of a data file are read",
    "cuda": "the runtime: its engine, its target",
    "gemm": "a product with weights: in a dialect's operators, and the kernel",
    "head": "a model's head: the value, and how it is read from a checkpoint",
    "kernels": "a runtime's kernels in Triton",
    "library": "the library that a room is about: whether it is here",
    "lstm": "a recurrent layer: the value, and what it computes",
    "losses": "what training minimises: the distances, and their weighted sum",
    "lower": "a graph in one runtime's operators",
    "native": "the runtime: its engines, its target",
    "openvino": "the runtime: its lowering, its engines, its target",
    "ort": "the runtime: its lowering, its engines",
    "plan": "what is to be done in which order: a target's part of a build, an engine's kernel calls",
    "products": "products with weights: how a runtime runs them",
    "progress": "how far a job is: the protocol, and the line in the terminal",
    "runtime": "the room, and the protocol that its files obey",
    "rotary": "rotary positions: the function in a graph, and the kernel of it",
    "search": "the search for a scheme, and its part of the report",
    "sweep": "many builds: their file, the job, their figures and the page",
    "stage": "the room's function as a stage of the cache",
    "tensorrt": "the runtime: its lowering, its engines, its target",
    "write": "the files of a folder that the room describes",
}
"""Names that several files or folders have because they mean the same. A job is named as its command, and the room."""

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


def check_guarded_imports(module: Module) -> Iterator[str]:
    """Ruff sees an import that is not late only where it stands alone; under `try` or `if`, Python's own may stand."""
    name, _, tree = module
    for block in tree.body:
        if not isinstance(block, ast.If | ast.Try | ast.With):
            continue
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test):
            continue
        for node in ast.walk(block):
            if isinstance(node, ast.Import | ast.ImportFrom):
                imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                for package in {each.split(".")[0] for each in imported} - sys.stdlib_module_names:
                    yield f"{name}:{node.lineno}: imports {package} on a condition; do so in the function that needs it"


def check_modes(module: Module) -> Iterator[str]:
    """A mode is a value with properties; nobody asks for its number."""
    name, _, tree = module
    if name in MODE_OWNERS or room_of(name) == "cli":
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
    """What a task's name decides is asked of the task; its name stands in its own file, and where it is an example."""
    name, _, tree = module
    if room_of(name) == "tasks" or name == NAMES_FOR_ROUTES:
        return
    shown = [node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "examples"]
    examples = {part for node in shown for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in TASKS and node not in examples:
            yield f"{name}:{node.lineno}: knows the task {node.value}; ask the task (bertc/evaluate/task.py)"


def names_of_package(package: Path) -> Iterator[str]:
    """Give the files and folders of a package, relative to it, "cli/commands/build.py" and "cli" alike."""
    for path in sorted(package.rglob("*")):
        if (path.suffix == ".py" and not path.stem.startswith("__")) or (path / "__init__.py").is_file():
            yield path.relative_to(package).as_posix()


def faults_of_names(names: Iterable[str], same_meaning: Iterable[str]) -> Iterator[str]:
    """One name, one meaning: say which are shared and should not be, and which of the table are not."""
    places = defaultdict(list)
    for name in names:
        places[name.split("/")[-1].removesuffix(".py")].append(name)
    for last, several in places.items():
        named_as_command = {f"cli/commands/{last}.py", f"jobs/{last}.py", last}
        if last not in same_meaning and len(several) > 1 and not named_as_command.issuperset(several):
            yield f"{' and '.join(several)}: one name; rename one, or say in SAME_MEANING that they mean the same"
    yield from (f"SAME_MEANING has {last}, which no two share" for last in same_meaning if len(places[last]) < 2)


def entries_of_root(package: Path) -> list[str]:
    """List what lies in a package's folder."""
    return sorted(path.name for path in package.iterdir() if path.name != "__pycache__")


CHECKS: tuple[Check, ...] = (
    check_names,
    check_sizes,
    check_guarded_imports,
    check_modes,
    check_tasks,
)
FAULTY: tuple[tuple[Check, str, str], ...] = (
    (check_names, "graph/onnx_utils.py", ""),
    (check_names, "helpers/text.py", ""),
    (check_names, "runtime/engine.py", "class SessionManager: ..."),
    (check_sizes, "graph/encoder.py", "\n" * (MOST_LINES + 1)),
    (check_sizes, "graph/encoder.py", "def long():\n" + "    call()\n" * MOST_LINES_OF_A_FUNCTION),
    (
        check_guarded_imports,
        "graph/encoder.py",
        "try:\n    from onnxruntime import InferenceSession\nfinally:\n    pass",
    ),
    (check_guarded_imports, "cli/main.py", "if sys.stdout.isatty():\n    import rich.console"),
    (check_modes, "quantize/insert.py", "wanted = scheme.mode == 2"),
    (check_modes, "quantize/insert.py", "wanted = scheme.mode.name in ('2', '3')"),
    (check_modes, "quantize/insert.py", "match mode:\n    case 1: ..."),
    (check_tasks, "runtime/engine.py", "per_token = head.task == 'token-classification'"),
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


def test_python_s_own_and_types_may_be_imported_on_a_condition() -> None:
    text = "if sys.platform == 'win32':\n    import msvcrt\nif TYPE_CHECKING:\n    import torch"
    assert not list(check_guarded_imports(("cache/lock.py", text, ast.parse(text))))


def test_a_task_s_own_file_knows_its_name() -> None:
    text = "name = 'token-classification'"
    assert not list(check_tasks(("tasks/token_classification.py", text, ast.parse(text))))


def test_a_task_may_be_an_example() -> None:
    text = "Field(examples=['token-classification'])"
    assert not list(check_tasks(("recipe/sections.py", text, ast.parse(text))))


def test_the_root_can_be_seen_at_once(tmp_path: Path) -> None:
    assert len(entries_of_root(PACKAGE)) <= MOST_ENTRIES
    for name in ("__init__.py", "py.typed", "__pycache__/x.pyc", "room/file.py", "room/other.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert entries_of_root(tmp_path) == ["__init__.py", "py.typed", "room"]


def test_one_name_has_one_meaning() -> None:
    faults = list(faults_of_names(names_of_package(PACKAGE), SAME_MEANING))
    assert not faults, "\n".join(["", *faults])


@pytest.mark.parametrize(
    ("names", "fault"),
    [
        (["ir/sites.py", "report/parts/sites.py"], "ir/sites.py and report/parts/sites.py"),
        (["jobs/data.py", "data"], None),
        (["jobs/data.py", "data", "cli/data.py"], "jobs/data.py and data and cli/data.py"),
        (["export/ort/lower.py", "export/openvino/lower.py"], None),
        (["export/ort/lower.py"], "SAME_MEANING has lower"),
    ],
)
def test_a_name_with_two_meanings_is_found(names: list[str], fault: str | None) -> None:
    allowed = ["lower"] if any("lower" in name for name in names) else []
    found = list(faults_of_names(names, allowed))
    assert [text.startswith(fault) for text in found] == [True] if fault else not found


def copied_package(folder: Path) -> Path:
    """Copy the package into a folder where a test may break it, with the contracts beside it."""
    package = shutil.copytree(PACKAGE, folder / "bertc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PACKAGE.parent / "pyproject.toml", folder)
    return package


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the package."""
    return copied_package(tmp_path)


def linted(package: Path) -> tuple[int, str]:
    """Run `lint-imports` on a copy; return its exit status, and what it wrote without line breaks."""
    program = "from importlinter.cli import lint_imports_command as run; run()"
    done = subprocess.run(
        [sys.executable, "-c", program, "--no-cache", "--no-logo"],
        cwd=package.parent,
        env={**os.environ, "PYTHONPATH": str(package.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, " ".join(done.stdout.split())


def test_the_imports_keep_to_the_contracts(copied: Path) -> None:
    status, told = linted(copied)
    assert status == 0 and " 0 broken" in told, told


def test_what_types_need_goes_down_too(copied: Path) -> None:
    """make lint leaves out what only types need, for the sake of torch and onnx_ir; rooms may not even name types."""
    settings = copied.with_name("pyproject.toml")
    text = settings.read_text(encoding="utf-8")
    strict = text.replace("exclude_type_checking_imports = true", "exclude_type_checking_imports = false")
    assert strict != text
    settings.write_text(strict, encoding="utf-8")
    assert f"{ROOMS} KEPT" in linted(copied)[1]
    _append(copied / "core/keys.py", "if TYPE_CHECKING:\n    from bertc.jobs.plan import Plan")
    assert f"{ROOMS} BROKEN" in linted(copied)[1]


ROOMS = "Imports only go down; rooms beside each other do not know each other"


WRONG_IMPORTS = (
    ("core/keys.py", "import bertc.jobs.plan", "bertc.core is not allowed to import bertc.jobs"),
    ("ir/affine.py", "def late():\n    import bertc.graph", "bertc.ir is not allowed to import bertc.graph"),
    ("search/walk.py", "import bertc.train", "bertc.search is not allowed to import bertc.train"),
    ("jobs/bench.py", "import bertc", "Illegal imports of protected package bertc"),
    ("calibrate/calibrators/mse.py", "import bertc.calibrate.calibrators.max", "bertc.calibrate.calibrators.mse"),
    ("targets/float.py", "import bertc.targets.tensorrt", "bertc.targets.float is not allowed"),
    ("cli/commands/bench.py", "import bertc.cli.commands.build", "bertc.cli.commands.bench is not allowed"),
    ("evaluate/scores.py", "def late():\n    import torch", "Illegal imports of protected package torch"),
    ("data/tsv.py", "import click", "Illegal imports of protected package click"),
    ("tasks/question_answering.py", "import onnx_ir", "bertc.tasks is not allowed to import onnx_ir"),
)
BROKEN = 8
"""Contracts that these break: three are of the rooms."""


@pytest.fixture(scope="module")
def told_of_wrong_imports(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, str]:
    """What is said of a package with all of them: one run takes seconds."""
    package = copied_package(tmp_path_factory.mktemp("wrong"))
    for name, text, _ in WRONG_IMPORTS:
        _append(package / name, text)
    return linted(package)


@pytest.mark.parametrize("told", [told for _, _, told in WRONG_IMPORTS])
def test_a_wrong_import_is_caught(told: str, told_of_wrong_imports: tuple[int, str]) -> None:
    status, said = told_of_wrong_imports
    assert status == 1 and f" {BROKEN} broken" in said and told in said, said


def test_a_room_that_is_in_no_layer_is_caught(copied: Path) -> None:
    (copied / "newroom").mkdir()
    (copied / "newroom/__init__.py").touch()
    status, said = linted(copied)
    assert status == 1 and " 1 broken" in said and "newroom" in said, said


def _append(path: Path, text: str) -> None:
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + f"\n{text}\n", encoding="utf-8")


def ruff_codes(name: str, text: str) -> set[str]:
    """Return the rules that ruff sees broken in a text, under the name of a file in bertc/."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "ruff",
            "check",
            "--output-format",
            "json",
            "--stdin-filename",
            str(PACKAGE / name),
            "-",
        ],
        input=text,
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return {fault["code"] for fault in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("graph/encoder.py", "VALUE = 1\n", "D100"),
        ("graph/encoder.py", "def public() -> None: ...\n", "D103"),
        ("graph/encoder.py", "class Public:\n    def method(self) -> None: ...\n", "D102"),
        ("graph/encoder.py", "import torch\n", "TID253"),
        ("train/loop.py", "import torch\n", None),
        ("cli/commands/finetune.py", "from bertc.train.network import Network\n", "TID253"),
        ("calibrate/calibrators/max.py", "from ..calibrate import table\n", "TID252"),
        ("data/tsv.py", "try:\n    read()\nexcept:\n    value = None\n", "E722"),
        ("data/tsv.py", "try:\n    read()\nexcept Exception:\n    pass\n", "S110"),
        ("data/tsv.py", "try:\n    read()\nexcept Exception:\n    value = None\n", "BLE001"),
        ("data/tsv.py", "def count():\n    global counter\n    counter = 1\n", "PLW0603"),
        ("data/tsv.py", "# TODO: read the header\n", "FIX002"),
        ("data/tsv.py", "def rows(a, b, c, d, e, f, g): ...\n", "PLR0913"),
        ("data/tsv.py", "print(1)\n", "T201"),
    ],
)
def test_ruff_has_the_rules_of_the_house(name: str, text: str, code: str | None) -> None:
    codes = ruff_codes(name, text)
    assert code in codes if code else "TID253" not in codes
