"""A target is one file here: what it can run in INT8, how a graph becomes its model, and how its engine opens.

Each module has the names of `Target`. The file's name with hyphens is the target's.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import onnx_ir as ir

from bertc.errors import InputError
from bertc.features import Progress
from bertc.graph.fused import AttentionNeeds
from bertc.graph.options import EngineOptions
from bertc.graph.scheme import Scheme
from bertc.graph.sites import Role
from bertc.runtime.cpu import Cpu
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized
from bertc.runtime.serving import Served


class Target(Protocol):
    """What a module of this package offers."""

    SUMMARY: str
    """One line for `bertc doctor`."""

    LIBRARY: str
    """The package whose version its answers depend on."""

    MODEL_FILES: tuple[str, ...]
    """The files that its engine needs; the first is the one that is opened."""

    STATIC_INT8: bool
    """Whether the graph is quantized with a scheme before it is lowered."""

    ZERO_POINTS: bool
    """Whether an activation's codes may have a zero point other than 0."""

    PRECISION: str
    """What weights and embedding tables are stored in: "int8", "float16" or "float32"."""

    NO_INT8: str
    """Why a user who asks for INT8 is refused; empty if it is INT8, or a reference that ignores the wish."""

    FLOAT_ROLES: Mapping[Role, str]
    """Roles that it cannot run in INT8, each with the reason."""

    ATTENTIONS: Mapping[str, AttentionNeeds]
    """The kinds of attention that a user may choose from, the first by default; empty if there is no choice."""

    NOTE: str
    """What a reader of the report has to know of its answers; empty if nothing."""

    SPARSITY: str
    """Why it gains nothing from 2:4 weights; empty if it skips their zeros."""

    DEMANDS: tuple[str, ...]
    """CPU features of which the artefact needs one where it runs; empty if none."""

    SERVED: Served
    """How Triton Inference Server runs its files."""

    PACKS_ROWS: bool
    """Whether its engine takes several texts in a row (`bertc.graph.packing`)."""

    def check_machine(self, cpu: Cpu, attention: str | None = None) -> None:
        """Raise `EnvironmentLackError` when this machine lacks the library, or cannot run the target's INT8 exactly.

        `attention` is one of `ATTENTIONS`, or None for the first.
        """

    def onnx_from_graph(self, graph: ir.Model, options: EngineOptions = ...) -> ir.Model:
        """Lower a graph to the ONNX operators that the target's runtime takes."""

    def write_model(
        self, lowered: ir.Model, folder: Path, *, progress: Progress = ..., cache: Path | None = None
    ) -> Path:
        """Write `MODEL_FILES` of a lowered graph into a folder that exists; returns the one that is opened.

        `cache` is a folder for what makes the next build faster, None for none.
        """

    def engine_from_path(self, model: Path, *, threads: int, cache: Path | None = ...) -> Engine:
        """Open an engine. Raises `InputError` for a damaged file, `EnvironmentLackError` without the library.

        `cache` is a folder for what makes the next opening faster, None for none; where nothing does, nothing is kept.
        """

    def optimized_from_path(self, model: Path) -> Optimized:
        """Read back what the runtime makes of a model file."""

    def expected_fusion(self, scheme: Scheme | None, layers: int) -> Mapping[str, int]:
        """Return the fused nodes, named as in `Optimized`, that the layers imply under a scheme."""


def model_files(target: Target, model: Path) -> tuple[Path, ...]:
    """Return all files of a model that `write_model` wrote."""
    return tuple(model.with_name(name) for name in target.MODEL_FILES)


def target_names() -> tuple[str, ...]:
    """List the targets by file name."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def target_from_name(name: str) -> Target:
    """Find a target. Raises `InputError` naming those that exist."""
    if name not in target_names():
        raise InputError(f"target '{name}' does not exist; choose one of {', '.join(target_names())}")
    module: Target = importlib.import_module(f"bertc.targets.{name.replace('-', '_')}")
    return module
