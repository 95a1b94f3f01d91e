"""The model card: what it says of one engine and of several, and what it leaves out."""

from __future__ import annotations

import ast
import re
from dataclasses import replace

import pytest

from bertc.report.card import CardEngine, card_from_engines
from bertc.report.parts.built import report_from_facts
from bertc.report.schema import CheckpointPart, MetricPart, Report
from tests.report.sample_facts import facts_of
from tests.tiny import TinyModel, engine_scheme, tiny_scheme

ACCURACY = MetricPart(
    metric="accuracy",
    direction="higher",
    samples=872,
    truncated=0,
    reference=0.8922,
    engine=0.8911,
    drop=0.0011,
    drop_ci95=(-0.002, 0.004),
)
OPTIONS = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


@pytest.fixture
def report(tiny_classifier: TinyModel) -> Report:
    facts = facts_of(tiny_classifier, engine_scheme(tiny_scheme("1")), calibration={"data": "train.tsv"})
    found = report_from_facts(facts, rows="rows.npz")
    return found.model_copy(update={"accuracy": ACCURACY, "unvalidated": False, "passed": True, "warnings": ()})


def engine(report: Report, target: str, library: str, model: str, **facts: object) -> CardEngine:
    own = report.model_copy(update={"engine": report.engine.model_copy(update={"target": target})})
    made = CardEngine(report=own, library=library, model=model, options={}, pipeline="text-classification")
    return replace(made, **facts)  # type: ignore[arg-type]


def python_of(card: str) -> list[str]:
    """Return the blocks of Python, each of which can be read."""
    blocks = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    for block in blocks:
        ast.parse(block)
    return blocks


def test_one_engine_with_what_opens_it(report: Report) -> None:
    ort = engine(report, "ort-cpu", "onnxruntime", "model.onnx", options={"session.x64quantprecision": "1"})
    card = card_from_engines("me/small", [ort], base_model="org/big")
    assert card.startswith('---\nlibrary_name: "bertc"\nbase_model: "org/big"\nbase_model_relation: "quantized"\n')
    assert "| ort-cpu | passed | accuracy | 0.8922 | 0.8911 | +0.0011 (95 % interval -0.0020 to +0.0040)" in card
    assert len(python_of(card)) == 2 and "model.onnx" in python_of(card)[1]
    assert 'options.add_session_config_entry("session.x64quantprecision", "1")' in python_of(card)[1]
    assert "sentence" not in card and "OpenVINO" not in card


def test_an_engine_of_a_gpu_is_opened_on_one(report: Report) -> None:
    """ONNX Runtime's wheel for GPUs would take another provider first, or the CPU's where the card names that."""
    made = engine(report, "ort-cuda", "onnxruntime", "model.onnx", on_gpu=True, pooled=True)
    cpu = engine(report, "ort-cpu", "onnxruntime", "model.onnx", pooled=True)
    sentences, session = python_of(card_from_engines("me/small", [made]))[-2:]
    assert 'providers=["CUDAExecutionProvider"]' in session + sentences
    assert '"provider": "CUDAExecutionProvider"' in session + sentences
    assert "CPUExecutionProvider" not in card_from_engines("me/small", [made])
    assert "CUDAExecutionProvider" not in card_from_engines("me/small", [cpu])


def test_an_embedder_is_opened_by_the_backend_of_its_library(report: Report) -> None:
    part = CheckpointPart.model_validate(report.checkpoint.model_dump() | {"task": "feature-extraction"})
    vectors = report.model_copy(update={"checkpoint": part})
    own = {"pooled": True, "pipeline": "feature-extraction"}
    cards = {
        "onnxruntime": ('backend="onnx", model_kwargs={"session_options": options})', "sentence-transformers[onnx]<6"),
        "openvino": ('backend="openvino")', "sentence-transformers[openvino]>=5.7"),
    }
    for library, (backend, package) in cards.items():
        card = card_from_engines("me/small", [engine(vectors, "x", library, "m", **own)])
        assert backend in card and package in card and 'pipeline_tag: "feature-extraction"' in card
        assert '"sentence-transformers"' in card.split("---\n")[1]
        assert backend not in card_from_engines("me/small", [engine(vectors, "x", library, "m")])
    native = engine(vectors, "native", "bertc", "native.json", onnx="model.onnx", **own)
    card = card_from_engines("me/small", [native])
    assert "SentenceTransformer" not in card and "what was validated is bertc's engine" in card


