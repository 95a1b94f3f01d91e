"""The engines of the benchmark: what each is, how it is built and how it is opened.

Every peer stands here twice, as its documentation has it and as well as we could configure it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

DOCUMENTED, BEST = "as documented", "best configuration"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """One row of the tables.

    `model` names the function that writes the model, as file:function of this folder with its arguments; engines that
    share it differ in `options`, with which `kind` opens the files. `python` is the environment that builds it and
    `runs_in` the one that runs it. `streams_only` is for whole texts alone.
    """

    name: str
    tool: str
    how: str
    kind: str
    model: str
    arguments: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    python: str = "main"
    runs_in: str = "main"
    streams_only: bool = False

    @property
    def built(self) -> str:
        """Name of the model's folder."""
        values = [str(value) for value in self.arguments.values()]
        return "-".join([self.model.replace(":", "-"), *values]).replace(" ", "-")


LATENCY_HINT = {"PERFORMANCE_HINT": "LATENCY"}
HINTS = {"f32": {"INFERENCE_PRECISION_HINT": "f32"}, "bf16": {"INFERENCE_PRECISION_HINT": "bf16"}}


def _onnxruntime() -> list[Engine]:
    def engine(name: str, how: str, model: str, note: str, **arguments: Any) -> Engine:
        return Engine(
            name=name,
            tool="onnxruntime",
            how=how,
            kind="onnxruntime",
            model=f"build_onnxruntime:{model}",
            arguments=arguments,
            note=note,
        )

    return [
        engine("ORT FP32 (export)", DOCUMENTED, "exported", "torch.onnx export, session defaults"),
        engine("ORT FP32", BEST, "fused", "onnxruntime.transformers optimizer: fused attention"),
        engine("ORT dynamic INT8 (export)", DOCUMENTED, "dynamic", "quantize_dynamic of the export", source="exported"),
        engine("ORT dynamic INT8", BEST, "dynamic", "quantize_dynamic of the fused model, per channel", source="fused"),
        engine(
            "ORT static INT8 (all)",
            DOCUMENTED,
            "static",
            "quant_pre_process, quantize_static of every operator, MinMax, QDQ",
            recipe="documented",
        ),
        engine(
            "ORT static INT8",
            BEST,
            "static",
            "quantize_static of MatMul only, per channel, MinMax, QDQ",
            recipe="matmul",
        ),
    ]


def _openvino() -> list[Engine]:
    def engine(name: str, how: str, note: str, model: str, options: dict[str, Any], **more: Any) -> Engine:
        return Engine(
            name=name,
            tool="openvino",
            how=how,
            kind="openvino",
            model=f"build_openvino:{model}",
            options=LATENCY_HINT | options,
            note=note,
            **more,
        )

    quantized = {"arguments": {"preset": "default"}}
    found = [
        engine("OpenVINO FP32", BEST, "latency hint, FP32 hint", "converted", HINTS["f32"]),
        engine("OpenVINO default", DOCUMENTED, "latency hint; BF16 where the processor has it", "converted", {}),
        engine("OpenVINO BF16", BEST, "latency hint, BF16 hint", "converted", HINTS["bf16"]),
        engine("NNCF INT8", DOCUMENTED, "nncf.quantize for transformers, latency hint", "quantized", {}, **quantized),
        engine("NNCF INT8, FP32 hint", BEST, "the same, what is float in FP32", "quantized", HINTS["f32"], **quantized),
        engine(
            "NNCF INT8, BF16 hint", BEST, "the same, what is float in BF16", "quantized", HINTS["bf16"], **quantized
        ),
        engine(
            "NNCF INT8, performance preset",
            BEST,
            "symmetric activations, latency hint",
            "quantized",
            {},
            arguments={"preset": "performance"},
        ),
        engine(
            "NNCF INT8, eager export",
            BEST,
            "attention exported as products and softmax, FP32 hint",
            "quantized",
            HINTS["f32"],
            arguments={"preset": "default", "attention": "eager"},
        ),
    ]
    streams = {"PERFORMANCE_HINT": "THROUGHPUT"}
    for name, options in (("", {}), (", FP32 hint", HINTS["f32"])):
        found.append(
            Engine(
                name=f"NNCF INT8{name}, streams",
                tool="openvino",
                how=BEST,
                kind="openvino-streams",
                model="build_openvino:quantized",
                arguments={"preset": "default"},
                options=streams | options,
                note="throughput hint, asynchronous requests",
                streams_only=True,
            )
        )
    return found


