"""The engine for NVIDIA GPUs: opens a plan and runs batches without their padding, as CUDA graphs by their sizes."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton
from numpy.typing import NDArray

from bertc.core.batch import Batch
from bertc.errors import InputError, OutputError
from bertc.runtime.cuda.lacking import check_steps
from bertc.runtime.cuda.operands import Operands
from bertc.runtime.cuda.step_launch import BLOCKS_OF_QUERIES, Inputs, Launcher
from bertc.runtime.cuda.summed_norms import SummedNorm, calls_of_plan
from bertc.runtime.cuda.texts import Texts, texts_from_batch
from bertc.runtime.cuda.tuning import Tuner
from bertc.runtime.engine import Array, Closing
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Op, Output, Plan, Rows, Type, padded

PRECISIONS = ("int8", "fp8", "float16")
FEWEST_TOKENS = 16
STEPS_OF_AN_OCTAVE = 8
"""Sizes of buckets between a number of tokens and its double: at most an eighth of what is computed is nothing."""

Bucket = tuple[int, int, int]
"""Tokens, texts and tokens of the longest text that a graph is made for."""


def bucket_of(texts: Texts) -> Bucket:
    """Return the bucket of a batch.

    >>> from bertc.runtime.cuda.texts import texts_of_lengths
    >>> bucket_of(texts_of_lengths([100, 30, 3]))
    (144, 4, 128)
    """
    step = max(FEWEST_TOKENS, triton.next_power_of_2(texts.tokens) // 2 // STEPS_OF_AN_OCTAVE)
    tokens = max(FEWEST_TOKENS, -(-texts.tokens // step) * step)
    longest = max(FEWEST_TOKENS, triton.next_power_of_2(int(texts.lengths.max(initial=1))))
    return tokens, triton.next_power_of_2(texts.count), longest


@dataclass(slots=True)
class _Ready:
    """What a bucket's batches run on: inputs on the host and the device, buffers, and the graph once it is captured."""

    staged: torch.Tensor
    on_device: torch.Tensor
    parts: Mapping[str, NDArray[np.int32]]
    inputs: Inputs
    buffers: list[torch.Tensor]
    graph: Any = None


