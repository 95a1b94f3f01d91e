"""The section of a recipe for `bertc finetune`."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from bertc.recipe.about import COLUMNS, About, Section

Loss = Literal["logits", "hidden", "attention"]
_LEARNT = "What is learnt"


def _usual_losses() -> dict[Loss, float]:
    return {"logits": 1.0, "hidden": 10.0}


class TrainingRecipe(Section):
    """The training of `bertc finetune`. Of `epochs`, `steps` and `minutes` at most one is given."""

    model_config = ConfigDict(title="Training")

    data: Annotated[
        str | None,
        Field(description="The labelled training data.", examples=["train.tsv"]),
        About(flag="--train-data", metavar="FILE", path=True),
    ] = None
    columns: Annotated[dict[str, str], About(flag="--train-column", metavar="ROLE=NAME")] = Field(
        default_factory=dict, description=COLUMNS, examples=[{"text": "sentence", "label": "class"}]
    )
    epochs: Annotated[
        float | None,
        Field(gt=0, description="Passes over the data; or give steps or minutes.", examples=[3.0]),
        About(flag="--epochs"),
    ] = None
    steps: Annotated[
        int | None,
        Field(ge=1, description="Optimizer steps.", examples=[1500]),
        About(flag="--steps", left_out="1500"),
    ] = None
    minutes: Annotated[
        float | None,
        Field(
            gt=0,
            description="Train for about so long: the first steps are timed, then the number of steps is fixed.",
            examples=[5.0],
        ),
        About(flag="--minutes"),
    ] = None
    batch_size: Annotated[
        int, Field(ge=1, description="Texts of a batch, over all processes."), About(flag="--batch-size")
    ] = 32
    accumulate: Annotated[int, Field(ge=1, description="Batches of a step."), About(flag="--accumulate")] = 1
    learning_rate: Annotated[
        float, Field(gt=0, description="The largest learning rate."), About(flag="--learning-rate")
    ] = 5e-5
    held_out: Annotated[
        int,
        Field(
            ge=0,
            description="Rows of the training data that decide which state is kept, at most a tenth; 0: the last.",
        ),
        About(flag="--held-out"),
    ] = 512
    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        Field(description="How products are computed; auto: in bf16 where the processor has it."),
        About(flag="--precision"),
    ] = "auto"
    device: Annotated[Literal["auto", "cpu", "cuda"], Field(description="Where to train."), About(flag="--device")] = (
        "auto"
    )
    seed: Annotated[
        int, Field(ge=0, description="Seed of the data's order and of what is held out."), About(flag="--seed")
    ] = 0
    quantize: Annotated[
        bool,
        Field(description="Train the INT8 model of [quantization]; false: the float model."),
        About(
            flag="/--float",
            section=_LEARNT,
            help="Train the float model: a sparse checkpoint, whose zeros stay.",
        ),
    ] = True
    early_exit: Annotated[
        bool,
        Field(
            description="Train a classifier behind every layer, in float, to say what the teacher's last one says; "
            "of the teacher only logits are learnt."
        ),
        About(flag="--early-exit", section=_LEARNT),
    ] = False
    teacher: Annotated[
        str | None,
        Field(description="A checkpoint to learn from, in float.", examples=["teacher"]),
        About(
            flag="--teacher",
            metavar="CHECKPOINT",
            section=_LEARNT,
            left_out="the checkpoint that is trained",
            path=True,
        ),
    ] = None
    distill: Annotated[
        dict[Loss, float],
        About(flag="--distill", metavar="NAMES", section=_LEARNT),
    ] = Field(
        default_factory=_usual_losses,
        description="What is learnt from the teacher, with weights: logits, hidden, attention; or none.",
    )
    replace: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Up to this share of a text's tokens is random, and the teacher says what it makes of it.",
        ),
        About(flag="--replace", section=_LEARNT),
    ] = 0.4
    labels: Annotated[
        float, Field(ge=0, description="Weight of the data's labels."), About(flag="--labels", section=_LEARNT)
    ] = 0.0
    learned_scales: Annotated[
        bool,
        Field(description="Train the ranges of activations, or keep those of the calibration."),
        About(flag="--learned-scales/--fixed-scales", section=_LEARNT),
    ] = True
    temperature: Annotated[float, Field(gt=0, description="Of the distillation of logits."), About()] = 1.0
    scale_rate: Annotated[
        float,
        Field(gt=0, description="The largest learning rate of the ranges, which are learnt as logarithms."),
        About(),
    ] = 0.05
    exit_rate: Annotated[
        float,
        Field(gt=0, description="The largest learning rate of the classifiers of early exit."),
        About(),
    ] = 5e-4
    schedule: Annotated[Literal["linear", "cosine"], Field(description="How the learning rate falls."), About()] = (
        "linear"
    )
    warmup: Annotated[float, Field(ge=0, lt=1, description="Part of the steps in which it rises."), About()] = 0.05
    weight_decay: Annotated[float, Field(ge=0, description="AdamW's, of matrices."), About()] = 0.0
    clip: Annotated[float, Field(gt=0, description="Largest norm of a step's gradient."), About()] = 1.0
    evaluations: Annotated[int, Field(ge=1, description="How often the held-out rows are looked at."), About()] = 10
    patience: Annotated[
        int | None,
        Field(ge=1, description="Looks without a gain before training stops.", examples=[5]),
        About(left_out="training goes to its end: the rate falls until then, and gains come late"),
    ] = None

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

    @model_validator(mode="after")
    def _patience_sees_gains(self) -> Self:
        """Refuse to wait for gains that nothing would show."""
        if self.patience is not None and not self.held_out:
            raise ValueError("patience waits for a gain on held-out rows, and held_out is 0; give rows, or no patience")
        return self

    @model_validator(mode="after")
    def _exits_are_logits(self) -> Self:
        """Refuse inner values of the teacher where earlier layers are to become other than they are there."""
        inner = [name for name in ("hidden", "attention") if self.distill.get(name)]
        if self.early_exit and "distill" in self.model_fields_set and inner:
            raise ValueError(f"early_exit changes what {inner[0]} would keep as the teacher has it; write logits alone")
        return self
