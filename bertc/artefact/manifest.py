"""The manifest: which files an artefact consists of, what made it, and where it is valid.

An artefact folder in, its `Manifest` out, or a refusal that names the file. Nothing here knows what the files mean.
"""

from __future__ import annotations

import os
import platform
import re
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bertc.artefact.layout import MANIFEST_FILE
from bertc.core.digest import digest_of_file, files_of_folder
from bertc.core.versions import __version__
from bertc.errors import InputError
from bertc.runtime.machine.cpu import Cpu

_LARGEST_MANIFEST = 16 << 20  # bytes; ours has some ten entries, more is not a manifest
# What hubs and file browsers add to a folder; bertc reads none of them, so they cannot change what an artefact does.
_BYSTANDER = re.compile(r"\.[^/]*(/.*)?|README(\.md)?|LICENSE(\.(md|txt))?", re.IGNORECASE)


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    plain = bool(parts) and "/".join(parts) == path and not any(part in (".", "..") for part in parts)
    if not plain or path.startswith("/") or "\\" in path or "\0" in path or PureWindowsPath(path).drive:
        raise ValueError(f"the path {path!r} leads out of the folder")
    return path


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class FileRecord(_Frozen):
    """One file: its sha256 in hexadecimal and its size in bytes."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class CpuRecord(_Frozen):
    """The processor that built and validated the artefact."""

    vendor: str
    model: str
    features: tuple[str, ...]


class ValidOn(_Frozen):
    """What a machine needs so that the report's figures hold: an architecture, CPU features, or a device.

    `cpu_features` are required one by one; of `cpu_features_any` one is enough (empty: no such demand).
    """

    machine: str
    cpu_features: tuple[str, ...] = ()
    cpu_features_any: tuple[str, ...] = ()
    device: str | None = None


class Binding(_Frozen):
    """What the files under `engine/` are bound to: a device, its driver and the runtime that compiled them."""

    device: str
    driver: str
    runtime: str


class Manifest(_Frozen):
    """The content of manifest.json, schema 1. Paths in `files` are relative, with forward slashes.

    `exit_threshold` is the uncertainty under which texts leave an engine; null where none does.
    """

    schema_version: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    bertc: str
    created: str
    target: str
    checkpoint: str
    unvalidated: bool
    files: dict[Annotated[str, AfterValidator(_inside)], FileRecord] = Field(min_length=1)
    versions: dict[str, str]
    cpu: CpuRecord
    valid_on: ValidOn
    binding: Binding | None = None
    exit_threshold: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """What an artefact was made of and by: the checkpoint's digest, the target, this CPU, and the libraries' versions.

    `target` is "checkpoint" where a checkpoint was written and no engine.
    """

    target: str
    checkpoint: str
    cpu: Cpu
    versions: Mapping[str, str]


def write_manifest(
    folder: Path,
    made: Provenance,
    *,
    valid_on: ValidOn | None = None,
    unvalidated: bool = False,
    binding: Binding | None = None,
    exit_threshold: float | None = None,
) -> Manifest:
    """Record every file in `folder` and write manifest.json, the last file of an artefact.

    Python's version is added. `valid_on` is by default the architecture of the machine it was made on. Raises `OSError`
    if the disk refuses.
    """
    manifest = Manifest(
        bertc=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=made.target,
        checkpoint=made.checkpoint,
        unvalidated=unvalidated,
        files={name: _record(folder / name) for name in files_of_folder(folder) if name != MANIFEST_FILE},
        versions={"python": platform.python_version(), **made.versions},
        cpu=CpuRecord(vendor=made.cpu.vendor, model=made.cpu.model, features=tuple(sorted(made.cpu.features))),
        valid_on=valid_on or ValidOn(machine=made.cpu.machine),
        binding=binding,
        exit_threshold=exit_threshold,
    )
    with (folder / MANIFEST_FILE).open("w", encoding="utf-8", newline="\n") as file:
        file.write(manifest.model_dump_json(by_alias=True, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json without looking at the files it lists. Raises `InputError` if it is missing or not ours."""
    path = folder / MANIFEST_FILE
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_MANIFEST:
            raise InputError(f"{path} is not a bertc manifest; build the artefact again.")
        return Manifest.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        if not folder.exists():
            raise InputError(f"{folder} does not exist; give the folder of an artefact of `bertc build`") from None
        raise InputError(
            f"{folder} is not a bertc artefact: it has no {MANIFEST_FILE}; build it with `bertc build`."
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error
    except ValidationError as error:
        raise InputError(f"{path} is not a bertc manifest ({_first(error)}); build the artefact again.") from None


def verify_artefact(folder: Path, *, unread: Collection[str] = ()) -> Manifest:
    """Compare every file of an artefact with its manifest and return that manifest.

    Of files that the caller does not read (`unread`) only the size is compared: digests take time.

    Raises `InputError` naming the first file that is changed, missing or was added. Names that start with a dot, README
    and LICENSE may be added: hubs do so, and bertc does not read them.
    """
    manifest = read_manifest(folder)
    for name, record in sorted(manifest.files.items()):
        fault = _fault(folder / name, record, read=name not in unread)
        if fault:
            raise InputError(
                f"{folder}: manifest mismatch, {name} {fault}; build the artefact again or restore that file."
            )
    for name in foreign_files(folder, manifest):
        if not is_bystander(name):
            raise InputError(f"{folder}: manifest mismatch, {name} was added after the build; remove it.")
    return manifest


def is_bystander(name: str) -> bool:
    """Say whether a hub or a file browser adds such a file to a folder; bertc reads none of them."""
    return _BYSTANDER.fullmatch(name) is not None


def foreign_files(folder: Path, manifest: Manifest | None = None) -> tuple[str, ...]:
    """List the files that the manifest does not name: bertc did not write them. Raises `InputError` or `OSError`."""
    known = (manifest or read_manifest(folder)).files.keys() | {MANIFEST_FILE}
    return tuple(name for name in files_of_folder(folder) if name not in known)


def unmet_demands(manifest: Manifest, cpu: Cpu) -> tuple[str, ...]:
    """Say what this processor lacks of what the artefact was validated on; empty if nothing is known to be lacking."""
    demands = manifest.valid_on
    unmet = [f"a {demands.machine} processor"] if demands.machine not in (cpu.machine, "unknown") else []
    if cpu.features_known:
        unmet += [feature for feature in demands.cpu_features if feature not in cpu.features]
        if demands.cpu_features_any and not cpu.features & set(demands.cpu_features_any):
            unmet.append(" or ".join(demands.cpu_features_any))
    return tuple(unmet)


def _record(path: Path) -> FileRecord:
    return FileRecord(sha256=digest_of_file(path), bytes=path.stat().st_size)


def _fault(path: Path, record: FileRecord, *, read: bool) -> str | None:
    """Say what is wrong with a file. Links are followed: hub caches consist of them, and the digest decides."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or device could wait for ever
            return "is not a plain file"
        if status.st_size != record.bytes:
            return f"has {status.st_size} bytes instead of {record.bytes}"
        same = not read or digest_of_file(path) == record.sha256
        return None if same else "has another content (sha256)"
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _first(error: ValidationError) -> str:
    """Return the first fault in words, without the input (it may be long or hostile)."""
    fault = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"] if part != "[key]")
    return f"{where[:80]}: {fault['msg']}" if where else str(fault["msg"])
