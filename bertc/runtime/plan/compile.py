"""A float or Q/DQ graph to a plan: one kernel call for each product and what follows it.

Written by demand, from the outputs back: a value is computed when something that was not fused asks for it, once for
all tokens, or for each text's first or last token where nothing else of it is read. The mask, positions and packing
have no steps: the engine knows the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from bertc.errors import InputError
from bertc.ir.emit import DOMAIN, array_of
from bertc.ir.rms_norm import is_norm, is_rms_norm
from bertc.ir.rotary import is_rotary, rotary_inputs
from bertc.ir.segments import has_segments
from bertc.runtime.plan import packing
from bertc.runtime.plan.attention_writer import AttentionWriter
from bertc.runtime.plan.joined import joined_chains, joined_quantizes, signature
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Op, Output, Plan, Rows, Step, Type
from bertc.runtime.plan.leaving import exit_step, exits_behind_norms, layers_output, with_what_goes_on
from bertc.runtime.plan.needed_rows import Needed, needed_rows, rows_of_output
from bertc.runtime.plan.patterns import (
    Chain,
    Embedding,
    Quantize,
    alone,
    chain_of,
    dequantize_of,
    embedding_of,
    produced,
    quantize_of,
)
from bertc.runtime.plan.plan_writer import Place
from bertc.runtime.plan.row_patterns import chosen_of, marked_of, pooled_of, unit_of
from bertc.runtime.plan.shared_buffers import share_buffers

LONGEST = 1 << 14
"""Tokens of a text of a model that knows no positions but distances, of which the farthest share an embedding."""

ANY_TYPE = (1 << 31) - 1
"""More than the types of tokens that are only told apart may be."""


def plan_from_graph(graph: ir.Model) -> tuple[Plan, Mapping[str, NDArray[Any]]]:
    """Compile a graph whose attention still is one node per layer. Returns the plan and its arrays by name.

    Raises `InputError` for a node that the engine has no kernel for, naming it.
    """
    compiler = _Compiler(graph)
    plan = share_buffers(with_what_goes_on(compiler.plan()))
    return plan, compiler.arrays


class _Compiler(AttentionWriter):
    """Writes one plan, in which every value has a buffer of its own. Lives for one call of `plan_from_graph`."""

    def __init__(self, graph: ir.Model) -> None:
        super().__init__()
        self.graph = graph
        self.needed = needed_rows(graph)
        self.places: dict[Needed, Place] = {}
        self.norms: dict[Needed, int] = {}
        self.exits = exits_behind_norms(graph)
        self.last = any(found[1] for found in map(chosen_of, graph.graph) if found is not None)

    def plan(self) -> Plan:
        """Write all steps."""
        # In order, so that recursion stays shallow whatever the number of layers.
        for node in self.graph.graph:
            if is_norm(node):
                for rows in Rows:
                    if (node.outputs[0], rows) in self.needed and not self.chosen(node.outputs[0], rows):
                        self.norm(node, rows)
                if node.outputs[0] in self.exits:
                    scores = self.exits[node.outputs[0]]
                    self.steps.append(exit_step(self.graph, scores, self.place(scores, Rows.TEXTS)))
        outputs = []
        left = set(self.exits.values())
        for value in [each for each in self.graph.graph.outputs if each not in left]:
            rows = rows_of_output(value)
            place = self.place(value, rows)
            assert value.shape is not None
            outputs.append(
                Output(
                    name=str(value.name),
                    buffer=place.buffer,
                    column=place.column,
                    columns=place.columns,
                    per_token=rows is Rows.TOKENS,
                    vector=len(value.shape) == (3 if rows is Rows.TOKENS else 2),
                )
            )
        outputs += layers_output(left)
        return Plan(steps=tuple(self.steps), buffers=tuple(self.buffers), outputs=tuple(outputs))

    def chosen(self, value: ir.Value, rows: Rows) -> bool:
        """Say whether rows of texts are chosen from those of tokens, because both are needed."""
        return rows is Rows.TEXTS and (value, Rows.TOKENS) in self.needed

    def place(self, value: ir.Value, rows: Rows) -> Place:
        """Return where a value lies (codes, if a QuantizeLinear gives it), computing it if it is not there yet."""
        if (value, rows) not in self.places:
            if self.chosen(value, rows):
                tokens = self.place(value, Rows.TOKENS)
                kind = self.buffers[tokens.buffer].type
                fields: dict[str, Any] = {"op": Op.FIRST, "last": self.row_of_text(rows), **tokens.read()}
                found = self.step(kind, name=f"{value.name}.first", rows=rows, n=tokens.columns, **fields)
            else:
                found = self.computed(value, rows)
            self.places[value, rows] = found
        return self.places[value, rows]

    def put(self, needed: Needed, place: Place) -> None:
        """Let a value lie there."""
        self.places[needed] = place

    def computed(self, value: ir.Value, rows: Rows) -> Place:
        """Write the steps behind a value."""
        node = value.producer()
        assert node is not None, f"{value.name} is no computed value"
        if node.op_type == "QuantizeLinear":
            return self.codes(value, node, rows)
        if is_norm(node):
            return self.norm_floats(node, rows)
        if node.domain == DOMAIN:
            return self.function(node, rows, None)
        written = WRITTEN.get(node.op_type)
        found = None if written is None else written(self, value, rows)
        if found is not None:
            return found
        chain = chain_of(value)
        if chain.source is value and dequantize_of(value) is None:
            raise InputError(f"{value.name}: no kernel of a plan computes {node.op_type} here; use the target ort-cpu")
        return self.chain(chain, rows, str(value.name), None)

    def codes(self, value: ir.Value, node: ir.Node, rows: Rows) -> Place:
        """Write a quantization into the step before it where that gives nothing else, or as a step."""
        source, quantize = quantize_of(node)
        producer = source.producer()
        if producer is not None and is_norm(producer) and not self.chosen(source, rows):
            place = self.norm_codes(producer, rows, quantize)
            if place is not None:
                return place
        if not alone(source):
            return self.chain(Chain(source=source), rows, str(value.name), quantize)
        if producer is not None and producer.domain == DOMAIN:
            return self.function(producer, rows, quantize)
        return self.chain(chain_of(source), rows, str(value.name), quantize)

    def chain(self, chain: Chain, rows: Rows, name: str, quantize: Quantize | None) -> Place:
        """Write a product, or a value, and what follows it."""
        dequantize = dequantize_of(chain.source)
        weights = chain.weights
        if weights is not None and (weights.scale is None or dequantize is None or dequantize.scale.size != 1):
            dequantize = None  # a float product
        source = self.place(chain.source if dequantize is None else dequantize.codes, rows)
        n = source.columns if weights is None else weights.values.shape[1]
        fields: dict[str, Any] = {"op": Op.FINISH, "k": source.columns, **source.read()}
        scale = None if dequantize is None else dequantize.scale
        if dequantize is not None:
            fields["in_zero"] = dequantize.zero
        if weights is not None and dequantize is not None:
            assert weights.scale is not None
            scale = dequantize.scale.reshape(()) * weights.scale
            fields |= {
                "op": Op.GEMM_INT8,
                "weights": self.keep(name, "weights", packing.int8_panels(weights.values)),
                "compensation": self.keep(name, "compensation", packing.compensation(weights.values, dequantize.zero)),
            }
        elif weights is not None:
            panels = packing.float_panels(weights.floats())
            fields |= {"op": Op.GEMM_F32, "weights": self.keep(name, "weights", panels)}
        fields |= self.finish(chain, scale, n, name) | self.residual(chain, rows, n, name)
        fields |= self.quantized(quantize, n, name)
        kind = Type.F32 if quantize is None else Type.U8
        return self.step(kind, name=name, rows=rows, n=n, **fields)

    def residual(self, chain: Chain, rows: Rows, n: int, name: str) -> dict[str, Any]:
        """Return what is added behind the activation."""
        if chain.residual is None:
            return {}
        dequantize = dequantize_of(chain.residual)
        place = self.place(chain.residual if dequantize is None else dequantize.codes, rows)
        assert place.column == 0 and place.columns == n
        if chain.gated and dequantize is not None:
            raise InputError(f"{name}: a plan multiplies by a gate of numbers; use the target ort-cpu")
        if dequantize is None:
            return {"residual": place.buffer, "gated": int(chain.gated)}
        scale = self.vector(name, "residual_scale", dequantize.scale, n)
        return {"residual": place.buffer, "residual_zero": dequantize.zero, "residual_scale": scale}

    def norm(self, node: ir.Node, rows: Rows) -> int:
        """Write a LayerNorm or an RMSNorm; what it gives is added when it is asked for. Returns the step's number."""
        value = node.outputs[0]
        if (value, rows) not in self.norms:
            source, gamma, *beta = node.inputs
            assert source is not None
            place = self.place(source, rows)
            name, n = str(value.name), place.columns
            step = Step(
                op=Op.NORM,
                name=name,
                rows=rows,
                n=n,
                epsilon=node.attributes["epsilon"].as_float(),
                gamma=self.vector(name, "gamma", array_of(gamma), n),
                beta="".join(self.vector(name, "beta", array_of(each), n) for each in beta),
                flag=int(is_rms_norm(node)),
                **place.read(),
            )
            self.norms[value, rows] = len(self.steps)
            self.steps.append(step)
        return self.norms[value, rows]

    def norm_floats(self, node: ir.Node, rows: Rows) -> Place:
        """Let a norm give numbers."""
        number = self.norm(node, rows)
        step = self.steps[number]
        place = self.buffer(Type.F32, rows, step.n)
        self.steps[number] = replace(step, out=place.buffer)
        return place

    def norm_codes(self, node: ir.Node, rows: Rows, quantize: Quantize) -> Place | None:
        """Let a norm give codes; None if it gives others already."""
        number = self.norm(node, rows)
        step = self.steps[number]
        if step.out_codes != NO_BUFFER:
            return None
        place = self.buffer(Type.U8, rows, step.n)
        self.steps[number] = replace(step, out_codes=place.buffer, **self.quantized(quantize, step.n, step.name))
        return place

    def write_joined(self, values: Sequence[Needed]) -> None:
        """Write products of one source, with the same things behind them, as one step, in columns beside each other."""
        groups: dict[Any, list[tuple[Needed, Chain, Quantize | None]]] = {}
        for value, rows in values:
            quantize, source = None, value
            node = produced(value, "QuantizeLinear")
            if node is not None:
                source, quantize = quantize_of(node)
            chain = chain_of(source)
            fused = node is None or alone(source)
            if fused and chain.weights is not None and chain.residual is None and not self.chosen(value, rows):
                groups.setdefault(signature(chain, rows, quantize), []).append(((value, rows), chain, quantize))
        for group in groups.values():
            done = any(needed in self.places for needed, _, _ in group)
            if len(group) > 1 and not done:
                self.write_group(group)

    def write_group(self, group: Sequence[tuple[Needed, Chain, Quantize | None]]) -> None:
        """Write one step for several products."""
        chains = [chain for _, chain, _ in group]
        widths = [chain.weights.values.shape[1] for chain in chains if chain.weights is not None]
        (_, rows), name = group[0][0], "+".join(str(value.name) for (value, _), _, _ in group)
        quantize = joined_quantizes([quantize for _, _, quantize in group], widths)
        whole = self.chain(joined_chains(chains), rows, name, quantize)
        column = 0
        for (needed, _, _), width in zip(group, widths, strict=True):
            self.places[needed] = Place(whole.buffer, width, column)
            column += width

    def first(self, value: ir.Value, rows: Rows) -> Place | None:
        """The first or last tokens' rows of a value."""
        node = value.producer()
        chosen = None if node is None else chosen_of(node)
        return None if chosen is None else self.place(chosen[0], Rows.TEXTS)

    def gathered(self, value: ir.Value, rows: Rows) -> Place | None:
        """Write the rows of texts' marks, or the embeddings."""
        node = value.producer()
        marked = None if node is None else marked_of(node)
        if marked is None:
            return self.embedded(value, rows)
        place = self.place(marked[0], Rows.TOKENS)
        kind = self.buffers[place.buffer].type
        fields: dict[str, Any] = {"op": Op.MARKED, "token": marked[1], **place.read()}
        return self.step(kind, name=str(value.name), rows=rows, n=place.columns, **fields)

    def embedded(self, value: ir.Value, rows: Rows) -> Place | None:
        """Write the embeddings."""
        found = embedding_of(value)
        if found is None:
            return None
        name = str(value.name)
        fields: dict[str, Any] = self.table(name, "word", found.word) | {"first_position": found.first_position}
        if found.position is not None:
            if (found.word.scale is None) != (found.position.scale is None):
                raise InputError(f"{name}: a plan has both embedding tables in INT8 or none")
            fields |= self.table(name, "position", found.position)
        self.longest = _longest(found, self.graph)
        if found.types is not None:
            fields |= {"type": self.keep(name, "type", found.types), "types": len(found.types)}
        elif has_segments(self.graph):
            fields["types"] = ANY_TYPE
        return self.step(
            Type.F32,
            op=Op.EMBED,
            name=name,
            rows=rows,
            n=found.word.values.shape[1],
            vocabulary=len(found.word.values),
            positions=found.first_position + self.longest,
            flag=int(found.word.scale is not None),
            **fields,
        )

    def divided(self, value: ir.Value, rows: Rows) -> Place | None:
        """Write vectors of length 1, or a text's mean or maximum, or SPLADE's logarithm of that."""
        node = value.producer()
        assert node is not None
        unit, pooled = unit_of(node), pooled_of(node)
        name = str(value.name)
        if unit is not None:
            place = self.place(unit[0], rows)
            fields: dict[str, Any] = {"op": Op.UNIT, "epsilon": unit[1]}
        elif pooled is not None:
            place = self.place(pooled[0], Rows.TOKENS)
            fields = {"op": Op.POOL, "flag": int(pooled[1])}
        else:
            return None
        return self.step(Type.F32, name=name, rows=rows, n=place.columns, **fields, **place.read())

    def view(self, value: ir.Value, rows: Rows) -> Place | None:
        """Return columns of a value."""
        node = value.producer()
        assert node is not None and node.inputs[0] is not None
        chain = chain_of(value)
        if chain.half is not None:
            return self.chain(chain, rows, str(value.name), None)
        place = self.place(node.inputs[0], rows)
        if node.op_type == "Slice":
            begin, end = (int(array_of(node.inputs[each])[0]) for each in (1, 2))
            return replace(place, column=place.column + begin, columns=min(end, place.columns) - begin)
        if node.op_type == "Split":
            width = place.columns // len(node.outputs)
            return replace(place, column=place.column + node.outputs.index(value) * width, columns=width)
        return place


WRITTEN: Mapping[str, Callable[[_Compiler, ir.Value, Rows], Place | None]] = {
    "Add": _Compiler.embedded,
    "Gather": _Compiler.gathered,
    "Mul": _Compiler.embedded,
    "GatherND": _Compiler.first,
    "Div": _Compiler.divided,
    "Log": _Compiler.divided,
    "ReduceMax": _Compiler.divided,
    "Identity": _Compiler.view,
    "Squeeze": _Compiler.view,
    "Slice": _Compiler.view,
    "Split": _Compiler.view,
}
"""What is written for a type of node; None where it is none of these, but perhaps part of what follows a product."""


def _longest(embedding: Embedding, graph: ir.Model) -> int:
    """Return how many tokens a text may have: as many as there are positions."""
    if embedding.position is not None:
        return len(embedding.position.values) - embedding.first_position
    tables = [rotary_inputs(node).cos for node in graph.graph if is_rotary(node)]
    return min((len(array_of(table)) for table in tables), default=LONGEST)
