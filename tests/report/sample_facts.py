"""What a build of the tiny classifier found."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from bertc.cache.stages import StageTime
from bertc.ir.scheme import Scheme
from bertc.jobs.plan import method_from_recipe
from bertc.quantize.quantization import Quantization
from bertc.recipe import recipe_from_document
from bertc.report.parts.facts import BuildFacts
from bertc.runtime.machine.cpu import Cpu
from bertc.runtime.optimized import Optimized
from bertc.targets import target_from_name
from tests.tiny import TinyModel, quantized

OPTIMIZED = Optimized(
    runtime="onnxruntime 1.23",
    requirement="onnxruntime",
    fused={"attention": 2, "layer_norm": 5, "skip_layer_norm": 0, "gelu": 2},
    gemms_int8=12,
    gemms_float=0,
    operators={},
)


def facts_of(model: TinyModel, scheme: Scheme | None, **recipe: Any) -> BuildFacts:
    wanted = recipe_from_document({"checkpoint": "tiny", **recipe}, "test")
    origin = {"data": "train.tsv", "rows": 48, "digest": "d", "row_hashes": []}
    return BuildFacts(
        recipe=wanted,
        command="bertc build",
        created=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        checkpoint=model.checkpoint,
        max_length=64,
        target=target_from_name("ort-cpu"),
        quantization=None
        if scheme is None
        else Quantization(
            scheme=scheme, table=replace(model.table, origin=origin), method=method_from_recipe(wanted.calibration)
        ),
        quantized=None if scheme is None else quantized(model, scheme),
        stored=None,
        optimized=OPTIMIZED,
        engine_bytes={"model.onnx": 10},
        reference_bytes=40,
        validation=None,
        comparison=None,
        verdict=None,
        sensitivity={},
        latency=(),
        stages=(StageTime(name="read", seconds=1.0, cached=False, peak_rss_mib=100.0),),
        cpu=Cpu(model="a processor", features=frozenset({"avx512_vnni"}), cores=2, machine="x86_64"),
        versions={"numpy": "2"},
    )
