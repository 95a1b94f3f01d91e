"""Make a smaller model of a checkpoint: a student of some of its layers and channels, and the INT8 engine of that.

teacher -> some of its layers and channels -> train -> checkpoint -> build -> verdict against the teacher
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bertc.cache.stages import Work
from bertc.checkpoint import checkpoint_from_path
from bertc.errors import InputError
from bertc.jobs.build import Built, build, read_inputs
from bertc.jobs.finetune import Finetuned, Place, finetune
from bertc.jobs.smaller import Smaller
from bertc.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Distilled:
    """What a run did, and the engine where one was asked for; None in all processes of a run but the first."""

    trained: Finetuned
    built: Built | None


def distill(recipe: Recipe, place: Place, *, engine: Path | None, work: Work, command: str) -> Distilled:
    """Train a student of `student.layers` of the checkpoint's layers, `student.hidden` wide, in float, and write it.

    With a folder `engine`, the student is built there, and what is judged is the drop from the teacher to the engine.
    All that the recipe says of that is read before the training, so that what is wrong with it is said then. Raises
    what `finetune` and `build` raise.
    """
    smaller = Smaller(layers=recipe.student.layers, hidden=recipe.student.hidden)
    if smaller.layers is None and smaller.hidden is None:
        raise InputError(
            "how small the student is to be is not said; give its number of layers with --layers, its width with "
            "--hidden, or both"
        )
    building = recipe_of_engine(recipe, place.out)
    if engine is not None:
        teacher = checkpoint_from_path(recipe.checkpoint, task=recipe.task)
        read_inputs(building, work=work, checkpoint=smaller.checkpoint(teacher))
    trained = finetune(recipe_of_training(recipe), place, smaller=smaller, work=work, command=command)
    built = None
    if engine is not None and trained.speaks:
        built = build(building, engine, work=work, command=command)
    return Distilled(trained=trained, built=built)


def recipe_of_training(recipe: Recipe) -> Recipe:
    """Return the recipe by which the student is trained: in float, as long as [student] says."""
    student = recipe.student
    training = recipe.training.model_copy(
        update={
            "quantize": False,
            "steps": student.steps,
            "epochs": None,
            "minutes": None,
            "batch_size": student.batch_size,
            "learning_rate": student.learning_rate,
            "distill": student.distill,
        }
    )
    return recipe.model_copy(update={"training": training})


def recipe_of_engine(recipe: Recipe, student: Path) -> Recipe:
    """Return the recipe by which the student is built: compared with its teacher, and calibrated on the training data
    where there is no other text."""
    training, calibration, validation = recipe.training, recipe.calibration, recipe.validation
    if calibration.data is None and calibration.table is None:
        calibration = calibration.model_copy(update={"data": training.data, "columns": training.columns})
    if validation.reference is None:
        validation = validation.model_copy(update={"reference": training.teacher or recipe.checkpoint})
    return recipe.model_copy(update={"checkpoint": str(student), "calibration": calibration, "validation": validation})
