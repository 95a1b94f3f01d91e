"""The recipe of a build: what a user decides, as a value.

Sections follow the stages. Defaults are those that are right for most; a recipe file needs to name only what differs.
All that is said of a field - its option, docs/cli.md, the file of `bertc config`, the errors - comes from here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from bertc.core.plugins import CALIBRATORS, CRITERIA, TARGETS, TASKS
from bertc.recipe.about import COLUMNS, About, Plugin, Section
from bertc.recipe.distillation import StudentRecipe
from bertc.recipe.training import TrainingRecipe

AUTO_TARGET = "auto-cpu"
"""The target of `bertc build` that is not one but the fastest that passes."""

Mode = Literal["1", "2", "3"]
_PRUNED = ("sparsity.pattern",)
_SEARCHED = ("search.enabled",)
_JUDGED = ("validation.data", "search.enabled")
"""A search spends the gates' budget on text that no validation data has."""

_PLACES = ["layer.3.output_gemm", "layer.0"]


def _mode_name(value: Any) -> Any:
    """Take mode = 1 for mode = "1"."""
    return str(value) if type(value) is int and str(value) in get_args(Mode) else value


class CalibrationRecipe(Section):
    """The text that ranges come from, or a table of an earlier calibration instead of text."""

    model_config = ConfigDict(title="Calibration")

    data: Annotated[
        str | None,
        Field(
            description="Text to calibrate on, best the training text: TSV, CSV, JSONL, Parquet, plain lines, SQuAD or "
            "CoNLL.",
            examples=["train.tsv"],
        ),
        About(flag="--calibration-data", metavar="FILE", path=True),
    ] = None
    columns: Annotated[dict[str, str], About(flag="--calibration-column", metavar="ROLE=NAME")] = Field(
        default_factory=dict, description=COLUMNS, examples=[{"text": "sentence"}]
    )
    samples: Annotated[
        int, Field(ge=1, description="Rows of text to calibrate on."), About(flag="--calibration-samples")
    ] = 256
    seed: Annotated[int, Field(description="Seed of the choice of rows."), About(flag="--seed")] = 0
    table: Annotated[
        str | None,
        Field(description="A table of an earlier calibration in the place of text.", examples=["calibration.json"]),
        About(flag="--calibration", metavar="TABLE", path=True),
    ] = None
    calibrator: Annotated[
        str,
        Plugin(CALIBRATORS),
        Field(description="How ranges are chosen."),
        About(flag="--calibrator", metavar="NAME"),
    ] = "percentile"
    percentile: Annotated[
        float | None,
        Field(gt=50, le=100, description="The percentile of the calibrator percentile.", examples=[99.99]),
        About(
            flag="--percentile",
            left_out="99.99, and the maximum on the residual stream",
            needs=("calibration.calibrator=percentile",),
        ),
    ] = None
    per_site: Annotated[
        tuple[Literal["smoothing", "calibrator"], ...],
        Field(
            strict=False,
            description="Choose exponent or range of each GEMM input by the error at its layer's output.",
        ),
        About(flag="--per-site"),
    ] = ()


class SparsityRecipe(Section):
    """What is pruned, before everything else."""

    model_config = ConfigDict(title="Sparsity")

    pattern: Annotated[
        Literal["2:4"] | None,
        Field(description="Prune two of four weights before calibration.", examples=["2:4"]),
        About(flag="--sparsity", left_out="nothing is pruned; what is 2:4 already stays so"),
    ] = None
    criterion: Annotated[
        str,
        Plugin(CRITERIA),
        Field(description="By what a weight is chosen."),
        About(flag="--sparsity-criterion", metavar="NAME", needs=_PRUNED),
    ] = "sparsegpt"
    skip: Annotated[
        tuple[str, ...],
        Field(
            strict=False,
            description="Leave a GEMM (layer.3.output_gemm), a layer (layer.3) or a role dense.",
            examples=[_PLACES],
        ),
        About(flag="--sparsity-skip", metavar="NAME", needs=_PRUNED),
    ] = ()
    permute: Annotated[
        bool,
        Field(description="Search an order of the channels in which 2:4 keeps more."),
        About(flag="--sparsity-permute", needs=_PRUNED),
    ] = False


