"""A plan as JSON: read as it was written, and refused in any other form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bertc.errors import InputError
from bertc.runtime.plan.kernel_plan import json_from_plan, plan_from_json
from tests.runtime.plan.compiled_plans import Compiled


def test_a_plan_survives_json(int8: Compiled, pooled: Compiled) -> None:
    for plan, _ in (int8, pooled):
        assert plan_from_json(json.loads(json.dumps(json_from_plan(plan)))) == plan


@pytest.mark.parametrize(
    "place, field, value, told",
    [
        ("steps", "more", 1, "step 0 has the unknown field 'more'"),
        ("steps", "op", "dance", "op is 'dance'"),
        ("steps", "op", 1, "op is 1"),
        ("steps", "n", 1.5, "n is 1.5"),
        ("steps", "n", True, "n is True"),
        ("steps", "n", None, "n is None"),
        ("steps", "inputs", [0, 1], r"inputs is \[0, 1\]"),
        ("steps", "inputs", [0, 1, "2"], "inputs is"),
        ("steps", "epsilon", "1", "epsilon is '1'"),
        ("steps", "epsilon", 10**400, "too large a number"),
        ("steps", "name", 3, "name is 3"),
        ("steps", "word", ["x" * 100], "word is .*\\.\\.\\."),
        ("buffers", "width", "64", "buffer 0: width is '64'"),
        ("buffers", "type", "f64", "type is 'f64'"),
        ("outputs", "per_token", 1, "per_token is 1"),
    ],
)
def test_json_of_another_form_is_refused(place: str, field: str, value: Any, told: str, int8: Compiled) -> None:
    content = json_from_plan(int8[0])
    content[place][0][field] = value
    with pytest.raises(InputError, match=told):
        plan_from_json(content)


def test_json_that_lacks_something_is_refused(int8: Compiled) -> None:
    for damaged in (None, [], {}, {"steps": [], "buffers": []}):
        with pytest.raises(InputError, match="steps, buffers and outputs"):
            plan_from_json(damaged)
    content = json_from_plan(int8[0])
    for damaged, told in (
        ({**content, "steps": {}}, "steps are no list"),
        ({**content, "steps": [3]}, "step 0 is no object"),
        ({**content, "steps": [{"op": "norm"}]}, "step 0 lacks 'n'"),
    ):
        with pytest.raises(InputError, match=told):
            plan_from_json(damaged)
