"""What is found by its file's name: one file, no list to edit, and no import before it is needed.

A name is a file's with hyphens for its underscores; a file that begins with an underscore is a part of the others. The
folders of a package are those of its `__path__`, to which a program may add its own.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

from bertc.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugins:
    """The plugins of one kind: `functions` and `constants` are the names that each module of `package` has to have."""

    kind: str
    package: str
    functions: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()

    def names(self) -> tuple[str, ...]:
        """List the names, sorted, without importing a plugin or its package (numpy alone takes 0.1 s)."""
        return names_of_files(self.package)

    def module(self, name: str) -> ModuleType:
        """Import a plugin. Raises `InputError` naming those that exist, or saying what its file lacks."""
        self.check_name(name)
        module = importlib.import_module(self._module_name(name))
        lacks = [f"function {each}" for each in self.functions if not callable(getattr(module, each, None))]
        lacks += [f"constant {each}" for each in self.constants if not hasattr(module, each)]
        if lacks:
            missing = " and the ".join(lacks)
            raise InputError(f"{module.__file__} is no {self.kind}: it lacks the {missing}; add what is missing")
        return module

    def file(self, name: str) -> Path:
        """Return the file of a plugin, without importing it. Raises `InputError` naming those that exist."""
        self.check_name(name)
        spec = find_spec(self._module_name(name))
        assert spec is not None and spec.origin is not None
        return Path(spec.origin)

    def check_name(self, name: str) -> None:
        """Raise `InputError` for a name that none has, with the nearest ones, or else with all."""
        names = self.names()
        if name not in names:
            near = difflib.get_close_matches(name, names, n=2)
            hint = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise InputError(f"{self.kind} '{name}' does not exist{hint}; choose one of {', '.join(names)}")

    def _module_name(self, name: str) -> str:
        return f"{self.package}.{name.replace('-', '_')}"


def names_of_files(package: str) -> tuple[str, ...]:
    """List what a package offers by its files' names, sorted, without importing it."""
    modules = (module.name for module in pkgutil.iter_modules(_folders(package)))
    return tuple(sorted(name.replace("_", "-") for name in modules if not name.startswith("_")))


def _folders(package: str) -> list[str]:
    """Return a package's folders; only what is imported can have been given more than its own."""
    if package in sys.modules:
        return list(sys.modules[package].__path__)
    parent = package.rpartition(".")[0]
    spec = PathFinder.find_spec(package, _folders(parent))  # `importlib.util.find_spec` would import the parents
    assert spec is not None
    return list(spec.submodule_search_locations or ())


TARGETS = Plugins(kind="target", package="bertc.targets", constants=("TARGET",))
TASKS = Plugins(kind="task", package="bertc.tasks", constants=("TASK",))
FAMILIES = Plugins(
    kind="model family",
    package="bertc.checkpoint.families",
    functions=("architecture_from_config", "first_position"),
    constants=("PREFIX",),
)
CALIBRATORS = Plugins(kind="calibrator", package="bertc.calibrate.calibrators", functions=("amax_from_counts",))
CRITERIA = Plugins(
    kind="sparsity criterion",
    package="bertc.prune.criteria",
    functions=("scores_from_weight", "prune_weight"),
    constants=("NEEDS_TEXT",),
)
COMMANDS = Plugins(kind="command", package="bertc.cli.commands", constants=("command",))
