"""The kernels compiled for GPUs that are not here: what they need of one stays within its limits."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

pytestmark = [pytest.mark.triton, pytest.mark.slow]

SHARED_BYTES = {80: 163 << 10, 89: 99 << 10, 90: 227 << 10}
"""Shared memory that a block may have, by the compute capability times ten: CUDA C++ Programming Guide, table of
technical specifications."""

STACK_BYTES = 128
"""Spilled registers of a thread that are accepted."""

TYPES = {"int8": "i8", "fp8": "fp8e4nv", "float16": "fp16"}
VECTORS = ("scale", "requant_scale", "bias", "residual_scale", "inverse")


@pytest.fixture(scope="module")
def ahead() -> Iterator[Any]:
    """What compiles, imported where kernels are not interpreted: in the interpreter they are no kernels."""
    if find_spec("triton") is None:
        pytest.skip("needs the extra cuda-native")
    import os

    if os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("the kernels are interpreted here; run this file with TRITON_INTERPRET=0")
    yield import_module("tests.triton_ahead")


def product_needs(ahead: Any, way: dict[str, Any], kind: str, capability: int, *, gelu: bool) -> Any:
    """Compile a product: to codes behind a GELU, or to FP16 sums."""
    kernels = import_module("bertc.runtime.cuda.kernels.gemm")
    described = way["described"] is not None
    kernel = kernels.gemm_described if described else kernels.gemm
    types = dict.fromkeys(VECTORS, "*fp32") | {"residual": "*fp16"}
    types |= {"a": f"*{TYPES[kind]}", "b": f"*{TYPES[kind]}", "out": f"*{TYPES[kind]}" if gelu else "*fp16"}
    if described:
        types["a"] = f"tensordesc<{TYPES[kind]}[{way['BLOCK_M']}, {way['BLOCK_K']}]>"
        types["b"] = f"tensordesc<{TYPES[kind]}[{way['BLOCK_N']}, {way['BLOCK_K']}]>"
    numbers = ("M", "N", "K", "stride_a", "stride_out", "stride_residual")
    types |= {name: "i32" for name in numbers if name in kernel.arg_names}
    blocks = {name: way[name] for name in ("BLOCK_M", "BLOCK_N", "BLOCK_K", "GROUP")}
    flags = {"SCALED": True, "REQUANTIZED": False, "BIASED": gelu, "ACTIVATION": 2 if gelu else 0, "RESIDUAL": 0}
    options = {name: way[name] for name in ("num_warps", "num_stages")}
    return ahead.needs_of(kernel, types, blocks | flags | {"EVEN": True}, options, capability)


def ways_of(m: int, kind: str, capability: int) -> list[dict[str, Any]]:
    """The ways for a product of so many rows with BERT-base's feed-forward weights."""
    import torch

    from bertc.runtime.cuda.products import Product

    dtype = {"int8": torch.int8, "fp8": torch.float8_e4m3fn, "float16": torch.float16}[kind]
    a, b, out = (torch.empty(shape, dtype=dtype) for shape in ((m, 768), (3072, 768), (m, 3072)))
    return Product(a=a, b=b, out=out).ways(capability // 10)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("m", [32, 512, 4096])
def test_products_for_hopper_use_its_instructions_and_fit(m: int, kind: str, ahead: Any) -> None:
    for way in ways_of(m, kind, 90):
        for gelu in (True, False):
            needs = product_needs(ahead, way, kind, 90, gelu=gelu)
            told = f"{way} {gelu}: {needs}"
            assert needs.shared <= SHARED_BYTES[90] and needs.stack <= STACK_BYTES, told
            assert needs.tensor == ("wgmma" if way["BLOCK_M"] >= 64 else "mma"), told


@pytest.mark.parametrize("capability", [80, 89])
@pytest.mark.parametrize("kind", ["int8", "float16"])
def test_some_way_fits_older_gpus(kind: str, capability: int, ahead: Any) -> None:
    for m in (32, 512, 4096):
        found = [product_needs(ahead, way, kind, capability, gelu=True) for way in ways_of(m, kind, capability)[:3]]
        fitting = [needs for needs in found if needs.shared <= SHARED_BYTES[capability]]
        assert fitting and all(needs.tensor == "mma" for needs in fitting), found


def attention_needs(ahead: Any, way: dict[str, Any], size: int, near: int, capability: int, *, added: int = 0) -> Any:
    """Compile attention in INT8."""
    import triton.language as tl

    kernel = import_module("bertc.runtime.cuda.kernels.attention").attend
    types = dict.fromkeys(("query", "key", "value", "context"), "*i8")
    types |= {"ends": "*i32", "blocks": "*i32", "inverse": "*fp32", "types": "*i32"}
    types |= {"distances": "*fp32" if added == 1 else "*i32"}
    types |= dict.fromkeys(("by_query", "by_key", "segments"), "*fp16")
    types |= dict.fromkeys(("scaling", "context_scale", "unit"), "fp32")
    strides = ("q", "k", "v", "out", "distances", "by_query", "by_key", "segments")
    types |= dict.fromkeys(("middle", "columns", *(f"stride_{name}" for name in strides)), "i32")
    fixed = {"SIZE": size, "PER_TEXT": False, "LAST": False, "NEAR": near, "ADDED": added, "PROBS": tl.float16}
    blocks = {name: way[name] for name in ("ONE_STEP", "BLOCK_M", "BLOCK_N")}
    options = {name: way[name] for name in ("num_warps", "num_stages")}
    return ahead.needs_of(kernel, types, fixed | blocks, options, capability)


@pytest.mark.parametrize("capability", [80, 89, 90])
@pytest.mark.parametrize("size, near", [(32, 0), (64, 0), (64, 65)], ids=["32", "64", "64 near"])
def test_attention_fits(size: int, near: int, capability: int, ahead: Any) -> None:
    """Also with ModernBERT's window."""
    from bertc.runtime.cuda.step_launch import attention_ways

    for longest in (32, 128, 512):
        for way in attention_ways(longest, False, near):
            needs = attention_needs(ahead, way, size, near, capability)
            assert needs.shared <= SHARED_BYTES[capability] and needs.stack <= STACK_BYTES, f"{way}: {needs}"
            assert needs.tensor, way


@pytest.mark.parametrize("capability", [80, 89, 90])
@pytest.mark.parametrize("added", [1, 6, 10], ids=["MPNet", "DeBERTa", "XLNet"])
def test_some_ways_fit_what_distances_add(added: int, capability: int, ahead: Any) -> None:
    from bertc.runtime.cuda.step_launch import attention_ways

    for longest in (32, 128, 512):
        ways = attention_ways(longest, False)
        needs = [attention_needs(ahead, way, 64, 0, capability, added=added) for way in ways]
        fitting = [each for each in needs if each.shared <= SHARED_BYTES[capability] and each.stack <= STACK_BYTES]
        assert len(fitting) >= 2 and all(each.tensor for each in fitting), needs


@pytest.mark.parametrize("capability", [80, 89, 90])
@pytest.mark.parametrize("near", [0, 65])
def test_some_ways_fit_wide_heads(near: int, capability: int, ahead: Any) -> None:
    """Heads of 128: of the others some spill more, and are measured to be slower."""
    from bertc.runtime.cuda.step_launch import attention_ways

    for longest in (32, 128, 512):
        for way in attention_ways(longest, False, near)[:2]:
            needs = attention_needs(ahead, way, 128, near, capability)
            assert needs.shared <= SHARED_BYTES[capability] and needs.stack <= STACK_BYTES, f"{way}: {needs}"
            assert needs.tensor, way


@pytest.mark.parametrize("capability, out", [(80, "i8"), (80, "fp16"), (89, "fp8e4nv"), (90, "i8"), (90, "fp8e4nv")])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_rotary_positions_fit(size: int, capability: int, out: str, ahead: Any) -> None:
    from bertc.runtime.cuda.step_launch import TURNED_PAIRS, TURNED_ROWS

    kernel = import_module("bertc.runtime.cuda.kernels.rotary").rotary
    types = {"x": "*fp16", "out": f"*{out}", "places": "*i32"} | dict.fromkeys(("cos", "sin", "inverse"), "*fp32")
    types |= dict.fromkeys(("M", "PAIRS", "stride_x", "stride_out"), "i32")
    fixed = {"HALF": size // 2, "BLOCK_M": TURNED_ROWS, "BLOCK_N": TURNED_PAIRS}
    needs = ahead.needs_of(kernel, types, fixed, {}, capability)
    assert needs.registers <= 64 and not needs.stack and needs.shared <= 2048, needs
