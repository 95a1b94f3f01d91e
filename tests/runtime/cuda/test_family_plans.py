"""Whole plans of the families beside BERT against the same plans in numpy, in each precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch

from bertc.checkpoint import checkpoint_from_path
from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.errors import InputError
from bertc.export.embeddings import store_embeddings
from bertc.graph.encoder import graph_from_checkpoint
from bertc.runtime.cuda.cuda_engine import CudaEngine
from bertc.runtime.cuda.lacking import FLOAT_ROLES
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import Op, Plan, Rows, Step, Type
from tests.native_reference import run_plan
from tests.runtime.plan.compiled_plans import Compiled, changed, number_of
from tests.tiny import TinyModel, calibrated, quantized, random_features, rms, tiny_scheme
from tests.tiny_families import write_tiny_family

TURNED = ("modernbert", "eurobert", "nomic-bert", "gte")
DISTANT = ("mpnet", "t5", "deberta-v2", "xlnet")
"""What distances add to the scores: a bias, a bias without other positions, and products with embeddings."""

EMBEDDED = ("roberta", "albert", "electra")
"""Positions from a later row on, layers that share weights, and embeddings that are narrower than the layers."""

SCHEMES = {"1": ("1", None), "2": ("2", None), "2 by channel": ("2", "channel"), "3": ("3", None)}
FEATURES = random_features(4)
BATCH = packed_batch_from_features(FEATURES, ((0, 3), (2, 1)))
LONG = batch_from_features(random_features(1, shortest=150, longest=150), [0])
each_family = pytest.mark.parametrize("family", TURNED + DISTANT + EMBEDDED)


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Give a function that makes a calibrated tiny model of a family for a task, once."""

    @cache
    def of(family: str, task: str = "sequence-classification", **sizes: int) -> TinyModel:
        if family == "t5":  # with T5's decoder there is no other head
            task, sizes = "token-classification", {"d_kv": 16, **sizes}
        folder = write_tiny_family(tmp_path_factory.mktemp(family), family, task=task, **sizes)
        checkpoint = checkpoint_from_path(folder, task=task)
        graph = store_embeddings(graph_from_checkpoint(checkpoint)).graph
        return TinyModel(checkpoint=checkpoint, graph=graph, features=FEATURES, table=calibrated(graph, FEATURES))

    return of


def plan_of(model: TinyModel, *scheme: str | None) -> Compiled:
    """Compile a model; without a scheme it is float."""
    if not scheme:
        return plan_from_graph(graph_from_checkpoint(model.checkpoint))
    chosen = tiny_scheme(*scheme).without_roles(frozenset(FLOAT_ROLES))  # type: ignore[arg-type]
    return plan_from_graph(quantized(model, chosen).graph)


def answers(compiled: Compiled, batch: Batch = BATCH, **options: Any) -> Any:
    with CudaEngine(*compiled, **options) as engine:
        return engine.run(batch, ["logits"])[0]


CASES = [("sequence-classification", scheme) for scheme in SCHEMES] + [("token-classification", "2 by channel")]


@each_family
@pytest.mark.parametrize("task, scheme", CASES)
def test_every_mode_is_numpy_s(task: str, scheme: str, family: str, model_of: Any) -> None:
    """With numbers in float32, what differs is the order of sums; a code beside an edge is seldom, and moves a text."""
    model = model_of(family, task)
    compiled = plan_of(model, *SCHEMES[scheme])
    wanted, exact = (run_plan(*each, BATCH)["logits"] for each in (compiled, plan_of(model)))
    found = answers(compiled, floats=torch.float32)
    near = np.abs(found - wanted).max(axis=-1) <= 0.1 * rms(wanted - exact)
    assert near.mean() >= 0.5 and rms(found - wanted) <= 0.5 * rms(wanted - exact)
    assert rms(wanted - exact) < rms(found - wanted[::-1])


@each_family
def test_without_codes_the_numbers_are_numpy_s(family: str, model_of: Any) -> None:
    compiled = plan_of(model_of(family))
    wanted = run_plan(*compiled, BATCH)["logits"]
    found = answers(compiled, precision="float16", floats=torch.float32)
    assert np.abs(found - wanted).max() <= 1e-3 < np.abs(found - wanted[::-1]).max()


