"""What a search found, in the report's words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from bertc.ir.sites import Site
from bertc.report.choice import LeftPart, SearchPart, TrialPart
from bertc.search.run import SearchResult, Trial, names_from_sites


def search_part(search: SearchResult) -> SearchPart:
    """Write the report's section of a search."""
    batch, length = search.shape
    return SearchPart(
        passed=search.passed,
        rows=search.rows,
        labelled=search.labelled,
        batch=batch,
        length=length,
        float_milliseconds=search.float_milliseconds,
        start_milliseconds=search.start_milliseconds,
        trials=tuple(_trial(trial, search.layers) for trial in search.trials),
        chosen=search.chosen,
        left=tuple(
            LeftPart(site=left.site.name, sensitivity=left.sensitivity, milliseconds=left.milliseconds)
            for left in search.left
        ),
    )


def reasons_from_search(search: SearchResult) -> Mapping[Site, str]:
    """Say why each site that the search left in float is there; few different reasons, so that they can be grouped."""
    slower = "left in float by the search: INT8 costs more of the accuracy budget than float costs time"
    free = "left in float by the search: float takes no longer here"
    return {left.site: slower if left.milliseconds > 0 else free for left in search.left}


def warnings_from_search(search: SearchResult) -> Iterator[str]:
    """Say that nothing passed."""
    if not search.passed:
        used = search.trials[search.chosen].judged.used
        yield (
            f"the search found no scheme within the budget on {search.rows} held-out rows; the best of "
            f"{len(search.trials)} uses {used:.2f} times the budget. Give a larger budget, or train (bertc finetune)"
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
