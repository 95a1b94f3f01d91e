"""Between a recipe and a search: which schemes it leaves open, and the recipe of the scheme that was found."""

from __future__ import annotations

from bertc.calibrate.needs import has_histograms
from bertc.ir.scheme import Granularity, Scheme
from bertc.jobs.plan import Plan, scheme_for_target
from bertc.quantize.quantization import Quantization
from bertc.recipe import Recipe
from bertc.search.run import names_from_sites


def schemes_to_search(recipe: Recipe, plan: Plan, quantization: Quantization, *, layers: int) -> tuple[Scheme, ...]:
    """Return the recipe's scheme, and beside it those that differ in what the recipe leaves open.

    A granularity that is left out is also searched as `channel`, a smoothing that is left out with and without
    (with the table's exponent, and only in granularity channel: one scale per tensor gains nothing from it).
    """
    first, table, asked = quantization.scheme, quantization.table, recipe.quantization
    if not has_histograms(table):  # ranges that somebody else chose, for one scheme
        return (first,)
    grains = [first.granularity] if asked.granularity else [first.granularity, Granularity.CHANNEL]
    schemes = {first: None}
    for grain in dict.fromkeys(grains):
        left_open = (table.exponent, 0.0) if grain is Granularity.CHANNEL else (0.0,)
        for smoothing in left_open if asked.smoothing is None else (asked.smoothing,):
            varied = asked.model_copy(update={"granularity": str(grain), "smoothing": smoothing})
            scheme = scheme_for_target(varied, plan.target, layers=layers)
            assert scheme is not None
            schemes.setdefault(scheme)
    return tuple(schemes)


def recipe_of_scheme(recipe: Recipe, scheme: Scheme, *, layers: int) -> Recipe:
    """Return the recipe that gives a scheme without a search."""
    chosen = {
        "granularity": str(scheme.granularity),
        "smoothing": scheme.smoothing or 0.0,
        "keep_float": names_from_sites(scheme.float_sites, layers),
    }
    return recipe.model_copy(
        update={
            "quantization": recipe.quantization.model_copy(update=chosen),
            "search": recipe.search.model_copy(update={"enabled": False}),
        }
    )
