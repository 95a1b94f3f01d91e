"""A plan's steps as launches: which kernel, on which tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import triton
import triton.language as tl

from bertc.ir.affine import TO_E4M3
from bertc.runtime.cuda.added_scores import added_scores
from bertc.runtime.cuda.kernels.attention import attend
from bertc.runtime.cuda.kernels.norm import embed, finish, norm
from bertc.runtime.cuda.kernels.pooled_rows import pool
from bertc.runtime.cuda.kernels.rotary import rotary
from bertc.runtime.cuda.operands import Operands
from bertc.runtime.cuda.products import HOPPER, Product, residual_kind
from bertc.runtime.cuda.summed_norms import Call, SummedNorm
from bertc.runtime.cuda.tuning import Tuner, Way
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Op, Rows, Step, padded

ROW_ELEMENTS = 4096
"""Numbers that a program of a row-wise kernel holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """A batch on the GPU, int32, at the sizes of its bucket: ids, types, places [tokens]; ends [texts + 1].

    `firsts` are the rows of texts' first tokens, `marks` those of the first token with an id, int32 [texts];
    `texts` are blocks of a query each, `blocks` the blocks of queries by their rows. No text is longer than
    `longest`.
    """

    ids: torch.Tensor
    types: torch.Tensor
    places: torch.Tensor
    ends: torch.Tensor
    firsts: torch.Tensor
    marks: Mapping[int, torch.Tensor]
    blocks: Mapping[int, torch.Tensor]
    texts: torch.Tensor
    longest: int

    def rows(self, rows: Rows) -> int:
        """Return how many rows there are."""
        return len(self.ids) if rows is Rows.TOKENS else len(self.firsts)

    def rows_of_texts(self, step: Step) -> torch.Tensor:
        """Return the rows of the tokens that a step's rows of texts are of: the first ones or the last."""
        return self.ends[1:].long() - 1 if step.last else self.firsts


