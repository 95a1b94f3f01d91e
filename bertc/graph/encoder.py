"""Build the float graph of a checkpoint: the only place that knows what a transformer looks like, but for its head.

In: a `Checkpoint`. Out: an `ir.Model` with Hugging Face's inputs (input_ids, attention_mask, token_type_ids, int64
[batch, length]), attention as one node per layer, and every site's value under the site's name. A row may hold several
sentences (`bertc.ir.sentences`); outputs per sentence then come for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from bertc.checkpoint import Checkpoint
from bertc.core.head import Head
from bertc.errors import InputError
from bertc.ir.architecture import Activation, LayerNames
from bertc.ir.attention import BIASED, AttentionInputs, attention_function
from bertc.ir.emit import DOMAIN, IR_VERSION, OPSET, Emitter
from bertc.ir.relative import BIAS, buckets_of_distances, emit_relative_bias
from bertc.ir.sentences import SENTENCES, emit_packing
from bertc.ir.sites import PROJECTION, Role, Site
from bertc.tasks import task_from_name

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where an initializer of the graph comes from: a tensor of the checkpoint, `transposed` or as it is."""

    name: str
    transposed: bool


def parameters_from_checkpoint(checkpoint: Checkpoint) -> dict[str, Parameter]:
    """Return the tensor behind every initializer of the float graph that holds weights, by the initializer's name."""
    builder = _Builder(checkpoint)
    builder.model()
    return builder.parameters


def graph_from_checkpoint(checkpoint: Checkpoint) -> ir.Model:
    """Build the float graph. Raises `InputError` when configuration and weights disagree, naming the weight."""
    return _Builder(checkpoint).model()