def _torch() -> list[Engine]:
    def engine(name: str, how: str, note: str, **options: Any) -> Engine:
        return Engine(
            name=name, tool="torch", how=how, kind="torch", model="build_torch:nothing", options=options, note=note
        )

    return [
        engine("torch eager", DOCUMENTED, "transformers model, inference mode"),
        engine("torch eager BF16", BEST, "the same in bfloat16", dtype="bfloat16"),
        engine("torch.compile", DOCUMENTED, "torch.compile(model)", compile=True),
        engine("torch.compile BF16", BEST, "freezing, bfloat16", compile=True, freezing=True, dtype="bfloat16"),
        Engine(
            name="X86 Inductor INT8",
            tool="torchao",
            how=DOCUMENTED,
            kind="torch-int8",
            model="build_torch:nothing",
            note="torchao pt2e, X86InductorQuantizer, freezing",
        ),
    ]


def _optimum() -> list[Engine]:
    def engine(name: str, how: str, note: str, **arguments: Any) -> Engine:
        return Engine(
            name=name,
            tool="optimum-onnx",
            how=how,
            kind="onnxruntime",
            model="build_optimum:dynamic",
            arguments=arguments,
            note=note,
            python="optimum",
        )

    return [
        engine("optimum-onnx INT8", DOCUMENTED, "optimum-cli onnxruntime quantize --avx512_vnni", level="none"),
        engine("optimum-onnx INT8, O1", BEST, "optimize -O1 (quantize refuses -O2), per channel", level="O1"),
    ]


def _llama() -> list[Engine]:
    def engine(name: str, how: str, note: str, **options: Any) -> Engine:
        return Engine(
            name=name,
            tool="llama.cpp",
            how=how,
            kind="llama",
            model="build_llama:converted",
            options=options,
            note=note,
            python="llama",
            runs_in="llama",
        )

    return [
        engine("llama.cpp Q8_0", DOCUMENTED, "its converter, embeddings at llama-cpp-python's defaults", tokens=512),
        engine(
            "llama.cpp Q8_0, a text a time", BEST, "no text beside another: it computes all pairs of tokens", tokens=1
        ),
    ]


def _bertc() -> list[Engine]:
    def engine(name: str, note: str, **arguments: Any) -> Engine:
        return Engine(
            name=name,
            tool="bertc",
            how=DOCUMENTED,
            kind="bertc",
            model="build_bertc:built",
            arguments=arguments,
            note=note,
        )

    return [
        engine("bertc float", "--target float", target="float"),
        engine("bertc openvino-bf16", "--target openvino-bf16", target="openvino-bf16"),
        engine("bertc ort-cpu-dynamic", "--target ort-cpu-dynamic", target="ort-cpu-dynamic"),
        engine("bertc ort-cpu 1", "--target ort-cpu", target="ort-cpu", mode="1"),
        engine("bertc ort-cpu 2 channel", "--int8-mode 2", target="ort-cpu", mode="2", granularity="channel"),
        engine("bertc openvino 1", "--target openvino", target="openvino", mode="1"),
        engine("bertc openvino 2 channel", "--int8-mode 2", target="openvino", mode="2", granularity="channel"),
        engine("bertc openvino 2 tensor", "--int8-mode 2", target="openvino", mode="2", granularity="tensor"),
        engine("bertc native 1", "--target native", target="native", mode="1"),
        engine("bertc native 2 channel", "--int8-mode 2", target="native", mode="2", granularity="channel"),
    ]


def all_engines() -> list[Engine]:
    """List the engines in the order of the tables."""
    return [*_onnxruntime(), *_optimum(), *_openvino(), *_torch(), *_llama(), *_bertc()]


QUICK = (
    *("ORT FP32", "ORT dynamic INT8", "ORT static INT8", "OpenVINO FP32", "OpenVINO BF16"),
    *("NNCF INT8", "NNCF INT8, FP32 hint", "NNCF INT8, BF16 hint", "bertc openvino-bf16", "bertc ort-cpu-dynamic"),
    *("bertc ort-cpu 1", "bertc openvino 1", "bertc openvino 2 channel", "bertc native 1", "bertc native 2 channel"),
)
"""What --only quick stands for."""

YARDSTICKS = tuple(
    Engine(name=name, tool="yardstick", how=BEST, kind=kind, model="build_torch:nothing", note=note)
    for name, kind, note in (
        ("native GEMM", "native-gemm", "16 GEMMs of 2048 x 1024 x 1024 in one plan of bertc's native engine"),
        ("torch._int_mm", "torch-gemm", "one GEMM of 2048 x 2048 x 2048, oneDNN's"),
    )
)
"""INT8 GEMMs that stand for what the cores reach at most; they take turns with the engines."""
