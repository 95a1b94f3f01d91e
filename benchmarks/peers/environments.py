"""The benchmark's own virtual environments: made once, with pinned versions, and used by every engine."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REQUIREMENTS = {"main": "requirements.txt", "optimum": "requirements-optimum.txt", "llama": "requirements-llama.txt"}


class LackError(Exception):
    """An environment could not be made."""


def python_of(name: str, folder: Path) -> Path:
    """Return the interpreter of an environment, which is made where it is not there. Raises `LackError`."""
    place = folder / name
    done = place / ".installed"
    wanted = (HERE / REQUIREMENTS[name]).read_text(encoding="utf-8")
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        print(f"setting up {place} (a large download)", file=sys.stderr)
        constraints = ["-c", str(ROOT / "constraints.txt")] if name == "main" else []
        steps = [
            [sys.executable, "-m", "venv", str(place)],
            [
                str(place / "bin/python"),
                "-m",
                "pip",
                "install",
                "-q",
                "-r",
                str(HERE / REQUIREMENTS[name]),
                *constraints,
            ],
        ]
        for step in steps:
            found = subprocess.run(step, capture_output=True, text=True, check=False)
            if found.returncode:
                raise LackError(f"{REQUIREMENTS[name]} does not install: {found.stderr.strip().splitlines()[-1]}")
        done.write_text(wanted, encoding="utf-8")
    return place / "bin/python"


def environment_variables(threads: int) -> dict[str, str]:
    """Return a process's environment: so many threads, bertc importable, nothing else of the caller's Python."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "OMP", "MKL"))}
    return kept | {
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": str(ROOT),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
