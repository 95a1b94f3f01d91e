"""The engine for GPUs against the same plan in numpy: every mode, texts and tokens, FP8 and FP16; and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.triton
pytest.importorskip("triton", reason="needs Triton (extra triton or cuda-native)")

import torch

from bertc.core.batch import Batch, batch_from_features, packed_batch_from_features
from bertc.core.head import Head, Pooling
from bertc.errors import InputError
from bertc.export.embeddings import store_embeddings
from bertc.runtime.cuda.cuda_engine import FEWEST_TOKENS, CudaEngine, bucket_of
from bertc.runtime.cuda.lacking import FLOAT_ROLES
from bertc.runtime.cuda.texts import texts_of_lengths
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import Op
from tests.native_reference import run_plan
from tests.runtime.plan.compiled_plans import Compiled, changed, number_of
from tests.tiny import TinyModel, quantized, random_features, rms, tiny_model, tiny_scheme

FEATURES = random_features(5)
BATCH = batch_from_features(FEATURES, range(5))
SCHEMES = {"1": ("1", None), "2": ("2", None), "2 by channel": ("2", "channel"), "3": ("3", None)}


def plan_of(model: TinyModel, *scheme: str | None) -> Compiled:
    """Compile a tiny classifier; without a scheme it is float."""
    stored = replace(model, graph=store_embeddings(model.graph).graph)
    if not scheme:
        return plan_from_graph(model.graph)
    chosen = tiny_scheme(*scheme).without_roles(frozenset(FLOAT_ROLES))  # type: ignore[arg-type]
    return plan_from_graph(quantized(stored, chosen).graph)


@pytest.fixture(scope="module")
def classifier(tiny_classifier: TinyModel) -> Compiled:
    """A classifier in mode 1."""
    return plan_of(tiny_classifier, "1")


def answers(compiled: Compiled, batch: Batch = BATCH, names: Sequence[str] = ("logits",), **options: Any) -> Any:
    with CudaEngine(*compiled, **options) as engine:
        return engine.run(batch, names)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_mode_is_numpy_s(scheme: str, tiny_classifier: TinyModel) -> None:
    """With numbers in float32, what differs is the order of sums; a code beside an edge is seldom."""
    compiled = plan_of(tiny_classifier, *SCHEMES[scheme])
    wanted, exact = (run_plan(*each, BATCH)["logits"] for each in (compiled, plan_of(tiny_classifier)))
    (found,) = answers(compiled, floats=torch.float32)
    assert rms(found - wanted) <= 0.05 * rms(wanted - exact) and rms(wanted - exact) < rms(found - wanted[::-1])


def test_without_codes_the_numbers_are_numpy_s(tiny_classifier: TinyModel) -> None:
    compiled = plan_of(tiny_classifier)
    wanted = run_plan(*compiled, BATCH)["logits"]
    (found,) = answers(compiled, precision="float16", floats=torch.float32)
    assert np.abs(found - wanted).max() <= 1e-3 < np.abs(found - wanted[::-1]).max()


def test_a_float_product_that_is_requantized(tiny_classifier: TinyModel) -> None:
    """In the last layer, where rows are texts' first tokens and numbers float32, and before it."""
    stored = replace(tiny_classifier, graph=store_embeddings(tiny_classifier.graph).graph)
    scheme = tiny_scheme("2", keep_float=("context", "gelu")).without_roles(frozenset(FLOAT_ROLES))
    compiled = plan_from_graph(quantized(stored, scheme).graph)
    assert any(step.op is Op.GEMM_F32 and step.requant for step in compiled[0].steps)
    (found,) = answers(compiled, floats=torch.float32)
    wanted, exact = (run_plan(*each, BATCH)["logits"] for each in (compiled, plan_of(tiny_classifier)))
    assert rms(found - wanted) <= 0.05 * rms(wanted - exact)


@pytest.mark.parametrize("task", ["feature-extraction", "fill-mask"])
def test_outputs_by_token_and_by_text(task: str, tmp_path: Path) -> None:
    """Means of length 1 of texts, vectors of tokens with 0 where padding is, scores at marks."""
    mean = Head(task=task, pooling=Pooling.MEAN, normalize=True, layer_weights=(1.0, 2.0, 1.0))
    model = tiny_model(tmp_path, task=task, head=mean if task == "feature-extraction" else None)
    compiled = plan_of(model, "1")
    wanted = run_plan(*compiled, BATCH)
    found = dict(zip(wanted, answers(compiled, names=list(wanted), floats=torch.float32), strict=True))
    for name, values in wanted.items():
        assert found[name].shape == values.shape
        assert rms(found[name] - values) <= 2e-3 * rms(values)
        if values.ndim == 3:
            assert not found[name][BATCH.mask == 0].any()


def test_fp16_between_the_products_moves_codes(classifier: Compiled, tiny_classifier: TinyModel) -> None:
    """A number of FP16 beside the middle of two codes may become the other: as much noise again as INT8 is itself."""
    exact, simulated = (run_plan(*each, BATCH)["logits"] for each in (plan_of(tiny_classifier), classifier))
    (found,) = answers(classifier)
    assert 1e-4 < rms(found - simulated) <= 2 * rms(simulated - exact)
    (half,) = answers(plan_of(tiny_classifier), precision="float16")
    assert rms(half - exact) <= 0.1 * rms(simulated - exact)


