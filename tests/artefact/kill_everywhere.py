"""Kill a build before each of its file operations in turn and print what is left. Run by test_swap.py.

Arguments: a folder to work in, "old" or "none" (is there an artefact already?), "exchange" or "renames".
Prints one JSON line per kill: the state right after it and the state after the next build has started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from bertc.artefact import swap
from bertc.artefact.manifest import Provenance, verify_artefact, write_manifest
from bertc.errors import InputError
from bertc.runtime.machine.cpu import Cpu

CPU = Cpu(model="test", features=frozenset(), cores=1)
EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.scandir", "ctypes.dlsym"}


def build(out: Path, text: str, *, abort: bool = False) -> None:
    with swap.artefact_folder(out) as folder:
        (folder / "engine").mkdir()
        (folder / "model.onnx").write_text(text)
        (folder / "engine" / "plan").write_text(text)
        write_manifest(folder, Provenance(target="ort-cpu", checkpoint="c", cpu=CPU, versions={}))
        if abort:
            raise KeyboardInterrupt


def state(out: Path) -> str:
    if not out.exists():
        return "absent"
    try:
        verify_artefact(out)
    except InputError as error:
        return f"broken: {error}"
    texts = {(out / name).read_text() for name in ("model.onnx", "engine/plan")}
    return texts.pop() if len(texts) == 1 else "mixed"


def killed_build(out: Path, before: int) -> bool:
    """Build in a child that dies before its file operation number `before`; return whether it died."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, _: object) -> None:
            nonlocal seen
            if event in EVENTS:
                seen += 1
                if seen == before:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        build(out, "new")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def main() -> None:
    root, existing, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if how == "renames":
        swap.exchange_folders = lambda one, other: False
    before, died = 0, True
    while died:
        before += 1
        out = root / str(before) / "OUT"
        out.parent.mkdir()
        if existing == "old":
            build(out, "old")
        died = killed_build(out, before)
        line = {"died": died, "after": state(out)}
        with suppress(KeyboardInterrupt):
            build(out, "newer", abort=True)
        line["recovered"] = state(out)
        line["beside"] = sorted(path.name for path in out.parent.iterdir() if path != out)
        print(json.dumps(line))


main()
