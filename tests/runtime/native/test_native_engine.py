"""What the native engine promises: a text's answer is its own, calls run side by side, and nothing is left behind."""

from __future__ import annotations

import ctypes
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.feature import Feature
from bertc.errors import EnvironmentLackError, InputError
from bertc.export.embeddings import store_embeddings
from bertc.runtime.native.bf16_choice import choose_bf16
from bertc.runtime.native.library import instruction_sets, library
from bertc.runtime.native.native_engine import NativeEngine
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import Plan
from tests.conftest import TinyOf
from tests.runtime.plan.compiled_plans import Compiled as OnePlan
from tests.tiny import OUTPUTS, TinyModel, quantized, random_features, tiny_model, tiny_scheme

pytestmark = pytest.mark.native

Array = NDArray[Any]
Compiled = Mapping[str, tuple[Plan, Mapping[str, Array]]]
POSITIONS = 128
FUSED = ("amx", "avx512", "avxvnni", "avx2", "i8mm", "dotprod")
"""Instruction sets that multiply and add in one rounding."""


@pytest.fixture(scope="module")
def compiled(tiny_of: TinyOf, segmented: OnePlan, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The plan of each task in INT8, and one in which every kernel takes part in float, by names."""
    found: dict[str, tuple[Plan, Mapping[str, Array]]] = {}
    for number, task in enumerate(OUTPUTS):
        model = tiny_of(task)
        stored = replace(model, graph=store_embeddings(model.graph).graph) if number % 2 else model
        found[task] = plan_from_graph(quantized(stored, tiny_scheme("123"[number % 3])).graph)
    scheme = tiny_scheme("2", "channel", keep_float=("probs", "query", "layer.1.context"))
    odd: TinyModel = tiny_model(
        tmp_path_factory.mktemp("odd"), task="feature-extraction", hidden=60, intermediate=90, heads=4
    )
    found["odd sizes"] = plan_from_graph(quantized(odd, scheme).graph)
    found["bf16"] = choose_bf16(*found["odd sizes"], pays=True)
    found["segments"] = segmented
    return found


@pytest.fixture
def classifier(compiled: Compiled) -> Iterator[NativeEngine]:
    """A classifier with two threads."""
    with NativeEngine(*compiled["sequence-classification"], threads=2) as engine:
        yield engine


PLANS = (*OUTPUTS, "odd sizes", "bf16", "segments")
LOGITS = ("logits",)


def names_of(plan: str) -> tuple[str, ...]:
    return LOGITS if plan == "segments" else OUTPUTS.get(plan, OUTPUTS["feature-extraction"])


def features_of(lengths: Sequence[int], *, seed: int = 0) -> tuple[Feature, ...]:
    """Return texts of just these lengths."""
    return tuple(
        replace(random_features(1, seed=seed + row, shortest=length, longest=length)[0], row=row)
        for row, length in enumerate(lengths)
    )


def answers(engine: NativeEngine, batch: Batch, names: Sequence[str], lengths: Sequence[int]) -> list[list[Array]]:
    """Return the outputs of each text of a batch, in the batch's order, without padding."""
    found: list[list[Array]] = [[] for _ in batch.order]
    for values in engine.run(batch, names):
        for number, place in enumerate(batch.order):
            row, column = batch.start(number)
            per_token = values.shape[:2] == batch.mask.shape
            own = values[row, column : column + lengths[place]] if per_token else values[number]
            found[number].append(own)
    return found


def assert_same(found: Sequence[Sequence[Array]], expected: Sequence[Sequence[Array]], order: Sequence[int]) -> None:
    for number, place in enumerate(order):
        for ours, right in zip(found[number], expected[place], strict=True):
            assert ours.tobytes() == right.tobytes() and np.isfinite(ours).all()


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("plan", PLANS)
def test_an_answer_does_not_depend_on_its_batch_or_threads(plan: str, threads: int, compiled: Compiled) -> None:
    """Alone, padded, packed, step by step and in chunks, with texts as long as the positions: the same bits."""
    names = names_of(plan)
    lengths = [1, POSITIONS, 2, 17, 64, 3, 33, 100, 5, 5, 9, 31, 32, 65, POSITIONS, 1, 4, 20]
    features = features_of(lengths)
    with NativeEngine(*compiled[plan], threads=1) as alone:
        expected = [answers(alone, batch_from_features(features, [n]), names, lengths)[0] for n in range(len(features))]
    rows = [[1], [0, 2, 3, 4], [7, 5], [6, 8, 9, 10, 15, 16], [12, 11], [13], [14], [17]]
    with NativeEngine(*compiled[plan], threads=threads) as engine:
        batches = [
            *(batch_from_features(features, [number]) for number in range(len(features))),
            *(batch_from_features(features, range(count)) for count in (2, 5, len(features))),
            batch_from_features(features, [3, 0, 5, 2]),
            packed_batch_from_features(features, rows),
            packed_batch_from_features(features, [[5, 0, 2]]),
        ]
        for batch in batches:
            assert_same(answers(engine, batch, names, lengths), expected, batch.order)


@pytest.mark.parametrize("plan", PLANS)
def test_instruction_sets_agree(plan: str, compiled: Compiled) -> None:
    """Those with a fused multiplication to the bit; the others up to a rounding, which may cost a code."""
    names, lengths = names_of(plan), [1, 30, 7, 100, 3, 5]
    features = features_of(lengths)
    batch = batch_from_features(features, range(len(features)))
    found = {}
    for name in instruction_sets():
        with NativeEngine(*compiled[plan], threads=2, instruction_set=name) as engine:
            assert engine.instruction_set == name
            found[name] = answers(engine, batch, names, lengths)
    first = found[instruction_sets()[0]]
    for name, each in found.items():
        if name in FUSED:
            assert_same(each, first, batch.order)
        for ours, right in zip(each, first, strict=True):
            for one, other in zip(ours, right, strict=True):
                np.testing.assert_allclose(one, other, atol=0.05 * np.abs(other).max())


def test_an_unknown_instruction_set_is_refused(compiled: Compiled) -> None:
    with pytest.raises(EnvironmentLackError, match=r"instruction set 'mmx'; choose one of .*plain"):
        NativeEngine(*compiled["sequence-classification"], instruction_set="mmx")


def test_more_threads_than_cores(compiled: Compiled) -> None:
    features = features_of([20] * 40)
    batch = batch_from_features(features, range(40))
    with NativeEngine(*compiled["sequence-classification"], threads=1) as engine:
        (expected,) = engine.run(batch, LOGITS)
    with NativeEngine(*compiled["sequence-classification"], threads=4 * (os.cpu_count() or 1) + 3) as engine:
        for _ in range(20):
            (found,) = engine.run(batch, LOGITS)
            assert found.tobytes() == expected.tobytes()


# --- several callers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
def test_several_callers_get_the_same_bits(threads: int, compiled: Compiled) -> None:
    lengths = [int(n) for n in np.random.default_rng(0).integers(1, POSITIONS + 1, 24)]
    features = features_of(lengths)
    with NativeEngine(*compiled["feature-extraction"], threads=threads) as engine:
        names = OUTPUTS["feature-extraction"]
        batches = [batch_from_features(features, range(first, 24, step)) for first in (0, 3) for step in (1, 5, 24)]
        expected = [engine.run(batch, names) for batch in batches]

        def call(seed: int) -> None:
            choose = random.Random(seed)
            for _ in range(30):
                number = choose.randrange(len(batches))
                for found, right in zip(engine.run(batches[number], names), expected[number], strict=True):
                    assert found.tobytes() == right.tobytes()

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(call, range(8)))