class QuantizationRecipe(Section):
    """The scheme. Corrections (`rounding`, `bias_correction`) need calibration text."""

    model_config = ConfigDict(title="Quantization")

    mode: Annotated[
        Mode,
        BeforeValidator(_mode_name),
        Field(description="What is quantized (docs/modes.md)."),
        About(flag="--int8-mode"),
    ] = "1"
    granularity: Annotated[
        Literal["tensor", "channel"] | None,
        Field(description="A scale per tensor or per column.", examples=["channel"]),
        About(flag="--granularity", left_out="channel in mode 1, tensor in modes 2 and 3"),
    ] = None
    smoothing: Annotated[
        float | None,
        Field(ge=0, lt=1, description="SmoothQuant's exponent; 0 switches it off.", examples=[0.9]),
        About(flag="--smoothing", left_out="0.9 with granularity channel, else 0"),
    ] = None
    keep_float: Annotated[
        tuple[str, ...],
        Field(
            strict=False,
            description="Leave a site (layer.3.output_gemm), a layer (layer.3) or a role in float.",
            examples=[_PLACES],
        ),
        About(flag="--keep-float", metavar="NAME"),
    ] = ()
    rounding: Annotated[
        Literal["nearest", "gptq"] | None,
        Field(description="How weights are rounded.", examples=["nearest"]),
        About(flag="--rounding", left_out="what is better on the calibration text, with granularity channel"),
    ] = None
    bias_correction: Annotated[
        bool | None,
        Field(description="Let biases take the mean of what rounding changes.", examples=[False]),
        About(flag="--bias-correction/--no-bias-correction", left_out="as for the rounding"),
    ] = None


class ValidationRecipe(Section):
    """The labelled data and the gates."""

    model_config = ConfigDict(title="Validation and gate")

    data: Annotated[
        str | None,
        Field(
            description="Labelled data that proves the accuracy, in any of the forms of the calibration's.",
            examples=["validation.tsv"],
        ),
        About(flag="--validation-data", metavar="FILE", path=True),
    ] = None
    columns: Annotated[dict[str, str], About(flag="--validation-column", metavar="ROLE=NAME")] = Field(
        default_factory=dict, description=COLUMNS, examples=[{"text": "sentence", "label": "class"}]
    )
    limit: Annotated[
        int | None,
        Field(ge=1, description="Use a seeded sample of that many rows.", examples=[1000]),
        About(flag="--validation-limit", left_out="all rows", needs=("validation.data",)),
    ] = None
    reference: Annotated[
        str | None,
        Field(
            description="The float model to compare with, such as the one before training or pruning.",
            examples=["before-training"],
        ),
        About(
            flag="--reference",
            metavar="CHECKPOINT",
            left_out="the checkpoint itself",
            path=True,
            needs=("validation.data",),
        ),
    ] = None
    max_drop: Annotated[
        str | None,
        Field(
            description="Largest drop of the main metric: 1% of the float model's value, or 0.01abs.", examples=["1%"]
        ),
        About(flag="--max-drop", metavar="LIMIT", needs=_JUDGED),
    ] = None
    gates: Annotated[
        tuple[str, ...],
        Field(
            strict=False,
            description="Largest drop of any metric: accuracy:1%, recall[spam]:0.005abs.",
            examples=[["accuracy:1%", "recall[spam]:0.005abs"]],
        ),
        About(flag="--gate", metavar="METRIC:LIMIT", needs=_JUDGED),
    ] = ()
    min_agreement: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Smallest share of decisions that are the float model's, such as 0.99.",
            examples=[0.99],
        ),
        About(flag="--min-agreement", needs=_JUDGED),
    ] = None
    preset: Annotated[
        Literal["99%", "99.9%"] | None,
        Field(description="The part of float's main metric to keep.", examples=["99.9%"]),
        About(flag="--preset", left_out="99%, where no other gate is named", needs=_JUDGED),
    ] = None
    decide: Annotated[
        Literal["point", "bound"],
        Field(description="Judge by the drop itself (point) or by its 95 % interval (bound)."),
        About(flag="--decide", needs=_JUDGED),
    ] = "point"
    any_reference: Annotated[
        bool,
        Field(description="Judge the engine even where the float model itself is no better than a guess."),
        About(flag="--any-reference", needs=("validation.data",)),
    ] = False
    unvalidated: Annotated[
        bool,
        Field(description="Build without validation data; this is stamped into the artefact."),
        About(flag="--unvalidated"),
    ] = False