def test_fp8_is_near_the_float_model(classifier: Compiled, tiny_classifier: TinyModel) -> None:
    """Nearer than chance by far, and other numbers than INT8's; the interpreter rounds 3 of 100 codes to half."""
    exact = run_plan(*plan_of(tiny_classifier), BATCH)["logits"]
    (found,) = answers(classifier, precision="fp8")
    assert rms(found - exact) < 0.3 * rms(exact)
    assert rms(found - run_plan(*classifier, BATCH)["logits"]) > 1e-3


def test_an_answer_does_not_depend_on_its_batch(classifier: Compiled) -> None:
    packed = packed_batch_from_features(FEATURES, ((0, 3), (2, 1), (4,)))
    zeros = np.zeros((0, 7), np.int64)
    nothing = Batch(input_ids=zeros, token_type_ids=zeros, mask=zeros, order=())
    with CudaEngine(*classifier, floats=torch.float32) as engine:
        (together,) = engine.run(BATCH, ["logits"])
        (rows,) = engine.run(packed, ["logits"])
        (alone,) = engine.run(batch_from_features(FEATURES, [1]), ["logits"])
        (again,) = engine.run(BATCH, ["logits"])
        (none,) = engine.run(nothing, ["logits"])
    np.testing.assert_allclose(rows, together[list(packed.order)], atol=0.05)
    np.testing.assert_allclose(alone[0], together[1], atol=0.05)
    np.testing.assert_array_equal(again, together)
    assert none.shape == (0, 2)


@pytest.mark.parametrize("names", [(), ("logits",)], ids=["without outputs", "with one"])
def test_run_waits_for_the_gpu(names: Sequence[str], classifier: Compiled, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the next batch's ids would be written where the GPU still reads this one's. The GPU is only played."""
    done: list[str] = []
    stream = SimpleNamespace(synchronize=lambda: done.append("waited"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    with CudaEngine(*classifier) as engine:
        engine.run(BATCH, names)
        assert not done, "on the CPU there is nothing to wait for"
        (ready,) = engine._ready.values()
        ready.graph = SimpleNamespace(replay=lambda: done.append("replayed"))
        monkeypatch.setattr(engine, "device", SimpleNamespace(type="cuda"))
        engine.run(BATCH, names)
    assert done == ["replayed", "waited"]


@pytest.mark.parametrize(
    "field, value, told",
    [
        ("input_ids", 1 << 20, "a token id that is not below"),
        ("input_ids", (1 << 32) + 5, "a token id that is not below"),
        ("input_ids", -1, "a token id that is not below"),
        ("token_type_ids", 2, "a token type that is not below 2"),
    ],
)
def test_ids_without_a_row_are_refused(field: str, value: int, told: str, classifier: Compiled) -> None:
    values = getattr(BATCH, field).copy()
    values[1, 0] = value
    with CudaEngine(*classifier) as engine, pytest.raises(InputError, match=told):
        engine.run(replace(BATCH, **{field: values}), ["logits"])


def test_a_text_that_is_longer_than_the_positions_is_refused(classifier: Compiled) -> None:
    positions = classifier[0].steps[0].positions
    features = random_features(1, shortest=positions + 1, longest=positions + 2)
    with CudaEngine(*classifier) as engine, pytest.raises(InputError, match=f"positions for {positions}; cut it"):
        engine.run(batch_from_features(features, [0]), ["logits"])


def test_a_closed_engine_says_so(classifier: Compiled) -> None:
    engine = CudaEngine(*classifier)
    engine.close()
    engine.close()
    with pytest.raises(InputError, match="the engine was closed; open it again"):
        engine.run(BATCH, ["logits"])


def test_numbers_that_leave_fp16_are_no_answer(tiny_classifier: TinyModel) -> None:
    plan, arrays = plan_of(tiny_classifier)
    number = number_of(plan, Op.NORM, 0)
    gamma = plan.steps[number].gamma
    large = dict(arrays) | {gamma: arrays[gamma] * np.float32(1e6)}
    with np.errstate(all="ignore"), pytest.raises(InputError, match="values leave the range of FP16"):
        answers((plan, large), precision="float16")


def test_a_plan_without_kernels_is_refused_where_it_is_opened(classifier: Compiled) -> None:
    plan = changed(classifier[0], number_of(classifier[0], Op.ATTENTION), heads=8)
    with pytest.raises(InputError, match="no kernel for heads of 8"):
        CudaEngine(plan, classifier[1])


@pytest.mark.parametrize("lengths", [[1], [15], [16], [17], [100, 30, 3], [500] * 7, [1] * 70])
def test_a_bucket_holds_its_batch_and_an_eighth_more_at_most(lengths: list[int]) -> None:
    texts = texts_of_lengths(lengths)
    tokens, count, longest = bucket_of(texts)
    assert texts.tokens <= tokens <= max(FEWEST_TOKENS, 1.125 * texts.tokens + FEWEST_TOKENS)
    assert texts.count <= count < 2 * texts.count and max(lengths) <= longest <= max(16, 2 * max(lengths))
