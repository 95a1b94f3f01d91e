"""The targets ort-cuda and tensorrt beside torch in FP16, on one NVIDIA GPU: latency, accuracy, where the nodes run.

    python benchmarks/gpu.py --checkpoint CHECKPOINT --validation-data DEV --out RESULT.json
    python benchmarks/gpu.py --checkpoint CHECKPOINT --random-weights base --out RESULT.json
    python benchmarks/gpu.py --checkpoint CHECKPOINT --validation-data DEV --tensorrt OUT --out RESULT.json

bertc runs with inputs and outputs bound to the GPU's memory, and a second time as a CUDA graph. torch is a plain module
(joined query, key and value, `scaled_dot_product_attention`) as it is, compiled, and compiled with CUDA graphs; it is
told that the timed batches have no padding, bertc finds out. Engines take turns within a round, every call ends with a
synchronized GPU, figures are medians over rounds and ratios are within a round. What does not run is listed with its
reason. OUT is what `bertc build --target tensorrt` made of the checkpoint. `--random-weights` takes BERT's dimensions
and the tokenizer of the checkpoint: speed alone. Beside RESULT.json a Markdown page is written. Without a GPU, torch
for CUDA or onnxruntime-gpu it says what is missing (exit code 3).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch
from machine import heading, run_facts
from torch import Tensor
from torch.nn import functional

from bertc.checkpoint import Checkpoint, checkpoint_from_path
from bertc.core.batch import Batch
from bertc.core.outputs import output_names
from bertc.errors import BertcError, EnvironmentLackError, InputError
from bertc.evaluate.scores import compare_outputs
from bertc.graph.encoder import graph_from_checkpoint
from bertc.ir.architecture import Activation, LayerNames
from bertc.jobs.inputs import length_of_inputs, proof_from_recipe
from bertc.recipe import recipe_from_document
from bertc.runtime.engine import Array, Engine, outputs_from_features
from bertc.runtime.latency import full_batch, repeated, time_calls
from bertc.runtime.machine.gpu import driver_of_machine
from bertc.runtime.ort import cuda as ort_cuda
from bertc.runtime.tensorrt import gpu_engine as tensorrt_engine
from bertc.targets import target_from_name
from bertc.tasks import outputs_from_head, task_from_name

DEVICE = "cuda"
PEERS = Path(__file__).parent / "peers"
SHAPES = "1x32,8x128,32x128,32x384"
BASE = "torch eager"
BOUND, GRAPHS = "bertc ort-cuda", ", CUDA graphs"
COMPILED = {"torch.compile": {}, "torch.compile, CUDA graphs": {"mode": "reduce-overhead"}}
HEAD_ACTIVATIONS = {"Tanh": torch.tanh, "Relu": functional.relu, "Gelu": functional.gelu}
WARM_UP = 4
"""Calls before the first timed one: torch compiles in the first and captures its CUDA graph in one of the next."""

Call = Callable[[], object]
Opener = Callable[..., Any]
Figures = dict[str, Any]


CLASSIFIERS = {
    "sequence-classification": None,
    "token-classification": "classifier",
    "question-answering": "qa_outputs",
}
"""The last linear layer of a task's head; None: the family's own."""


class Bert(torch.nn.Module):
    """A checkpoint's encoder and head as one would write them in torch; a classifier, tagger or span model."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Read the weights, in FP32."""
        super().__init__()
        self.task = checkpoint.head.task
        self.outputs = output_names(outputs_from_head(checkpoint.head))
        self.arch = checkpoint.architecture
        if self.task not in CLASSIFIERS:
            raise InputError(f"{checkpoint.path} has no head to compare; name a classifier, tagger or span model")
        weights, arch = checkpoint.weights, self.arch
        if arch.position_embeddings is None or arch.relative_bias or arch.relative_embeddings:
            raise InputError(
                f"{checkpoint.path} is a {checkpoint.family}; only absolute positions are written in torch"
            )

        def table(name: str) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.from_numpy(np.array(weights.array(name))), requires_grad=False)

        def pair(*prefixes: str) -> torch.nn.ParameterList:
            parts = [torch.cat([table(f"{prefix}.{kind}") for prefix in prefixes]) for kind in ("weight", "bias")]
            return torch.nn.ParameterList(torch.nn.Parameter(part, requires_grad=False) for part in parts)

        def layer(names: LayerNames) -> torch.nn.ModuleDict:
            joined = {"qkv": pair(names.query, names.key, names.value)}
            kept = ("attention_output", "attention_norm", "intermediate", "output", "output_norm")
            return torch.nn.ModuleDict(joined | {name: pair(getattr(names, name)) for name in kept})

        self.words = table(arch.word_embeddings)
        self.positions = torch.nn.Parameter(table(arch.position_embeddings)[arch.first_position :], requires_grad=False)
        self.types = None if arch.token_type_embeddings is None else table(arch.token_type_embeddings)
        self.norm = pair(arch.embeddings_norm)
        self.projection = None if arch.embedding_projection is None else pair(arch.embedding_projection)
        self.layers = torch.nn.ModuleList(layer(names) for names in arch.layer_names)
        dense = arch.dense if self.task == "sequence-classification" else ()
        self.dense = torch.nn.ModuleList(pair(prefix) for prefix, _ in dense)
        self.classifier = pair(CLASSIFIERS[self.task] or arch.classifier)

    def forward(self, ids: Tensor, types: Tensor, mask: Tensor | None) -> tuple[Tensor, ...]:
        """Return the task's outputs. ids, types: int64 [batch, length]; mask: bool [batch, length], None if all."""
        x = self.words[ids] + self.positions[: ids.shape[1]]
        if self.types is not None:
            x = x + self.types[types]
        x = self.normalized(x, self.norm)
        if self.projection is not None:
            x = functional.linear(x, *self.projection)
        shown = None if mask is None else mask[:, None, None, :]
        for layer in self.layers:
            x = self.layer(x, layer, shown)
        if self.task == "sequence-classification":
            x = x[:, 0]
            for part, (_, name) in zip(self.dense, self.arch.dense, strict=True):
                x = HEAD_ACTIVATIONS[name](functional.linear(x, *part))
        logits = functional.linear(x, *self.classifier)
        return logits.unbind(-1) if self.task == "question-answering" else (logits,)

    def layer(self, x: Tensor, layer: torch.nn.ModuleDict, shown: Tensor | None) -> Tensor:
        """Return the output of one layer. x: [batch, length, hidden]; shown: bool [batch, 1, 1, length]."""
        batch, length, hidden = x.shape
        qkv = functional.linear(x, *layer["qkv"]).view(batch, length, 3, self.arch.heads, self.arch.head_size)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        context = functional.scaled_dot_product_attention(query, key, value, attn_mask=shown)
        context = context.transpose(1, 2).reshape(batch, length, hidden)
        x = self.normalized(functional.linear(context, *layer["attention_output"]) + x, layer["attention_norm"])
        wide = functional.linear(x, *layer["intermediate"])
        if self.arch.activation is Activation.RELU:
            active = functional.relu(wide)
        else:
            tanh = self.arch.activation is Activation.GELU_TANH
            active = functional.gelu(wide, approximate="tanh" if tanh else "none")
        return self.normalized(functional.linear(active, *layer["output"]) + x, layer["output_norm"])

    def normalized(self, x: Tensor, norm: Any) -> Tensor:
        """Return the LayerNormalization of x."""
        return functional.layer_norm(x, x.shape[-1:], *norm, self.arch.epsilon)