class SearchRecipe(Section):
    """The search for the fastest scheme within the budget of [validation] (docs/search.md)."""

    model_config = ConfigDict(title="Search")

    enabled: Annotated[
        bool,
        Field(
            description="Find the fastest scheme within the gates' budget: what stays in float and, unless given, "
            "granularity and smoothing. Judged on calibration text that does not calibrate."
        ),
        About(flag="--search"),
    ] = False
    rows: Annotated[
        int, Field(ge=1, description="Rows of that text."), About(flag="--search-rows", needs=_SEARCHED)
    ] = 1024
    trials: Annotated[
        int,
        Field(ge=4, description="Schemes to evaluate at most, about."),
        About(flag="--search-trials", needs=_SEARCHED),
    ] = 64
    workers: Annotated[
        int,
        Field(ge=0, le=256, description="Processes that evaluate them; 0 is those of --workers, or else one per core."),
        About(flag="--search-workers", needs=_SEARCHED),
    ] = 0


class ExitRecipe(Section):
    """Early exit (docs/early-exit.md). At most one of the two is given."""

    model_config = ConfigDict(title="Early exit")

    threshold: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Let a text leave at the first classifier whose normalised entropy is below this.",
            examples=[0.3],
        ),
        About(flag="--exit-threshold", left_out="all texts go through all layers"),
    ] = None
    drop: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Choose the largest threshold that loses at most so much accuracy on calibration text that "
            "does not calibrate.",
            examples=[0.005],
        ),
        About(flag="--exit-drop", left_out="the threshold is given"),
    ] = None

    @property
    def wanted(self) -> bool:
        """Whether texts are to leave."""
        return self.threshold is not None or self.drop is not None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        """Refuse a threshold and a way to choose it."""
        if self.threshold is not None and self.drop is not None:
            raise ValueError("threshold and drop exclude each other; give one")
        return self


class EngineRecipe(Section):
    """Where it runs."""

    model_config = ConfigDict(title="Engine")

    target: Annotated[
        str,
        Plugin(TARGETS, also=(AUTO_TARGET,), several=True),
        Field(
            description=f"What runs the engine (bertc doctor describes the targets); {AUTO_TARGET}, for bertc build: "
            "of those that this processor runs, the fastest on your texts that passes the gates. For bertc build also "
            "several, with commas: an engine of each in one folder (docs/engines.md)."
        ),
        About(flag="--target", metavar="TARGET"),
    ] = "native"
    attention: Annotated[
        str | None,
        Field(description="tensorrt's fused attention: decomposed, native, packed or kernel.", examples=["native"]),
        About(flag="--attention", metavar="KIND", left_out="decomposed"),
    ] = None
    threads: Annotated[int, Field(ge=0, le=256, description="Threads; 0 is all cores."), About(flag="--threads")] = 0
    max_length: Annotated[
        int | None,
        Field(ge=8, description="Most tokens of a text.", examples=[128]),
        About(flag="--max-length", left_out="the model's own (384 for question answering)"),
    ] = None

    @property
    def targets(self) -> tuple[str, ...]:
        """The targets by name: more than one where several engines go into one folder."""
        return tuple(self.target.split(","))


class Recipe(Section):
    """A whole build."""

    model_config = ConfigDict(title="Model")

    checkpoint: Annotated[
        str, Field(description="The model, a Hugging Face folder or hub id.", examples=["model"]), About(path=True)
    ]
    task: Annotated[
        str | None,
        Plugin(TASKS),
        Field(description="What the model does.", examples=["sequence-classification"]),
        About(flag="--task", metavar="TASK", left_out="what the checkpoint was trained for"),
    ] = None
    calibration: CalibrationRecipe = CalibrationRecipe()
    sparsity: SparsityRecipe = SparsityRecipe()
    quantization: QuantizationRecipe = QuantizationRecipe()
    validation: ValidationRecipe = ValidationRecipe()
    search: SearchRecipe = SearchRecipe()
    early_exit: ExitRecipe = ExitRecipe()
    engine: EngineRecipe = EngineRecipe()
    training: TrainingRecipe = TrainingRecipe()
    student: StudentRecipe = StudentRecipe()
