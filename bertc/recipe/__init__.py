"""The recipe of a build: what a user decides, from flags or a TOML file. A field is described once, in `sections`."""

from bertc.recipe.distillation import StudentRecipe
from bertc.recipe.file import recipe_from_document, recipe_from_path, text_from_recipe
from bertc.recipe.sections import (
    AUTO_TARGET,
    CalibrationRecipe,
    EngineRecipe,
    ExitRecipe,
    QuantizationRecipe,
    Recipe,
    SearchRecipe,
    SparsityRecipe,
    ValidationRecipe,
)
from bertc.recipe.sweep import Sweep, SweepBuild, sweep_from_path
from bertc.recipe.training import TrainingRecipe

__all__ = [
    "AUTO_TARGET",
    "CalibrationRecipe",
    "EngineRecipe",
    "ExitRecipe",
    "QuantizationRecipe",
    "Recipe",
    "SearchRecipe",
    "SparsityRecipe",
    "StudentRecipe",
    "Sweep",
    "SweepBuild",
    "TrainingRecipe",
    "ValidationRecipe",
    "recipe_from_document",
    "recipe_from_path",
    "sweep_from_path",
    "text_from_recipe",
]
