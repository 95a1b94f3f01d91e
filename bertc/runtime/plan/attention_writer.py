"""Attention and what stands before it, as steps: rotary positions, windows, and what distances add to the scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from bertc.errors import InputError
from bertc.ir.attention import OP_TYPES, AttentionInputs, inputs_of
from bertc.ir.disentangled import PositionScores, position_scores_of
from bertc.ir.emit import array_of
from bertc.ir.relative import bias_by_distance
from bertc.ir.rotary import is_rotary, rotary_inputs
from bertc.ir.segments import scores_without_segments
from bertc.ir.sentences import window_of
from bertc.runtime.plan import packing
from bertc.runtime.plan.joined import joined_quantizes
from bertc.runtime.plan.kernel_plan import NO_BUFFER, Op, Rows, Type, distances
from bertc.runtime.plan.needed_rows import Needed
from bertc.runtime.plan.patterns import STORED_ZERO, Dequantize, Quantize, alone, dequantize_of, quantize_of
from bertc.runtime.plan.plan_writer import HIGHEST_CODE, Place, PlanWriter


class AttentionWriter(PlanWriter, ABC):
    """The part of a plan's writing that is about attention."""

    def __init__(self) -> None:
        super().__init__()
        self.longest = 0
        """Tokens of the longest text, once the embeddings are written."""

        self.last = False
        """Whether a text's row is its last token's, and not its first's."""

    @abstractmethod
    def place(self, value: ir.Value, rows: Rows) -> Place:
        """Return where a value lies, computing it if it is not there yet."""

    @abstractmethod
    def put(self, needed: Needed, place: Place) -> None:
        """Let a value lie there."""

    @abstractmethod
    def write_joined(self, values: Sequence[Needed]) -> None:
        """Write products of one source as one step."""

    def function(self, node: ir.Node, rows: Rows, quantize: Quantize | None) -> Place:
        """Write one of the compiler's own functions."""
        if is_rotary(node):
            return self.rotary([node], rows, str(node.outputs[0].name), quantize)
        assert node.op_type in OP_TYPES
        return self.attention(node, rows, quantize)

    def rotary(self, nodes: Sequence[ir.Node], rows: Rows, name: str, quantize: Quantize | None) -> Place:
        """Write the turns of values that lie beside each other, by the same tables."""
        inputs = rotary_inputs(nodes[0])
        places = [self.place(rotary_inputs(node).x, rows) for node in nodes]
        n = sum(place.columns for place in places)
        tables = {
            field: self.keep(name, field, array_of(getattr(inputs, field))[: self.longest]) for field in ("cos", "sin")
        }
        return self.step(
            Type.F32 if quantize is None else Type.U8,
            op=Op.ROTARY,
            name=name,
            rows=rows,
            n=n,
            heads=sum(node.attributes["split"].as_ints()[2] for node in nodes),
            positions=self.longest,
            last=self.row_of_text(rows),
            **tables,
            **places[0].read(),
            **self.quantized(quantize, n, name),
        )

    def write_turned(self, values: Sequence[Needed]) -> None:
        """Write the turns of query and key as one step where they are alike, before others ask for one of them."""
        found = [(needed, *_turned(needed[0])) for needed in values]
        nodes = [node for _, node, _ in found if node is not None]
        if len(nodes) < len(found):
            return
        sources = [(rotary_inputs(node).x, rows) for node, (_, rows) in zip(nodes, values, strict=True)]
        self.write_joined(sources)
        places = [self.place(*source) for source in sources]
        tables = {(rotary_inputs(node).cos, rotary_inputs(node).sin) for node in nodes}
        zeros = {None if quantize is None else quantize.zero for _, _, quantize in found}
        if any(len(each) > 1 for each in ({place.buffer for place in places}, tables, zeros)):
            return
        name = "+".join(str(value.name) for value, _ in values)
        widths = [place.columns for place in places]
        quantize = joined_quantizes([quantize for _, _, quantize in found], widths)
        whole = self.rotary(nodes, values[0][1], name, quantize)
        for needed, place in zip(values, places, strict=True):
            self.put(needed, Place(whole.buffer, place.columns, place.column - places[0].column))

    def attention(self, node: ir.Node, rows: Rows, quantize: Quantize | None) -> Place:
        """Write attention over codes where query, key and value have them, else over numbers."""
        inputs = inputs_of(node)
        values: list[Needed] = [(inputs.query, rows), (inputs.key, Rows.TOKENS), (inputs.value, Rows.TOKENS)]
        found = [dequantize_of(value) for value, _ in values]
        pairs = [each for each in found if each is not None and each.scale.size == 1 and each.zero == STORED_ZERO]
        int8 = len(pairs) == len(values)
        if int8:
            values = [(pair.codes, each) for pair, (_, each) in zip(pairs, values, strict=True)]
        self.write_turned(values[:2])
        self.write_joined(values)
        name = str(node.outputs[0].name)
        bias, segments = scores_without_segments(inputs.bias)
        by_position = None if bias is None else position_scores_of(bias)
        numbers = {} if by_position is None else self.position_scores(by_position, rows, name)
        if segments is not None:
            place = self.place(segments, rows)
            numbers |= {"segments": place.buffer, "segments_column": place.column}
        query, key, value = (self.place(*each) for each in values)
        scaling = node.attributes["scaling"].as_float()
        fields = _scales(inputs, scaling, pairs if int8 else []) | self.quantized(quantize, value.columns, name)
        fields |= numbers if by_position is not None else numbers | self.distance_bias(bias, name)
        fields["near"] = self.near(inputs.near, name)
        return self.step(
            Type.F32 if quantize is None else Type.U8,
            op=Op.ATTENTION,
            name=name,
            rows=rows,
            inputs=(query.buffer, key.buffer, value.buffer),
            in_column=(query.column, key.column, value.column),
            in_zero=STORED_ZERO if int8 else 0,
            k=query.columns,
            n=value.columns,
            heads=node.attributes["split"].as_ints()[2],
            last=self.row_of_text(rows),
            **fields,
        )

    def row_of_text(self, rows: Rows) -> int:
        """Return which token's a text's row is, as a step says it."""
        return int(self.last and rows is Rows.TEXTS)

    def near(self, near: ir.Value | None, name: str) -> int:
        """Return how many places away a key is no longer seen; 0 where all are."""
        if near is None:
            return 0
        window = window_of(near)
        if window is None:
            raise InputError(f"{name}: in a plan a query sees all keys or a window of them; use the target ort-cpu")
        return window + 1 if window + 1 < self.longest else 0

    def position_scores(self, found: PositionScores, rows: Rows, name: str) -> dict[str, Any]:
        """Write queries and keys in numbers, and return what multiplies them with embeddings of distances."""
        values = [
            None if found.query is None else (found.query, rows),
            None if found.key is None else (found.key, Rows.TOKENS),
        ]
        self.write_joined([each for each in values if each is not None])
        places = [Place(NO_BUFFER, 0) if each is None else self.place(*each) for each in values]
        tables = {"distance_key": found.tables.keys, "distance_query": found.tables.queries}
        panels = {
            field: self.keep(name, field, np.stack([packing.float_panels(head.T) for head in table]))
            for field, table in tables.items()
            if table is not None
        }
        (size,) = {table.shape[1] for table in tables.values() if table is not None}
        distances_of_keys = np.arange(distances(self.longest)) - (self.longest - 1)
        end = len(found.rows) // 2
        row = found.rows[np.clip(-distances_of_keys, -end, end) + end].astype(np.int32)
        return {
            "numbers": (places[0].buffer, places[1].buffer),
            "numbers_column": (places[0].column, places[1].column),
            "distances": size,
            "positions": self.longest,
            "distance_row": self.keep(name, "distance_row", row),
            **panels,
        }

    def distance_bias(self, bias: ir.Value | None, name: str) -> dict[str, Any]:
        """Return what is added to the scores; the array is there once, whichever layers add it."""
        if bias is None:
            return {}
        longest = self.longest
        found = bias_by_distance(bias, longest)
        if found is None:
            raise InputError(
                f"{name}: a plan adds to attention's scores only a bias by distance; use the target ort-cpu"
            )
        array = str(bias.name)
        if array not in self.arrays:
            self.arrays[array] = np.pad(found, ((0, 0), (0, distances(longest) - found.shape[1])))
        return {"positions": longest, "distance_bias": array}


