"""What a reader of a report must not miss."""

from __future__ import annotations

from collections.abc import Iterator

from bertc.calibrate.carried import notes_of_ranges
from bertc.report.parts.facts import BuildFacts
from bertc.report.parts.search import warnings_from_search
from bertc.report.schema import DataPart

NOTEWORTHY_UNKNOWN = 0.03
"""A larger share of unknown tokens than this is no rare word: emoji and foreign names stay below it."""

NOTEWORTHY_BYTES = 2**20
"""Fewer ignored bytes than this are position ids and the like, which nobody has to know of."""


def warnings_from_facts(facts: BuildFacts, data: DataPart) -> tuple[str, ...]:
    """Write what whoever uses the engine has to know."""
    warnings = list(facts.verdict.warnings) if facts.verdict else []
    if facts.recipe.validation.reference is not None:
        warnings.append(f"the float reference is {facts.recipe.validation.reference}")
    named = facts.recipe.calibration.table or facts.recipe.calibration.data
    warnings += notes_of_ranges(facts.checkpoint, facts.table, named)
    warnings += facts.checkpoint.notes
    warnings += _unknown_tokens(facts)
    if facts.search is not None:
        warnings += warnings_from_search(facts.search)
    if data.overlap and data.validation is not None:
        warnings.append(
            f"{data.overlap} of {data.validation.rows} validation rows also stand in the calibration text; "
            "the accuracy may be flattered"
        )
    if data.truncated:
        warnings.append(f"{data.truncated} rows were cut to the model's length")
    slower = [
        f"{row.batch}x{row.length}" for row in facts.latency if row.milliseconds["engine"] > row.milliseconds["float"]
    ]
    if slower and facts.target.name != "float":
        warnings.append(f"the engine is slower than the float engine at {', '.join(slower)} (batch x length)")
    if facts.candidates and facts.target.precision != "int8":
        warnings.append("the engine is not INT8: no INT8 engine was faster and passed (see the candidates)")
    if facts.target.note:
        warnings.append(facts.target.note)
    if facts.comparison is not None and not facts.comparison.labelled:
        warnings.append("the validation data has no labels: the gate compares with the float model only")
    if facts.checkpoint.ignored_bytes >= NOTEWORTHY_BYTES:
        warnings.append(
            f"{facts.checkpoint.ignored_bytes / 2**20:.1f} MiB of the checkpoint are no part of the model "
            "(an optimizer's slots, heads of pre-training) and were ignored"
        )
    return tuple(warnings)


def _unknown_tokens(facts: BuildFacts) -> Iterator[str]:
    """Say where the tokenizer does not know the text's language: what it cannot spell is one token to the model."""
    counts = {}
    if facts.calibration is not None:
        features = facts.calibration.features
        counts["calibration"] = facts.checkpoint.encoder.count_unknown(feature.input_ids for feature in features)
    if facts.validation is not None:
        counts["validation"] = facts.validation.unknown
    for name, (unknown, total) in counts.items():
        if unknown > NOTEWORTHY_UNKNOWN * total:
            yield (
                f"{unknown} of {total} tokens of the {name} text are unknown to the tokenizer in "
                f"{facts.checkpoint.path}; check that it is the model's, and that the text is of its language and case"
            )
