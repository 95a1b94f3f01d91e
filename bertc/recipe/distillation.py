"""The section of a recipe for `bertc distill`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from bertc.recipe.about import About, Section
from bertc.recipe.training import Loss


def _usual_losses() -> dict[Loss, float]:
    return {"logits": 1.0}


class StudentRecipe(Section):
    """A smaller model and how long it learns: `bertc distill` has these in the place of those of [training]."""

    model_config = ConfigDict(title="Student")

    layers: Annotated[
        int | None,
        Field(
            ge=1,
            description="Layers of the student: so many of the checkpoint's, evenly spaced, the last among them.",
            examples=[3],
        ),
        About(flag="--layers"),
    ] = None
    hidden: Annotated[
        int | None,
        Field(
            ge=1,
            description="Width of the student: so many of the checkpoint's channels, those that matter most on the "
            "training text, with as many heads and feed-forward neurons in proportion.",
            examples=[256],
        ),
        About(flag="--hidden"),
    ] = None
    steps: Annotated[int, Field(ge=1, description="Optimizer steps."), About(flag="--steps")] = 2000
    batch_size: Annotated[
        int, Field(ge=1, description="Texts of a step, over all processes."), About(flag="--batch-size")
    ] = 32
    learning_rate: Annotated[
        float, Field(gt=0, description="The largest learning rate."), About(flag="--learning-rate")
    ] = 2e-4
    distill: Annotated[dict[Loss, float], About(flag="--distill", metavar="NAMES")] = Field(
        default_factory=_usual_losses,
        description="What is learnt from the teacher, with weights: logits, hidden, attention (of the layers that each "
        "layer stands for).",
    )

    @model_validator(mode="after")
    def _something_to_learn(self) -> Self:
        """Refuse a student that learns nothing from its teacher."""
        if any(weight < 0 for weight in self.distill.values()):
            raise ValueError("a weight of distill is negative; leave the name away to switch it off")
        if not any(self.distill.values()):
            raise ValueError("no name in distill has a weight, so the student learns nothing from its teacher")
        return self
