"""What a build found, before it is put into the report's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from bertc.cache.stages import StageTime
from bertc.calibrate.table import CalibrationTable
from bertc.checkpoint import Checkpoint
from bertc.data.encoded import Encoded, Streamed
from bertc.evaluate.gates import Verdict
from bertc.evaluate.scores import Comparison
from bertc.export.embeddings import StoredEmbeddings
from bertc.ir.scheme import Scheme
from bertc.ir.sites import Site
from bertc.prune.stage import VerifiedSparsity
from bertc.quantize.correction import NO_CORRECTION, Correction
from bertc.quantize.insert import Quantized
from bertc.quantize.quantization import Quantization
from bertc.recipe import Recipe
from bertc.report.choice import CandidatePart, ExitPart
from bertc.runtime.latency import Latency
from bertc.runtime.machine.cpu import Cpu
from bertc.runtime.optimized import Optimized
from bertc.search.run import SearchResult
from bertc.targets import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildFacts:
    """Everything that a build knows when it is done."""

    recipe: Recipe
    command: str
    created: datetime
    checkpoint: Checkpoint
    reference: Checkpoint | None = None
    """The float model that the engine was compared with, where it is not the checkpoint."""
    max_length: int
    row_length: int | None = None
    """Tokens of a row that several texts share; None where the target packs nothing."""
    target: Target
    quantization: Quantization | None
    """How it was quantized; None for a target without static INT8."""
    quantized: Quantized | None
    correction: Correction = NO_CORRECTION
    stored: StoredEmbeddings | None
    sparsity: VerifiedSparsity | None = None
    optimized: Optimized
    engine_bytes: Mapping[str, int]
    """Bytes of each file that the engine needs."""
    companion_bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes of each file that lies beside them for other programs."""
    reference_bytes: int
    calibration: Encoded | None = None
    validation: Streamed | None
    comparison: Comparison | None
    verdict: Verdict | None
    sensitivity: Mapping[Site, float]
    latency: tuple[Latency, ...]
    search: SearchResult | None = None
    early_exit: ExitPart | None = None
    candidates: tuple[CandidatePart, ...] = ()
    stages: tuple[StageTime, ...]
    cpu: Cpu
    versions: Mapping[str, str]

    @property
    def scheme(self) -> Scheme | None:
        """The scheme, if there is one."""
        return None if self.quantization is None else self.quantization.scheme

    @property
    def table(self) -> CalibrationTable | None:
        """The calibration table, if there is one."""
        return None if self.quantization is None else self.quantization.table

    @property
    def layers(self) -> int:
        """Number of encoder layers."""
        return self.checkpoint.architecture.layers
