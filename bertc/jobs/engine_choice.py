"""Which of an artefact's engines runs: of several the first, in their order, that passed and that this machine runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bertc.artefact.engines import EngineEntry, EngineIndex, engine_folder, index_of_folder, whole_folder
from bertc.artefact.manifest import read_manifest, unmet_demands
from bertc.errors import EnvironmentLackError, InputError
from bertc.runtime.machine.cpu import cpu_features
from bertc.targets import target_from_name


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineWish:
    """What a user says of the choice: an engine by its target, None for the first that runs; failed ones too?"""

    target: str | None = None
    allow_failed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenEngine:
    """Where an engine's files are, and those it shares with others; `reason` is empty where there is but one."""

    folder: Path
    shared: Path
    reason: str = ""


ANY = EngineWish()


def chosen_engine(path: Path, wish: EngineWish = ANY) -> ChosenEngine:
    """Choose an engine of the artefact at a path, which may also be the folder of one of its engines.

    Raises `InputError` for an engine that it does not have and where none of several passed, and `EnvironmentLackError`
    where this machine runs none of those that did, with the reason against each.
    """
    whole = whole_folder(path)
    if whole is not None:
        if wish.target not in (None, path.absolute().name):
            raise InputError(f"{path} is one engine, and not {wish.target}; name {whole}, or leave that away")
        return ChosenEngine(folder=path, shared=whole, reason=f"{path.absolute().name}: named by its folder")
    index = index_of_folder(path)
    if index is None:
        if wish.target not in (None, read_manifest(path).target):
            raise InputError(f"{path} has one engine, {read_manifest(path).target}, and not {wish.target}; build that")
        return ChosenEngine(folder=path, shared=path)
    if wish.target is not None:
        if wish.target not in index.targets:
            raise InputError(f"{path} has no engine {wish.target}; name one of {', '.join(index.targets)}")
        return ChosenEngine(folder=engine_folder(path, wish.target), shared=path, reason=f"{wish.target}: asked for")
    return _first(path, index, wish)


def _first(path: Path, index: EngineIndex, wish: EngineWish) -> ChosenEngine:
    against: list[str] = []
    for entry in index.engines:
        folder = engine_folder(path, entry.target)
        reason = _reason_against(folder, entry, wish)
        if reason is None:
            before = f"; {'; '.join(against)}" if against else ""
            told = f"{entry.target}: the first of {', '.join(index.targets)} that runs here{before}"
            return ChosenEngine(folder=folder, shared=path, reason=told)
        against.append(f"{entry.target}: {reason}")
    told = f"no engine of {path} is to be run here ({'; '.join(against)})"
    if not wish.allow_failed and all(entry.failed for entry in index.engines):
        raise InputError(f"{told}; build until one passes, or take one that did not with --allow-failed")
    raise EnvironmentLackError(f"{told}; build for this machine, or take one that did not pass with --allow-failed")


def _reason_against(folder: Path, entry: EngineEntry, wish: EngineWish) -> str | None:
    """Say why an engine is not taken; None where it is."""
    if entry.failed and not wish.allow_failed:
        return "its verdict is no pass"
    cpu = cpu_features()
    lacking = unmet_demands(read_manifest(folder), cpu)
    if lacking:
        return f"this processor lacks {'; '.join(lacking)}"
    try:
        target_from_name(entry.target).check_machine(cpu)
    except EnvironmentLackError as error:
        return str(error)
    return None
