"""The model card of an artefact on the Hugging Face hub: README.md, made of the reports of its engines.

In: what is known of each engine. Out: Markdown under YAML. Every value of the YAML is written as JSON, which YAML is a
superset of. Paths of the machine that built are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from bertc.core.number_text import figure
from bertc.report.schema import MetricPart, Report
from bertc.report.text import interval_text, verdict_text
from bertc.runtime.ort.inference_session import EXACT_SUMS

_PATH = re.compile(r"(?<![\w.:/])(?:~|[A-Za-z]:)?[/\\][^\s,;:()]+")
"""A path from the root, the home or a drive: the folders of the machine that built are nobody's business."""

SENTENCE_TRANSFORMERS = {
    "openvino": ("openvino", "sentence-transformers[openvino]>=5.7"),
    "onnxruntime": ("onnx", "sentence-transformers[onnx]<6"),
}
"""By an engine's library: the backend that opens its files, and what to install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardEngine:
    """An engine as the card describes it. `model` is the file that its library opens, from the repository's root.

    `library` runs it, `on_gpu` says where; `options` are those by which it was validated. `onnx` is an ONNX file beside
    it for other programs. `pooled` says whether it gives a vector that sentence-transformers makes of its tokens' as
    well, `alone` whether the folder has no other engine. `pipeline` is what the hub calls the task, `pairs` says that
    texts are two. `left_out` says what of an answer the engine's files lack, `paths` are those of the machine that
    built.
    """

    report: Report
    library: str
    model: str
    options: Mapping[str, Any]
    on_gpu: bool = False
    onnx: str | None = None
    pooled: bool = False
    alone: bool = True
    pipeline: str
    pairs: bool = False
    left_out: str = ""
    paths: tuple[str, ...] = ()


def card_from_engines(
    repository: str, engines: Sequence[CardEngine], *, base_model: str | None = None, revision: str | None = None
) -> str:
    """Return the text of README.md for an artefact with these engines, the first of which is tried first.

    `revision` is the branch that it stands on, None for the main one.
    """
    report = engines[0].report
    lines = [
        "---",
        *_front_matter(repository, engines, base_model),
        "---",
        "",
        f"# {repository.rpartition('/')[2]}",
        "",
    ]
    kind = "An INT8 engine" if _is_int8(engines) else "An engine"
    compared = " and compared with its float model" if all(each.report.accuracy for each in engines) else ""
    made = f" It was made of [{base_model}](https://huggingface.co/{base_model})." if base_model else ""
    lines += [f"{kind} for {report.checkpoint.task}, compiled with bertc {report.bertc}{compared}.{made}", ""]
    lines += [*_accuracy(engines), *_use(repository, engines, revision), *_model(engines[0])]
    return "\n".join(lines).rstrip() + "\n"


def _front_matter(repository: str, engines: Sequence[CardEngine], base_model: str | None) -> Iterator[str]:
    tags = ["bertc", *dict.fromkeys(_tag(each) for each in engines)]
    if _is_int8(engines):
        tags.append("int8")
    if any(_has_sentences(each) for each in engines):
        tags.append("sentence-transformers")
    yield from _entry("library_name", "bertc")
    if base_model:
        yield from _entry("base_model", base_model)
        yield from _entry("base_model_relation", "quantized")
    yield from _entry("pipeline_tag", engines[0].pipeline)
    yield from _entry("tags", list(dict.fromkeys(tags)))
    results = [_result(each) for each in engines if each.report.accuracy is not None]
    if results:
        yield from _entry("model-index", [{"name": repository.rpartition("/")[2], "results": results}])


def _is_int8(engines: Sequence[CardEngine]) -> bool:
    return any(each.report.quantization.mode is not None for each in engines)


def _entry(name: str, value: Any) -> Iterator[str]:
    yield f"{name}: {json.dumps(value, ensure_ascii=False)}"


def _tag(engine: CardEngine) -> str:
    return engine.library if engine.library != "bertc" else "onnx"


def _result(engine: CardEngine) -> dict[str, Any]:
    report, accuracy = engine.report, engine.report.accuracy
    assert accuracy is not None
    metrics: list[dict[str, Any]] = [
        {
            "type": accuracy.metric,
            "name": f"{accuracy.metric} ({engine.report.engine.target})",
            "value": accuracy.engine,
        },
        {"type": accuracy.metric, "name": f"{accuracy.metric} (float model)", "value": accuracy.reference},
    ]
    data = report.data.validation
    name = "validation data" if data is None else PurePath(data.path).name
    return {
        "task": {"type": engine.pipeline},
        "dataset": {"type": "custom", "name": name},
        "metrics": [metric for metric in metrics if metric["value"] is not None],
    }


def _accuracy(engines: Sequence[CardEngine]) -> Iterator[str]:
    yield "## Accuracy"
    yield ""
    yield "| engine | verdict | metric | float | engine | drop | size | float's size |"
    yield "| --- | --- | --- | ---: | ---: | --- | ---: | ---: |"
    for each in engines:
        report = each.report
        verdict = verdict_text(report.passed, unvalidated=report.unvalidated)
        sizes = [
            f"{size / 1e6:.1f} MB" if size else "" for size in (report.engine.bytes, report.engine.reference_bytes)
        ]
        cells = [report.engine.target, verdict, *_figures(report.accuracy), *sizes]
        yield f"| {' | '.join(map(_cell, cells))} |"
    yield ""
    first = engines[0].report
    if first.data.validation is not None and first.accuracy is not None:
        yield (
            f"Measured with the engine itself on {first.accuracy.samples} {first.accuracy.unit} of "
            f"`{PurePath(first.data.validation.path).name}` (sha256 {first.data.validation.digest[:12]}), beside the "
            "float model on the same rows. A positive drop is a loss; its interval is paired and has 95 %. "
            "`report.json` beside each engine has every figure."
        )
        yield ""
    for each in engines:
        for gate in each.report.gates:
            yield f"- {each.report.engine.target}: {gate.verdict}: {_cell(gate.reason)}"
    if any(each.report.gates for each in engines):
        yield ""


def _figures(accuracy: MetricPart | None) -> list[str]:
    if accuracy is None:
        return ["", "", "", ""]
    drop = f"{figure(accuracy.drop, sign=True)}{interval_text(accuracy.drop_ci95)}"
    return [accuracy.metric, figure(accuracy.reference), figure(accuracy.engine), drop]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _use(repository: str, engines: Sequence[CardEngine], revision: str | None) -> Iterator[str]:
    branch = "" if revision is None else f", revision={json.dumps(revision)}"
    download = f'snapshot_download("{repository}"{branch})'
    yield "## Use"
    yield ""
    texts = '["Who wrote it?"], ["It was written by Ada."]' if engines[0].pairs else '["a gripping film"]'
    yield from _code(
        "With bertc, which verifies every file:",
        "import bertc",
        "from huggingface_hub import snapshot_download",
        "",
        f"engine = bertc.load({download})",
        f"engine.predict({texts})",
    )
    for each in engines:
        yield from _use_of(each, download)
        if _has_sentences(each):
            yield from _sentence_use(repository, each, branch)


def _use_of(engine: CardEngine, download: str) -> Iterator[str]:
    """Say how other programs open an engine's files, where they do."""
    head = ["from huggingface_hub import snapshot_download", "", f"folder = {download}"]
    if engine.left_out and (engine.onnx is not None or engine.library in ("onnxruntime", "openvino")):
        yield from (engine.left_out, "")
    if engine.library == "onnxruntime":
        yield from _code(
            "With ONNX Runtime, as it was validated:",
            "import onnxruntime",
            *head,
            *_session_options(engine.options),
            f'session = onnxruntime.InferenceSession(f"{{folder}}/{engine.model}", options, '
            f'providers=["{_provider(engine)}"])',
        )
    if engine.library == "openvino":
        yield from _code(
            "With OpenVINO, as it was validated:",
            "import openvino",
            *head,
            f'model = openvino.Core().compile_model(f"{{folder}}/{engine.model}", "CPU", {dict(engine.options)!r})',
        )
    if engine.onnx is not None:
        yield from _code(
            f"`{engine.onnx}` is the same model in standard operators, which any ONNX tool opens. Other kernels round "
            "otherwise: what was validated is bertc's engine.",
            "import onnxruntime",
            *head,
            *_session_options(EXACT_SUMS),
            f'session = onnxruntime.InferenceSession(f"{{folder}}/{engine.onnx}", options, '
            'providers=["CPUExecutionProvider"])',
        )


