"""Make what gpu_once.py runs on a GPU without a network: plans of the target `cuda`, and texts. Needs no GPU.

    python benchmarks/gpu_prepare.py DATA [--shared ../shared] [--only minilm-sst2,minilm-squad,base,large,...]

A trained checkpoint gives a plan for modes 1 and 2 (by channel) with the default calibration and correction, and the
ids of its validation texts (SST-2's dev set; the first 2,000 questions of SQuAD's): of the words' table only the rows
that those read. `base` and `large` are BERT's dimensions with random weights: plans without the large arrays, which
gpu_once.py draws. `modernbert`, `mpnet` and `deberta-v2`, which have to be asked for, are small ones with random
weights and SST-2's texts: what there is of them is answers. bert_in_torch.py and bertc itself travel with DATA.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bertc.cache.stages import Work
from bertc.cache.store import StageCache, default_cache_directory
from bertc.core.progress import Silent
from bertc.jobs.build import choose_correction, prepare_base, quantization_from_plan, read_inputs
from bertc.jobs.inputs import Inputs
from bertc.quantize.lowered import lowered_graph
from bertc.recipe import Recipe, recipe_from_document
from bertc.runtime.plan.compile import plan_from_graph
from bertc.runtime.plan.kernel_plan import Op, Plan, json_from_plan
from bertc.runtime.plan.plan_files import write_plan

COMMAND = "benchmarks/gpu_prepare.py"
MODES: Mapping[str, dict[str, str]] = {"mode1": {"mode": "1"}, "mode2": {"mode": "2", "granularity": "channel"}}
DIMENSIONS = {"base": (768, 12, 12), "large": (1024, 24, 16)}
"""Hidden size, layers and heads."""

QUESTIONS = 2000
CALIBRATED_WITH = 24
"""Questions, for random weights."""

IDS = {"pad_token_id": 0, "cls_token_id": 101, "bos_token_id": 101, "sep_token_id": 102, "eos_token_id": 102}
SMALL: Mapping[str, tuple[str, dict[str, Any]]] = {
    "modernbert": ("ModernBert", {"intermediate_size": 576, "max_position_embeddings": 512}),
    "mpnet": ("MPNet", {"intermediate_size": 1536, "max_position_embeddings": 514}),
    "deberta-v2": (
        "DebertaV2",
        {
            "intermediate_size": 1536,
            "type_vocab_size": 0,
            "relative_attention": True,
            "pos_att_type": ["p2c", "c2p"],
            "norm_rel_ebd": "layer_norm",
            "share_att_key": True,
            "position_buckets": 256,
            "max_relative_positions": -1,
            "position_biased_input": False,
        },
    ),
}
"""transformers' classes and their sizes: rotary positions and windows, a bias by distance, embeddings of distances."""

SMALL_BYTES = 1 << 16
WORDS = 1000
"""Rows of the words' table of random weights."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A checkpoint, its text, and how much of that."""

    checkpoint: Path
    calibration: Path
    validation: Path | None = None
    max_length: int | None = None


def first_questions(source: Path, count: int, out: Path) -> Path:
    """Write the first questions of a file in SQuAD's form."""
    kept: list[Any] = []
    for article in json.loads(source.read_text(encoding="utf-8"))["data"]:
        paragraphs = []
        for paragraph in article["paragraphs"]:
            questions = paragraph["qas"][:count]
            count -= len(questions)
            paragraphs += [paragraph | {"qas": questions}] * bool(questions)
        kept += [{"title": article["title"], "paragraphs": paragraphs}] * bool(paragraphs)
    out.write_text(json.dumps({"version": "1.1", "data": kept}), encoding="utf-8")
    return out


def trained(shared: Path, scratch: Path) -> dict[str, Source]:
    """Return the trained checkpoints."""
    data, models = shared / "data", shared / "models"
    dev = first_questions(data / "squad/dev-v1.1.json", QUESTIONS, scratch / "dev.json")
    return {
        "minilm-sst2": Source(
            checkpoint=models / "minilm-sst2", calibration=data / "sst2/train.tsv", validation=data / "sst2/dev.tsv"
        ),
        "minilm-squad": Source(
            checkpoint=models / "minilm-squad", calibration=data / "squad/train.json", validation=dev
        ),
    }


def random_source(name: str, shared: Path, scratch: Path) -> Source:
    """Write a BERT of these dimensions with random weights."""
    import torch
    import transformers

    hidden, layers, heads = DIMENSIONS[name]
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    model = transformers.BertForQuestionAnswering(transformers.BertConfig(**sizes, intermediate_size=4 * hidden))
    folder = scratch / name
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shared / "models/minilm-squad" / file, folder)
    text = first_questions(shared / "data/squad/train.json", CALIBRATED_WITH, scratch / f"{name}.json")
    return Source(checkpoint=folder, calibration=text, max_length=192)


