"""How long a run is, and how the learning rate goes."""

from __future__ import annotations

import pytest

from bertc.errors import InputError
from bertc.recipe import TrainingRecipe
from bertc.train.step_plan import DEFAULT_STEPS, Pace, plan_from_recipe, rate_of_step


def pace() -> Pace:
    return Pace(step=0.5, evaluation=1.0)


@pytest.mark.parametrize(
    ("fields", "steps"),
    [({}, DEFAULT_STEPS), ({"steps": 7}, 7), ({"epochs": 2.5}, 25), ({"epochs": 0.01}, 1), ({"minutes": 1}, 100)],
)
def test_the_length(fields: dict[str, float], steps: int) -> None:
    plan = plan_from_recipe(TrainingRecipe.model_validate(fields), 320, pace)
    assert plan.steps == steps and plan.evaluate_every == -(-steps // 10)


def test_too_few_minutes_are_refused() -> None:
    with pytest.raises(InputError, match="0 steps here"):
        plan_from_recipe(TrainingRecipe(minutes=0.1), 320, pace)


def test_the_pace_is_only_measured_for_minutes() -> None:
    def never() -> Pace:
        raise AssertionError

    assert plan_from_recipe(TrainingRecipe(steps=3), 320, never).steps == 3


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_rate_rises_and_falls(schedule: str) -> None:
    rates = [rate_of_step(step, steps=100, warmup=0.1, schedule=schedule) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[9:] == sorted(rates[9:], reverse=True) and 0 < rates[-1] < 0.02
    assert rate_of_step(0, steps=1, warmup=0.0, schedule=schedule) == 1.0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"steps": 3, "epochs": 1}, "exclude each other"),
        ({"distill": {}}, "nothing to learn"),
        ({"distill": {"logits": -1.0}}, "negative"),
        ({"distill": {"pixels": 1.0}}, "logits"),
        ({"minutes": 0}, "greater than 0"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainingRecipe.model_validate(fields)
