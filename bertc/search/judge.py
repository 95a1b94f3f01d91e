"""How much of its budget a scheme uses on the held-out rows. At most 1 passes.

Training text flatters a model: it is surer there than on new text, and fewer of its decisions change. Some hundred
rows are noisy too, and of many trials the luckiest looks best. So a trial has to stay within the budget with a margin:

- the drop of each gate's metric, never counted as a gain, plus one standard error of the paired drop (1.96 where the
  recipe decides by the bound);
- and where the metric is accuracy, the share of changed decisions. No drop can exceed it, it has no lucky
  cancellations, and of a few hundred rows it is known about twice as well as the drop.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bertc.errors import InputError
from bertc.evaluate.gates import Z95, Decide, Gate, part_of_nothing
from bertc.evaluate.scores import Comparison, Score

MOST = 1e6
"""What a scheme uses of a budget of nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One scheme on the held-out rows: the share of the budget it uses, and the main metric's figures."""

    used: float
    drop: float
    error: float
    agreement: float | None
    logit_mse: float | None

    @property
    def passed(self) -> bool:
        """Whether it stays within the budget."""
        return self.used <= 1


def judged_from_comparison(comparison: Comparison, gates: Sequence[Gate], *, decide: Decide) -> Judged:
    """Judge a comparison with float by gates that all have a score in it."""
    main = comparison.accuracy
    return Judged(
        used=max(_shares(comparison, gates, 1.0 if decide == "point" else Z95)),
        drop=main.drop,
        error=_error(main),
        agreement=main.agreement,
        logit_mse=main.logit_mse,
    )


def _shares(comparison: Comparison, gates: Sequence[Gate], margin: float) -> Iterator[float]:
    scores = {score.metric: score for score in comparison.scores}
    for gate in gates:
        score = scores[gate.metric]
        allowed = gate.limit.allowed(score)
        if allowed is None:  # no scheme could pass, and nothing was built yet
            raise InputError(part_of_nothing(gate.limit, gate.metric))
        lost = score.drop if math.isnan(score.drop) else max(score.drop, 0.0)
        yield _share(lost + margin * _error(score), allowed)
        if gate.metric == "accuracy" and score.agreement is not None:
            yield _share(1.0 - score.agreement, allowed)


def _share(lost: float, allowed: float) -> float:
    if math.isnan(lost):
        return MOST  # not defined for the engine
    if allowed <= 0:
        return 0.0 if lost <= 0 else MOST
    return min(lost / allowed, MOST)


def _error(score: Score) -> float:
    """Return the standard error of a drop; one row's worth where no row differs, since fewer cannot be told."""
    if score.drop_ci95[0] == score.drop_ci95[1]:
        return 1.0 / score.samples
    return score.drop_error if math.isfinite(score.drop_error) else 0.0