def test_a_run_lets_other_python_threads_go_on() -> None:
    """`ctypes.CDLL` lets go of Python's lock for the time of a call; its child `PyDLL` keeps it."""
    assert type(library()) is ctypes.CDLL


@pytest.mark.parametrize("lengths", [[40], [40] * 12], ids=["one text on all threads", "a thread for each text"])
def test_the_time_in_each_step_is_known(lengths: list[int], classifier: NativeEngine) -> None:
    batch = batch_from_features(features_of(lengths), range(len(lengths)))
    expected = classifier.run(batch, LOGITS)
    begin = time.perf_counter_ns()
    spent = classifier.nanoseconds(batch)
    assert (spent > 0).all() and spent.sum() <= 2 * (time.perf_counter_ns() - begin)
    assert_array_equal(classifier.run(batch, LOGITS), expected)


def test_a_call_that_is_running_survives_close(compiled: Compiled) -> None:
    batch = batch_from_features(features_of([POSITIONS] * 48), range(48))
    for _ in range(5):
        engine = NativeEngine(*compiled["sequence-classification"], threads=2)
        (expected,) = engine.run(batch, LOGITS)
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(engine.run, batch, LOGITS)
            engine.close()
            try:
                (values,) = found.result()
            except InputError as error:  # it was closed before the call began
                assert "was closed" in str(error)
            else:
                assert values.tobytes() == expected.tobytes()


def test_closed_twice_and_run_after(compiled: Compiled) -> None:
    engine = NativeEngine(*compiled["sequence-classification"], threads=2)
    engine.close()
    engine.close()
    with pytest.raises(InputError, match="the native engine was closed; open it again"):
        engine.run(batch_from_features(features_of([3]), [0]), LOGITS)


# --- batches ----------------------------------------------------------------------------------------------------------


def batch_of(ids: Any, mask: Any, *, types: Any = None, starts: tuple[tuple[int, int], ...] = ()) -> Batch:
    ids, mask = np.asarray(ids), np.asarray(mask)
    types = np.zeros_like(ids) if types is None else np.asarray(types)
    return Batch(input_ids=ids, token_type_ids=types, mask=mask, order=tuple(range(len(mask))), starts=starts)