class CudaEngine(Closing):
    """An open plan on a GPU. Calls from several threads wait for each other.

    What a text is answered does not depend on the texts beside it but by which kernels are fastest for the batch's
    size: those add up in another order. Precisions: "int8" runs codes as they are; "fp8" turns them into E4M3 codes of
    the same range; "float16" is for plans without codes. Heads, which have a row for each text, are
    float32.
    """

    def __init__(
        self,
        plan: Plan,
        arrays: Mapping[str, NDArray[Any]],
        *,
        precision: str = "int8",
        floats: torch.dtype = torch.float16,
        tuned: Path | None = None,
    ) -> None:
        """Copy the weights of a plan that was checked; `floats` is the type of what is no code and no head's.

        `tuned` is a file for what was found to be fastest, None for none.

        Raises `InputError` for a plan with a step that this engine has no kernel for.
        """
        assert precision in PRECISIONS, precision
        check_steps(plan.steps, precision)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.plan = plan
        self.calls = calls_of_plan(plan)
        self._floats = {Rows.TOKENS: floats, Rows.TEXTS: torch.float32}
        self.launcher = Launcher(Operands(arrays, self.device), precision, floats, Tuner(tuned))
        self.outputs = {output.name: output for output in plan.outputs}
        (self._embed,) = (step for step in plan.steps if step.op is Op.EMBED)
        self._marks = sorted({step.token for step in plan.steps if step.op is Op.MARKED})
        # What a graph allocates is dead when it ends (answers lie in the arena): all graphs may use the same memory.
        self._pool = torch.cuda.graph_pool_handle() if self.device.type == "cuda" else None
        self._arena: list[torch.Tensor] = []
        self._capacity = (0, 0)
        self._ready: dict[Bucket, _Ready] = {}
        self._lock = threading.Lock()
        self._closed = False

    @property
    def tuner(self) -> Tuner:
        """What was found to be fastest."""
        return self.launcher.tuner

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the named outputs of a batch, without any too once the GPU is done; what is padding there is 0.

        Raises `InputError` for a batch that is no batch of this model's and where the engine was closed, `OutputError`
        where numbers leave the range of FP16.
        """
        texts = texts_from_batch(batch)
        self._check(texts)
        with self._lock:
            if self._closed:
                raise InputError("the engine was closed; open it again")
            ready = self.prepared(texts)
            ready.on_device.copy_(ready.staged, non_blocking=True)
            self.replay(ready)
            if self.device.type == "cuda":  # also without outputs: the next batch writes over what is being read
                torch.cuda.current_stream().synchronize()
            found = [self._output(self.outputs[name], ready, texts, batch.mask.shape) for name in outputs]
        if not all(np.isfinite(each).all() for each in found):
            raise OutputError("an answer is no finite number: values leave the range of FP16; use the target ort-cuda")
        return found

    def prepared(self, texts: Texts) -> _Ready:
        """Return what texts run on, with their ids on the host's side of it."""
        bucket = bucket_of(texts)
        if bucket not in self._ready:
            self._ready[bucket] = self._made_ready(bucket, texts)
        ready = self._ready[bucket]
        _fill(ready.parts, texts)
        return ready

    def replay(self, ready: _Ready) -> None:
        """Run what lies on the device: by the graph, which is captured at the first time."""
        if self.device.type == "cpu":
            self.launch(ready)
            return
        if ready.graph is None:
            self.launch(ready)  # compiles and tunes, which cannot be captured
            torch.cuda.synchronize()
            ready.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(ready.graph, pool=self._pool):
                self.launch(ready)
        ready.graph.replay()

    def launch(self, ready: _Ready) -> None:
        """Launch all calls of the plan, one by one."""
        for call in self.calls:
            self.launcher.launch(call, ready.buffers, ready.inputs)

    def _made_ready(self, bucket: Bucket, texts: Texts) -> _Ready:
        tokens, count, longest = bucket
        self._reserve(tokens, count)
        rows = {Rows.TOKENS: tokens, Rows.TEXTS: count}
        buffers = [whole[: rows[buffer.rows]] for whole, buffer in zip(self._arena, self.plan.buffers, strict=False)]
        buffers.append(self._arena[-1])
        blocks = {size: tokens // size + count for size in BLOCKS_OF_QUERIES if size <= longest}
        sizes = {
            "ids": tokens,
            "types": tokens,
            "places": tokens,
            "ends": count + 1,
            "firsts": count,
            "texts": 2 * count,
        }
        sizes |= {f"mark {mark}": count for mark in self._marks}
        sizes |= {f"blocks {size}": 2 * number for size, number in blocks.items()}
        starts = np.cumsum([0, *(-(-size // 4) * 4 for size in sizes.values())])  # at multiples of 16 bytes
        staged = torch.zeros(int(starts[-1]), dtype=torch.int32, pin_memory=self.device.type == "cuda")
        on_device = torch.zeros_like(staged, device=self.device)
        host = staged.numpy()
        parts = {name: host[start : start + size] for (name, size), start in zip(sizes.items(), starts, strict=False)}
        there = {
            name: on_device[start : start + size] for (name, size), start in zip(sizes.items(), starts, strict=False)
        }
        inputs = Inputs(
            **{name: there[name] for name in ("ids", "types", "places", "ends", "firsts")},
            texts=there["texts"].view(-1, 2),
            marks={mark: there[f"mark {mark}"] for mark in self._marks},
            blocks={size: there[f"blocks {size}"].view(-1, 2) for size in blocks},
            longest=longest,
        )
        ready = _Ready(staged, on_device, parts, inputs, buffers)
        _fill(parts, texts)
        on_device.copy_(staged)
        return ready

    def _reserve(self, tokens: int, texts: int) -> None:
        """Make the buffers as large as the largest batch, all of a bucket's being the beginning of the same memory."""
        if tokens <= self._capacity[0] and texts <= self._capacity[1]:
            return
        self._ready.clear()  # graphs on the memory of before
        self._capacity = (max(tokens, self._capacity[0]), max(texts, self._capacity[1]))
        rows = dict(zip(Rows, self._capacity, strict=True))
        self._arena = []
        for buffer in self.plan.buffers:
            kind = self._floats[buffer.rows] if buffer.type is Type.F32 else self.launcher.codes
            self._arena.append(torch.zeros((rows[buffer.rows], buffer.width), dtype=kind, device=self.device))
        widest = max((call.product.n for call in self.calls if isinstance(call, SummedNorm)), default=0)
        between = (max(rows.values()), padded(widest))  # what stands between a product and its norm, in any type
        self._arena.append(torch.zeros(between, dtype=torch.float32, device=self.device))

    def _check(self, texts: Texts) -> None:
        """Refuse ids that tables have no row for."""
        embed = self._embed
        longest = int(texts.lengths.max(initial=0))
        if len(texts.ids) and not 0 <= texts.ids.min() <= texts.ids.max() < embed.vocabulary:
            raise InputError(f"a batch has a token id that is not below {embed.vocabulary}; check the tokenizer")
        if embed.types > 1 and len(texts.types) and not 0 <= texts.types.min() <= texts.types.max() < embed.types:
            raise InputError(f"a batch has a token type that is not below {embed.types}; check the tokenizer")
        if longest > embed.positions - embed.first_position:
            raise InputError(
                f"a text has {longest} tokens and the model positions for {embed.positions - embed.first_position}; "
                "cut it"
            )

    def _output(self, output: Output, ready: _Ready, texts: Texts, shape: tuple[int, ...]) -> Array:
        assert output.buffer != NO_BUFFER
        columns = slice(output.column, output.column + output.columns)
        # A copy on a CPU too, where the next batch would write over what the caller has.
        values = ready.buffers[output.buffer][:, columns].to("cpu", torch.float32, copy=True).numpy()
        if output.per_token:
            found = np.zeros((shape[0] * shape[1], output.columns), np.float32)
            found[texts.cells] = values[: texts.tokens]
            found = found.reshape(*shape, output.columns)
        else:
            found = values[: texts.count]
        return found if output.vector else found[..., 0]

    def close(self) -> None:
        """Free the GPU's memory."""
        with self._lock:
            self._closed = True
            self._ready.clear()
            self._arena = []


def _fill(parts: Mapping[str, NDArray[np.int32]], texts: Texts) -> None:
    """Write a batch's numbers; what a bucket has more of is nothing: token 0 of no text, texts without tokens."""
    for name, values in (("ids", texts.ids), ("types", texts.types), ("places", texts.places)):
        parts[name][: texts.tokens] = values
        parts[name][texts.tokens :] = 0
    parts["ends"][:] = texts.tokens
    parts["ends"][: texts.count] = texts.ends[:-1]
    parts["firsts"][:] = np.minimum(parts["ends"][:-1], len(parts["ids"]) - 1)
    every = parts["texts"].reshape(-1, 2)
    every[:] = -1
    every[: texts.count] = np.stack((np.arange(texts.count), np.zeros(texts.count)), 1)
    for name, part in parts.items():
        kind, _, number = name.partition(" ")
        if kind == "blocks":
            found = texts.blocks(int(number)).reshape(-1)
            part[: found.size] = found
            part[found.size :] = -1
        elif kind == "mark":
            part[:] = parts["firsts"]
            part[: texts.count] = texts.marked(int(number))
