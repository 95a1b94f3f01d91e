"""What of a plan is about positions, distances and segments, and could leave a buffer, is refused by step and field."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bertc.errors import InputError
from bertc.runtime.plan.kernel_plan import Op, Rows, distances
from bertc.runtime.plan.plan_check import check_plan
from tests.runtime.plan.compiled_plans import Compiled, changed, number_of


@pytest.mark.parametrize(
    "op, values, told",
    [
        (Op.ROTARY, {"heads": 0}, "heads is 0"),
        (Op.ROTARY, {"heads": -2}, "heads is -2"),
        (Op.ROTARY, {"heads": 128}, "heads is 128"),
        (Op.ROTARY, {"heads": 1}, "cos is float32"),
        (Op.ROTARY, {"positions": 127}, "positions is 127"),
        (Op.ROTARY, {"positions": 2**20}, "positions is 1048576"),
        (Op.ROTARY, {"cos": ""}, "cos is ''"),
        (Op.ROTARY, {"sin": "embeddings.words.word_scale"}, "sin is float32"),
        (Op.ROTARY, {"inverse": ""}, "inverse"),
        (Op.ROTARY, {"out_zero": 256}, "out_zero is 256"),
        (Op.ROTARY, {"rows": Rows.TEXTS}, "a row for each of the tokens"),
        (Op.ROTARY, {"n": 256}, "in_column"),
        (Op.ROTARY, {"in_column": (64, 0, 0)}, "in_column"),
        (Op.ROTARY, {"inputs": (0, 0, -1)}, "inputs"),
        (Op.ROTARY, {"k": 128}, "k is 128, which this kernel does not read"),
        (Op.EMBED, {"first_position": 1}, "first_position is 1"),
        (Op.EMBED, {"position_scale": "embeddings.words.word_scale"}, "position_scale"),
        (Op.EMBED, {"positions": 2**31 - 1}, "positions is 128"),
    ],
    ids=str,
)
def test_a_damaged_step_with_positions_of_its_own_is_refused(
    op: Op, values: dict[str, Any], told: str, turned: Compiled
) -> None:
    plan, arrays = turned
    with pytest.raises(InputError, match=rf"\(\w+ .*{told}.*build the model again"):
        check_plan(changed(plan, number_of(plan, op), **values), arrays)


@pytest.mark.parametrize(
    "values, told",
    [
        ({"distances": 0}, "positions is 16384|numbers is"),
        ({"distances": -1}, "distances is -1"),
        ({"distances": 2**21}, "distances is 2097152"),
        ({"distances": 65}, "distance_key is float32"),
        ({"distances": 8}, "distance_row has a row that is none of 8"),
        ({"positions": 128}, "positions is 128"),
        ({"positions": 0}, "positions is 0"),
        ({"numbers": (-1, -1)}, "numbers is -1"),
        ({"numbers": (99, 0)}, "numbers is 99"),
        ({"numbers_column": (128, 0)}, "numbers_column is 128"),
        ({"numbers_column": (0, -64)}, "numbers_column is -64|is .0, -64"),
        ({"distance_key": ""}, "numbers is"),
        ({"distance_key": "", "distance_query": ""}, "distances is 16"),
        ({"distance_key": "embeddings.words.word_scale"}, "distance_key is float32"),
        ({"distance_row": ""}, "distance_row is ''"),
        ({"distance_row": "layer.0.gelu.codes.compensation"}, "distance_row is int32"),
        ({"heads": 4}, "distance_key is float32"),
        ({"distance_bias": "layer.0.hidden.gamma"}, "distances is 16"),
    ],
    ids=str,
)
def test_damaged_products_with_distances_are_refused(values: dict[str, Any], told: str, distant: Compiled) -> None:
    plan, arrays = distant
    with pytest.raises(InputError, match=rf"\(attention .*({told}).*build the model again"):
        check_plan(changed(plan, number_of(plan, Op.ATTENTION), **values), arrays)


@pytest.mark.parametrize(
    "op, values, told",
    [
        (Op.ATTENTION, {"segments": 99}, "segments is 99, and there are"),
        (Op.ATTENTION, {"segments": -2}, "segments is -2"),
        (Op.ATTENTION, {"segments_column": 63}, "segments_column is 63, and the buffer has 64 columns"),
        (Op.ATTENTION, {"segments_column": 1}, "segments has buffer .* before all of its columns are written"),
        (Op.ATTENTION, {"segments_column": -1}, "segments_column is -1"),
        (Op.ATTENTION, {"heads": 64}, "segments has buffer|distance_key is"),
        (Op.EMBED, {"types": 1}, "segments has a buffer .* a model with one type"),
        (Op.EMBED, {"types": 0}, "segments has a buffer .* a model with one type"),
        (Op.EMBED, {"type": "embeddings.words.word_scale"}, "type is float32"),
    ],
    ids=str,
)
def test_damaged_numbers_of_segments_are_refused(
    op: Op, values: dict[str, Any], told: str, segmented: Compiled
) -> None:
    plan, arrays = segmented
    with pytest.raises(InputError, match=rf"({told}).*build the model again"):
        check_plan(changed(plan, number_of(plan, op), **values), arrays)


def test_numbers_of_segments_are_numbers_of_the_queries(segmented: Compiled) -> None:
    plan, arrays = segmented
    first, last = (number_of(plan, Op.ATTENTION, place) for place in (0, 1))
    codes = plan.steps[first].inputs[0]
    with pytest.raises(InputError, match="segments has a buffer that does not hold f32"):
        check_plan(changed(plan, first, segments=codes), arrays)
    with pytest.raises(InputError, match="segments has a buffer with a row for each of the tokens"):
        check_plan(changed(plan, last, segments=plan.steps[first].segments), arrays)
    with pytest.raises(InputError, match="which the step reads"):
        check_plan(changed(plan, first, out=plan.steps[first].segments, inverse="", out_zero=0), arrays)


def test_rows_of_distances_never_grow_and_numbers_are_numbers(distant: Compiled) -> None:
    plan, arrays = distant
    number = number_of(plan, Op.ATTENTION)
    step = plan.steps[number]
    check_plan(plan, arrays)
    for change, told in ((lambda row: row[::-1].copy(), "grows"), (lambda row: row - 1, "none of 16")):
        with pytest.raises(InputError, match=told):
            check_plan(plan, {**arrays, step.distance_row: change(arrays[step.distance_row])})
    with pytest.raises(InputError, match="numbers has a buffer that does not hold f32"):
        check_plan(changed(plan, number, numbers=(step.inputs[0], step.numbers[1])), arrays)
    with pytest.raises(InputError, match="distance_query has a number that is not finite"):
        check_plan(plan, {**arrays, step.distance_query: np.full_like(arrays[step.distance_query], np.inf)})
    with pytest.raises(InputError, match="which the step reads"):
        check_plan(changed(plan, number, out=step.numbers[1], inverse="", out_zero=0), arrays)


@pytest.mark.parametrize("field", ["cos", "sin"])
def test_tables_of_rotary_positions_are_finite(field: str, turned: Compiled) -> None:
    plan, arrays = turned
    name = getattr(plan.steps[number_of(plan, Op.ROTARY)], field)
    damaged = np.where(np.arange(arrays[name].size).reshape(arrays[name].shape) == 9, np.float32(np.nan), arrays[name])
    with pytest.raises(InputError, match=f"{field} has a number that is not finite"):
        check_plan(plan, {**arrays, name: damaged})


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_bias_by_distance_has_every_distance_of_the_longest_text(wrong: float, int8: Compiled) -> None:
    plan, arrays = int8
    number = number_of(plan, Op.ATTENTION)
    biased = changed(plan, number, positions=128, distance_bias="bias")
    bias = np.zeros((2, distances(128)), np.float32)
    check_plan(biased, {**arrays, "bias": bias})
    with pytest.raises(InputError, match="distance_bias is float32"):
        check_plan(biased, {**arrays, "bias": bias[:, :-64].copy()})
    with pytest.raises(InputError, match="positions is 64"):
        check_plan(changed(biased, number, positions=64), {**arrays, "bias": bias})
    bias[1, 3] = wrong
    with pytest.raises(InputError, match="distance_bias has a number that is not finite"):
        check_plan(biased, {**arrays, "bias": bias})
