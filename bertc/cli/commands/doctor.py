"""Say what this machine can run, and why not the rest."""

from __future__ import annotations

import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bertc.artefact.kinds import CACHE
from bertc.cli.command import Command, option
from bertc.cli.output import Output
from bertc.cli.paths import Writes
from bertc.cli.tables import print_facts
from bertc.core.plugins import TARGETS
from bertc.core.versions import __version__
from bertc.errors import EXIT_PASSED, BertcError, EnvironmentLackError

if TYPE_CHECKING:
    from bertc.runtime.machine.cpu import Cpu

LIBRARIES = ("numpy", "onnx", "onnx_ir", "onnxruntime", "safetensors", "tokenizers", "click", "rich", "pydantic")
EXTRAS = {
    "train": "torch",
    "hub": "huggingface_hub",
    "parquet": "pyarrow",
    "serve": "starlette",
    "ray": "ray",
    "cuda": "onnxruntime-gpu",
    "openvino": "openvino",
    "tensorrt": "tensorrt",
    "triton": "triton",
    "cuda-native": "triton",
}


@click.command("doctor", cls=Command)
@option("--cache-dir", type=Writes(CACHE), metavar="PATH", help="The cache to look at instead of the usual.")
def command(output: Output, cache_dir: Path | None) -> int:
    """Look at this machine and say which targets it can run, and why not the others."""
    from bertc.runtime.machine.cpu import cpu_features

    cpu = cpu_features()
    facts = {
        "bertc": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu.model,
        "instruction_sets": sorted(cpu.features) if cpu.features_known else None,
        "cores": cpu.cores,
        "memory_bytes": memory_bytes(),
        "gpu": _gpu(),
        "native": _native(),
        "targets": _targets(cpu),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "extras": {name: {"package": package, "version": _version(package)} for name, package in EXTRAS.items()},
        "cache": _cache(cache_dir),
    }
    if output.json:
        output.print_json(facts)
    _print(output, facts)
    return EXIT_PASSED


def memory_bytes() -> int | None:
    """Return the machine's memory, or None where the system does not say."""
    import os

    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _targets(cpu: Cpu) -> list[dict[str, Any]]:
    from bertc.targets import target_from_name

    targets = []
    for name in TARGETS.names():
        summary = ""
        try:
            target = target_from_name(name)
            summary = target.summary
            target.check_machine(cpu)
            reason = None
        except (BertcError, ImportError) as error:
            reason = str(error)
        targets.append({"target": name, "summary": summary, "runs": reason is None, "reason": reason})
    return targets


def _native() -> list[str] | None:
    """Return the instruction sets that the native engine has kernels for here, the best first; None without it."""
    from bertc.runtime.native.library import instruction_sets

    try:
        return list(instruction_sets())
    except EnvironmentLackError:
        return None  # the target says why


def _gpu() -> dict[str, Any]:
    from bertc.runtime.machine.gpu import driver_of_machine
    from bertc.runtime.machine.gpu_needs import needs_of_targets

    driver = driver_of_machine()
    needs = needs_of_targets(driver)
    return {
        "driver_cuda": driver.cuda,
        "lack": driver.lack or None,
        "gpus": [
            {
                "name": gpu.name,
                "capability": gpu.capability / 10,
                "memory_bytes": gpu.memory_bytes,
            }
            for gpu in driver.gpus
        ],
        "needs": {
            name: [{"name": need.name, "found": need.found, "met": need.met, "remedy": need.remedy} for need in listed]
            for name, listed in needs.items()
        },
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cache(directory: Path | None) -> dict[str, Any]:
    from bertc.cache.store import StageCache, default_cache_directory

    try:
        folder = directory or default_cache_directory()
    except BertcError as error:
        return {"folder": None, "reason": str(error)}
    facts: dict[str, Any] = {"folder": str(folder), "entries": 0, "bytes": 0, "free_bytes": _free(folder)}
    if folder.is_dir():  # opening it would make it
        with StageCache(folder) as cache:
            facts["entries"], facts["bytes"] = cache.usage()
    return facts


def _free(folder: Path) -> int | None:
    """Return the free bytes of the disk that a folder is on, or will be."""
    for place in (folder, *folder.parents):
        try:
            return shutil.disk_usage(place).free
        except FileNotFoundError:
            continue
        except OSError:
            break
    return None


def _print(output: Output, facts: dict[str, Any]) -> None:
    memory, sets = facts["memory_bytes"], facts["instruction_sets"]
    lines = [
        ("bertc", f"{facts['bertc']} on Python {facts['python']}"),
        ("system", facts["system"]),
        ("cpu", f"{facts['cpu']}, {facts['cores']} usable cores"),
        ("instructions", "unknown" if sets is None else " ".join(sets) or "none that matter"),
        ("memory", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB"),
    ]
    if facts["native"] is not None:
        lines.append(("native kernels", ", ".join(facts["native"])))
    lines += _gpu_lines(facts["gpu"])
    for target in facts["targets"]:
        state = target["summary"] if target["runs"] else f"cannot run here: {target['reason']}"
        lines.append((f"target {target['target']}", state))
    lines.append(
        ("libraries", ", ".join(f"{name} {version or 'missing'}" for name, version in facts["libraries"].items()))
    )
    for name, extra in facts["extras"].items():
        lines.append((f"extra {name}", f"{extra['package']} {extra['version'] or 'is not installed'}"))
    cache = facts["cache"]
    if cache["folder"] is None:
        lines.append(("cache", cache["reason"]))
    else:
        free = "" if cache["free_bytes"] is None else f", {cache['free_bytes'] / 1e9:.1f} GB free on its disk"
        lines.append(("cache", f"{cache['folder']}: {cache['entries']} stages, {cache['bytes'] / 1e6:.1f} MB{free}"))
    print_facts(output, lines)


def _gpu_lines(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Describe the GPUs and, where there is a driver, what each target for them still needs."""
    if facts["driver_cuda"] is None:
        return [("gpu", f"none: {facts['lack']}")]
    lines = [
        ("gpu", f"{gpu['name']}, compute capability {gpu['capability']}, {gpu['memory_bytes'] / 2**30:.1f} GiB")
        for gpu in facts["gpus"]
    ] or [("gpu", f"none: {facts['lack']}")]
    for target, needs in facts["needs"].items():
        parts = [
            f"{need['name']}: {need['found'] or 'missing'}" + ("" if need["met"] else f" -> {need['remedy']}")
            for need in needs
        ]
        lines.append((f"needs of {target}", "; ".join(parts)))
    return lines
