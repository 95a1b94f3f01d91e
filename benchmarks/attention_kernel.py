"""Time of the attention kernels beside torch's scaled dot product attention at the same shapes, on an NVIDIA GPU.

    python benchmarks/attention_kernel.py [--heads 12] [--size 64] [--rounds 50] [--seed 0] [--out FILE.json]

Never executed: no GPU was at hand where it was written. It needs torch with CUDA and Triton (extra `triton`).

For each batch x length: our INT8 kernel, our FP16 kernel, and torch's FP16 attention on [batch, heads, length, size],
whole (every text as long as the row) and mixed (texts of 1 to `length` tokens, ours without padding, torch's padded
with a mask). A round runs every way once, in turn; the figure is the median over the rounds, in milliseconds, measured
with CUDA events behind a flush of the L2 cache. `error` is the norm-wise distance from torch's result: a check that
the same thing was computed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from machine import run_facts

SHAPES = ((1, 32), (8, 128), (32, 128), (32, 384), (8, 512))
FLUSHED_BYTES = 256 << 20
"""More than any GPU's L2 cache."""

WARM_UP = 5
Way = Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Lengths of the texts, and FP16 operands [tokens, heads * size]."""

    lengths: list[int]
    heads: int
    operands: tuple[Any, Any, Any]

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""
        return max(self.lengths)


def ways_of(case: Case) -> dict[str, Way]:
    """Return what is compared."""
    import torch

    from bertc.runtime.tensorrt.kernels.row_attention import attention_from_codes, attention_from_halves

    ends = torch.tensor([0, *case.lengths], dtype=torch.int32, device="cuda").cumsum(0, dtype=torch.int32)
    amax = [float(each.abs().max()) / 127 for each in case.operands]
    codes = [(each / scale).round().to(torch.int8) for each, scale in zip(case.operands, amax, strict=True)]
    scales = torch.tensor([*amax, 1 / 127, amax[2]], dtype=torch.float32, device="cuda")
    halves, coded = torch.empty_like(case.operands[0]), torch.empty_like(codes[0])
    shape = (len(case.lengths), case.longest, case.heads, -1)
    mask = torch.arange(case.longest, device="cuda")[None] < torch.tensor(case.lengths, device="cuda")[:, None]
    padded = []
    for each in case.operands:
        whole = torch.zeros((*mask.shape, each.shape[1]), dtype=each.dtype, device="cuda")
        whole[mask] = each
        padded.append(whole.view(shape).transpose(1, 2).contiguous())
    visible = None if bool(mask.all()) else mask[:, None, None, :]

    def of_torch() -> Any:
        return torch.nn.functional.scaled_dot_product_attention(*padded, attn_mask=visible)

    def of_int8() -> Any:
        return attention_from_codes(*codes, ends, scales, heads=case.heads, longest=case.longest, context=coded)

    def of_half() -> Any:
        return attention_from_halves(*case.operands, ends, heads=case.heads, longest=case.longest, context=halves)

    wanted = of_torch().transpose(1, 2).flatten(2)[mask].float()
    found = {"fp16": of_half().float(), "int8": of_int8().float() * scales[4]}
    errors = {name: float((each - wanted).norm() / wanted.norm()) for name, each in found.items()}
    print(f"  errors: {errors}", file=sys.stderr)
    return {"torch": of_torch, "fp16": of_half, "int8": of_int8}


def milliseconds(ways: dict[str, Way], rounds: int) -> dict[str, float]:
    """Return the median time of each way, all of them once a round."""
    import torch

    flushed = torch.empty(FLUSHED_BYTES, dtype=torch.int8, device="cuda")
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(WARM_UP + rounds):
        for name, way in ways.items():
            flushed.zero_()
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            way()
            end.record()
            end.synchronize()
            if number >= WARM_UP:
                times[name].append(begin.elapsed_time(end))
    return {name: median(each) for name, each in times.items()}


def main() -> None:
    """Measure every shape and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    try:
        import torch
        import triton  # noqa: F401  # said here where it is missing, not in the middle
    except ImportError as error:
        sys.exit(f"{error.name} is missing: this needs torch with CUDA, and Triton (pip install 'bertc[train,triton]')")
    if not torch.cuda.is_available():
        sys.exit("this needs an NVIDIA GPU")
    generator = torch.Generator().manual_seed(options.seed)
    results = []
    for batch, length in SHAPES:
        mixed = torch.randint(1, length + 1, (batch,), generator=generator).tolist()
        for kind, lengths in (("whole", [length] * batch), ("mixed", mixed)):
            shape = (3, sum(lengths), options.heads * options.size)
            operands = torch.randn(shape, generator=generator).to("cuda", torch.float16)
            case = Case(lengths=lengths, heads=options.heads, operands=tuple(operands))
            found = milliseconds(ways_of(case), options.rounds)
            results.append({"batch": batch, "length": length, "texts": kind, "milliseconds": found})
            print(f"{batch:3} x {length:3} {kind}: " + ", ".join(f"{k} {v:.4f} ms" for k, v in found.items()))
    if options.out:
        facts = {"device": torch.cuda.get_device_name()} | run_facts("torch", "triton")
        options.out.write_text(json.dumps(facts | {"results": results}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
