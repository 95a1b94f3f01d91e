"""The file of a sweep: checkpoints and schemes, each a part of a recipe, and the recipe of every pair.

    targets = ["native", "ort-cpu"]        # optional: every scheme for each of them
    [defaults.validation]                  # sections of a recipe, for all builds
    [[checkpoints]]                        # name, checkpoint, and what of a recipe belongs to it
    [[schemes]]                            # name, and what of a recipe belongs to it

A build's recipe is the defaults, over them the checkpoint's fields, and over those the scheme's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bertc.core.plugins import TARGETS
from bertc.errors import InputError
from bertc.recipe.faults import Place, faults_in_order, nearest, sentence_of_fault, shown
from bertc.recipe.file import document_from_path, merged_documents, resolve_paths
from bertc.recipe.sections import AUTO_TARGET, Recipe
from bertc.recipe.setting import listed, sections

TABLES = ("checkpoints", "schemes")
KEYS = ("targets", "defaults", *TABLES)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}(?<!\.)")
_REMEDY = "docs/sweep.md shows one"


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepBuild:
    """One build of a sweep: the names of its checkpoint and its scheme, which are folders, and its recipe."""

    checkpoint: str
    scheme: str
    recipe: Recipe

    @property
    def name(self) -> str:
        """What people call it, and where it lies below the folder of builds."""
        return f"{self.checkpoint}/{self.scheme}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All builds of a sweep, checkpoint by checkpoint."""

    builds: tuple[SweepBuild, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """A part of a recipe: where it stands in the file, the name of what it describes, and the fields."""

    place: str
    name: str
    fields: dict[str, Any]

    def has(self, place: Place) -> bool:
        """Say whether the part says something of a place of the recipe."""
        inner: Any = self.fields
        for step in place:
            if not isinstance(inner, Mapping) or step not in inner:
                return False
            inner = inner[step]
        return True


def sweep_from_path(path: Path) -> Sweep:
    """Read the file of a sweep. Paths in it are relative to it.

    Raises `InputError` naming all that is wrong, each with its place in the file.
    """
    document = document_from_path(path, what="sweep", remedy=_REMEDY)
    faults: list[str] = list(_faults_of_keys(document))
    defaults = document.get("defaults", {})
    below = _Layer(place="defaults", name="", fields=defaults if isinstance(defaults, dict) else {})
    resolve_paths(below.fields, path.parent)
    checkpoints, schemes = (_layers(document.get(table, []), table, path.parent, faults) for table in TABLES)
    faults += [*_faults_of_names(checkpoints), *_faults_of_names(schemes)]
    expanded = _for_targets(schemes, document.get("targets"), below, checkpoints, faults)
    if not faults:  # "x-openvino" for float is "x" for openvino-float
        faults += _faults_of_names(expanded)
    builds = [
        SweepBuild(checkpoint=checkpoint.name, scheme=scheme.name, recipe=recipe)
        for checkpoint in checkpoints
        for scheme in expanded
        if (recipe := _recipe((below, checkpoint, scheme), faults)) is not None
    ]
    faults += [
        f"{build.name}: engine.target is {shown(build.recipe.engine.target)}, but a build of a sweep has one target; "
        'write targets = ["native", "ort-cpu"] at the top, and every scheme is built for each'
        for build in builds
        if len(build.recipe.engine.targets) > 1
    ]
    found = list(dict.fromkeys(faults))
    if found:
        count = f"{len(found)} entries are wrong: " if len(found) > 1 else ""
        raise InputError(f"{path}: {count}{'; '.join(found)}")
    return Sweep(builds=tuple(builds))


def _faults_of_keys(document: Mapping[str, Any]) -> Iterator[str]:
    """Say what is wrong on the outermost level."""
    for name in document:
        if name not in KEYS:
            near = nearest(name, KEYS)
            hint = f"did you mean {near}?" if near else f"there are {listed(KEYS, 'and')}"
            yield f"{name} is no entry of a sweep ({hint}); what all builds share stands in [defaults]"
    if not isinstance(document.get("defaults", {}), dict):
        yield f"defaults is {shown(document['defaults'])}, but it is a table; write its sections as [defaults.SECTION]"
    elif "checkpoint" in document.get("defaults", {}):
        yield "defaults.checkpoint: a checkpoint stands in its own table [[checkpoints]]"
    for table in TABLES:
        if not document.get(table):
            yield f"there are no {table}; write at least one table [[{table}]] with a name"


def _layers(entries: Any, table: str, base: Path, faults: list[str]) -> list[_Layer]:
    """Read the tables of checkpoints or schemes; what is wrong with one goes to the faults, and it is left out."""
    if not isinstance(entries, list):
        faults.append(f"{table} is {shown(entries)}, but it is a list of tables; write [[{table}]]")
        return []
    layers = []
    for number, entry in enumerate(entries, 1):
        place = f"{table} {number}"
        if not isinstance(entry, dict):
            faults.append(f"{place} is {shown(entry)}, but it is a table; write [[{table}]]")
            continue
        name = entry.get("name")
        place += f' "{name}"' if isinstance(name, str) else ""
        said = list(_faults_of_entry(entry, table, place))
        faults += said
        if not said:
            fields = {key: value for key, value in entry.items() if key != "name"}
            resolve_paths(fields, base)
            layers.append(_Layer(place=place, name=str(name), fields=fields))
    return layers


def _faults_of_entry(entry: Mapping[str, Any], table: str, place: str) -> Iterator[str]:
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        is_now = "is missing" if name is None else f"is {shown(name)}"
        yield (
            f"{place}: name {is_now}, but it names a folder: letters, digits, '.', '_' and '-', the first one a letter "
            "or a digit, the last one no '.', at most 100"
        )
    if table == "checkpoints" and "checkpoint" not in entry:
        yield f'{place}: checkpoint is missing; write checkpoint = "model", a folder or a hub id'
    if table == "schemes" and "checkpoint" in entry:
        yield f"{place}: checkpoint is no field of a scheme; write it in a table [[checkpoints]]"


def _for_targets(
    schemes: Sequence[_Layer], targets: Any, below: _Layer, checkpoints: Sequence[_Layer], faults: list[str]
) -> list[_Layer]:
    """Return the schemes for each of the targets, SCHEME-TARGET; without targets, as they are."""
    if targets is None:
        return list(schemes)
    if not isinstance(targets, list) or not targets:
        faults.append(f'targets is {shown(targets)}, but it takes a list of targets, such as ["native", "ort-cpu"]')
        return list(schemes)
    known = (*TARGETS.names(), AUTO_TARGET)
    wrong = [target for target in targets if target not in known]
    faults += [f"targets has {shown(target)}, which is none of {', '.join(known)}" for target in wrong]
    place = ("engine", "target")
    faults += [
        f"{layer.place}: engine.target is given, and so are targets, which are for all; leave one of both out"
        for layer in (below, *checkpoints, *schemes)
        if layer.has(place)
    ]
    if wrong:
        return list(schemes)
    return [
        _Layer(
            place=scheme.place,
            name=f"{scheme.name}-{target}",
            fields=merged_documents(scheme.fields, {"engine": {"target": target}}),
        )
        for scheme in schemes
        for target in targets
    ]


def _faults_of_names(layers: Sequence[_Layer]) -> Iterator[str]:
    """Say which names are taken, also by one that differs in upper and lower case alone: they are folders."""
    taken: dict[str, _Layer] = {}
    for layer in layers:
        before = taken.setdefault(layer.name.lower(), layer)
        if before is not layer:
            yield f'{layer.place}: the name "{layer.name}" is that of {before.place} already; choose another one'


def _recipe(layers: Sequence[_Layer], faults: list[str]) -> Recipe | None:
    """Merge the layers, the later winning, and check the recipe; what is wrong goes to the faults, with its layer."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merged_documents(merged, layer.fields)
    try:
        return Recipe.model_validate(merged)
    except ValidationError as error:
        found = faults_in_order(error, merged)
        faults += [f"{_owner(fault['loc'], layers)}: {sentence_of_fault(fault)}" for fault in found]
        return None


def _owner(place: Place, layers: Sequence[_Layer]) -> str:
    """Return whose entry a fault is: the last layer's that says something of it; all of them for a whole section."""
    saying = [layer.place for layer in layers if layer.has(place)] or [
        layer.place for layer in layers if layer.has(place[:1])
    ]
    whole = len(place) == 1 and place[0] in sections()
    return listed(saying, "and") if whole else (saying or [layers[1].place])[-1]
