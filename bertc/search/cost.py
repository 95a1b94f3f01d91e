"""What leaving a role in float costs in time: engines with it in float beside the one with all in INT8, interleaved."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

from bertc.core.feature import Feature
from bertc.core.head import Head
from bertc.core.outputs import output_names
from bertc.ir.sites import Role, Site
from bertc.runtime.latency import measure_latency
from bertc.search.cost_model import CostModel
from bertc.targets import TargetModel
from bertc.tasks import outputs_from_head

BATCH = 8
ROUNDS = 5

Measure = Callable[[Mapping[str, TargetModel]], Mapping[str, float]]
"""Name -> model to name -> milliseconds of one batch, all timed side by side."""


def shape_of_text(features: Sequence[Feature]) -> tuple[int, int]:
    """Return batch and length that stand for a text: 8 of its median length, rounded up to a multiple of 8 tokens."""
    length = int(statistics.median(feature.length for feature in features))
    return BATCH, -(-length // 8) * 8


def timing_at(shape: tuple[int, int], head: Head, *, vocabulary: int, positions: int, threads: int) -> Measure:
    """Return the measure that really times engines, at one shape."""
    batch, length = shape

    def measure(models: Mapping[str, TargetModel]) -> Mapping[str, float]:
        with ExitStack() as stack:
            engines = {name: stack.enter_context(model.opened(threads=threads)) for name, model in models.items()}
            (latency,) = measure_latency(
                engines,
                output_names(outputs_from_head(head)),
                vocabulary=vocabulary,
                positions=positions,
                shapes=((batch, min(length, positions)),),
                rounds=ROUNDS,
            )
        # The fastest round: what else runs on the machine only ever adds, and a median of few rounds takes it in.
        return {name: min(rounds) for name, rounds in latency.rounds.items()}

    return measure


def roles_to_time(cost_model: CostModel) -> dict[Role, frozenset[Site]]:
    """Return role -> all that is in float when the role is, for the roles that a scheme has."""
    present = sorted({site.role for site in cost_model.sites})
    return {role: cost_model.closed(site for site in cost_model.sites if site.role is role) for role in present}


def costs_from_times(cost_model: CostModel, base: float, times: Mapping[Role, float]) -> dict[Role, float]:
    """Return role -> milliseconds per site; the layers are alike, so a role's cost is shared by its sites."""
    return {role: (time - base) / sum(site.role is role for site in cost_model.sites) for role, time in times.items()}
