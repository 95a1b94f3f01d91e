"""A BERT encoder in FP16 as one would write it in torch, in each way that could be the fastest: what others must beat.

Query, key and value are one product; attention is `scaled_dot_product_attention` by FlashAttention or cuDNN on texts of
one length, and FlashAttention over texts in one row, without padding, for any; what follows it in a layer is as it is,
and compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

SPREAD = 0.04
VOCABULARY = 1000
Attention = Callable[[torch.Tensor], torch.Tensor]


def after_attention(context: torch.Tensor, x: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
    """Compute what follows attention in a layer of x [tokens, hidden]: what a compiler can fuse."""
    out, out_bias, up, up_bias, down, down_bias, gamma, beta, last_gamma, last_beta = weights
    y = functional.layer_norm(functional.linear(context, out, out_bias) + x, (x.shape[1],), gamma, beta, 1e-12)
    z = functional.linear(functional.gelu(functional.linear(y, up, up_bias)), down, down_bias)
    return functional.layer_norm(z + y, (x.shape[1],), last_gamma, last_beta, 1e-12)


def padded_attention(joined: torch.Tensor, *, texts: int, heads: int, backend: SDPBackend) -> torch.Tensor:
    """Attend within texts of one length."""
    parts = joined.view(texts, -1, 3, heads, joined.shape[1] // 3 // heads).permute(2, 0, 3, 1, 4)
    with sdpa_kernel([backend]):
        found = functional.scaled_dot_product_attention(*parts.unbind())
    return found.transpose(1, 2).reshape(joined.shape[0], -1)


def ragged_attention(joined: torch.Tensor, *, ends: torch.Tensor, longest: int, heads: int) -> torch.Tensor:
    """Attend within texts of any length, in one row."""
    from torch.nn.attention.varlen import varlen_attn

    query, key, value = joined.view(len(joined), 3, heads, -1).unbind(1)
    return varlen_attn(query, key, value, ends, ends, longest, longest).reshape(len(joined), -1)


def ways_of_torch(
    lengths: Sequence[int], *, hidden: int, heads: int, layers: int, inner: int
) -> dict[str, Callable[[], Any]]:
    """Return ways to compute two logits for each token of texts of these lengths, on the GPU."""
    torch.manual_seed(0)
    make = partial(torch.randn, device="cuda", dtype=torch.float16)
    shapes = [(3 * hidden, hidden), (3 * hidden,), (hidden, hidden), (hidden,), (inner, hidden), (inner,)]
    shapes += [(hidden, inner), (hidden,)]
    every = []
    for _ in range(layers):
        norms = [torch.ones(hidden, device="cuda", dtype=torch.float16), make(hidden) * SPREAD] * 2
        every.append((*(make(*shape) * SPREAD for shape in shapes), *norms))
    words, positions, head = make(VOCABULARY, hidden), make(512, hidden), make(2, hidden) * SPREAD
    ids = torch.randint(0, VOCABULARY, (sum(lengths),), device="cuda")
    places = torch.cat([torch.arange(length, device="cuda") for length in lengths])
    ends = torch.tensor([0, *lengths], device="cuda").cumsum(0).to(torch.int32)

    def model(rest: Callable[..., torch.Tensor], attention: Attention) -> torch.Tensor:
        x = functional.layer_norm(words[ids] + positions[places], (hidden,), eps=1e-12)
        for joined, bias, *weights in every:
            x = rest(attention(functional.linear(x, joined, bias)), x, weights)
        return functional.linear(x, head)

    attentions: dict[str, Attention] = {
        "ragged": partial(ragged_attention, ends=ends, longest=max(lengths), heads=heads),
    }
    if len(set(lengths)) == 1:
        for name, backend in (("flash", SDPBackend.FLASH_ATTENTION), ("cudnn", SDPBackend.CUDNN_ATTENTION)):
            attentions[name] = partial(padded_attention, texts=len(lengths), heads=heads, backend=backend)
    compiled = torch.compile(after_attention, dynamic=False)
    ways: dict[str, Callable[[], Any]] = {}
    for name, attention in attentions.items():
        ways[f"torch {name}"] = _without_gradients(partial(model, after_attention, attention))
        ways[f"torch {name} compiled"] = _without_gradients(partial(model, compiled, attention))
    return ways


def _without_gradients(way: Callable[[], Any]) -> Callable[[], Any]:
    def run() -> Any:
        with torch.inference_mode():
            return way()

    return run
