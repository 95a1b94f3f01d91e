"""The entry point: exit codes, one line per error, lazy imports, interruptions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bertc.cli.group import summary_of
from bertc.core.plugins import COMMANDS
from bertc.errors import EnvironmentLackError, InputError
from tests.artefacts import Bertc

ROOT = Path(__file__).parents[2]
HEAVY = (
    "numpy",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "pydantic",
    "rich",
    "tokenizers",
    "tomlkit",
    "torch",
    "transformers",
)


def program(*arguments: str, code: str = "from bertc.cli.main import main; main()") -> subprocess.CompletedProcess[str]:
    """Run the program in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


def test_help_imports_nothing_heavy_and_is_quick() -> None:
    code = (
        "import sys, time; begin = time.perf_counter(); from bertc.cli.main import run; run(['--help']); "
        "print(time.perf_counter() - begin, *[name for name in sys.modules if '.' not in name], file=sys.stderr)"
    )
    done = program(code=code)
    seconds, *modules = done.stderr.split()
    print(f"bertc --help: {float(seconds):.3f} s")
    assert not set(HEAVY) & set(modules)
    assert all(name in done.stdout for name in COMMANDS.names())


def test_the_help_of_a_command_imports_the_recipe_at_most() -> None:
    code = (
        "import sys; from bertc.cli.main import run; run([sys.argv[1], '--help']); "
        "print(*[name for name in sys.modules if '.' not in name], file=sys.stderr)"
    )
    for name, found in (("build", {"pydantic"}), ("finetune", {"pydantic"}), ("predict", set()), ("bench", set())):
        done = program(name, code=code)
        assert set(HEAVY) & set(done.stderr.split()) == found, name
        assert done.stdout.startswith(f"Usage: bertc {name}")


def test_importing_bertc_imports_no_engine() -> None:
    done = program(code="import sys, bertc; bertc.load; print(*[n for n in sys.modules if '.' not in n])")
    assert not {"torch", "transformers", "onnx", "onnxruntime", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize("name", COMMANDS.names())
def test_every_command_explains_itself(bertc: Bertc, name: str) -> None:
    called = bertc(name, "--help")
    assert called.code == 0
    assert called.out.startswith(f"Usage: bertc {name}")
    assert "--json" in called.out and "--quiet" in called.out
    assert 0 < len(summary_of(name)) < 66


def test_without_arguments_it_prints_the_help_and_says_that_this_was_no_use(bertc: Bertc) -> None:
    called = bertc()
    assert called.code == 2
    assert "Commands:" in called.out


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "bertc", "inspect", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: nowhere") and done.stderr.count("\n") == 1


def test_version(bertc: Bertc) -> None:
    assert bertc("--version").out == "bertc, version 0.4.0\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["buidl"], "did you mean build"),
        (["xyz"], "choose one of bench, build"),
        (["build"], "name a CHECKPOINT"),
        (["build", "x"], "-o OUT"),
        (["build", "x", "-o", "y", "--int8-mode", "4"], "'4' is not one of"),
        (["build", "x", "-o", "y", "--column", "text"], "ROLE=NAME"),
        (["build", "x", "-o", "y", "--unvalidated", "--validation-data", "z"], "exclude each other"),
        (["build", "no/such/model", "-o", "y", "--unvalidated", "--no-cache"], "does not exist"),
        (["build", "x", "--recipe", "none.toml", "-o", "y"], "none.toml does not exist"),
        (["bench", "x", "--shape", "3"], "BATCHxLENGTH"),
        (["predict", "x"], "either --text or --input"),
        (["gate", "x"], "--baseline"),
        (["export", "x", "--target", "auto-cpu"], "auto-cpu is for bertc build"),
        (["finetune", "x", "-o", "y", "--target", "auto-cpu"], "auto-cpu is for bertc build"),
        (["finetune", "x", "-o", "y", "--distill", "hiden"], "the command line: training.distill has the key"),
        (["build", "x", "-o", "y", "--min-agreement", "nan"], "'nan' is not a finite number"),
    ],
)
def test_wrong_usage_is_one_line_and_code_2(
    bertc: Bertc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    called = bertc(*arguments)
    assert called.code == 2
    assert words in called.err
    assert called.err.startswith("error: ") and called.err.count("\n") == 1
    assert called.out == ""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("wrong\n  file"), 2, "error: wrong file"),
        (EnvironmentLackError("no VNNI"), 3, "error: no VNNI"),
        (MemoryError(), 3, "not enough memory"),
        (ModuleNotFoundError("x", name="onnxruntime"), 3, "the package onnxruntime is not installed"),
        (FileNotFoundError(2, "No such file", "a.txt"), 2, "error: a.txt: No such file"),
        (ZeroDivisionError("oops"), 70, "internal error: ZeroDivisionError: oops; run again with --debug"),
        (InputError("\x1b[2J"), 2, "error: ?[2J"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (BrokenPipeError(), 141, ""),
    ],
)
def test_errors_become_a_line_and_a_code(
    bertc: Bertc, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("bertc.runtime.machine.cpu.cpu_features", fail)
    called = bertc("doctor")
    assert called.code == code
    assert words in called.err
    assert "Traceback" not in called.err
    if code != 141:
        assert "Traceback" in bertc("doctor", "--debug").err or isinstance(error, KeyboardInterrupt)


def test_a_reader_that_goes_away_is_no_verdict(artefact: Path) -> None:
    code = "import sys; from bertc.cli.main import run; sys.exit(run(['inspect', sys.argv[1], '--json']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(artefact)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert error == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no /dev/full")
def test_a_full_disk_behind_stdout_is_code_3(artefact: Path) -> None:
    code = "import sys; from bertc.cli.main import run; sys.exit(run(['inspect', sys.argv[1]]))"
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code, str(artefact)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
    assert done.returncode == 3
    assert done.stderr.startswith("error: the disk is full; free some space")


def test_json_on_stdout_is_all_there_is(artefact: Path) -> None:
    done = program("inspect", str(artefact), "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["kind"] == "artefact"
