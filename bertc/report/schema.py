"""The report of a build as types: what report.json (schema 1) says, and nothing that computes it.

Metrics, drops and errors are fractions (0.8922, not 89.22); times are milliseconds or seconds as the field says, sizes
bytes or MiB. Numbers are finite: a value that does not exist is null.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from bertc.errors import InputError
from bertc.report.choice import CandidatePart, ExitPart, SearchPart
from bertc.report.part import Amount, Count, Interval, Part, Ratio


class CheckpointPart(Part):
    """What was compiled. `digest` is the sha256 of configuration, weights and tokenizer; `name` is for people."""

    digest: str
    family: str
    layers: Count
    hidden: Count
    heads: Count
    parameters: Count
    name: str = ""
    task: str = ""


class FloatSite(Part):
    """A site that the scheme asks for and the engine runs in float, and why."""

    site: str
    reason: str


class QuantizationPart(Part):
    """How it was quantized, and what the engine made of it.

    `mode` is null for a target that has none. `fused` counts the engine's own fused nodes, `fused_expected` what the
    number of layers implies, `roles` the Q/DQ pairs of each role that the engine runs. `gemms_int8` and `gemms_float`
    count the encoder's matrix products (both batched ones included) as the engine runs them. `rounding` says how the
    weights were rounded, `rounding_errors` the mean squared error of the outputs over calibration text of all that was
    tried. `added_channels` of all feed-forwards together are parts of outlier channels.
    """

    mode: int | None
    calibrator: str | None
    weights: str
    sites_int8: Count
    sites_float: tuple[FloatSite, ...]
    fused: dict[str, Count]
    fused_expected: dict[str, Count] = Field(default_factory=dict)
    gemms_int8: Count | None = None
    gemms_float: Count | None = None
    granularity: str | None = None
    smoothing: float | None = None
    embeddings: str | None = None
    rounding: str | None = None
    rounding_errors: dict[str, Amount] = Field(default_factory=dict)
    roles: dict[str, Count] = Field(default_factory=dict)
    added_channels: Count = 0


class SparseGemmPart(Part):
    """One GEMM of the encoder: pruned, kept (it was sparse already) or skipped, and why where it was not pruned.

    `kept_energy` is the sum of the squared weights that is left; `output_error` the relative square error of the GEMM's
    output over the calibration text.
    """

    site: str
    state: Literal["pruned", "kept", "skipped"]
    reason: str = ""
    kept_energy: Amount | None = None
    output_error: Amount | None = None


class SparsityPart(Part):
    """What is sparse: the pattern ("2:4"), the criterion, how many tensors, and whether the engine's file obeys it.

    `criterion` is "checkpoint" for weights that were sparse before the build. `unused` says why the target gains
    nothing from it, and is empty for one that does. `products` counts what skips the zeros in the engine; it is null
    where the runtime does not tell.
    """

    pattern: str
    criterion: str
    tensors: Count
    verified: bool
    unused: str = ""
    products: Count | None = None
    permuted: bool = False
    gemms: tuple[SparseGemmPart, ...] = ()


class FloatGemm(Part):
    """A product with weights that the engine runs in float, by the value that it gives, and why.

    `precision` is that of its two operands; products and sums are FP32.
    """

    gemm: str
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    reason: str


class EnginePart(Part):
    """What runs. Sizes in bytes; `bytes` is all files that the engine reads, `reference_bytes` the float model's.

    `onnx_bytes` is model.onnx: one of those files, or beside them for other programs, or 0 where there is none.
    `runtime` is what ran here, with its version (and instruction set, if bertc chooses it); `operators` counts what it
    calls by kind; `float_gemms` is null where the runtime does not name them.
    """

    target: str
    bytes: Count
    onnx_bytes: Count
    features: tuple[str, ...] = ()
    reference_bytes: Count | None = None
    note: str | None = None
    runtime: str = ""
    operators: dict[str, Count] = Field(default_factory=dict)
    float_gemms: tuple[FloatGemm, ...] | None = None


class MetricPart(Part):
    """One metric of the engine beside the float reference.

    `drop` is positive where the engine is worse, whatever the direction; `drop_ci95` is its paired 95 % interval.
    `reference_ci95` and `engine_ci95` are the metrics' own. `agreement` is the share of equal predictions. `engine` and
    `drop` are null where the metric is not defined for the engine, whose outputs are then all alike. `samples` counts
    rows, or queries for the metrics of rankings (`unit`).
    """

    metric: str
    direction: Literal["higher", "lower"]
    samples: Count
    unit: Literal["rows", "queries"] = "rows"
    truncated: Count
    reference: float
    engine: float | None
    drop: float | None
    drop_ci95: Interval | None = None
    agreement: Ratio | None = None
    logit_mse: Amount | None = None
    reference_ci95: Interval | None = None
    engine_ci95: Interval | None = None


class DoubtPart(Part):
    """Why the float model itself is not to be believed. `grave`: more than a few unlucky rows can explain."""

    reason: str
    metric: str
    value: float
    floor: float
    grave: bool


class GatePart(Part):
    """One gate and its verdict. `limit` is as the user wrote it; `drop_limit` is the largest drop it allows.

    `drop_limit` is null for a gate on something else than a drop (an agreement) and for a part of a reference of 0;
    `value` is what was compared.
    `rows_needed` says, for an inconclusive gate, how many rows would settle it; `reason` says so in words.
    """

    metric: str
    limit: str
    decide: Literal["point", "bound"]
    verdict: Literal["pass", "fail", "inconclusive"]
    reason: str
    value: float | None = None
    drop_limit: float | None = None
    rows_needed: Count | None = None


class OperatingPoint(Part):
    """A served threshold: the metric there of float and engine, and the engine's threshold that restores float's."""

    metric: str
    threshold: float
    reference: float
    engine: float
    restored_threshold: float | None = None
    restored: float | None = None
    label: str | None = None


class LatencyPart(Part):
    """Milliseconds of one batch of `batch` texts of `length` tokens; `others` are further engines by name."""

    batch: Count
    length: Count
    milliseconds: Amount
    reference_milliseconds: Amount
    others: dict[str, Amount] = Field(default_factory=dict)


class StagePart(Part):
    """One stage of the build: wall seconds, whether the cache gave it, and the peak memory in MiB."""

    name: str
    seconds: Amount
    cached: bool
    peak_rss_mib: Amount | None = None


class HistogramPart(Part):
    """Magnitudes of a site over the calibration text: `edges` has one element more than `counts`."""

    edges: tuple[float, ...]
    counts: tuple[Count, ...]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.edges) != len(self.counts) + 1 or list(self.edges) != sorted(self.edges):
            raise ValueError("a histogram has rising edges, one more than counts")
        return self


class SitePart(Part):
    """One site of the scheme. `amax` and `scale` are the largest where there is one per channel.

    The grid is scale (code - `zero_point`) with codes -128..127.

    `error` is the relative root mean square error of its values, rms(engine - float) / rms(float). `sensitivity` is
    what the output loses when this site alone is quantized (mean square error of the scores).
    """

    site: str
    role: str
    layer: Count
    lowered: bool
    amax: Amount | None = None
    scale: Amount | None = None
    zero_point: int = 0
    error: Amount | None = None
    sensitivity: Amount | None = None
    histogram: HistogramPart | None = None


class ReadingPart(Part):
    """How a data file was read (`bertc.data.reading.Reading`).

    `header` is null for a form that has none; `labels` is what a label of the file means to the checkpoint; `labelled`
    of the `rows` have a label, null where labels do not matter; `scheme` is that of the tags; `left_out` counts what is
    no row, and labels that mean nothing to the task.
    """

    form: str
    header: bool | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    labels: dict[str, str] = Field(default_factory=dict)
    rows: Count
    labelled: Count | None
    scheme: str | None = None
    left_out: dict[str, Count] = Field(default_factory=dict)
    sentence: str = ""


class DataSource(Part):
    """A data set: its path as given, the number of rows used, the sha256 of them, and how it was read."""

    path: str
    rows: Count
    digest: str
    reading: ReadingPart | None = None


class DataPart(Part):
    """The texts. `overlap` counts validation rows that also calibrated; `truncated` those cut to the model's length."""

    calibration: DataSource | None
    validation: DataSource | None
    overlap: Count = 0
    truncated: Count = 0


