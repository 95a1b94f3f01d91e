"""The recipe of a build: what a user decides, as a value, from flags or a TOML file.

Sections follow the stages. Defaults are those that are right for most; a recipe file needs to name only what differs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bertc.errors import InputError


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class CalibrationRecipe(_Section):
    """The text that ranges come from. `table` reuses a table of an earlier calibration instead of text.

    `percentile` left out means 99.99, and the maximum for the sites of the residual stream.
    """

    data: str | None = None
    columns: dict[str, str] = {}
    samples: int = Field(default=256, ge=1)
    seed: int = 0
    calibrator: str = "percentile"
    percentile: float | None = Field(default=None, gt=50, le=100)
    table: str | None = None
    per_site: tuple[Literal["smoothing", "calibrator"], ...] = ()


class QuantizationRecipe(_Section):
    """The scheme. `granularity` and `smoothing` left out mean the mode's own; smoothing 0 is none.

    `rounding` and `bias_correction` need calibration text. Left out, what is better on that text is taken, in
    granularity channel; in tensor weights are rounded to nearest.
    """

    mode: Literal["1", "2", "3"] = "1"
    granularity: Literal["tensor", "channel"] | None = None
    smoothing: float | None = Field(default=None, ge=0, lt=1)
    keep_float: tuple[str, ...] = ()
    rounding: Literal["nearest", "gptq"] | None = None
    bias_correction: bool | None = None


class SparsityRecipe(_Section):
    """What is pruned, before everything else; `pattern` left out means nothing (what is sparse already stays so)."""

    pattern: Literal["2:4"] | None = None
    criterion: str = "sparsegpt"
    skip: tuple[str, ...] = ()
    permute: bool = False


class ValidationRecipe(_Section):
    """The labelled data and the gates. `limit` uses a seeded sample of that many rows instead of all.

    `reference` is the float model to compare with; left out, the checkpoint itself.
    """

    data: str | None = None
    columns: dict[str, str] = {}
    reference: str | None = None
    limit: int | None = Field(default=None, ge=1)
    gates: tuple[str, ...] = ()
    max_drop: str | None = None
    min_agreement: float | None = Field(default=None, ge=0, le=1)
    preset: Literal["99%", "99.9%"] | None = None
    decide: Literal["point", "bound"] = "point"
    unvalidated: bool = False


class EngineRecipe(_Section):
    """Where it runs.

    `attention` None means the target's own choice; `threads` 0 means all cores, 256 are the most; `max_length` None
    means the model's (384 for question answering).
    """

    target: str = "ort-cpu"
    attention: str | None = None
    threads: int = Field(default=0, ge=0, le=256)
    max_length: int | None = Field(default=None, ge=8)


class SearchRecipe(_Section):
    """The search for the fastest scheme within the budget of [validation] (docs/search.md).

    `rows` of the calibration text that do not calibrate judge it, in at most about `trials` evaluations, spread over
    `workers` processes (0: all cores).
    """

    enabled: bool = False
    rows: int = Field(default=1024, ge=1)
    trials: int = Field(default=64, ge=4)
    workers: int = Field(default=0, ge=0, le=256)


class TrainingRecipe(_Section):
    """The training of `bertc finetune`.

    `quantize` false trains the float model (a sparse one, say). `distill` weighs what is learnt from the teacher
    (None: the checkpoint itself), `labels` what is learnt from the data's labels. `replace` is the largest share of a
    text's tokens that are replaced by random ones where there is a teacher. Of `epochs`, `steps` and `minutes`
    at most one is given. `held_out` rows of the training data decide when to stop and which state is the best; 0
    leaves the last one.
    """

    data: str | None = None
    columns: dict[str, str] = {}
    teacher: str | None = None
    quantize: bool = True
    learned_scales: bool = True
    distill: dict[Literal["logits", "hidden", "attention"], float] = {"logits": 1.0, "hidden": 10.0}
    temperature: float = Field(default=1.0, gt=0)
    replace: float = Field(default=0.4, ge=0, le=1)
    labels: float = Field(default=0.0, ge=0)
    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=32, ge=1)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=5e-5, gt=0)
    scale_rate: float = Field(default=0.05, gt=0)
    schedule: Literal["linear", "cosine"] = "linear"
    warmup: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    held_out: int = Field(default=512, ge=0)
    evaluations: int = Field(default=10, ge=1)
    patience: int = Field(default=5, ge=1)
    seed: int = Field(default=0, ge=0)
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        """Refuse two lengths, and nothing to learn from."""
        if sum(value is not None for value in (self.epochs, self.steps, self.minutes)) > 1:
            raise ValueError("epochs, steps and minutes exclude each other; give one")
        if any(weight < 0 for weight in self.distill.values()):
            raise ValueError("a weight of distill is negative; leave the name away to switch it off")
        if not self.labels and not any(self.distill.values()):
            raise ValueError("neither distill nor labels has a weight, so there is nothing to learn")
        return self


class Recipe(_Section):
    """A whole build."""

    checkpoint: str
    task: str | None = None
    calibration: CalibrationRecipe = CalibrationRecipe()
    sparsity: SparsityRecipe = SparsityRecipe()
    quantization: QuantizationRecipe = QuantizationRecipe()
    validation: ValidationRecipe = ValidationRecipe()
    engine: EngineRecipe = EngineRecipe()
    search: SearchRecipe = SearchRecipe()
    training: TrainingRecipe = TrainingRecipe()


def recipe_from_path(path: Path, overrides: Mapping[str, Any]) -> Recipe:
    """Read a TOML recipe; `overrides` (nested by section) win over the file.

    Paths in the file are relative to the file. Raises `InputError` naming the field that is wrong.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"recipe {path} does not exist; bertc config writes one") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"recipe {path} cannot be read: {error}; see docs/cli.md for the format") from error
    _resolve_paths(document, path.parent)
    for section, values in overrides.items():
        if isinstance(values, Mapping):
            before = document.get(section, {})
            document[section] = {**before, **values} if isinstance(before, dict) else before
        else:
            document[section] = values
    return recipe_from_document(document, str(path))


def recipe_from_document(document: Mapping[str, Any], source: str) -> Recipe:
    """Check a recipe. Raises `InputError` naming the first field that is wrong."""
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "the recipe"
        raise InputError(f"{source}: {where}: {fault['msg']}") from None


def text_from_recipe(recipe: Recipe) -> str:
    """Write a recipe as TOML, every field that has a value."""
    document = recipe.model_dump(exclude_none=True, mode="json")
    lines = [f"{name} = {_toml(value)}" for name, value in document.items() if not isinstance(value, dict)]
    for name, section in document.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in section.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(_toml(item) for item in value) + "]"


def _quoted(text: str) -> str:
    """Write a TOML basic string."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in plain) + '"'


_PATHS = (
    ("calibration", "data"),
    ("calibration", "table"),
    ("validation", "data"),
    ("validation", "reference"),
    ("training", "data"),
    ("training", "teacher"),
)


def _resolve_paths(document: dict[str, Any], base: Path) -> None:
    """Make the recipe's relative paths those of the recipe's folder, where something is there."""

    def resolved(text: Any) -> Any:
        return str(base / text) if isinstance(text, str) and (base / text).exists() else text

    document.update({"checkpoint": resolved(document["checkpoint"])} if "checkpoint" in document else {})
    for section, field in _PATHS:
        values = document.get(section)
        if isinstance(values, dict) and field in values:
            values[field] = resolved(values[field])
