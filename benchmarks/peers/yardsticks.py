"""What stands for the most INT8 products that the cores reach: GEMMs, by the native engine and by torch (oneDNN).

Neither is the arithmetic peak of the data sheet: both load, store and finish what they multiply. The faster of the two
is taken as 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

TORCH_SIZE = 2048
TEXTS, LENGTH = 16, 128
WIDTH = 1024
GEMMS = 16
PRODUCTS: Mapping[str, int] = {
    "native GEMM": GEMMS * TEXTS * LENGTH * WIDTH * WIDTH,
    "torch._int_mm": TORCH_SIZE**3,
}
"""Multiplications (each with its addition) of one run, by the name of the yardstick."""


def native_gemms(threads: int) -> tuple[Any, Any]:
    """Return a native engine whose plan is one quantized embedding and many GEMMs of it, and its batch."""
    from bertc.core.batch import Batch
    from bertc.runtime.native.native_engine import NativeEngine
    from bertc.runtime.plan.kernel_plan import Buffer, Op, Output, Plan, Rows, Step, Type
    from bertc.runtime.plan.packing import compensation, float_vector, int8_panels
    from bertc.runtime.plan.plan_check import check_plan

    random = np.random.default_rng(0)
    weights = random.integers(-127, 128, (WIDTH, WIDTH), dtype=np.int8)
    zero = 128
    arrays = {
        "word": random.standard_normal((1000, WIDTH), dtype=np.float32),
        "position": np.zeros((LENGTH, WIDTH), np.float32),
        "inverse": float_vector(32.0, WIDTH),
        "weights": int8_panels(weights),
        "compensation": compensation(weights, zero),
        "scale": float_vector(1e-4, WIDTH),
    }
    numbers, codes, product = range(3)
    tokens: Mapping[str, Any] = {"rows": Rows.TOKENS, "n": WIDTH}
    coded: Mapping[str, Any] = {"inverse": "inverse", "out_zero": zero}
    embed = Step(
        op=Op.EMBED, name="embed", out=numbers, word="word", position="position", vocabulary=1000, positions=LENGTH,
        **tokens,
    )  # fmt: skip
    quantize = Step(op=Op.FINISH, name="quantize", k=WIDTH, inputs=(numbers, -1, -1), out=codes, **coded, **tokens)
    gemm = Step(
        op=Op.GEMM_INT8, name="gemm", k=WIDTH, inputs=(codes, -1, -1), in_zero=zero, out=product, weights="weights",
        compensation="compensation", scale="scale", **coded, **tokens,
    )  # fmt: skip
    plan = Plan(
        steps=(embed, quantize, *[gemm] * GEMMS),
        buffers=tuple(Buffer(type=kind, rows=Rows.TOKENS, width=WIDTH) for kind in (Type.F32, Type.U8, Type.U8)),
        outputs=(Output(name="first", buffer=numbers, columns=1, per_token=True),),
    )
    check_plan(plan, arrays)
    ids = random.integers(1, 1000, (TEXTS, LENGTH))
    batch = Batch(input_ids=ids, token_type_ids=np.zeros_like(ids), mask=np.ones_like(ids), order=tuple(range(TEXTS)))
    return NativeEngine(plan, arrays, threads=threads), batch
