"""What a search found, in the report's words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from bertc.ir.sites import Site
from bertc.report.schema import LeftPart, SearchPart, TrialPart
from bertc.search.run import SearchResult, Trial, names_from_sites


def search_part(found: SearchResult) -> SearchPart:
    """Write the report's section of a search."""
    batch, length = found.shape
    return SearchPart(
        passed=found.passed,
        rows=found.rows,
        labelled=found.labelled,
        batch=batch,
        length=length,
        float_milliseconds=found.float_milliseconds,
        start_milliseconds=found.start_milliseconds,
        trials=tuple(_trial(trial, found.layers) for trial in found.trials),
        chosen=found.chosen,
        left=tuple(
            LeftPart(site=left.site.name, sensitivity=left.sensitivity, milliseconds=left.milliseconds)
            for left in found.left
        ),
    )


def reasons_from_search(found: SearchResult) -> Mapping[Site, str]:
    """Say why each site that the search left in float is there; few different reasons, so that they can be grouped."""
    slower = "left in float by the search: INT8 costs more of the accuracy budget than float costs time"
    free = "left in float by the search: float takes no longer here"
    return {left.site: slower if left.milliseconds > 0 else free for left in found.left}


def warnings_from_search(found: SearchResult) -> Iterator[str]:
    """Say that nothing passed."""
    if not found.passed:
        used = found.trials[found.chosen].judged.used
        yield (
            f"the search found no scheme within the budget on {found.rows} held-out rows; the best of "
            f"{len(found.trials)} uses {used:.2f} times the budget. Give a larger budget, or train (bertc finetune)"
        )


def _trial(trial: Trial, layers: int) -> TrialPart:
    scheme, judged = trial.scheme, trial.judged
    return TrialPart(
        granularity=str(scheme.granularity),
        smoothing=scheme.smoothing,
        float_sites=names_from_sites(scheme.float_sites, layers),
        used=judged.used,
        passed=judged.passed,
        drop=None if math.isnan(judged.drop) else judged.drop,
        drop_error=judged.error,
        agreement=judged.agreement,
        logit_mse=judged.logit_mse,
        milliseconds=trial.milliseconds,
        timed=trial.timed,
    )
