"""A target is one file here: what it can run in INT8, how a graph becomes its model, and which runtime opens that.

Each module has a constant `TARGET`, a `Target` whose name is the file's with hyphens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import onnx_ir as ir

from bertc.core.digest import digest_of_file
from bertc.core.keys import Key
from bertc.core.plugins import TARGETS
from bertc.core.progress import SILENCE, Progress
from bertc.core.versions import library_versions
from bertc.core.workers import Workers
from bertc.errors import InputError
from bertc.export.engine_options import DEFAULT_OPTIONS, EngineOptions
from bertc.ir.architecture import Architecture
from bertc.ir.fused import AttentionNeeds
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Role
from bertc.runtime.engine import Engine
from bertc.runtime.machine.cpu import Cpu
from bertc.runtime.optimized import Optimized
from bertc.runtime.runtime import Runtime
from bertc.runtime.served import Served
from bertc.runtime.shared_engine import opened_engine


def take_any_cpu(cpu: Cpu) -> None:
    """Refuse no CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What an engine is made for. What has no default here, every target has to say."""

    name: str

    summary: str
    """One line for `bertc doctor`."""

    runtime: Runtime
    """What writes and opens its files, and says what became of them."""

    lower: Callable[[ir.Model, EngineOptions], ir.Model]
    """Lowers a graph to the ONNX operators that the runtime takes; see `onnx_from_graph`."""

    expected_fusion: Callable[[Scheme | None, int], Mapping[str, int]]
    """(scheme, layers) -> the fused nodes, named as in `Optimized`, that the layers imply."""

    served: Served
    """How Triton Inference Server runs its files."""

    static_int8: bool = False
    """Whether the graph is quantized with a scheme before it is lowered."""

    zero_points: bool = False
    """Whether an activation's codes may have a zero point other than 0."""

    precision: Literal["int8", "float16", "float32"] = "float32"
    """What weights and embedding tables are stored in."""

    no_int8: str = ""
    """Why a choice of quantization is refused, in a recipe too; empty if it is INT8, or a reference for any recipe."""

    no_int8_residual: str = ""
    """Why modes whose residuals are codes are refused; empty if they are not."""

    no_sparsity: str = ""
    """Why a user who asks for 2:4 weights is refused; empty if they run, as sparse ones or as any others."""

    float_roles: Mapping[Role, str] = field(default_factory=dict)
    """Roles that it cannot run in INT8, each with the reason."""

    attentions: Mapping[str, AttentionNeeds] = field(default_factory=dict)
    """The kinds of attention that a user may choose from, the first by default; empty if there is no choice."""

    note: str = ""
    """What a reader of the report has to know of its answers; empty if nothing."""

    demands: tuple[str, ...] = ()
    """CPU features of which the artefact needs one where it runs; empty if none."""

    check_cpu: Callable[[Cpu], None] = take_any_cpu
    """Raises `EnvironmentLackError` for a CPU that does not run it exactly."""

    rotary_positions: bool = True
    """Whether it turns queries and keys by their positions (ModernBERT)."""

    distance_embeddings: bool = True
    """Whether it multiplies queries and keys with embeddings of distances (DeBERTa)."""

    segments: bool = True
    """Whether it adds products of queries with segments to scores (XLNet)."""

    rms_norm: bool = True
    """Whether it runs RMSNorm."""

    head_sizes: frozenset[int] = frozenset()
    """How wide attention's heads may be; empty if any width will do."""

    unseen_tokens: bool = True
    """Whether tokens that nothing attends to have outputs: those that fill a query up."""

    lets_texts_leave: bool = False
    """Whether its engine computes a text no further than the first classifier that is certain of it."""

    packs_rows: bool = False
    """Whether its engine takes several texts in a row (`bertc.ir.sentences`)."""

    def check_machine(self, cpu: Cpu, attention: str | None = None) -> None:
        """Raise `EnvironmentLackError` where the runtime is missing, or cannot run the target exactly on this CPU.

        `attention` is one of `attentions`, or None for the first.
        """
        self.runtime.check_here(attention)
        self.check_cpu(cpu)

    def implied_fusion(self, scheme: Scheme | None, architecture: Architecture) -> Mapping[str, int]:
        """Return the fusions that a model's layers imply, and a norm behind the embeddings where it has one."""
        counts = dict(self.expected_fusion(scheme, architecture.layers))
        return counts if architecture.embeddings_norm else counts | {"layer_norm": counts["layer_norm"] - 1}

    def onnx_from_graph(self, graph: ir.Model, options: EngineOptions = DEFAULT_OPTIONS) -> ir.Model:
        """Lower a float or Q/DQ graph to ONNX. Raises `InputError` for what the runtime cannot take."""
        return self.lower(graph, options)

    def written_model(
        self, lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None
    ) -> TargetModel:
        """Write the files of a lowered graph into a folder that exists; `cache` is as for the runtime."""
        path = self.runtime.write_model(lowered, folder, progress=progress, cache=cache)
        return TargetModel(target=self, path=path)

    def cache_key(self) -> Key:
        """Return its name, and the version and the build of the library that its answers depend on."""
        library, build = self.runtime.library, self.runtime.build
        return [self.name, library_versions(library)[library], *([build] if build else [])]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetModel:
    """A target's model on disk; `path` is the file that its runtime opens."""

    target: Target
    path: Path

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files that its engine reads."""
        return self.target.runtime.files_of_model(self.path)

    @property
    def companions(self) -> tuple[Path, ...]:
        """The files beside them for other programs."""
        return tuple(map(self.path.with_name, self.target.runtime.companion_files))

    @contextmanager
    def opened(self, *, threads: int, workers: Workers | None = None) -> Iterator[Engine]:
        """Open an engine of it, in the workers where there are several, and close it at the end."""
        engine = opened_engine(self.target.runtime, self.path, threads=threads, workers=workers)
        try:
            yield engine
        finally:
            engine.close()

    def optimized(self) -> Optimized:
        """Read back what the runtime makes of it."""
        return self.target.runtime.optimized_from_path(self.path)

    def cache_key(self) -> Key:
        """Return the target's key and the digests of the files, wherever they lie."""
        return [self.target.cache_key(), [digest_of_file(path) for path in self.paths]]


def target_from_name(name: str) -> Target:
    """Find a target. Raises `InputError` naming those that exist, or saying what its file lacks."""
    target = TARGETS.module(name).TARGET
    if not isinstance(target, Target) or target.name != name:
        raise InputError(f"the file of the target '{name}' does not hold it; let its TARGET be a Target named '{name}'")
    return target
