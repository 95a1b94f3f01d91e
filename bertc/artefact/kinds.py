"""What a command writes, and how a thing of that kind is recognised by its content where one is there already.

Nothing heavy is imported before something is looked at: every `--help` declares its options with these kinds.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bertc.errors import InputError

CHECKPOINT_TARGET = "checkpoint"
"""What the manifest of a checkpoint that bertc pruned or trained has for the target."""

_HEAD_BYTES = 4096
_CONFIGS = ("config.json", "bert_config.json")
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json", "*.ckpt*.index")
_TABLE = re.compile(rb'\s*\{\s*"schema"\s*:\s*\d+,\s*"checkpoint"\s*:\s*"[^"]*",\s*"origin"')
_BASELINE = re.compile(rb'\s*\{\s*"kind"\s*:\s*"bertc baseline"')
_JUNIT = re.compile(rb'<testsuite name="bertc')
_PAGE = re.compile(rb"<title>bertc bench</title>")
_SWEEP = re.compile(rb'\s*\{\s*"kind"\s*:\s*"bertc sweep"')
_SUMMARY = re.compile(rb"### Accuracy against the baseline: ")
# Protocol Buffers in the order of their numbers: ir_version, then producer_name or a field of ModelProto after it.
_ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]")
_OWN_ONNX = re.compile(rb"\x08[\x01-\x1f]\x12\x05bertc")


def _yes(path: Path) -> bool:
    return True


def _no(path: Path) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of thing that a command writes.

    `name` is what a sentence calls it. `recognises` says whether what lies at a path is of this kind, `yields` whether
    it may be replaced by another of its kind without `--force`: it can be made again from what it was made from. A
    `folder` is replaced whole, unless it is `resumed`: its command goes on with what is there. What is `shared` is a
    folder that things are added to and nothing is taken from.
    """

    name: str
    recognises: Callable[[Path], bool] = _no
    yields: Callable[[Path], bool] = _yes
    folder: bool = False
    resumed: bool = False
    shared: bool = False


def _head_matches(pattern: re.Pattern[bytes]) -> Callable[[Path], bool]:
    def matches(path: Path) -> bool:
        return pattern.match(_head(path)) is not None

    return matches


def _head_has(pattern: re.Pattern[bytes]) -> Callable[[Path], bool]:
    def has(path: Path) -> bool:
        return pattern.search(_head(path)) is not None

    return has


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(_HEAD_BYTES)


def _is_artefact(path: Path) -> bool:
    target, _ = _target_and_files(path)
    return target not in (None, CHECKPOINT_TARGET)


def _is_pruned(path: Path) -> bool:
    target, files = _target_and_files(path)
    return target == CHECKPOINT_TARGET and not _trained(files)


def _is_trained(path: Path) -> bool:
    target, files = _target_and_files(path)
    return target == CHECKPOINT_TARGET and _trained(files)


def _trained(files: frozenset[str]) -> bool:
    """Say whether bertc finetune wrote the files of a checkpoint."""
    from bertc.artefact.layout import TRAINING_FILE  # numpy: not for --help

    return TRAINING_FILE in files


def _target_and_files(path: Path) -> tuple[str | None, frozenset[str]]:
    """Read what the manifest of a folder says that it is; None where it has no manifest of bertc."""
    from bertc.artefact.manifest import read_manifest  # pydantic: not for --help

    try:
        manifest = read_manifest(path)
    except InputError:
        return None, frozenset()
    return manifest.target, frozenset(manifest.files)


def _is_sweep(path: Path) -> bool:
    from bertc.artefact.layout import SWEEP_FILE  # numpy: not for --help

    return _SWEEP.match(_head(path / SWEEP_FILE)) is not None


def _is_plain_checkpoint(path: Path) -> bool:
    configured = any((path / name).is_file() for name in _CONFIGS)
    return configured and any(any(path.glob(pattern)) for pattern in _WEIGHTS)


def _has_no_hand_set_range(path: Path) -> bool:
    """Say whether a table is as bertc calibrate wrote it: `overrides` are put there by hand."""
    try:
        return not json.loads(path.read_bytes()).get("overrides")
    except ValueError:
        return False


def _is_recipe(path: Path) -> bool:
    try:
        return "checkpoint" in tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # no TOML, or no text
        return False


def _is_json_lines(path: Path) -> bool:
    """Say whether the first line is a JSON object, as it is in what bertc predict writes."""
    with path.open("rb") as file:
        first = file.readline(1 << 20)
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


ARTEFACT = Kind(name="an artefact", recognises=_is_artefact, folder=True)
PRUNED = Kind(name="a pruned checkpoint", recognises=_is_pruned, folder=True)
TRAINED = Kind(name="a trained checkpoint", recognises=_is_trained, yields=_no, folder=True)
TABLE = Kind(name="a calibration table", recognises=_head_matches(_TABLE), yields=_has_no_hand_set_range)
MODEL = Kind(name="an ONNX model", recognises=_head_matches(_ONNX), yields=_head_matches(_OWN_ONNX))
RECIPE = Kind(name="a recipe", recognises=_is_recipe, yields=_no)
ANSWERS = Kind(name="a file of JSON lines", recognises=_is_json_lines, yields=_no)
BASELINE = Kind(name="a baseline of bertc gate", recognises=_head_matches(_BASELINE))
JUNIT = Kind(name="a JUnit file of bertc gate", recognises=_head_has(_JUNIT))
SUMMARY = Kind(name="a summary of bertc gate", recognises=_head_matches(_SUMMARY))
PAGE = Kind(name="a page of bertc bench", recognises=_head_has(_PAGE))
SWEEP = Kind(name="a sweep", recognises=_is_sweep, folder=True, resumed=True)
REPOSITORY = Kind(name="a model repository", folder=True, shared=True)
CACHE = Kind(name="a cache", folder=True, shared=True)

_CHECKPOINT = Kind(name="a checkpoint", recognises=_is_plain_checkpoint)
_OF_FOLDERS = (ARTEFACT, PRUNED, TRAINED, SWEEP, _CHECKPOINT)
_OF_FILES = (TABLE, BASELINE, MODEL, JUNIT, PAGE, SUMMARY)


def name_of_thing(path: Path) -> str:
    """Say what lies at a path, as far as bertc knows it."""
    known = _OF_FOLDERS if path.is_dir() else _OF_FILES
    other = "a folder with files" if path.is_dir() else "a file of another kind"
    return next((kind.name for kind in known if kind.recognises(path)), other)


def is_made_by_bertc(folder: Path) -> bool:
    """Say whether a folder is one whose files a manifest of bertc lists."""
    return _target_and_files(folder)[0] is not None