def _has_sentences(engine: CardEngine) -> bool:
    """Say whether sentence-transformers opens an engine."""
    return engine.pooled and engine.library in SENTENCE_TRANSFORMERS


def _provider(engine: CardEngine) -> str:
    """Name ONNX Runtime's provider that an engine was validated with."""
    return "CUDAExecutionProvider" if engine.on_gpu else "CPUExecutionProvider"


def _session_options(found: Mapping[str, Any]) -> list[str]:
    """Write a session's options with entries of its configuration."""
    entries = [f'options.add_session_config_entry("{name}", "{value}")' for name, value in found.items()]
    return ["options = onnxruntime.SessionOptions()", *entries]


def _sentence_use(repository: str, engine: CardEngine, branch: str) -> Iterator[str]:
    """Say how sentence-transformers finds an engine, and opens it as it was validated.

    OpenVINO's options stand in sentence_bert_config.json where the engine is alone; a session's are in no file.
    """
    backend, package = SENTENCE_TRANSFORMERS[engine.library]
    entries = [] if engine.alone else [f'"file_name": "{engine.model}"']
    head = ["from sentence_transformers import SentenceTransformer", ""]
    if engine.library == "onnxruntime":
        head = ["import onnxruntime", *head, *_session_options(engine.options)]
        entries.append('"session_options": options')
        if engine.on_gpu:
            entries.append(f'"provider": "{_provider(engine)}"')
    elif not engine.alone:
        options = {name: str(value) for name, value in engine.options.items()}
        entries.append(f'"ov_config": {options!r}')
    keywords = f", model_kwargs={{{', '.join(entries)}}}" if entries else ""
    yield from _code(
        f'With sentence-transformers (`pip install "{package}"`):',
        *head,
        f'model = SentenceTransformer("{repository}"{branch}, backend="{backend}"{keywords})',
        'model.encode(["a gripping film"])',
    )


def _code(words: str, *lines: str) -> Iterator[str]:
    yield from (words, "", "```python", *lines, "```", "")


def _model(engine: CardEngine) -> Iterator[str]:
    report, part = engine.report, engine.report.checkpoint
    yield "## Model"
    yield ""
    millions = f"{part.parameters / 1e6:.1f} million parameters"
    yield f"- {part.family}, {part.layers} layers of width {part.hidden}, {millions}"
    if report.quantization.mode is not None:
        yield f"- INT8 mode {report.quantization.mode}, weights {report.quantization.weights}"
    yield f"- checkpoint's digest {part.digest}"
    for warning in report.warnings:
        yield f"- warning: {_cell(_without_folders(warning, engine.paths))}"


def _without_folders(text: str, paths: Sequence[str]) -> str:
    """Leave of each path its last name: of those that are known, which may have blanks, and of what looks like one."""
    for path in sorted(paths, key=len, reverse=True):
        text = text.replace(path, _last_name(path))
    return _PATH.sub(lambda found: _last_name(found[0]), text)


def _last_name(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