def test_several_engines_each_with_its_place_and_options(report: Report) -> None:
    failed = report.model_copy(update={"passed": False})
    engines = [
        engine(report, "native", "bertc", "engines/native/native.json", onnx="engines/native/model.onnx", alone=False),
        engine(
            failed, "openvino", "openvino", "engines/openvino/openvino_model.xml", options=OPTIONS, pooled=True,
            alone=False,
        ),
    ]  # fmt: skip
    card = card_from_engines("me/small", engines)
    assert "| native | passed |" in card and "| openvino | NOT PASSED |" in card
    (call,) = [block for block in python_of(card) if "SentenceTransformer(" in block]
    assert '"file_name": "engines/openvino/openvino_model.xml"' in call
    assert "\"ov_config\": {'INFERENCE_PRECISION_HINT': 'f32', 'DYNAMIC_QUANTIZATION_GROUP_SIZE': '0'}" in call


def test_paths_of_the_machine_and_figures_that_are_not_there_are_left_out(report: Report) -> None:
    told = ("the tokenizer in /home/ada/models/tiny; check it", "C:\\Users\\ada\\tiny is old", "and/or ~/x/y, 3/4")
    bare = report.model_copy(update={"accuracy": None, "unvalidated": True, "passed": False, "warnings": told})
    card = card_from_engines("me/small", [engine(bare, "ort-cpu", "onnxruntime", "model.onnx")])
    assert "ada" not in card and "the tokenizer in tiny; check it" in card and "and/or y, 3/4" in card
    assert "UNVALIDATED" in card and "model-index" not in card and "compared with" not in card


def test_a_branch_stands_wherever_the_repository_is_opened(report: Report) -> None:
    engines = [
        engine(report, "openvino", "openvino", "engines/openvino/openvino_model.xml", pooled=True, alone=False),
        engine(report, "ort-cpu", "onnxruntime", "engines/ort-cpu/model.onnx", pooled=True, alone=False),
        engine(report, "native", "bertc", "engines/native/native.json", onnx="engines/native/model.onnx", alone=False),
    ]
    card = card_from_engines("me/small", engines, revision='in"t8')
    assert card.count('"me/small"') == card.count('"me/small", revision="in\\"t8"') == len(python_of(card)) == 6
    assert "revision" not in card_from_engines("me/small", engines)


def test_what_the_files_leave_out_is_said_where_others_open_them(report: Report) -> None:
    said = "No text leaves."
    for library, onnx in (("bertc", "model.onnx"), ("onnxruntime", None), ("openvino", None)):
        card = card_from_engines("me/small", [engine(report, "x", library, "m", onnx=onnx, left_out=said)])
        assert said in card and said not in card_from_engines(
            "me/small", [engine(report, "x", library, "m", onnx=onnx)]
        )
    assert said not in card_from_engines("me/small", [engine(report, "x", "tensorrt", "m", left_out=said)])


def test_known_paths_are_left_out_whatever_is_in_their_names(report: Report) -> None:
    told = "the float reference is /home/Ada L/my (old) model; look at it"
    bare = report.model_copy(update={"warnings": (told,)})
    made = engine(bare, "ort-cpu", "onnxruntime", "model.onnx", paths=("/home/Ada L/my (old) model", "/home/Ada L"))
    assert "the float reference is my (old) model; look" in card_from_engines("me/small", [made])