@each_family
def test_fp16_and_fp8_are_near_the_float_model(family: str, model_of: Any) -> None:
    """FP16 much nearer than INT8; FP8, which the interpreter rounds worse than a GPU, nearer than chance by far.

    T5 divides its scores by nothing: those of random weights are far apart. Of GTE's four texts one is off by a third.
    """
    model = model_of(family)
    exact, simulated = (run_plan(*each, BATCH)["logits"] for each in (plan_of(model), plan_of(model, "1")))
    half, codes = answers(plan_of(model), precision="float16"), answers(plan_of(model, "1"))
    eighth = answers(plan_of(model, "1"), precision="fp8")
    assert rms(half - exact) <= 0.1 * rms(simulated - exact)
    assert 0 < rms(codes - simulated) <= 2 * rms(simulated - exact)
    far = 0.5 if family in ("t5", "gte") else 0.3
    assert rms(eighth - exact) < far * rms(exact) and rms(eighth - simulated) > 1e-4 * rms(exact)


def test_heads_of_keys_that_queries_share(model_of: Any) -> None:
    compiled = plan_of(model_of("eurobert", num_key_value_heads=1), "2", "channel")
    wanted, others = (run_plan(*each, BATCH)["logits"] for each in (compiled, plan_of(model_of("eurobert"))))
    found = answers(compiled, floats=torch.float32)
    assert rms(found - wanted) <= 0.1 * rms(found - others)


@pytest.mark.parametrize("scheme", [None, "1"])
def test_a_text_of_several_blocks_of_keys(scheme: str | None, model_of: Any) -> None:
    model = model_of("modernbert", num_hidden_layers=2, max_position_embeddings=256)
    check_window(plan_of(model, *(SCHEMES[scheme] if scheme else ())), plan_of(model), LONG)


@pytest.mark.parametrize("last", [False, True], ids=["first", "last"])
@pytest.mark.parametrize("scheme", [None, "1", "2 by channel"])
def test_one_token_of_a_text_whose_last_layer_is_local(scheme: str | None, last: bool, model_of: Any) -> None:
    """Two layers of ModernBERT, the second with a window: a query for each text is turned, and sees its window."""
    model = model_of("modernbert", num_hidden_layers=2)
    compiled, floats = (of_last(*plan_of(model, *each), last) for each in (SCHEMES[scheme] if scheme else (), ()))
    local = [step for step in compiled[0].steps if step.op is Op.ATTENTION][-1]
    turns = [step for step in compiled[0].steps if step.op is Op.ROTARY]
    assert local.rows is Rows.TEXTS and {step.rows for step in turns} == set(Rows) and local.last == last
    check_window(compiled, floats, BATCH)


def of_last(plan: Plan, arrays: Mapping[str, Any], last: bool) -> Compiled:
    """Let texts' rows be those of their last tokens."""
    steps = [
        replace(step, last=int(last)) if step.op is Op.FIRST or _is_of_texts(step) else step for step in plan.steps
    ]
    return replace(plan, steps=tuple(steps)), arrays


def _is_of_texts(step: Step) -> bool:
    return step.op in (Op.ROTARY, Op.ATTENTION) and step.rows is Rows.TEXTS


def check_window(compiled: Compiled, floats: Compiled, batch: Batch) -> None:
    """Compare answers with numpy's, and with those of a plan whose second layer sees all keys."""
    precision = "int8" if compiled[0].steps != floats[0].steps else "float16"
    number = number_of(compiled[0], Op.ATTENTION, 1)
    assert compiled[0].steps[number].near == 5
    wanted, exact = (run_plan(*each, batch)["logits"] for each in (compiled, floats))
    found = answers(compiled, batch, precision=precision, floats=torch.float32)
    near = 0.1 * rms(wanted - exact) if precision == "int8" else 1e-4 * rms(exact)
    assert rms(found - wanted) <= near
    unlimited = (changed(compiled[0], number, near=0), compiled[1])
    assert rms(answers(unlimited, batch, precision=precision, floats=torch.float32) - wanted) > near


@pytest.mark.parametrize("family", TURNED)
def test_what_turns_writes(family: str, model_of: Any) -> None:
    """Codes where attention multiplies codes, numbers where it does not."""
    for chosen, type_ in ((("2", "channel"), Type.U8), ((), Type.F32)):
        plan, _ = plan_of(model_of(family), *chosen)
        turns = [step for step in plan.steps if step.op is Op.ROTARY]
        assert turns and {plan.buffers[step.out].type for step in turns} == {type_}


def test_a_text_that_is_longer_than_the_tables_of_turns_is_refused(model_of: Any) -> None:
    compiled = plan_of(model_of("modernbert"))
    features = random_features(1, shortest=129, longest=130)
    with CudaEngine(*compiled, precision="float16") as engine, pytest.raises(InputError, match="positions for 128"):
        engine.run(batch_from_features(features, [0]), ["logits"])


def test_fp8_refuses_mode_2_of_a_turned_model(model_of: Any) -> None:
    with pytest.raises(InputError, match="no kernel for the codes of mode 2 in FP8"):
        CudaEngine(*plan_of(model_of("eurobert"), "2", "channel"), precision="fp8")
