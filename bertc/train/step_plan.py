"""How long a run is, and the learning rate of each of its steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from bertc.errors import InputError
from bertc.recipe import TrainingRecipe
from bertc.train.batches import steps_per_epoch

DEFAULT_STEPS = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Decided before the first step and kept with the state: the number of steps, and after how many to evaluate."""

    steps: int
    evaluate_every: int

    def as_dict(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What was measured of this machine: seconds of a training step, and of an evaluation on what is held out."""

    step: float
    evaluation: float


def plan_from_recipe(recipe: TrainingRecipe, examples: int, pace: Callable[[], Pace]) -> Plan:
    """Return the plan: by epochs, steps or minutes, whichever is given.

    `pace` is asked only where minutes are to be turned into steps. Raises `InputError` for too few minutes.
    """
    if recipe.minutes is not None:
        found = pace()
        left = recipe.minutes * 60 - recipe.evaluations * found.evaluation
        steps = math.floor(left / found.step)
        if steps < recipe.evaluations:
            raise InputError(
                f"{recipe.minutes:g} minutes are {max(steps, 0)} steps here ({found.step:.2f} s each, and "
                f"{recipe.evaluations} evaluations of {found.evaluation:.1f} s); give more minutes, or hold out less"
            )
    elif recipe.epochs is not None:
        rows, accumulate = recipe.batch_size, recipe.accumulate
        steps = max(1, round(recipe.epochs * steps_per_epoch(examples, rows=rows, accumulate=accumulate)))
    else:
        steps = DEFAULT_STEPS if recipe.steps is None else recipe.steps
    return Plan(steps=steps, evaluate_every=max(1, math.ceil(steps / recipe.evaluations)))


def rate_of_step(step: int, *, steps: int, warmup: float, schedule: str) -> float:
    """Return the part of the learning rate that step `step` (from 0) of `steps` uses.

    A linear rise over the first `warmup` (a fraction) of the steps, then a fall to 0: linear, or half a cosine
    (Loshchilov and Hutter 2017, arXiv:1608.03983).

    >>> [rate_of_step(step, steps=4, warmup=0.5, schedule="linear") for step in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    rising = warmup * steps
    if step < rising:
        return min(1.0, (step + 1) / rising)
    left = (steps - step) / max(steps - rising, 1e-9)
    return left if schedule == "linear" else (1 - math.cos(math.pi * left)) / 2
