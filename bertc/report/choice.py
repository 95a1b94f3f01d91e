"""What a build chose from, as types: schemes of a search, engines of `--target auto-cpu`, thresholds of early exit."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field, model_validator

from bertc.report.part import Amount, Count, Part, Ratio


class TrialPart(Part):
    """One scheme of a search, on the held-out rows.

    `used` is the part of the budget that it uses (at most 1 passes); `drop`, its standard error and `agreement` are the
    main metric's. `milliseconds` were timed beside the other finalists, or else follow from the costs per role.
    `float_sites` is what it leaves in float, as keep_float says it.
    """

    granularity: str
    smoothing: float | None
    float_sites: tuple[str, ...]
    used: Amount
    passed: bool
    drop: float | None
    drop_error: Amount
    agreement: Ratio | None = None
    logit_mse: Amount | None = None
    milliseconds: Amount
    timed: bool


class LeftPart(Part):
    """A site that the search left in float.

    `sensitivity` is the mean square error that it alone would bring to the scores in INT8, `milliseconds` what float
    adds to a batch (negative: float is faster).
    """

    site: str
    sensitivity: Amount = Field(validation_alias=AliasChoices("sensitivity", "damage"))  # as 0.4.0 called it
    milliseconds: float


class SearchPart(Part):
    """A search for the fastest scheme within the budget, judged on `rows` of the calibration text.

    `trials` are in the order in which they were evaluated, `chosen` is a place in it. Milliseconds are of a batch of
    `batch` texts of `length` tokens; `start_milliseconds` is the recipe's own scheme. `passed` says whether the chosen
    one stays within the budget on these rows; what the validation data says of it is in the gates.
    """

    passed: bool
    rows: Count
    labelled: bool
    batch: Count
    length: Count
    float_milliseconds: Amount
    start_milliseconds: Amount
    trials: Annotated[tuple[TrialPart, ...], Field(min_length=1)]
    chosen: Count
    left: tuple[LeftPart, ...] = ()

    @model_validator(mode="after")
    def _chose_a_trial(self) -> Self:
        if self.chosen >= len(self.trials) or self.trials[self.chosen].passed != self.passed:
            raise ValueError("a search has chosen one of its trials, and passed if that one did")
        return self


class CandidatePart(Part):
    """One engine that `--target auto-cpu` chose from, in the order of speed; those that cannot run here come last.

    Milliseconds are per text over a sample of the user's texts, `alone` one at a time, `batched` as they arrive in
    batches. `verdict` and `drop` (of the main metric) are null where the gates were not asked: a faster one had passed.
    `reason` says why it was chosen or not.
    """

    name: str
    target: str
    mode: int | None = None
    granularity: str | None = None
    milliseconds_alone: Amount | None = None
    milliseconds_batched: Amount | None = None
    verdict: Literal["pass", "fail", "inconclusive"] | None = None
    drop: float | None = None
    agreement: Ratio | None = None
    chosen: bool = False
    reason: str


class ExitPoint(Part):
    """A threshold: accuracy, the mean number of layers that a text goes through, and measured texts per second."""

    threshold: Amount
    accuracy: Ratio
    layers: Amount
    texts_per_second: Amount


class ExitPart(Part):
    """Early exit: a text leaves at the first classifier whose normalised entropy is below `threshold`.

    `points` are that and other thresholds on `rows` of the validation text, `*_without` the same engine without exits;
    an accuracy without labels (`labelled`) is the share of answers that are the last layer's. Speeds were measured side
    by side. `layers` counts the texts that left behind each layer at `threshold`.
    """

    threshold: Amount
    rows: Count
    labelled: bool
    texts_per_second_without: Amount
    accuracy_without: Ratio
    points: Annotated[tuple[ExitPoint, ...], Field(min_length=1)]
    layers: dict[str, Count]

    @property
    def chosen(self) -> ExitPoint:
        """The point of the threshold."""
        return next(point for point in self.points if point.threshold == self.threshold)

    @model_validator(mode="after")
    def _has_its_threshold(self) -> Self:
        if all(point.threshold != self.threshold for point in self.points):
            raise ValueError("early exit has a point at its threshold")
        return self
