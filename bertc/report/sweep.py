"""The figures of a sweep as types: what sweep.json (schema 1) says of every build."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import Field, ValidationError

from bertc.errors import EXIT_GATE, EXIT_PASSED, InputError
from bertc.report.part import Amount, Count, Part
from bertc.report.schema import LatencyPart, MetricPart

State = Literal["pass", "fail", "inconclusive", "none", "error", "waiting"]
"""A verdict, or `none` where nothing was validated; `error`: it could not be built; `waiting`: it is not built yet."""


WORDS: dict[State, str] = {
    "pass": "passed",
    "fail": "not passed",
    "inconclusive": "inconclusive",
    "none": "unvalidated",
    "error": "could not be built",
    "waiting": "not built yet",
}


class SweepRow(Part):
    """One build of a sweep. What an engine has is null or empty where there is none.

    `artefact` is its folder, relative to the sweep's. `drop_limit` is the largest drop of the main metric that a gate
    allows, null where none is on it. `reason` says why a verdict is no pass, or why there is no engine; `exit_code` is
    that of such an error. `latency` is of all engines of one float model in turn, after all builds. `seconds` is what
    the build took, `key` tells what it was made of, `manifest` is the sha256 of the artefact's manifest.
    """

    checkpoint: str
    scheme: str
    state: State = "waiting"
    target: str
    mode: int | None = None
    granularity: str | None = None
    accuracy: MetricPart | None = None
    drop_limit: float | None = None
    bytes: Count | None = None
    reference_bytes: Count | None = None
    latency: tuple[LatencyPart, ...] = ()
    reason: str = ""
    exit_code: int | None = None
    artefact: str = ""
    manifest: str = ""
    key: str = ""
    seconds: Amount | None = None

    @property
    def name(self) -> str:
        """What people call the build."""
        return f"{self.checkpoint}/{self.scheme}"

    @property
    def built(self) -> bool:
        """Whether there is an engine."""
        return bool(self.artefact)


class SweepReport(Part):
    """The whole sweep.json; `builds` are in the order of the sweep's file, checkpoint by checkpoint."""

    kind: Literal["bertc sweep"] = "bertc sweep"
    schema_version: Literal[1] = Field(default=1, validation_alias="schema", serialization_alias="schema")
    bertc: str
    sweep: str
    cpu: str
    versions: dict[str, str]
    builds: tuple[SweepRow, ...]

    @property
    def exit_code(self) -> int:
        """The largest code of a build that could not be made; else 1 if a verdict is no pass, else 0."""
        errors = [row.exit_code for row in self.builds if row.exit_code]
        if errors:
            return max(errors)
        return EXIT_PASSED if all(row.state in ("pass", "none") for row in self.builds) else EXIT_GATE


def counts_of_states(rows: Iterable[SweepRow]) -> str:
    """Say how many builds are in which state: "7 passed, 1 not passed"."""
    found = [row.state for row in rows]
    return ", ".join(f"{found.count(state)} {said}" for state, said in WORDS.items() if state in found)


def sweep_to_json(report: SweepReport) -> str:
    """Write the text of sweep.json, ending in a newline."""
    return json.dumps(report.model_dump(mode="json", by_alias=True), indent=2, ensure_ascii=False) + "\n"


def sweep_from_json(text: str | bytes, *, source: str) -> SweepReport:
    """Read the text of a sweep.json. Raises `InputError` naming `source` if it is not one of schema 1."""
    try:
        return SweepReport.model_validate_json(text)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"])[:80]
        reason = f"{where}: {fault['msg']}" if where else fault["msg"]
        raise InputError(f"{source} is no sweep.json of schema 1 ({reason}); build all again with --force") from None
