"""Several engines in one folder: what engines.json says, and where the files of one engine are.

OUT/manifest.json, engines.json              all files, and what was found of each engine
OUT/config.json, tokenizer.json, ...         what the engines have in common
OUT/engines/native/, engines/openvino/, ...  the model, report and manifest of each
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bertc.artefact.kinds import CHECKPOINT_TARGET
from bertc.artefact.layout import CONFIG_FILE, ENGINES_FILE, ENGINES_FOLDER, MANIFEST_FILE
from bertc.artefact.manifest import read_manifest
from bertc.errors import InputError
from bertc.report.schema import Report

SEVERAL_TARGETS = "engines"
"""What the manifest of a folder with several engines has for the target."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class EngineEntry(_Frozen):
    """One engine: its target, which names its folder, the verdict, and the main metric of float model and engine."""

    target: str = Field(pattern=r"^[a-z0-9-]+$")
    passed: bool
    unvalidated: bool
    metric: str | None = None
    reference: float | None = None
    engine: float | None = None

    @property
    def failed(self) -> bool:
        """Whether it was judged, and the verdict is no pass."""
        return not self.passed and not self.unvalidated


class EngineIndex(_Frozen):
    """The content of engines.json, schema 1: the engines in the order in which they are tried."""

    schema_version: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    engines: tuple[EngineEntry, ...] = Field(min_length=1)

    @property
    def targets(self) -> tuple[str, ...]:
        """The engines' names."""
        return tuple(entry.target for entry in self.engines)


def entry_from_report(report: Report) -> EngineEntry:
    """Return an engine's line of the index."""
    accuracy = report.accuracy
    figures = {} if accuracy is None else {name: getattr(accuracy, name) for name in ("metric", "reference", "engine")}
    return EngineEntry(
        target=report.engine.target, passed=report.passed is True, unvalidated=report.unvalidated, **figures
    )


def write_index(folder: Path, index: EngineIndex) -> None:
    """Write engines.json."""
    text = index.model_dump_json(by_alias=True, indent=2) + "\n"
    (folder / ENGINES_FILE).write_text(text, encoding="utf-8")


def index_of_folder(folder: Path) -> EngineIndex | None:
    """Read engines.json; None where a folder has none, and one engine at most.

    Raises `InputError` where it is none of schema 1, where the manifest says that it is missing, where the folder of an
    engine is, for an engine of several without the folder that has what they share, and for a checkpoint.
    """
    path = folder / ENGINES_FILE
    try:
        index = EngineIndex.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        _check_whole(folder)
        return None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except ValidationError:
        raise InputError(f"{path} does not list engines; build the artefact again") from None
    for target in index.targets:
        if not (engine_folder(folder, target) / MANIFEST_FILE).is_file():
            raise _missing(folder, f"{ENGINES_FOLDER}/{target}/{MANIFEST_FILE}")
    return index


def _check_whole(folder: Path) -> None:
    if not (folder / MANIFEST_FILE).is_file():
        return
    manifest = read_manifest(folder)
    if manifest.target == CHECKPOINT_TARGET:
        raise InputError(
            f"{folder} is a checkpoint that bertc pruned or trained and has no engine; build one with `bertc build`"
        )
    if manifest.target == SEVERAL_TARGETS:
        raise _missing(folder, ENGINES_FILE)
    if CONFIG_FILE not in manifest.files and whole_folder(folder) is None:
        raise InputError(
            f"{folder} is one of several engines, without the folder two above it that has what they share "
            f"({CONFIG_FILE}, the tokenizer, {ENGINES_FILE}); take it together with that, or build it alone"
        )


def _missing(folder: Path, name: str) -> InputError:
    return InputError(f"{folder}: manifest mismatch, {name} is missing; build the artefact again or restore that file.")


def engine_folder(folder: Path, target: str) -> Path:
    """Return where the files of one of several engines are."""
    return folder / ENGINES_FOLDER / target


def is_of_engine(name: str) -> bool:
    """Say whether a file of the whole manifest is a file of one engine, whose own manifest has it too."""
    own = name.endswith(f"/{MANIFEST_FILE}")  # which the whole manifest vouches for
    return name.startswith(f"{ENGINES_FOLDER}/") and not own


def whole_folder(engine: Path) -> Path | None:
    """Return the folder with several engines of which a path is one engine's folder; None where it is none."""
    real = engine.absolute()
    above = real.parent.parent
    several = real.parent.name == ENGINES_FOLDER and (real / MANIFEST_FILE).is_file()
    return above if several and (above / ENGINES_FILE).is_file() else None
