"""Store the word and position embeddings as INT8 codes with one scale per row: weight only, gather then dequantize."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bertc.ir.affine import CODE_MAX, WEIGHT_CODE_MIN, scale_from_amax
from bertc.ir.edit import remove_unused, values_by_name
from bertc.ir.emit import Emitter, array_of

TABLES = {"embeddings.words": "embeddings.word", "embeddings.positions": "embeddings.position"}
"""The looked-up value and the initializer it comes from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEmbeddings:
    """The graph with INT8 tables, and the bytes before and after."""

    graph: ir.Model
    bytes_before: int
    bytes_after: int


def store_embeddings(graph: ir.Model) -> StoredEmbeddings:
    """Return a copy whose embedding tables are INT8. Scales are amax / 127 of each row."""
    model = graph.clone()
    values = values_by_name(model)
    before = after = 0
    for value_name, table_name in TABLES.items():
        value = values.get(value_name)
        if value is None:  # a family without a table of positions
            continue
        lookup = value.producer()
        assert lookup is not None
        table = array_of(model.graph.initializers[table_name])
        scale = scale_from_amax(np.abs(table).max(axis=1, keepdims=True))  # [rows, 1]
        codes = np.clip(np.rint(table / scale), WEIGHT_CODE_MIN, CODE_MAX).astype(np.int8)
        before += table.nbytes
        after += codes.nbytes + scale.nbytes
        emit = Emitter()
        code_table = emit.constant(f"{table_name}.codes", codes)
        scale_table = emit.constant(f"{table_name}.scales", scale)
        rest = list(lookup.inputs)[1:]
        attributes = {name: attribute.value for name, attribute in lookup.attributes.items()}
        rows = emit.op(lookup.op_type, code_table, *rest, name=f"{table_name}.row_codes", **attributes)
        floats = emit.op("Cast", rows, to=int(ir.DataType.FLOAT), name=f"{table_name}.row_floats")
        scales = emit.op(lookup.op_type, scale_table, *rest, name=f"{table_name}.row_scales", **attributes)
        value.name = f"{value_name}.replaced"
        result = emit.op("Mul", floats, scales, name=value_name)
        ir.convenience.replace_nodes_and_values(model.graph, lookup, [lookup], emit.nodes, [value], [result])
        result.name = value_name
        for constant in emit.initializers:
            model.graph.register_initializer(constant)
    remove_unused(model)
    return StoredEmbeddings(graph=model, bytes_before=before, bytes_after=after)
