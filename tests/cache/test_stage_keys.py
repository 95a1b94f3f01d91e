"""The key of every cached stage changes with every value that its function takes, and with nothing else."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

import bertc
from bertc.cache.stages import Stage
from bertc.calibrate.method import RangeMethod
from bertc.calibrate.table import CalibrationTable
from bertc.core.array_value import packed_from_array
from bertc.core.crf import Crf
from bertc.core.feature import Feature
from bertc.core.head import Exit, Head, Interaction, Pooling, Projection
from bertc.core.lstm import Direction, Lstm
from bertc.core.outputs import Output
from bertc.data.encoded import Encoded
from bertc.data.rows import row_from_texts
from bertc.export.engine_options import EngineOptions
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.edit import set_constant
from bertc.ir.emit import array_of
from bertc.ir.scheme import MODE_2, Granularity, Scheme
from bertc.ir.sites import Role, Site
from bertc.jobs.evaluation import OpenRun, Run
from bertc.prune.stage import Sparsity
from bertc.quantize.quantization import Quantization
from bertc.runtime.machine.cpu import Cpu
from bertc.search.held import HeldOut
from bertc.search.run import SearchProblem, key_of_problem
from bertc.targets import TargetModel, target_from_name
from tests.tiny import TinyModel, quantized, random_features, tiny_scheme

Variations = Mapping[str, tuple[Any, list[Any]]]
"""Parameter -> a value, and others of which each has to have another key."""


ELSEWHERE = (".train", "tensorrt", "runtime.cuda", "kernels", "native._library", "serve.triton_python")
"""Modules without stages that need packages which are not always there."""


def every_stage() -> dict[str, Stage[Any, Any]]:
    """Find the stages of the package."""
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(bertc.__path__, "bertc.")
        if not any(part in module.name for part in ELSEWHERE)
    ]
    found = (value for module in modules for value in vars(module).values() if isinstance(value, Stage))
    return {stage.name: stage for stage in found}


STAGES = every_stage()


def encoded(features: tuple[Feature, ...]) -> Encoded:
    rows = tuple(row_from_texts(f"text {number}") for number in range(len(features)))
    return Encoded(path="a.tsv", digest="d", rows=rows, features=features, max_length=64)


TEXTS = random_features(6)
OTHER_TYPES = (replace(TEXTS[0], token_type_ids=TEXTS[0].token_type_ids * 0), *TEXTS[1:])
ENCODED = (encoded(TEXTS), [encoded(TEXTS[:-1]), encoded(TEXTS[::-1]), encoded(OTHER_TYPES)])
CPU = Cpu(model="one", features=frozenset({"avx2"}), cores=2)
SPARSITY = Sparsity(criterion="wanda")


@pytest.fixture
def values(tiny_classifier: TinyModel, tmp_path: Path) -> Variations:
    """Every parameter that some stage has."""
    table = tiny_classifier.table
    scheme, method = tiny_scheme("1"), RangeMethod()
    own = Quantization(scheme=scheme, table=table, method=method)
    run = Run(model=written(tmp_path / "a", b"one"), threads=1)
    return {
        "graph": (tiny_classifier.graph, [*changed_graphs(tiny_classifier)]),
        "texts": ENCODED,
        "exponent": (0.9, [0.8]),
        "per_site": ((), [("smoothing",)]),
        "quantization": (
            own,
            [
                *(replace(own, scheme=other) for other in changed_schemes(scheme)),
                *(replace(own, table=other) for other in changed_tables(table)),
                replace(own, method=RangeMethod(calibrator="max")),
                replace(own, method=RangeMethod(percentile=99.0)),
            ],
        ),
        "choices": (((False, False), (True, False)), [((False, False),)]),
        "quantized": (quantized(tiny_classifier, scheme), [quantized(tiny_classifier, tiny_scheme("2"))]),
        "table": (table, [*changed_tables(table)]),
        "sparsity": (SPARSITY, [replace(SPARSITY, **{name: value}) for name, value in CHANGED_SPARSITY.items()]),
        "head": (HEAD, [replace(HEAD, **{name: value}) for name, value in CHANGED_HEAD.items()]),
        "run": (
            OpenRun(run),
            [
                OpenRun(replace(run, threads=2)),
                OpenRun(replace(run, row_length=64)),
                OpenRun(replace(run, model=written(tmp_path / "b", b"two"))),
                OpenRun(replace(run, model=replace(run.model, target=target_from_name("ort-cpu")))),
            ],
        ),
        "outputs": ((OUTPUT,), [(), (replace(OUTPUT, per_token=True),), (replace(OUTPUT, name="scores"),)]),
        "cpu": (CPU, [replace(CPU, model="other"), replace(CPU, features=frozenset())]),
    }


OUTPUT = Output(name="logits", per_token=False)
ZEROS = np.zeros((1, 1), np.float32)
GATES = packed_from_array(np.zeros((4, 1), np.float32))
DIRECTION = Direction(inputs=GATES, states=GATES, bias=packed_from_array(np.zeros(4, np.float32)))
HEAD = Head(task="sequence-classification", labels=("a", "b"))
CHANGED_HEAD = {
    "task": "token-classification",
    "labels": ("a", "c"),
    "problem": "regression",
    "pooling": "mean",
    "normalize": True,
    "layer_weights": (0.5, 0.5),
    "dimensions": 64,
    "similarity": "dot",
    "squash": "sigmoid",
    "crf": Crf(transitions=((0.0, 1.0), (0.0, 0.0)), start=(0.0, 0.0), end=(0.0, 0.0)),
    "lstm": Lstm(layers=((DIRECTION,),), weight=packed_from_array(ZEROS), bias=packed_from_array(ZEROS[0])),
    "exits": (Exit(layer=0, dense="pooler.dense", classifier="classifiers.0"),),
    "exit_threshold": 0.5,
    "mask": 4,
    "projections": (Projection(folder="2_Dense", sizes=(8, 4), bias=True, tanh=True),),
    "interaction": Interaction(
        query_marker=1, document_marker=2, query_length=8, document_length=16, filler=3, filler_seen=False
    ),
}
CHANGED_SPARSITY = {"criterion": "magnitude", "skip": ("layer.0",), "permute": True}
CHANGED_SCHEME = {
    "mode": MODE_2,
    "granularity": Granularity.TENSOR,
    "smoothing": 0.5,
    "tie_qkv": True,
    "one_sided": True,
    "split_outliers": True,
    "float_sites": frozenset({Site(0, Role.ACTIVATION)}),
    "float_roles": frozenset({Role.ACTIVATION}),
}


def written(folder: Path, content: bytes) -> TargetModel:
    """Write a model file."""
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(content)
    return TargetModel(target=target_from_name("float"), path=folder / "model.onnx")


def changed_graphs(model: TinyModel) -> Iterator[Any]:
    """Change one weight; a node; the head."""
    other = model.graph.clone()
    weight = other.graph.initializers["layer.0.query_gemm.weight"]
    array = np.array(array_of(weight))
    array[0, 0] += 1
    set_constant(weight, array)
    yield other
    other = model.graph.clone()
    norm = next(node for node in other.graph if node.op_type == "LayerNormalization")
    norm.attributes["epsilon"] = ir.AttrFloat32("epsilon", 0.5)
    yield other
    head = Head(task="feature-extraction", pooling=Pooling.MEAN)
    yield graph_from_checkpoint(replace(model.checkpoint, head=head))


def test_every_field_of_a_head_is_changed() -> None:
    assert CHANGED_HEAD.keys() == {field.name for field in fields(Head)}


def changed_schemes(scheme: Scheme) -> Iterator[Scheme]:
    assert CHANGED_SCHEME.keys() == {field.name for field in fields(Scheme)}
    yield from (replace(scheme, **{name: value}) for name, value in CHANGED_SCHEME.items())


def changed_tables(table: CalibrationTable) -> Iterator[CalibrationTable]:
    """Change what a table says, each field of it but the origin, which no stage computes with."""
    site = Site(0, Role.ACTIVATION)
    louder = replace(table.sites[site], amax=99.0)
    yield replace(table, sites={**table.sites, site: louder})
    yield replace(table, smoothed={**table.smoothed, site: louder})
    yield replace(table, smoothing={**table.smoothing, site: table.smoothing[site] * 2})
    yield replace(table, exponent=0.1)
    yield replace(table, checkpoint="other")
    yield replace(table, overrides={site: 1.0})


@pytest.mark.parametrize("name", STAGES)
def test_every_value_that_a_stage_takes_is_in_its_key(name: str, values: Variations) -> None:
    stage = STAGES[name]
    taken = list(inspect.signature(stage.function).parameters)[1:]
    assert taken and set(taken) <= values.keys(), "a new parameter needs a row in `values`"
    base = {parameter: values[parameter][0] for parameter in taken}
    key = stage.key(**base)
    assert stage.key(**base) == key
    for parameter in taken:
        for number, other in enumerate(values[parameter][1]):
            assert stage.key(**{**base, parameter: other}) != key, f"{parameter}, variation {number}"


def test_the_rows_of_values_have_something_to_change(values: Variations) -> None:
    assert all(others for _, others in values.values())
    used = {name for stage in STAGES.values() for name in list(inspect.signature(stage.function).parameters)[1:]}
    assert used == values.keys(), "no row is left over"


def test_where_text_lies_changes_no_key() -> None:
    texts = ENCODED[0]
    moved = replace(texts, path="b.tsv", digest="e", rows=texts.rows[::-1], max_length=128)
    assert moved.cache_key() == texts.cache_key()


def test_every_value_that_a_search_takes_is_in_its_key(tiny_classifier: TinyModel, tmp_path: Path) -> None:
    scheme = tiny_scheme("1")
    texts = ENCODED[0]
    problem = SearchProblem(
        checkpoint=tiny_classifier.checkpoint,
        graph=tiny_classifier.graph,
        target=target_from_name("ort-cpu"),
        options=EngineOptions(),
        quantization=Quantization(scheme=scheme, table=tiny_classifier.table, method=RangeMethod()),
        starts=(scheme,),
        calibration=texts,
        held=HeldOut(head=HEAD, texts=texts, labelled=True, gates=(), decide="point"),
        reference=written(tmp_path / "a", b"one"),
        scratch=tmp_path,
        trials=4,
        workers=1,
        threads=1,
    )
    key = key_of_problem(problem)
    assert key_of_problem(problem) == key
    other = encoded(TEXTS[:-1])
    changes: dict[str, Any] = {
        "checkpoint": replace(tiny_classifier.checkpoint, head=HEAD),
        "graph": next(changed_graphs(tiny_classifier)),
        "target": target_from_name("openvino"),
        "options": EngineOptions(attention="packed"),
        "quantization": replace(problem.quantization, method=RangeMethod(calibrator="max")),
        "calibration": other,
        "held": replace(problem.held, texts=other),
        "reference": written(tmp_path / "b", b"two"),
        "threads": 2,
    }
    for name, value in changes.items():
        assert key_of_problem(replace(problem, **{name: value})) != key, name
    # Which schemes are tried, how many, where and by what gates, is no part of a figure.
    assert key_of_problem(replace(problem, starts=(), trials=9, workers=2, scratch=tmp_path / "c")) == key
    rest = {field.name for field in fields(SearchProblem)} - changes.keys()
    assert rest == {"starts", "trials", "workers", "scratch"}