class Launcher:
    """Launches the steps of a plan on a device."""

    def __init__(self, operands: Operands, precision: str, floats: torch.dtype, tuner: Tuner) -> None:
        self.operands = operands
        self.floats = floats
        self.codes = torch.float8_e4m3fn if precision == "fp8" else torch.int8
        self.tuner = tuner
        self.scale_up = TO_E4M3 if precision == "fp8" else 1.0
        device = operands.device
        self.capability = torch.cuda.get_device_capability(device)[0] if device.type == "cuda" else HOPPER

    def launch(self, call: Call, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Launch a call. A buffer has as many rows as the batch; the last one is for what stands inside a call."""
        if isinstance(call, SummedNorm):
            self.summed_norm(call, buffers)
        else:
            LAUNCHES[call.op](self, call, buffers, inputs)

    def vector(self, name: str, factor: float = 1.0) -> torch.Tensor | None:
        """Return numbers for the columns, float32."""
        return self.operands.scaled(name, factor)

    def read(self, step: Step, buffers: list[torch.Tensor], place: int = 0, columns: int = 0) -> torch.Tensor:
        """Return the columns of an input."""
        begin = step.in_column[place]
        return buffers[step.inputs[place]][:, begin : begin + (columns or step.n)]

    def embedded(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Launch the sum of embeddings."""
        rows, out = inputs.rows(step.rows), buffers[step.out]
        word, types = self.operands.array(step.word), self.operands.array(step.type)
        position, scale = self.operands.array(step.position), self.operands.array(step.position_scale)
        if position is not None:  # a text's first token has a later row where some stand for padding (RoBERTa)
            position = position[step.first_position :]
            scale = None if scale is None else scale[step.first_position :]
        scales = [self.operands.array(step.word_scale), scale]
        block, grid = _row_blocks(step.n, rows)
        embed[grid](
            inputs.ids, inputs.types, inputs.places, word, _or(scales[0], out), _or(position, out), _or(scales[1], out),
            _or(types, out), out, rows, step.n, out.stride(0),
            INT8=bool(step.flag), POSITIONS=position is not None, TYPES=0 if types is None else step.types, **block,
        )  # fmt: skip

    def product(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Launch a product and what follows it; one of float32, at a row for each text, is torch's."""
        a = self.read(step, buffers, columns=padded(step.k))
        if a.dtype == torch.float32:
            self.float_product(step, a, buffers)
            return
        product = self.product_of(step, a, buffers[step.out][:, step.out_column :])
        self.multiply(
            replace(
                product,
                activation=int(step.activation),
                requant_scale=self.vector(step.requant_scale),
                bias=self.vector(step.bias),
                residual=None if step.residual == NO_BUFFER else buffers[step.residual],
                residual_scale=self.vector(step.residual_scale),
                gated=bool(step.gated),
                inverse=self.vector(step.inverse, self.scale_up),
            )
        )

    def product_of(self, step: Step, a: torch.Tensor, out: torch.Tensor) -> Product:
        """Return a product up to its scale or requantization."""
        weights = self.operands.weights(step, a.dtype)
        down = self.scale_up**-2 if step.op is Op.GEMM_INT8 else 1.0
        return Product(
            a=a[:, : weights.shape[1]],
            b=weights,
            out=out[:, : weights.shape[0]],
            scale=self.vector(step.requant or step.scale, down),
        )

    def multiply(self, product: Product) -> None:
        """Launch a product in the way that is the fastest here."""
        product.launch(self.tuner.way(product.key, product.ways(self.capability), product.launch))

    def summed_norm(self, call: SummedNorm, buffers: list[torch.Tensor]) -> None:
        """Launch a product, which gives codes where it requantizes, and the norm that adds bias and residual."""
        step = call.product
        a = self.read(step, buffers, columns=padded(step.k))
        between = buffers[-1][: a.shape[0]]
        if a.dtype == torch.float32:
            between = between.view(torch.float32)
            torch.mm(
                a[:, : step.k], self.operands.weights(step, a.dtype)[: step.n, : step.k].T, out=between[:, : step.n]
            )
            scale = self.vector(step.scale)
        else:
            between = between.view(torch.int8 if step.requant else self.floats)
            product = self.product_of(step, a, between)
            if step.requant:  # the codes themselves: their scale is the norm's
                self.multiply(replace(product, inverse=product.scale, scale=None))
            else:
                self.multiply(product)
            scale = self.vector(step.requant_scale)
        self.norm_rows(call.norm, between[:, : step.n], buffers, scale=scale, product=step)

    def float_product(self, step: Step, a: torch.Tensor, buffers: list[torch.Tensor]) -> None:
        """Compute a product of float32: a head's."""
        weights = self.operands.weights(step, torch.float32)
        sums = torch.mm(a[:, : step.k], weights[:, : step.k].T)
        self.finish_rows(step, sums, buffers)

    def finished(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Launch what follows a value."""
        self.finish_rows(step, self.read(step, buffers), buffers)

    def finish_rows(self, step: Step, x: torch.Tensor, buffers: list[torch.Tensor]) -> None:
        """Launch what follows a product on its sums, or on a value."""
        out = buffers[step.out][:, step.out_column :]
        residual = None if step.residual == NO_BUFFER else buffers[step.residual]
        scale = self.vector(step.requant or step.scale, 1 / self.scale_up if x.dtype == self.codes else 1.0)
        named = (step.requant_scale, step.bias, step.residual_scale)
        requant_scale, bias, residual_scale = (self.vector(name) for name in named)
        vectors = (scale, requant_scale, bias, residual, residual_scale)
        inverse = self.vector(step.inverse, self.scale_up)
        rows, columns = x.shape[0], min(64, triton.next_power_of_2(step.n))
        kind = residual_kind(residual, residual_scale, gated=bool(step.gated))
        finish[(triton.cdiv(rows, 64), triton.cdiv(step.n, columns))](
            x, out, *(_or(each, out) for each in (*vectors, inverse)), rows, step.n, x.stride(0), out.stride(0),
            0 if residual is None else residual.stride(0), SCALED=scale is not None,
            REQUANTIZED=requant_scale is not None, BIASED=bias is not None,
            ACTIVATION=int(step.activation), RESIDUAL=kind, BLOCK_M=64, BLOCK_N=columns,
        )  # fmt: skip

    def normed(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Launch a norm."""
        self.norm_rows(step, self.read(step, buffers), buffers)

    def norm_rows(
        self,
        step: Step,
        x: torch.Tensor,
        buffers: list[torch.Tensor],
        *,
        scale: torch.Tensor | None = None,
        product: Step | None = None,
    ) -> None:
        """Launch a norm of x, with the scale, and the product's bias and residual, before it."""
        floats, codes = (None if each == NO_BUFFER else buffers[each] for each in (step.out, step.out_codes))
        like = floats if floats is not None else codes
        assert like is not None
        bias = None if product is None else self.vector(product.bias)
        residual = None if product is None else buffers[product.residual]
        residual_scale = None if product is None else self.vector(product.residual_scale)
        vectors = (self.vector(step.gamma), self.vector(step.beta), self.vector(step.inverse, self.scale_up))
        kinds = {
            "SCALED": scale is not None,
            "BIASED": bias is not None,
            "RESIDUAL": residual_kind(residual, residual_scale),
            "RMS": bool(step.flag),
            "SHIFTED": bool(step.beta),
            "FLOATS": floats is not None,
            "CODES": codes is not None,
        }
        rows, columns = x.shape[0], triton.next_power_of_2(step.n)

        def launched(way: Way) -> None:
            norm[(triton.cdiv(rows, way["BLOCK_M"]),)](
                x, *(_or(each, like) for each in (scale, bias, residual, residual_scale, floats, codes, *vectors)),
                rows, step.n, x.stride(0), 0 if residual is None else residual.stride(0), like.stride(0), step.epsilon,
                **kinds, BLOCK_N=columns, **way,
            )  # fmt: skip

        ways = [
            {"BLOCK_M": block, "num_warps": warps} for block, warps in ((1, 4), (1, 2), (2, 4), (4, 8), (4, 4), (8, 8))
        ]
        key = f"norm {triton.next_power_of_2(rows)} {step.n} {x.dtype} {like.dtype} {list(map(int, kinds.values()))}"
        launched(self.tuner.way(key, ways, launched))

    def attention(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Launch attention."""
        size = step.n // step.heads
        query, key, value = (self.read(step, buffers, place) for place in range(3))
        out = buffers[step.out][:, step.out_column :]
        scaling, context_scale = step.scaling, step.context_scale
        if query.dtype == torch.float8_e4m3fn:
            scaling, context_scale = scaling * self.scale_up**-2, context_scale / self.scale_up
        inverse = self.vector(step.inverse, self.scale_up)
        added = added_scores(step, buffers, self.operands)
        tensors = (inverse, added.distances, added.by_query, added.by_key, inputs.types, added.segments)
        numbers = (scaling, context_scale, 1 / scaling, step.positions - 1, added.columns)
        strides = [*(each.stride(0) for each in (query, key, value, out)), *added.strides]
        per_text = step.rows is Rows.TEXTS
        probs = tl.float32 if self.floats == torch.float32 else tl.float16

        def launched(way: Way) -> None:
            blocks = inputs.texts if per_text else inputs.blocks[way["BLOCK_M"]]
            attend[(len(blocks), step.heads)](
                query, key, value, out, inputs.ends, blocks, *(_or(each, out) for each in tensors), *numbers, *strides,
                SIZE=size, PER_TEXT=per_text, LAST=bool(step.last), NEAR=step.near, ADDED=added.bits, PROBS=probs,
                **way,
            )  # fmt: skip

        ways = attention_ways(inputs.longest, per_text, step.near)
        ways = [way for way in ways if per_text or way["BLOCK_M"] in inputs.blocks]
        texts = triton.next_power_of_2(len(inputs.firsts))
        key_of = f"attention {query.dtype} {inputs.longest} {texts} {step.heads} {size} {per_text}"
        key_of += f" {step.near}" * bool(step.near) + f" added {added.bits}" * bool(added.bits)
        launched(self.tuner.way(key_of, ways, launched))

    def turned(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Launch rotary positions."""
        x, out = self.read(step, buffers), buffers[step.out][:, step.out_column :]
        places = inputs.places if step.rows is Rows.TOKENS else inputs.places[inputs.rows_of_texts(step)]
        cos, sin = self.operands.array(step.cos), self.operands.array(step.sin)
        inverse = self.vector(step.inverse, self.scale_up)
        assert cos is not None
        rows, pairs = len(x), step.n // 2
        columns = min(TURNED_PAIRS, triton.next_power_of_2(pairs))
        rotary[(triton.cdiv(rows, TURNED_ROWS), triton.cdiv(pairs, columns))](
            x, out, places, cos, sin, _or(inverse, out), rows, pairs, x.stride(0), out.stride(0), HALF=cos.shape[1],
            BLOCK_M=TURNED_ROWS, BLOCK_N=columns,
        )  # fmt: skip

    def first(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Copy the rows of texts' first or last tokens."""
        buffers[step.out][:, : step.n] = self.read(step, buffers)[inputs.rows_of_texts(step)]

    def marked(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Copy the rows of texts' marks."""
        buffers[step.out][:, : step.n] = self.read(step, buffers)[inputs.marks[step.token]]

    def pooled(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Launch the mean or the maximum of texts' rows."""
        x, out = self.read(step, buffers), buffers[step.out]
        pool[(len(out), triton.cdiv(step.n, 128))](
            x, out, inputs.ends, step.n, x.stride(0), out.stride(0), KIND=step.flag, BLOCK_M=32, BLOCK_N=128,
        )  # fmt: skip

    def unit(self, step: Step, buffers: list[torch.Tensor], inputs: Inputs) -> None:
        """Divide rows by their length."""
        x = self.read(step, buffers).float()
        buffers[step.out][:, : step.n] = x / x.norm(dim=1, keepdim=True).clamp(min=step.epsilon)


Launch = Callable[[Launcher, Step, list[torch.Tensor], Inputs], None]
LAUNCHES: Mapping[Op, Launch] = {
    Op.EMBED: Launcher.embedded,
    Op.GEMM_INT8: Launcher.product,
    Op.GEMM_F32: Launcher.product,
    Op.NORM: Launcher.normed,
    Op.ATTENTION: Launcher.attention,
    Op.FINISH: Launcher.finished,
    Op.FIRST: Launcher.first,
    Op.POOL: Launcher.pooled,
    Op.UNIT: Launcher.unit,
    Op.MARKED: Launcher.marked,
    Op.ROTARY: Launcher.turned,
}

TURNED_ROWS, TURNED_PAIRS = 4, 256
"""Rows and pairs of columns that a program of rotary positions has."""

BLOCKS_OF_QUERIES = (16, 32, 64, 128)


def attention_ways(longest: int, per_text: bool, near: int = 0) -> list[Way]:
    """Return ways to launch attention for texts of up to so many tokens; `near` is a step's.

    With a window a program has the keys around its queries alone: ways of more keys at once are none.
    """
    if per_text:
        shapes = [(16, min(longest, 64), 4, 2)] if longest <= 64 else [(16, 64, 4, 3), (16, 128, 4, 3)]
    elif longest <= 32:
        shapes = [(longest, longest, 2, 1), (longest, longest, 4, 1)]
    elif longest <= 128:
        shapes = [(64, longest, 4, 1), (32, longest, 4, 1), (64, 64, 4, 3), (longest, longest, 8, 1)]
    else:
        shapes = [(64, 64, 4, 3), (128, 64, 8, 3), (128, 64, 4, 3), (128, 128, 8, 2), (64, 128, 4, 2), (64, 32, 4, 4)]
        shapes += [(64, 64, 4, 2), (64, 256, 8, 1)] if longest <= 256 else [(128, 128, 8, 3)]
    ways: list[Way] = []
    for rows, keys, warps, stages in shapes:
        seen = min(longest, rows + 2 * (near - 1)) if near else longest
        keys = min(keys, triton.next_power_of_2(seen))
        one_step = seen <= keys
        way = {"BLOCK_M": rows, "BLOCK_N": keys, "ONE_STEP": one_step, "num_warps": warps, "num_stages": stages}
        ways += [way] * (way not in ways)
    return ways


def _row_blocks(n: int, rows: int) -> tuple[dict[str, Any], tuple[int]]:
    """Return the blocks and the grid of a row-wise kernel."""
    columns = triton.next_power_of_2(n)
    block = max(1, min(ROW_ELEMENTS // columns, triton.next_power_of_2(-(-rows // 132))))
    warps = max(1, min(8, block * columns // 512))
    return {"BLOCK_M": block, "BLOCK_N": columns, "num_warps": warps}, (triton.cdiv(rows, block),)


def _or(tensor: torch.Tensor | None, other: torch.Tensor) -> torch.Tensor:
    """Return a tensor, or one that is there for its pointer alone and not read."""
    return other if tensor is None else tensor