def _turned(value: ir.Value) -> tuple[ir.Node | None, Quantize | None]:
    """Read a value that rotary positions give, or codes of one: the node, and how it becomes codes."""
    node, quantize = value.producer(), None
    if node is not None and node.op_type == "QuantizeLinear":
        source, quantize = quantize_of(node)
        node = source.producer() if alone(source) else None
    return (node, quantize) if is_rotary(node) else (None, None)


def _scales(inputs: AttentionInputs, scaling: float, pairs: Sequence[Dequantize]) -> dict[str, Any]:
    """Return the numbers inside attention; `pairs` are those of query, key and value, or nothing for numbers."""
    query, key, value = [float(pair.scale.reshape(())) for pair in pairs] or [1.0, 1.0, 1.0]
    fields: dict[str, Any] = {"scaling": query * key * scaling, "context_scale": value}
    if inputs.scores_scale is not None:
        scores = float(array_of(inputs.scores_scale))
        fields |= {"scores_requant": query * key / scores, "scaling": scores * scaling}
    if inputs.probs_scale is not None:
        probs = float(array_of(inputs.probs_scale))
        high = HIGHEST_CODE if inputs.unsigned else STORED_ZERO - 1
        fields |= {"flag": 1, "probs_high": high, "probs_inverse": 1 / probs, "context_scale": value * probs}
    return fields