class _Builder:
    """Writes one model. Lives for one call of `graph_from_checkpoint`."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.path = checkpoint.path
        self.arch = checkpoint.architecture
        self.emit = Emitter()
        self.parameters: dict[str, Parameter] = {}
        self.arrays: dict[str, NDArray[np.float32]] = {}
        self.inputs = {
            name: ir.val(name, dtype=ir.DataType.INT64, shape=("batch", "sequence"))
            for name in INPUTS
            if name != "token_type_ids" or self.arch.token_types > 1
        }
        self.packing = emit_packing(self.emit, self.inputs["attention_mask"])
        self.bias = self.relative_bias()

    def model(self) -> ir.Model:
        """Embeddings, layers, head."""
        states = [self.embeddings()]
        for layer, names in enumerate(self.arch.layer_names):
            states.append(self.layer(layer, names, states[-1]))
        outputs = self.head(self.checkpoint.head, states)
        graph = ir.Graph(
            list(self.inputs.values()),
            outputs,
            nodes=self.emit.nodes,
            initializers=self.emit.initializers,
            opset_imports={"": OPSET, DOMAIN: 1},
            name="bertc",
        )
        attention = attention_function("Attention" if self.bias is None else f"Attention{BIASED}")
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="bertc", functions=[attention])

    def weight(self, value: str, name: str, shape: tuple[int, ...], *, transposed: bool = False) -> ir.Value:
        """Make an initializer called `value` of the tensor `name`, whose shape is known."""
        found = self.checkpoint.weights.shape(name)
        if found != shape:
            raise InputError(
                f"{self.checkpoint.path}: weight '{name}' has shape {list(found)} where config.json implies "
                f"{list(shape)}; the configuration and the weights do not belong together"
            )
        self.parameters[value] = Parameter(name, transposed)
        if name not in self.arrays:  # layers may share their weights
            array = self.checkpoint.weights.array(name)
            self.arrays[name] = np.ascontiguousarray(array.T if transposed else array)
        return self.emit.constant(value, self.arrays[name])

    def linear(self, x: ir.Value, prefix: str, sizes: tuple[int, int], gemm: str, out: str) -> ir.Value:
        """Write x W + b with the GEMM's value named `gemm`, the sum's `out`. sizes: (in, out)."""
        fan_in, fan_out = sizes
        weight = self.weight(f"{gemm}.weight", f"{prefix}.weight", (fan_out, fan_in), transposed=True)
        bias = self.weight(f"{gemm}.bias", f"{prefix}.bias", (fan_out,))
        product = self.emit.op("MatMul", x, weight, name=gemm)
        return self.emit.op("Add", product, bias, name=out)

    def layer_norm(self, x: ir.Value, prefix: str, name: str, width: int) -> ir.Value:
        """Write a LayerNormalization over the last axis, which is so wide."""
        gamma = self.weight(f"{name}.gamma", f"{prefix}.weight", (width,))
        beta = self.weight(f"{name}.beta", f"{prefix}.bias", (width,))
        return self.emit.op("LayerNormalization", x, gamma, beta, name=name, axis=-1, epsilon=self.arch.epsilon)

    def embeddings(self) -> ir.Value:
        """Write word + position + token type embeddings, their norm, and a projection where the family has one."""
        arch, emit, width = self.arch, self.emit, self.arch.embedding_size
        ids = self.inputs["input_ids"]
        words = self.weight("embeddings.word", arch.word_embeddings, (arch.vocabulary, width))
        total = emit.op("Gather", words, ids, name="embeddings.words")
        rows = arch.first_position + arch.positions
        positions = self.weight("embeddings.position", arch.position_embeddings, (rows, width))
        end = emit.op("Shape", ids, start=1, end=2, name="embeddings.length")
        begin = emit.constant("embeddings.begin", np.array([arch.first_position], np.int64))
        if arch.first_position:
            end = emit.op("Add", end, begin, name="embeddings.end")
        first = emit.op("Slice", positions, begin, end, name="embeddings.positions")  # [S, H]
        first = emit.op("Gather", first, self.packing.positions, name="embeddings.position_rows")
        if arch.token_type_embeddings:
            shape = (arch.token_types, width)
            types = self.weight("embeddings.token_type", arch.token_type_embeddings, shape)
            if arch.token_types == 1:
                first = emit.op("Add", first, types, name="embeddings.positions_and_type")
            else:
                kinds = emit.op("Gather", types, self.inputs["token_type_ids"], name="embeddings.token_types")
                total = emit.op("Add", total, kinds, name="embeddings.words_and_types")
        total = emit.op("Add", total, first, name="embeddings.sum")
        hidden = Site(0, Role.HIDDEN).name
        if arch.embedding_projection is None:
            return self.layer_norm(total, arch.embeddings_norm, hidden, width)
        norm = self.layer_norm(total, arch.embeddings_norm, "embeddings.norm", width)
        return self.linear(norm, arch.embedding_projection, (width, arch.hidden), PROJECTION, hidden)

    def relative_bias(self) -> ir.Value | None:
        """Write what every layer adds to its scores, where the family has that: [1, heads, S, S]."""
        found = self.arch.relative_bias
        if found is None:
            return None
        table = self.weight(f"{BIAS}.weight", found.weight, (found.buckets, self.arch.heads))
        buckets = buckets_of_distances(found.buckets, found.longest)
        return emit_relative_bias(self.emit, self.inputs["input_ids"], table, buckets)

    def layer(self, layer: int, names: LayerNames, x: ir.Value) -> ir.Value:
        """Write one encoder layer; x: [B, S, H]."""
        arch, emit = self.arch, self.emit

        def site(role: Role) -> str:
            return Site(layer, role).name

        square = (arch.hidden, arch.hidden)
        query = self.linear(x, names.query, square, site(Role.QUERY_GEMM), site(Role.QUERY))
        key = self.linear(x, names.key, square, site(Role.KEY_GEMM), site(Role.KEY))
        value = self.linear(x, names.value, square, site(Role.VALUE_GEMM), site(Role.VALUE))
        inputs = AttentionInputs(
            query=query,
            key=key,
            value=value,
            sentences=self.packing.sentence,
            mask=self.packing.mask,
            bias=self.bias,
        )
        context = emit.op(
            inputs.op_type(),
            *inputs.values(),
            name=site(Role.CONTEXT),
            domain=DOMAIN,
            split=[0, 0, arch.heads, arch.head_size],
            scaling=arch.head_size**-0.5,
        )
        attended = self.linear(
            context, names.attention_output, square, site(Role.ATTENTION_GEMM), f"layer.{layer}.attention_biased"
        )
        total = emit.op("Add", attended, x, name=f"layer.{layer}.attention_sum")
        norm = self.layer_norm(total, names.attention_norm, site(Role.ATTENTION_NORM), arch.hidden)
        wide = self.linear(
            norm,
            names.intermediate,
            (arch.hidden, arch.intermediate),
            site(Role.INTERMEDIATE_GEMM),
            f"layer.{layer}.intermediate_biased",
        )
        active = self.activation(wide, site(Role.ACTIVATION))
        narrow = self.linear(
            active,
            names.output,
            (arch.intermediate, arch.hidden),
            site(Role.OUTPUT_GEMM),
            f"layer.{layer}.output_biased",
        )
        total = emit.op("Add", narrow, norm, name=f"layer.{layer}.output_sum")
        last = layer + 1 == arch.layers
        name = "encoder.output" if last else Site(layer + 1, Role.HIDDEN).name
        return self.layer_norm(total, names.output_norm, name, arch.hidden)

    def activation(self, x: ir.Value, name: str) -> ir.Value:
        """Write the feed-forward activation."""
        if self.arch.activation is Activation.RELU:
            return self.emit.op("Relu", x, name=name)
        approximate = "tanh" if self.arch.activation is Activation.GELU_TANH else "none"
        return self.emit.op("Gelu", x, name=name, approximate=approximate)

    def head(self, head: Head, states: list[ir.Value]) -> list[ir.Value]:
        """Let the task write its head; returns the graph's outputs in the task's order."""
        task = task_from_name(head.task)
        found = []
        for output, (value, sizes) in zip(task.outputs(head), task.emit_head(self, head, states), strict=True):
            assert value.name == output.name, f"{task.name} writes {value.name} where it promises {output.name}"
            value.dtype = ir.DataType.FLOAT
            value.shape = ir.Shape((*(("batch", "sequence") if output.per_token else (SENTENCES,)), *sizes))
            found.append(value)
        return found
