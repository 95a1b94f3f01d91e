"""Progress, tables, files and the text of figures."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bertc.artefact.kinds import ANSWERS
from bertc.cli.output import Output, printable
from bertc.cli.progress import shown_progress, time_text
from bertc.cli.result_files import finished_file, write_file
from bertc.cli.tables import print_facts, print_table
from bertc.core.number_text import figure
from bertc.errors import EnvironmentLackError, InputError

ROOT = Path(__file__).parents[2]


def test_a_result_is_told_in_one_form(capsys: pytest.CaptureFixture[str]) -> None:
    for output, said in ((Output(), "a\nb\n"), (Output(json=True), '{\n  "x": 1\n}\n'), (Output(quiet=True), "")):
        output.tell({"x": 1}, "a", "b")
        assert capsys.readouterr().out == said
    assert Output(arguments=("build", "a b")).command_line == "bertc build 'a b'"


def test_without_a_terminal_each_stage_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with shown_progress(Output()) as progress:
        progress.stage("read")
        progress.stage("calibrate", total=4)
        progress.advance(4)
        progress.note("note \x1b[2J")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["read", "note", "calibrate"]
    assert lines[0].endswith(" s") and lines[1] == "note ?[2J"


@pytest.mark.parametrize(("output", "said"), [(Output(quiet=True), ""), (Output(json=True), "hear this\n")])
def test_quiet_says_nothing_and_json_only_notes(capsys: pytest.CaptureFixture[str], output: Output, said: str) -> None:
    with shown_progress(output) as progress:
        progress.stage("read", total=2)
        progress.advance()
        progress.note("hear this")
    output.say("nor this")
    assert capsys.readouterr().err == said


def test_a_stage_that_fails_is_not_said_to_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError), shown_progress(Output()) as progress:
        progress.stage("read")
        raise InputError("no")
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize("columns", [60, 120])
def test_a_terminal_shows_a_bar_that_fits(columns: int) -> None:
    code = (
        "import time\nfrom bertc.cli.output import Output\nfrom bertc.cli.progress import shown_progress\n"
        "with shown_progress(Output()) as progress:\n"
        "    progress.stage('evaluate float', total=10)\n"
        "    for _ in range(10):\n        time.sleep(0.1); progress.advance()\n"
        "    progress.stage('predict')\n"
        "    for _ in range(4):\n        time.sleep(0.1); progress.advance(300)\n"
    )
    text = _in_terminal(code, columns)
    assert "left" in text and "━" in text and "00 done in 0." in text
    assert "evaluate float" in text.splitlines()[-1] or "evaluate float" in text
    plain = [line for line in text.replace("\r", "\n").splitlines() if "\x1b" not in line]
    assert all(len(line) <= columns for line in plain)


def _in_terminal(code: str, columns: int) -> str:
    """Run code in a pseudo-terminal of that width and return what it wrote."""
    import fcntl
    import pty
    import struct
    import termios

    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR")}
    environment |= {"PYTHONPATH": str(ROOT), "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=inner, stderr=inner, stdin=inner, env=environment)
    os.close(inner)
    parts = []
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and select.select([outer], [], [], 30)[0]:
        try:
            part = os.read(outer, 65536)
        except OSError:  # the other end is closed
            break
        parts.append(part)
    os.close(outer)
    assert process.wait() == 0
    return b"".join(parts).decode()


def test_facts_and_tables_are_not_folded_for_other_programs(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts(Output(), [("a", "word " * 60), ("longer", "x")])
    print_table(Output(), ("name", "value"), [("[red]n" * 20, "1")], numbers=1)
    facts = capsys.readouterr().out.splitlines()
    assert len(facts) == 4
    assert facts[1] == "longer  x"
    assert facts[3].startswith("[red]n[red]n")


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file.txt"
    write_file(path, "{}", ANSWERS)
    with pytest.raises(ValueError, match="stop"), finished_file(path, ANSWERS, force=True) as work:
        work.write_text("half", encoding="utf-8")
        raise ValueError("stop")
    assert path.read_text(encoding="utf-8") == "{}"
    assert [found.name for found in path.parent.iterdir()] == ["file.txt"]
    with pytest.raises(InputError, match="is a folder"):
        write_file(tmp_path, "x", ANSWERS)
    with pytest.raises(InputError, match="cannot be written"):
        write_file(path / "below", "x", ANSWERS)
    with pytest.raises(InputError, match="a part of the path is a file"):
        write_file(path / "below", "x", ANSWERS)


def test_a_full_disk_is_the_environment_and_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_file(path, "{}", ANSWERS)
    with pytest.raises(EnvironmentLackError, match="disk is full"), finished_file(path, ANSWERS, force=True) as work:
        work.write_text("half", encoding="utf-8")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text(encoding="utf-8") == "{}"
    assert [found.name for found in tmp_path.iterdir()] == ["file.txt"]


def test_a_file_that_appears_during_the_work_stays(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    with pytest.raises(InputError, match="of another kind"), finished_file(path, ANSWERS) as work:
        work.write_text("{}", encoding="utf-8")
        path.write_text("mine", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "mine"
    assert [found.name for found in tmp_path.iterdir()] == ["file.txt"]


def test_figures_as_text() -> None:
    assert [time_text(value) for value in (0.04, 59.99, 61, 3661)] == ["0.0 s", "60.0 s", "1:01", "1:01:01"]
    signed = [figure(value, sign=True) for value in (0.5, -0.5, -0.00004, 0.0, 1e-17, None)]
    assert signed == ["+0.5000", "-0.5000", "-4.0e-05", "0.0000", "0.0000", "undefined"]
    assert printable("a\x07b\nc") == "a?b\nc"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["doctor", "--json"], 2, "--json prints to the standard output, which is closed"),
        (["doctor"], 0, ""),
        (["config", "nowhere"], 2, "bertc config without -o prints to the standard output, which is closed"),
        (["predict", "nowhere", "--text", "x"], 2, "bertc predict without -o prints to the standard output"),
    ],
)
def test_a_result_is_not_lost_in_a_closed_stdout(arguments: list[str], code: int, words: str) -> None:
    command = [sys.executable, "-m", "bertc", *arguments]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert words in done.stderr and "Traceback" not in done.stderr