class EnvironmentPart(Part):
    """Where it was built and measured."""

    cpu: str
    features: tuple[str, ...]
    versions: dict[str, str]
    threads: Count
    system: str = ""


class Report(Part):
    """The whole report.json.

    `accuracy` is null, and nothing was gated, if there was no validation data (`unvalidated`). `rows` names the file
    of per-row outputs in the same folder. `doubt` is null unless the float model itself is no better than a guess; a
    grave one that the user did not accept is the first gate, which failed. `worst_sites` are the three with the
    largest error, worst first.
    """

    schema_version: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    bertc: str
    created: str
    command: str
    checkpoint: CheckpointPart
    quantization: QuantizationPart
    sparsity: SparsityPart | None = None
    engine: EnginePart
    accuracy: MetricPart | None
    metrics: tuple[MetricPart, ...] = ()
    doubt: DoubtPart | None = None
    gates: tuple[GatePart, ...] = ()
    operating_points: tuple[OperatingPoint, ...] = ()
    passed: bool
    unvalidated: bool = False
    rows: str | None = None
    latency: tuple[LatencyPart, ...] = ()
    stages: tuple[StagePart, ...] = ()
    search: SearchPart | None = None
    early_exit: ExitPart | None = None
    candidates: tuple[CandidatePart, ...] = ()
    sites: tuple[SitePart, ...] = ()
    worst_sites: Annotated[tuple[str, ...], Field(max_length=3)] = ()
    data: DataPart
    environment: EnvironmentPart
    warnings: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.unvalidated != (self.accuracy is None):
            raise ValueError("a report has an accuracy unless it is unvalidated")
        if self.passed and any(gate.verdict != "pass" for gate in self.gates):
            raise ValueError("a report with a gate that did not pass has not passed")
        if self.passed and self.unvalidated:
            raise ValueError("a report of an engine that nothing proved has not passed")
        return self


def report_to_json(report: Report) -> str:
    """Write a report as the text of report.json, ending in a newline."""
    return report.model_dump_json(by_alias=True, indent=2) + "\n"


def report_from_json(text: str | bytes, *, source: str = "report.json") -> Report:
    """Read the text of a report.json. Raises `InputError` naming `source` if it is not one of schema 1."""
    try:
        return Report.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])[:80]
        reason = f"{where}: {fault['msg']}" if where else fault["msg"]
        raise InputError(
            f"{source} is no bertc report of schema 1 ({reason}); name a report.json of a build."
        ) from None
