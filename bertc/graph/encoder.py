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
from bertc.graph.relative_tables import segments_from_weights, tables_from_sinusoids, tables_from_weights
from bertc.ir.architecture import Activation, LayerNames, Norm, Rotary
from bertc.ir.attention import OP_TYPES, AttentionInputs, attention_function
from bertc.ir.disentangled import Distances, Tables, emit_distances, emit_position_scores, rows_of_distances
from bertc.ir.emit import DOMAIN, IR_VERSION, OPSET, Emitter
from bertc.ir.relative import BIAS, buckets_of_distances, emit_relative_bias
from bertc.ir.rms_norm import OP_TYPE as RMS_NORM
from bertc.ir.rms_norm import rms_norm_function
from bertc.ir.rotary import OP_TYPE as ROTARY
from bertc.ir.rotary import RotaryInputs, rotary_function, rotary_tables
from bertc.ir.segments import SegmentKeys, emit_same_segment, emit_segment_scores
from bertc.ir.sentences import SENTENCES, emit_near, emit_packing
from bertc.ir.sites import PROJECTION, WORDS, Role, Site
from bertc.tasks import task_from_name

INPUTS = ("input_ids", "attention_mask", "token_type_ids")


@dataclass(frozen=True, slots=True)
class Parameter:
    """Where an initializer of the graph comes from: tensors of the checkpoint, their rows one under the other, that are
    `transposed` together or as they are. Nearly always it is one.
    """

    names: tuple[str, ...]
    transposed: bool

    def tensors(self, array: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return an initializer's values as tensors of the checkpoint, by their names."""
        parts = np.split(array.T if self.transposed else array, len(self.names))
        return {name: np.array(part, np.float32, order="C") for name, part in zip(self.names, parts, strict=True)}


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
        self.arrays: dict[Parameter, NDArray[np.float32]] = {}
        self.rotary: dict[Rotary, tuple[ir.Value, ir.Value]] = {}
        self.inputs = {
            name: ir.val(name, dtype=ir.DataType.INT64, shape=("batch", "sequence"))
            for name in INPUTS
            if name != "token_type_ids" or self.arch.token_types > 1
        }
        self.ids = self.inputs["input_ids"]
        self.packing = emit_packing(self.emit, self.inputs["attention_mask"])
        self.bias = self.relative_bias()
        self.relative = self.relative_tables()
        self.segments = self.segment_keys()
        sizes = sorted({size for size in self.arch.windows if size is not None})
        self.windows = {size: emit_near(self.emit, self.packing, size) for size in sizes}

    def model(self) -> ir.Model:
        """Embeddings, layers, head."""
        x, residual = self.embeddings()
        states = [residual]
        for layer, names in enumerate(self.arch.layer_names):
            x, residual = self.layer(layer, names, x, residual)
            states.append(residual)
        states[-1] = x
        outputs = self.head(self.checkpoint.head, states)
        graph = ir.Graph(
            list(self.inputs.values()),
            outputs,
            nodes=self.emit.nodes,
            initializers=self.emit.initializers,
            opset_imports={"": OPSET, DOMAIN: 1},
            name="bertc",
        )
        kinds = {node.op_type for node in self.emit.nodes if node.op_type in OP_TYPES}
        functions = [attention_function(kind) for kind in sorted(kinds)]
        functions += [rotary_function()] if self.rotary else []
        functions += [rms_norm_function()] if self.arch.norm is Norm.RMS else []
        return ir.Model(graph, ir_version=IR_VERSION, producer_name="bertc", functions=functions)

    def array(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Read the tensor `name`, whose shape is known."""
        found = self.checkpoint.weights.shape(name)
        if found != shape:
            raise InputError(
                f"{self.checkpoint.path}: weight '{name}' has shape {list(found)} where config.json implies "
                f"{list(shape)}; the configuration and the weights do not belong together"
            )
        return self.checkpoint.weights.array(name)

    def weight(self, value: str, name: str, shape: tuple[int, ...], *, transposed: bool = False) -> ir.Value:
        """Make an initializer called `value` of the tensor `name`, whose shape is known."""
        module, leaf = name.rsplit(".", 1)
        modules = self.arch.stacked.get(module, (module,))
        source = self.parameters[value] = Parameter(tuple(f"{each}.{leaf}" for each in modules), transposed)
        if source not in self.arrays:  # layers may share their weights
            part = (shape[0] // len(modules), *shape[1:])
            array = np.concatenate([self.array(each, part) for each in source.names])
            self.arrays[source] = np.ascontiguousarray(array.T if transposed else array)
        return self.emit.constant(value, self.arrays[source])

    def bias_of(self, value: str, prefix: str, size: int) -> ir.Value:
        """Make the bias of a module, [size]: zeros, which corrections and smoothing may change, where it has none."""
        if prefix in self.arch.without_bias:
            return self.emit.constant(value, np.zeros(size, np.float32))
        return self.weight(value, f"{prefix}.bias", (size,))

    def linear(
        self, x: ir.Value, prefix: str, sizes: tuple[int, int], gemm: str, out: str, *, bias: bool = True
    ) -> ir.Value:
        """Write x W + b with the GEMM's value named `gemm`, the sum's `out`; without `bias` x W. sizes: (in, out)."""
        fan_in, fan_out = sizes
        weight = self.weight(f"{gemm}.weight", f"{prefix}.weight", (fan_out, fan_in), transposed=True)
        product = self.emit.op("MatMul", x, weight, name=gemm)
        if not bias:
            return product
        return self.emit.op("Add", product, self.bias_of(f"{gemm}.bias", prefix, fan_out), name=out)

    def norm(self, x: ir.Value, prefix: str, name: str, width: int) -> ir.Value:
        """Write the family's norm over the last axis, which is so wide."""
        gamma = self.weight(f"{name}.gamma", f"{prefix}.weight", (width,))
        if self.arch.norm is Norm.RMS:
            return self.emit.op(RMS_NORM, x, gamma, name=name, domain=DOMAIN, epsilon=self.arch.epsilon)
        beta = self.bias_of(f"{name}.beta", prefix, width)
        return self.emit.op("LayerNormalization", x, gamma, beta, name=name, axis=-1, epsilon=self.arch.epsilon)

    def embeddings(self) -> tuple[ir.Value, ir.Value]:
        """Write word + position + token type embeddings, their norm, and a projection where the family has one.

        Returns what the first layer's GEMMs read, and what is added to.
        """
        arch, emit, width = self.arch, self.emit, self.arch.embedding_size
        words = self.weight("embeddings.word", arch.word_embeddings, (arch.vocabulary, width))
        total = emit.op("Gather", words, self.ids, name=WORDS)
        first = self.positions()
        if arch.token_type_embeddings:
            shape = (arch.token_types, width)
            types = self.weight("embeddings.token_type", arch.token_type_embeddings, shape)
            if arch.token_types == 1:
                name = "embeddings.positions_and_type"
                first = types if first is None else emit.op("Add", first, types, name=name)
            else:
                kinds = emit.op("Gather", types, self.inputs["token_type_ids"], name="embeddings.token_types")
                total = emit.op("Add", total, kinds, name="embeddings.words_and_types")
        if first is not None:
            total = emit.op("Add", total, first, name="embeddings.sum")
        hidden = Site(0, Role.HIDDEN).name
        if arch.embeddings_norm is None:
            plain = emit.op("Identity", total, name=hidden)
            return plain, plain
        if arch.embedding_projection is None:
            normed = self.norm(total, arch.embeddings_norm, hidden, width)
            return normed, total if arch.bare_residual else normed
        norm = self.norm(total, arch.embeddings_norm, "embeddings.norm", width)
        projected = self.linear(norm, arch.embedding_projection, (width, arch.hidden), PROJECTION, hidden)
        return projected, projected

    def positions(self) -> ir.Value | None:
        """Write the rows of the position table, [B, S, embedding size], where there is one."""
        arch, emit = self.arch, self.emit
        if arch.position_embeddings is None:
            return None
        rows = arch.first_position + arch.positions
        positions = self.weight("embeddings.position", arch.position_embeddings, (rows, arch.embedding_size))
        end = emit.op("Shape", self.inputs["input_ids"], start=1, end=2, name="embeddings.length")
        begin = emit.constant("embeddings.begin", np.array([arch.first_position], np.int64))
        if arch.first_position:
            end = emit.op("Add", end, begin, name="embeddings.end")
        first = emit.op("Slice", positions, begin, end, name="embeddings.positions")  # [S, E]
        return emit.op("Gather", first, self.packing.positions, name="embeddings.position_rows")

    def relative_bias(self) -> ir.Value | None:
        """Write what every layer adds to its scores, where the family has that: [1, heads, S, S]."""
        found = self.arch.relative_bias
        if found is None:
            return None
        table = self.weight(f"{BIAS}.weight", found.weight, (found.buckets, self.arch.heads))
        buckets = buckets_of_distances(found.buckets, found.longest)
        return emit_relative_bias(self.emit, self.inputs["input_ids"], table, buckets)

    def relative_tables(self) -> tuple[Distances, list[Tables]] | None:
        """Write a batch's distances, and read the embeddings of distances of all layers, where the family has those."""
        embeddings, sinusoids = self.arch.relative_embeddings, self.arch.relative_sinusoids
        if sinusoids is not None:
            every = np.arange(2 * sinusoids.longest + 1)
            tables = tables_from_sinusoids(self.array, self.arch, sinusoids)
        elif embeddings is not None:
            every, tables = rows_of_distances(embeddings), tables_from_weights(self.array, self.arch, embeddings)
        else:
            return None
        return emit_distances(self.emit, self.inputs["input_ids"], every), tables

    def segment_keys(self) -> tuple[ir.Value, list[SegmentKeys]] | None:
        """Write which tokens are of one segment, and read what that adds to the scores of all layers, if anything."""
        found = self.arch.relative_sinusoids
        if found is None:
            return None
        same = emit_same_segment(self.emit, self.inputs["token_type_ids"])
        return same, segments_from_weights(self.array, self.arch, found)

    def attention_bias(self, layer: int, query: ir.Value, key: ir.Value) -> ir.Value | None:
        """Write what a layer adds to its scores; None where that is nothing."""
        if self.relative is None:
            return self.bias
        (distances, tables), prefix = self.relative, f"layer.{layer}."
        scores = emit_position_scores(self.emit, query, key, tables[layer], distances, prefix)
        if self.segments is None:
            return scores
        same, keys = self.segments
        of_segments = emit_segment_scores(self.emit, query, same, keys[layer], prefix)
        total = self.emit.op("Add", scores, of_segments, name=f"{prefix}distance_and_segment_scores")
        total.dtype, total.shape = ir.DataType.FLOAT, scores.shape
        return total

    def layer(self, layer: int, names: LayerNames, x: ir.Value, residual: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Write one encoder layer. x: what its first GEMMs read, residual: what is added to, both [B, S, H].

        Returns both for the next layer.
        """
        arch, emit = self.arch, self.emit
        total = emit.op("Add", self.attention(layer, names, x), residual, name=f"layer.{layer}.attention_sum")
        norm = self.norm(total, names.attention_norm, Site(layer, Role.ATTENTION_NORM).name, arch.hidden)
        narrow = self.feed_forward(layer, names, norm)
        total = emit.op("Add", narrow, total if arch.norm_first else norm, name=f"layer.{layer}.output_sum")
        last = layer + 1 == arch.layers
        name = "encoder.output" if last else Site(layer + 1, Role.HIDDEN).name
        after = self.norm(total, names.output_norm, name, arch.hidden)
        return after, total if arch.norm_first else after

    def attention(self, layer: int, names: LayerNames, x: ir.Value) -> ir.Value:
        """Write projections, attention and its output projection; x: [B, S, H]."""
        arch, emit = self.arch, self.emit

        def site(role: Role) -> str:
            return Site(layer, role).name

        sizes = (arch.hidden, arch.attention_size)
        split = [0, 0, arch.heads, arch.head_size]

        def turned(prefix: str, gemm: Role, operand: Role) -> ir.Value:
            if not arch.rotary:
                return self.linear(x, prefix, sizes, site(gemm), site(operand))
            projected = self.linear(x, prefix, sizes, site(gemm), f"{site(operand)}_biased")
            cos, sin = self.rotary_tables(arch.rotary[layer])
            inputs = RotaryInputs(x=projected, positions=self.packing.positions, cos=cos, sin=sin)
            return emit.op(ROTARY, *inputs.values(), name=site(operand), domain=DOMAIN, split=split)

        query = turned(names.query, Role.QUERY_GEMM, Role.QUERY)
        key = turned(names.key, Role.KEY_GEMM, Role.KEY)
        value = self.linear(x, names.value, sizes, site(Role.VALUE_GEMM), site(Role.VALUE))
        inputs = AttentionInputs(
            query=query,
            key=key,
            value=value,
            sentences=self.packing.sentence,
            mask=self.packing.mask,
            bias=self.attention_bias(layer, query, key),
            near=self.windows.get(self.arch.windows[layer] or 0) if self.arch.windows else None,
        )
        context = emit.op(
            inputs.op_type(),
            *inputs.values(),
            name=site(Role.CONTEXT),
            domain=DOMAIN,
            split=split,
            scaling=arch.scaling,
        )
        gemm, biased = site(Role.ATTENTION_GEMM), f"layer.{layer}.attention_biased"
        return self.linear(context, names.attention_output, sizes[::-1], gemm, biased)

    def feed_forward(self, layer: int, names: LayerNames, x: ir.Value) -> ir.Value:
        """Write the two GEMMs with the activation between them; x: [B, S, H]."""
        arch, emit = self.arch, self.emit
        wide = self.linear(
            x,
            names.intermediate,
            (arch.hidden, arch.intermediate * (2 if arch.gated else 1)),
            Site(layer, Role.INTERMEDIATE_GEMM).name,
            f"layer.{layer}.intermediate_biased",
        )
        name = Site(layer, Role.ACTIVATION).name
        if arch.gated:
            halves = (f"layer.{layer}.intermediate_active", f"layer.{layer}.intermediate_gate")
            first, gate = emit.ops("Split", wide, names=halves, axis=-1, num_outputs=2)
            active = emit.op(
                "Mul", self.activation(first, f"layer.{layer}.activated", arch.activation), gate, name=name
            )
        else:
            active = self.activation(wide, name, arch.activation)
        sizes = (arch.intermediate, arch.hidden)
        gemm = Site(layer, Role.OUTPUT_GEMM).name
        return self.linear(active, names.output, sizes, gemm, f"layer.{layer}.output_biased")

    def rotary_tables(self, rotary: Rotary) -> tuple[ir.Value, ir.Value]:
        """Return cos and sin by position, [positions, head_size / 2], the same values for all layers alike."""
        if rotary not in self.rotary:
            cos, sin = rotary_tables(rotary, self.arch.positions, self.arch.head_size)
            name = f"rotary_{len(self.rotary)}"
            self.rotary[rotary] = self.emit.constant(f"{name}.cos", cos), self.emit.constant(f"{name}.sin", sin)
        return self.rotary[rotary]

    def activation(self, x: ir.Value, name: str, kind: Activation) -> ir.Value:
        """Write an activation."""
        if kind is Activation.RELU:
            return self.emit.op("Relu", x, name=name)
        if kind is Activation.SILU:  # x / (1 + e^-x); a node of its own has ONNX from opset 24 on
            return self.emit.op("Mul", x, self.emit.op("Sigmoid", x, name=f"{name}_sigmoid"), name=name)
        approximate = "tanh" if kind is Activation.GELU_TANH else "none"
        return self.emit.op("Gelu", x, name=name, approximate=approximate)

    def dense(self, x: ir.Value) -> ir.Value:
        """Write the layers before a classifier; x: [..., hidden]."""
        arch = self.arch
        for number, (prefix, activation) in enumerate(arch.dense):
            sizes = (arch.hidden, arch.hidden)
            x = self.linear(x, prefix, sizes, f"head.dense_{number}_gemm", f"head.dense_{number}")
            how = {"approximate": "none"} if activation == "Gelu" else {}
            x = self.emit.op(activation, x, name=f"head.dense_{number}_active", **how)
        return x if arch.dense_norm is None else self.norm(x, arch.dense_norm, "head.dense_norm", arch.hidden)

    def token_scores(self, x: ir.Value, out: str) -> ir.Value:
        """Write a masked language model's head; x: [..., hidden], returns [..., vocabulary], called `out`."""
        arch, names = self.arch, self.arch.token_scores
        assert names is not None, "the task has refused a family without"
        sizes = (arch.hidden, arch.embedding_size)
        x = self.linear(x, names.dense, sizes, "head.transform_gemm", "head.transform")
        x = self.activation(x, "head.transform_active", names.activation)
        x = self.norm(x, names.norm, "head.transform_norm", arch.embedding_size)
        own = names.decoder in self.checkpoint.weights
        table = names.decoder if own else arch.word_embeddings
        shape = (arch.vocabulary, arch.embedding_size)
        weight = self.weight("head.decoder_gemm.weight", table, shape, transposed=True)
        scores = self.emit.op("MatMul", x, weight, name="head.decoder_gemm")
        bias = next((name for name in names.biases if name in self.checkpoint.weights), None)
        if bias is None:
            return self.emit.op("Identity", scores, name=out)
        return self.emit.op("Add", scores, self.weight("head.decoder_gemm.bias", bias, shape[:1]), name=out)

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