def test_no_rows_give_arrays_without_rows(compiled: Compiled) -> None:
    nothing = np.zeros((0, 7), np.int64)
    with NativeEngine(*compiled["feature-extraction"], threads=2) as engine:
        tokens, texts = engine.run(batch_of(nothing, nothing), OUTPUTS["feature-extraction"])
    assert tokens.shape[:2] == (0, 7) and texts.shape[0] == 0


BAD: list[tuple[str, Any, str]] = [
    ("a row of padding alone", batch_of([[5, 6], [0, 0]], [[1, 1], [0, 0]]), "2 texts has a mask with 1"),
    ("padding alone", batch_of([[0, 0]], [[0, 0]]), "1 texts has a mask with 0; give every text a token"),
    ("padding on the left", batch_of([[0, 5, 6]], [[0, 1, 1]]), "let padding stand on the right"),
    ("a mask of another start", batch_of([[5, 6, 7]], [[1, 1, 2]], starts=((0, 0), (0, 2))), "does not start"),
    ("two texts in turn", batch_of([[5, 6, 7]], [[1, 2, 1]], starts=((0, 0), (0, 1))), "does not start"),
    ("a first token that nothing sees", batch_of([[5, 6]], [[-1, 1]]), "does not start"),
    ("a token that others see behind one that nothing sees", batch_of([[5, 6, 7]], [[1, -1, 1]]), "stands behind one"),
    ("starts without texts", batch_of([[5, 6]], [[1, 1]], starts=((0, 0), (0, 1))), "2 texts has a mask with 1"),
    ("an id too large", batch_of([[5, 10**6]], [[1, 1]]), "a token's id is outside of the vocabulary"),
    ("a huge id", batch_of([[5, 2**32 + 5]], [[1, 1]]), "a token's id is outside of the vocabulary"),
    ("a negative id", batch_of([[-1, 5]], [[1, 1]]), "a token's id is outside of the vocabulary"),
    ("a type too large", batch_of([[5, 5]], [[1, 1]], types=[[0, 2]]), "a token's type is outside"),
    ("a negative type", batch_of([[5, 5]], [[1, 1]], types=[[-1, 0]]), "a token's type is outside"),
    ("a text too long", batch_of([[5] * 129], [[1] * 129]), "longer than the model's positions"),
    ("other types", batch_of([[5, 6]], [[1, 1]], types=[[0]]), r"types \[1, 1\].*one shape"),
    ("fewer ids", batch_of([[5]], [[1, 1]]), r"ids \[1, 1\].*one shape"),
    ("one axis", batch_of([5, 6], [1, 1]), r"mask \[2\].*one shape"),
]


@pytest.mark.parametrize("batch, told", [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_a_bad_batch_is_refused_and_the_engine_goes_on(batch: Batch, told: str, classifier: NativeEngine) -> None:
    good = batch_from_features(features_of([9, 4]), range(2))
    (before,) = classifier.run(good, LOGITS)
    with pytest.raises(InputError, match=told):
        classifier.run(batch, LOGITS)
    (after,) = classifier.run(good, LOGITS)
    assert after.tobytes() == before.tobytes()


def test_what_padding_holds_is_not_looked_at(classifier: NativeEngine) -> None:
    (expected,) = classifier.run(batch_of([[5, 6, 7]], [[1, 1, 1]]), LOGITS)
    (found,) = classifier.run(batch_of([[5, 6, 7, 10**9, -1]], [[1, 1, 1, 0, 0]], types=[[0, 0, 0, 9, -9]]), LOGITS)
    assert found.tobytes() == expected.tobytes()


def test_a_hole_in_a_text_keeps_its_position_and_is_not_attended(compiled: Compiled) -> None:
    """As in the graph, whose attention hides it and whose positions are columns: what stands there is all the same."""
    with NativeEngine(*compiled["token-classification"]) as engine:
        (one,) = engine.run(batch_of([[5, 6, 7]], [[1, 0, 1]]), LOGITS)
        (other,) = engine.run(batch_of([[5, 9, 7]], [[1, 0, 1]]), LOGITS)
        (closed,) = engine.run(batch_of([[5, 7]], [[1, 1]]), LOGITS)
    assert one.tobytes() == other.tobytes() and not one[0, 1].any()
    assert one[0, 2].tobytes() != closed[0, 1].tobytes()


@pytest.mark.parametrize("form", ["int32", "columns first", "every other column", "read-only"])
def test_arrays_of_other_forms(form: str, classifier: NativeEngine) -> None:
    usual = batch_from_features(features_of([9, 4, 30]), range(3))

    def changed(array: Array) -> Array:
        if form == "int32":
            return array.astype(np.int32)
        if form == "columns first":
            return np.asfortranarray(array)
        if form == "every other column":
            return np.repeat(array, 2, axis=1)[:, ::2]
        array = array.copy()
        array.flags.writeable = False
        return array

    other = replace(
        usual,
        input_ids=changed(usual.input_ids),
        token_type_ids=changed(usual.token_type_ids),
        mask=changed(usual.mask),
    )
    (expected,), (found,) = classifier.run(usual, LOGITS), classifier.run(other, LOGITS)
    assert found.tobytes() == expected.tobytes()