def small_source(name: str, shared: Path, scratch: Path) -> Source:
    """Write a model of four layers with random weights, the same every time."""
    import torch
    import transformers

    torch.manual_seed(0)
    kind, own = SMALL[name]
    sizes = {"hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 6, "vocab_size": 30522}
    config = getattr(transformers, f"{kind}Config")(**sizes, **IDS, **own)
    folder = scratch / name
    getattr(transformers, f"{kind}ForSequenceClassification")(config).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(shared / "models/minilm-sst2" / file, folder)
    text = shared / "data/sst2"
    return Source(checkpoint=folder, calibration=text / "train.tsv", validation=text / "dev.tsv")


def recipe_of(source: Source, scheme: Mapping[str, str]) -> Recipe:
    """Return what is built."""
    plain = {} if source.validation else {"rounding": "nearest", "bias_correction": False}
    return recipe_from_document(
        {
            "checkpoint": str(source.checkpoint),
            "calibration": {"data": str(source.calibration)},
            "validation": {"data": str(source.validation)} if source.validation else {"unvalidated": True},
            "quantization": {**scheme, **plain},
            "engine": {"target": "cuda", "max_length": source.max_length},
        },
        COMMAND,
    )


def plans(source: Source, scratch: Path) -> Iterator[tuple[str, Plan, Arrays, Inputs]]:
    """Give the plan of each mode, with its arrays."""
    work = Work(StageCache(default_cache_directory()), Silent())
    for name, scheme in MODES.items():
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            inputs, plan = read_inputs(recipe_of(source, scheme), work=work)
            base = prepare_base(inputs, Path(folder), work=work)
            quantization = quantization_from_plan(plan, base, work=work)
            correction = choose_correction(plan, base, quantization, work=work)
            lowered = lowered_graph(base.graph, plan.target, quantization, correction, options=plan.options)
            yield name, *plan_from_graph(lowered.graph), inputs


def with_words(plan: Plan, arrays: Arrays, rows: NDArray[np.intp]) -> tuple[Plan, Arrays]:
    """Return a plan whose words' table has these rows alone."""
    (embed,) = (step for step in plan.steps if step.op is Op.EMBED)
    fewer = {name: np.ascontiguousarray(arrays[name][rows]) for name in (embed.word, embed.word_scale) if name}
    steps = tuple(replace(step, vocabulary=len(rows)) if step is embed else step for step in plan.steps)
    return replace(plan, steps=steps), {**arrays, **fewer}


def write_trained(source: Source, folder: Path, scratch: Path) -> None:
    """Write the plans and the texts of a trained checkpoint."""
    for name, plan, arrays, inputs in plans(source, scratch):
        assert inputs.proof is not None
        features = [feature for shard in inputs.proof.texts.shards() for feature in shard.features]
        rows, ids = np.unique(np.concatenate([each.input_ids for each in features]), return_inverse=True)
        types = np.concatenate([each.token_type_ids for each in features])
        (folder / name).mkdir(parents=True, exist_ok=True)
        lengths = np.array([each.length for each in features], np.int32)
        np.savez_compressed(
            folder / "texts.npz", ids=ids.astype(np.int32), types=types.astype(np.int8), lengths=lengths
        )
        write_plan(*with_words(plan, arrays, rows), folder / name)
        print(f"{folder.name} {name}: {len(features)} texts, {len(rows)} words", flush=True)


def write_dimensions(source: Source, folder: Path, scratch: Path) -> None:
    """Write the plans of random weights, and of what is large its type, shape and spread."""
    for name, plan, arrays, _ in plans(source, scratch):
        shorter, kept = with_words(plan, arrays, np.arange(WORDS))
        large = {
            array: [values.dtype.str, list(values.shape), float(values.astype(np.float32).std())]
            for array, values in kept.items()
            if values.nbytes >= SMALL_BYTES
        }
        (folder / name).mkdir(parents=True, exist_ok=True)
        small = {array.replace("/", "|"): values for array, values in kept.items() if array not in large}
        np.savez_compressed(folder / name / "small.npz", **small)
        text = json.dumps({"plan": json_from_plan(shorter), "big": large})
        (folder / name / "plan.json").write_text(text, encoding="utf-8")
        print(f"{folder.name} {name}: {len(plan.steps)} steps", flush=True)


def main() -> None:
    """Write everything that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    parser.add_argument("--only", default="minilm-sst2,minilm-squad,base,large")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        sources = trained(options.shared, scratch)
        names = options.only.split(",")
        sources |= {name: small_source(name, options.shared, scratch) for name in names if name in SMALL}
        for name in names:
            if name in sources:
                write_trained(sources[name], options.data / name, scratch)
            else:
                write_dimensions(random_source(name, options.shared, scratch), options.data / name, scratch)


if __name__ == "__main__":
    main()
