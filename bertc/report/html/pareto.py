"""The search's trials by time and share of the budget, and which of them no other beats in both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bertc.report.choice import SearchPart, TrialPart
from bertc.report.html.charts import Axis, axis_around

_HEIGHT = 240  # of the plot, px
_LEAST, _MOST = 0.05, 20.0  # of the budget: what lies outside is drawn on the edge


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchChart:
    """Time to the right and the budget used upwards, on a logarithmic scale; above 1 does not pass.

    `drawn` are the places of all trials with the chosen one last, so that it lies on top.
    """

    axis: Axis
    front: Sequence[int]
    drawn: Sequence[int]
    height: int = _HEIGHT

    @property
    def levels(self) -> list[tuple[float, str]]:
        """The labels of the budget's axis by their height."""
        return [(self.y(level), f"{level:g}") for level in (0.1, 0.3, 1.0, 3.0, 10.0)]

    def y(self, used: float) -> float:
        """Return the height of a share of the budget, px from the top."""
        low, high = math.log(_LEAST), math.log(_MOST)
        share = (math.log(min(max(used, _LEAST), _MOST)) - low) / (high - low)
        return round(self.height * (1 - share), 1)


def chart_from_search(search: SearchPart | None) -> SearchChart | None:
    """Lay out the trials of a search; nothing without one."""
    if search is None:
        return None
    best = front(search.trials)
    return SearchChart(
        axis=axis_around(trial.milliseconds for trial in search.trials),
        front=best,
        drawn=sorted(range(len(search.trials)), key=lambda place: (place == search.chosen, place in best)),
    )


def front(trials: Sequence[TrialPart]) -> list[int]:
    """Return the places of the trials that no other beats in both time and budget, fastest first."""
    order = sorted(range(len(trials)), key=lambda place: (trials[place].milliseconds, trials[place].used))
    front: list[int] = []
    for place in order:
        if not front or trials[place].used < trials[front[-1]].used:
            front.append(place)
    return front