class TorchEngine:
    """The module as an engine of bertc, to be validated like one."""

    def __init__(self, module: Bert, device: str) -> None:
        self._module, self._device = module, device

    def run(self, batch: Batch, outputs: Sequence[str]) -> list[Array]:
        """Return the outputs of a batch as it is, all of them and in the order of the task's."""
        assert tuple(outputs) == self._module.outputs
        ids, types, mask = (
            torch.from_numpy(values).to(self._device) for values in (batch.input_ids, batch.token_type_ids, batch.mask)
        )
        with torch.inference_mode():
            return [value.float().cpu().numpy() for value in self._module(ids, types, mask.bool())]

    def close(self) -> None:
        """Nothing is held."""


def main() -> None:
    """Measure, write, print; what is missing is said in one sentence."""
    options = parsed()
    try:
        check_machine()
        document = measured(options)
    except BertcError as error:
        print(f"benchmarks/gpu.py: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(page(document), encoding="utf-8")
    print(page(document))


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--validation-data", help="labelled data; without it accuracy is left out")
    parser.add_argument("--column", action="append", default=[], help="ROLE=NAME of that file, repeatable")
    parser.add_argument("--random-weights", choices=["base", "large"], help="BERT's dimensions; speed alone")
    parser.add_argument("--tensorrt", type=Path, action="append", default=[], metavar="OUT", help="repeatable")
    parser.add_argument("--shapes", default=SHAPES, help=f"BATCHxLENGTH by commas; default {SHAPES}")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--out", type=Path, required=True, help="RESULT.json; RESULT.md beside it")
    return parser.parse_args()


def check_machine() -> None:
    """Raise `EnvironmentLackError` where ONNX Runtime's CUDA provider, a GPU or torch for CUDA is missing."""
    ort_cuda.check_installed()
    if not torch.cuda.is_available():
        raise EnvironmentLackError(f"torch {torch.__version__} cannot use the GPU; install one that is built for CUDA")


def measured(options: argparse.Namespace) -> Figures:
    """Build both, and measure them."""
    driver = driver_of_machine()
    with tempfile.TemporaryDirectory(prefix="bertc-") as folder:
        path = options.checkpoint
        if options.random_weights:
            sys.path.insert(0, str(PEERS))
            from checkpoints import write_random_checkpoint

            path = Path(folder) / "random"
            write_random_checkpoint(options.random_weights, options.checkpoint, path)
        checkpoint = checkpoint_from_path(str(path))
        module = Bert(checkpoint).to(DEVICE, torch.float16).eval()
        target = target_from_name("ort-cuda")
        model = target.runtime.write_model(target.onnx_from_graph(graph_from_checkpoint(checkpoint)), Path(folder))
        arch = module.arch
        document: Figures = {
            **run_facts("torch"),
            "gpu": ", ".join(gpu.name for gpu in driver.gpus[:1]),
            "driver": f"driver for CUDA up to {driver.cuda}, torch for CUDA {torch.version.cuda}",
            "checkpoint": options.random_weights or checkpoint.path.name,
            "dimensions": {"layers": arch.layers, "hidden": arch.hidden, "heads": arch.heads},
            "rounds": options.rounds,
            "placement": dict(target.runtime.optimized_from_path(model).fused),
        }
        shapes = [tuple(map(int, text.split("x"))) for text in options.shapes.split(",")]
        fitting = [(batch, length) for batch, length in shapes if length <= arch.positions]
        openers = openers_of(model, options.tensorrt)
        document |= latency_of(module, openers, fitting, options.rounds)
        if options.validation_data and not options.random_weights:
            document["accuracy"] = accuracy_of(module, openers, checkpoint, options, Path(folder))
    return document


def openers_of(model: Path, artefacts: Sequence[Path]) -> dict[str, Opener]:
    """Return by name what opens bertc's engines, with `graphs` or without."""
    return {BOUND: partial(ort_cuda.open_session, model)} | {
        f"bertc tensorrt, {out.name}": partial(tensorrt_engine.open_engine, out / "model.plan") for out in artefacts
    }


def latency_of(module: Bert, openers: Mapping[str, Opener], shapes: Sequence[tuple[int, int]], rounds: int) -> Figures:
    """Time every shape; returns shape -> engine -> milliseconds per round, and why an engine has none."""
    compiled = {name: torch.compile(module, dynamic=False, **settings) for name, settings in COMPILED.items()}
    sessions: dict[tuple[str, bool], Any] = {}
    latency: Figures = {}
    failed: dict[str, str] = {}

    def bertc_call(name: str, graphs: bool, batch: Batch) -> Call:
        if (name, graphs) not in sessions:
            sessions[name, graphs] = openers[name](graphs=graphs)
        return sessions[name, graphs].bind(batch, module.outputs).run

    def torch_call(run: Any, batch: Batch) -> Call:
        ids, types = (torch.from_numpy(values).to(DEVICE) for values in (batch.input_ids, batch.token_type_ids))
        return torch.inference_mode()(partial(run, ids, types, None))

    for size, length in shapes:
        batch = full_batch(size, length, module.arch.vocabulary)
        makers = {name: partial(torch_call, run, batch) for name, run in {BASE: module, **compiled}.items()}
        for name in openers:
            makers |= {name + GRAPHS * graphs: partial(bertc_call, name, graphs, batch) for graphs in (False, True)}
        times, reasons = timed(makers, torch.cuda.synchronize, rounds)
        latency[f"{size} x {length}"] = times
        failed |= {f"{name}, {size} x {length}": reason for name, reason in reasons.items()}
    return {"latency": latency, "failed": failed}


def timed(
    makers: Mapping[str, Callable[[], Call]], synchronize: Call, rounds: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Warm everybody up and let them take turns; returns milliseconds of a call per round, and reasons of failures."""
    calls: dict[str, list[Call]] = {}
    failed: dict[str, str] = {}
    for name, make in makers.items():
        try:
            call = partial(synchronized, make(), synchronize)
            for _ in range(WARM_UP):
                call()
            calls[name] = repeated(call)
        except Exception as error:  # noqa: BLE001 - each engine has errors of its own; the page lists them
            failed[name] = (str(error) or type(error).__name__).splitlines()[0][:300]
            print(f"{name}: {failed[name]}", file=sys.stderr, flush=True)
    seconds = time_calls(calls, rounds)
    return {name: [1e3 * fmean(turn) for turn in turns] for name, turns in seconds.items()}, failed


def synchronized(call: Call, synchronize: Call) -> None:
    """Make a call and wait for the device."""
    call()
    synchronize()


def accuracy_of(
    module: Bert, openers: Mapping[str, Opener], checkpoint: Checkpoint, options: argparse.Namespace, folder: Path
) -> Figures:
    """Score torch and bertc's engines beside bertc's float engine on the CPU, over the whole file."""
    columns = dict(pair.split("=", 1) for pair in options.column)
    wanted = {"data": options.validation_data, "columns": columns}
    recipe = recipe_from_document({"checkpoint": str(checkpoint.path), "validation": wanted}, "benchmark")
    proof = proof_from_recipe(recipe.validation, checkpoint, length_of_inputs(checkpoint, None))
    assert proof is not None
    validation = proof.texts
    features = validation.encode(validation.rows)
    head, task = checkpoint.head, task_from_name(checkpoint.head.task)
    target = target_from_name("float")
    floats = folder / "float"
    floats.mkdir()
    path = target.runtime.write_model(target.onnx_from_graph(graph_from_checkpoint(checkpoint)), floats)

    def outputs(engine: Engine) -> Any:
        try:
            return outputs_from_features(engine, features, head)
        finally:
            engine.close()

    reference = outputs(target.runtime.engine_from_path(path, threads=0))
    engines: dict[str, Engine] = {BASE: TorchEngine(module, DEVICE)}
    engines |= {name: opened(graphs=False) for name, opened in openers.items()}
    return {
        name: compare_outputs(task, head, validation.rows, features, reference, outputs(engine)).accuracy.as_dict()
        for name, engine in engines.items()
    }


def page(document: Figures) -> str:
    """Return the figures as Markdown."""
    sizes, placement = document["dimensions"], document["placement"]
    lines = [
        *heading("bertc beside torch in FP16", document),
        f"{document['gpu']}, {document['driver']}. {document['checkpoint']}: {sizes['layers']} layers, hidden size "
        f"{sizes['hidden']}, {sizes['heads']} heads.",
        "",
        f"Of ort-cuda's fused nodes {placement['nodes_on_gpu']} run on the GPU and {placement['nodes_on_cpu']}, of "
        f"integers alone, on the CPU: {placement['attention']} attentions, {placement['skip_layer_norm']} additions "
        "with LayerNorm in one.",
        "",
        f"Milliseconds per batch, medians of {document['rounds']} interleaved rounds; in brackets how many times as "
        f"fast as {BASE}, the median of the ratios within a round:",
        "",
    ]
    latency = document["latency"]
    names = dict.fromkeys(name for times in latency.values() for name in times)
    lines += ["| | " + " | ".join(latency) + " |", "| --- " * (len(latency) + 1) + "|"]
    for name in names:
        lines.append(f"| {name} | " + " | ".join(cell(times, name) for times in latency.values()) + " |")
    lines += [""] * bool(document["failed"])
    lines += [f"- {name} did not run: {reason}" for name, reason in document["failed"].items()]
    if "accuracy" in document:
        lines += ["", "Beside the float model on the CPU:", "", "| | metric | float | GPU | drop (95 %) | agreement |"]
        lines.append("| --- " * 6 + "|")
        for name, score in document["accuracy"].items():
            low, high = score["drop_ci95"] or (math.nan, math.nan)
            agreement = "" if score["agreement"] is None else f"{score['agreement']:.2%}"
            lines.append(
                f"| {name} | {score['metric']} | {score['reference']:.4f} | {score['engine']:.4f} | "
                f"{score['drop']:+.4f} ({low:+.4f} to {high:+.4f}) | {agreement} |"
            )
    return "\n".join(lines) + "\n"


def cell(times: Mapping[str, Sequence[float]], name: str) -> str:
    """Return a median and its ratio; empty for who did not run."""
    if name not in times:
        return ""
    middle = f"{median(times[name]):.3f}"
    if name == BASE or BASE not in times:
        return middle
    ratio = median(before / now for before, now in zip(times[BASE], times[name], strict=True))
    return f"{middle} ({ratio:.2f}x)"


if __name__ == "__main__":
    main()
