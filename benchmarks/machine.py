"""What every result says of its run: command, date, machine and versions."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

from bertc.core.versions import library_versions
from bertc.runtime.machine.cpu import cpu_features, usable_cores


def run_facts(*libraries: str, threads: int = 0) -> dict[str, Any]:
    """Return the facts for JSON. `libraries` are named beside bertc's own; `threads` 0 means all cores."""
    cpu = cpu_features()
    return {
        "command": "python " + " ".join(sys.argv),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu.model,
        "features": sorted(cpu.features),
        "threads": threads or usable_cores(),
        "versions": library_versions(*libraries),
    }


def heading(title: str, facts: dict[str, Any]) -> list[str]:
    """Return the first lines of a Markdown page."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    return [
        f"# {title}",
        "",
        f"{facts['cpu']}, {facts['threads']} cores; {versions}.",
        "",
        f"    {facts['command']}",
        "",
    ]
