"""What a runtime offers to the targets that run on it: its files, written, opened and read back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from bertc.core.progress import SILENCE, Progress
from bertc.runtime.engine import Engine
from bertc.runtime.optimized import Optimized

if TYPE_CHECKING:
    import onnx_ir as ir


class Runtime(ABC):
    """A library that runs engines. It is a value: what it holds never changes."""

    library: ClassVar[str]
    """The package whose version its answers depend on."""

    model_files: ClassVar[tuple[str, ...]]
    """The files that its engine needs; the first is the one that is opened."""

    companion_files: ClassVar[tuple[str, ...]] = ()
    """Files that `write_model` writes beside those for other programs; its engine does not read them."""

    on_gpu: ClassVar[bool] = False
    """Whether its engine takes an NVIDIA GPU, one for each process."""

    sparsity: ClassVar[str]
    """Why it gains nothing from 2:4 weights; empty if it skips their zeros."""

    @property
    def options(self) -> Mapping[str, Any]:
        """The library's own options that another program has to open the model with to get the validated answers."""
        return {}

    @property
    def sentence_settings(self) -> Mapping[str, Any]:
        """What sentence_bert_config.json has to say so that sentence-transformers gets the validated answers."""
        return {}

    @property
    def build(self) -> str:
        """What tells apart builds of one version of the library whose answers may differ; empty where none do."""
        return ""

    def onnx_graph(self, lowered: ir.Model) -> ir.Model:
        """Return what a lowered graph is as an ONNX file: itself, unless no other program could read that."""
        return lowered

    def files_of_model(self, model: Path) -> tuple[Path, ...]:
        """Return all files of a model that `write_model` wrote."""
        return tuple(model.with_name(name) for name in self.model_files)

    @abstractmethod
    def check_here(self, attention: str | None) -> None:
        """Raise `EnvironmentLackError` where the library or the device that it runs on is missing.

        `attention` is one of the target's `attentions`, or None for the first.
        """

    @abstractmethod
    def write_model(
        self, lowered: ir.Model, folder: Path, *, progress: Progress = SILENCE, cache: Path | None = None
    ) -> Path:
        """Write the files of a lowered graph into a folder that exists; returns the one that is opened.

        `cache` is a folder for what makes the next build faster, None for none.
        """

    @abstractmethod
    def engine_from_path(self, model: Path, *, threads: int, cache: Path | None = None) -> Engine:
        """Open an engine. Raises `InputError` for a damaged file, `EnvironmentLackError` without the library.

        `cache` is a folder for what makes the next opening faster, None for none; where nothing does, nothing is kept.
        """

    @abstractmethod
    def optimized_from_path(self, model: Path) -> Optimized:
        """Read back what the runtime makes of a model file."""
