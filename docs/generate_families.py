"""Write the tables of families and heads in README.md from the code: python docs/generate_families.py

Targets are asked what they run. What is written by hand is PROOF: which trained checkpoints a family was measured on;
a family that is not there has been compared with transformers on random weights alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bertc.checkpoint.checkpoint import architecture_from_config
from bertc.core.plugins import FAMILIES, TARGETS, TASKS
from bertc.ir.architecture import Architecture
from bertc.jobs.plan import feature_beyond
from bertc.targets import target_from_name
from bertc.tasks import task_from_name

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- families: docs/generate_families.py -->\n", "<!-- end of families -->\n"
SHOWN = ("native", "ort-cpu", "openvino", "cuda", "ort-cuda", "tensorrt")

SIZES: Mapping[str, Any] = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 128,
    "max_position_embeddings": 128,
    "type_vocab_size": 2,
}
OF_FAMILY: Mapping[str, Mapping[str, Any]] = {
    "albert": {"embedding_size": 16},
    "deberta-v2": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0},
    "distilbert": {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 128},
    "electra": {"embedding_size": 16},
    "mpnet": {"relative_attention_num_buckets": 32},
    "t5": {"d_model": 64, "num_layers": 2, "num_heads": 2, "d_kv": 32, "d_ff": 128},
    "xlnet": {"d_model": 64, "n_layer": 2, "n_head": 2, "d_inner": 128},
}
"""Entries of config.json that a family has beside the usual ones."""

NAMES = {
    "albert": "ALBERT",
    "bert": "BERT (MiniLM, TinyBERT, SpanBERT)",
    "deberta-v2": "DeBERTa v2, v3",
    "distilbert": "DistilBERT",
    "electra": "ELECTRA",
    "eurobert": "EuroBERT",
    "gte": "GTE (v1.5, multilingual), Arctic Embed 2",
    "modernbert": "ModernBERT",
    "mpnet": "MPNet",
    "nomic-bert": "nomic-bert",
    "roberta": "RoBERTa, XLM-RoBERTa, CamemBERT, data2vec",
    "t5": "T5, FLAN-T5 (the encoder)",
    "xlnet": "XLNet",
}
PROOF = {
    "albert": (
        "[12 layers of 256](benchmarks/results/masked-language-models-epyc-vnni.md), trained on reactions: 0.9950 of "
        "796 masked tokens, in INT8 the same"
    ),
    "bert": (
        "MiniLM: SST-2, WNUT-17, SQuAD, STS-B (above); "
        "[SPLADE](benchmarks/results/masked-language-models-epyc-vnni.md): STS-B 0.7228, INT8 0.7227 to 0.7232"
    ),
    "deberta-v2": (
        "[6 layers of 384](benchmarks/results/deberta-epyc-vnni.md), trained by us from MiniLM: SST-2 0.8830, INT8 "
        "0.8830 to 0.8865; WNUT-17 0.4228, INT8 0.4252 to 0.4311"
    ),
    "distilbert": (
        "[6 layers of 384](benchmarks/results/distilbert-sst2-epyc-vnni.md), trained by us from MiniLM: SST-2 0.8945, "
        "INT8 0.8933 to 0.9014; [6 layers of 768](benchmarks/results/distilbert-edits-epyc-vnni.md), trained on "
        "corrections: of float's, `native` in mode 1 has an F1 of 0.9744; as it is shipped in static INT8 0.7188"
    ),
    "electra": (
        "[6 layers of 384](benchmarks/results/electra-epyc-vnni.md), trained by us from MiniLM: SST-2 0.8956, INT8 "
        "0.8922 to 0.8991"
    ),
    "modernbert": (
        "[4 layers of 256](benchmarks/results/modernbert-small-xeon-amx.md), trained by us: SST-2 0.8291, INT8 0.8280; "
        "[4 of 384](benchmarks/results/modernbert-wnut17-xeon-amx.md): WNUT-17 0.3548, INT8 0.3539 to 0.3559"
    ),
    "mpnet": "all-mpnet-base-v2 on STS-B: 0.8811, and 0.8821 to 0.8834 in INT8; 1.5 times NNCF's speed",
    "roberta": (
        "[4 layers of 128](benchmarks/results/roberta-antibodies-epyc-vnni.md), trained on antibodies: 0.8094 of 1,852 "
        "masked residues, INT8 0.8078 to 0.8094"
    ),
    "t5": (
        "[flan-t5-small's encoder](benchmarks/results/t5-encoder-epyc-vnni.json): tokens' vectors as float's, mean "
        "cosine 0.998; as it is shipped in dynamic INT8 0.805"
    ),
    "xlnet": (
        "[4 layers of 256](benchmarks/results/xlnet-small-epyc-vnni.md), trained by us: SST-2 "
        "0.8119, INT8 0.8108 to 0.8131"
    ),
}
HEADS = {
    "fill-mask": "masked language models: the token at a text's mask",
    "feature-extraction": "embeddings: mean, CLS, max, a learned mix of layers, Dense layers, normalized, cut",
    "late-interaction": "a vector per token, MaxSim of a query and a document: ColBERT's and PyLate's layouts",
    "question-answering": "spans of a context",
    "sequence-classification": "one label, several labels, a score; cross-encoders; early exit (DeeBERT, PABEE)",
    "sparse-embedding": "SPLADE: a weight for each token of the vocabulary",
    "text-ranking": "cross-encoders judged by the order of a query's rows (nDCG, MRR, MAP)",
    "token-classification": "a tag per word; a CRF over them (pytorch-crf, TorchCRF, Keras), an LSTM in front of it",
}


def table_text() -> str:
    """Return both tables."""
    lines = [
        f"| family | {' | '.join(f'`{name}`' for name in SHOWN)} | trained proof |",
        "| --- " * (len(SHOWN) + 2) + "|",
    ]
    for family in FAMILIES.names():
        architecture = architecture_from_config(family, {"model_type": family, **SIZES, **OF_FAMILY.get(family, {})})
        cells = " | ".join(_cells(architecture))
        lines.append(f"| {NAMES[family]} | {cells} | {PROOF.get(family, 'random weights, beside transformers')} |")
    lines += ["", "| task | heads |", "| --- | --- |"]
    lines += [f"| `{task_from_name(name).name}` | {HEADS[name]} |" for name in TASKS.names()]
    return "\n".join(lines) + "\n"


def _cells(architecture: Architecture) -> Iterator[str]:
    for name in SHOWN:
        yield "yes" if feature_beyond(target_from_name(name), architecture) is None else "no"


def readme_text(text: str) -> str:
    """Return README.md with the tables in their place."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table_text()}\n{END}{tail}"


if __name__ == "__main__":
    assert set(SHOWN) <= set(TARGETS.names())
    README.write_text(readme_text(README.read_text(encoding="utf-8")), encoding="utf-8")
