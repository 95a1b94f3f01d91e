"""What INT8 leaves of a trained RoBERTa that fills masks: antibodies' residues that are found again.

    python benchmarks/residues.py --antibodies TheraSAbDab_clean.tsv [--target native]

The package sapiens 1.0.5 (MIT) holds a RoBERTa of 4 layers of 128 that was trained on heavy chains of human antibodies,
in fairseq's form: it is written as a Hugging Face folder with a tokenizer of residues (torch is needed). `--antibodies`
is the file data/sabdab/TheraSAbDab_clean.tsv of the repository Merck/BioPhi-2021-publication: therapeutic antibodies,
of which the column `Heavy Sequence` is read. 100 chains calibrate; each of the others loses one residue in each of 4
rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from machine import heading, run_facts
from masked_language_models import lines_of_table, package_in, reports
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

PACKAGE = ("sapiens", "1.0.5")
INSIDE = "sapiens/models/v1"
CALIBRATING, MASKED, SEED = 100, 4, 0
ROLES = {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "cls": "<s>", "sep": "</s>", "mask": "<mask>"}
FIRST = ("<s>", "<pad>", "</s>", "<unk>")
"""What fairseq's dictionary puts before those of dict.txt; the mask stands behind them."""

NAMES = (
    ("decoder.sentence_encoder.layers.", "roberta.encoder.layer."),
    ("decoder.sentence_encoder.embed_tokens.", "roberta.embeddings.word_embeddings."),
    ("decoder.sentence_encoder.embed_positions.", "roberta.embeddings.position_embeddings."),
    ("decoder.sentence_encoder.emb_layer_norm.", "roberta.embeddings.LayerNorm."),
    ("decoder.lm_head.", "lm_head."),
    (".self_attn.q_proj.", ".attention.self.query."),
    (".self_attn.k_proj.", ".attention.self.key."),
    (".self_attn.v_proj.", ".attention.self.value."),
    (".self_attn.out_proj.", ".attention.output.dense."),
    (".self_attn_layer_norm.", ".attention.output.LayerNorm."),
    (".fc1.", ".intermediate.dense."),
    (".fc2.", ".output.dense."),
    (".final_layer_norm.", ".output.LayerNorm."),
)
"""A part of fairseq's name, and of transformers'."""

CONFIG = {
    "model_type": "roberta",
    "architectures": ["RobertaForMaskedLM"],
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "intermediate_size": 256,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "type_vocab_size": 1,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
README = (
    "QVQLVQSGVEVKKPGASVKVSCKASGYTFTNYYMYWVRQAPGQGLEWMGGINPSNGGTNF"
    "NEKFKNRVTLTTDSSTTTAYMELKSLQFDDTAVYYCARRDYRFDMGFDYWGQGTTVTVSS"
)
"""The chain of the package's README."""


def tensors_from_fairseq(path: Path) -> dict[str, NDArray[np.float32]]:
    """Return the tensors by transformers' names."""
    with torch.serialization.safe_globals([argparse.Namespace]):
        stored = torch.load(path, map_location="cpu")["model"]
    tensors = {}
    for name, values in stored.items():
        new = name
        for theirs, ours in NAMES:
            new = new.replace(theirs, ours)
        tensors[new] = np.ascontiguousarray(values.float().numpy())
    tensors["lm_head.decoder.weight"] = tensors.pop("lm_head.weight")
    width = CONFIG["hidden_size"]
    tensors["roberta.embeddings.token_type_embeddings.weight"] = np.zeros((1, width), np.float32)
    return tensors


def write_checkpoint(source: Path, folder: Path) -> Path:
    """Write the model of heavy chains as a Hugging Face folder."""
    folder.mkdir()
    tensors = tensors_from_fairseq(source / "checkpoint_vh.pt")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    residues = [line.split()[0] for line in (source / "dict.txt").read_text(encoding="utf-8").splitlines()]
    ids = {token: id for id, token in enumerate((*FIRST, *residues, "<mask>"))}
    tied = np.array_equal(tensors["lm_head.decoder.weight"], tensors["roberta.embeddings.word_embeddings.weight"])
    positions = len(tensors["roberta.embeddings.position_embeddings.weight"])
    config = {**CONFIG, "vocab_size": len(ids), "max_position_embeddings": positions, "tie_word_embeddings": tied}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), behavior="isolated")
    frame = [(token, ids[token]) for token in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=frame, pair=None)
    tokenizer.add_special_tokens(list(dict.fromkeys(ROLES.values())))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": positions - 2}
    settings |= {f"{role}_token": token for role, token in ROLES.items()}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def chains_from_path(path: Path) -> list[str]:
    """Return the different heavy chains, in random order."""
    with path.open(encoding="utf-8", newline="") as file:
        chains = sorted({row["Heavy Sequence"] for row in csv.DictReader(file, delimiter="\t")})
    chains = [chain for chain in chains if len(chain) > 100 and chain != README]
    random.Random(SEED).shuffle(chains)
    return chains


def masked(chain: str, places: Sequence[int]) -> list[tuple[str, str]]:
    """Return the chain with one residue masked in each row, and the residue."""
    return [(f"{chain[:place]}<mask>{chain[place + 1 :]}", chain[place]) for place in places]


def write_chains(source: Path, folder: Path) -> tuple[Path, Path, Path]:
    """Write the chains that calibrate, those that lose a residue, and the README's with each residue masked."""
    chains = chains_from_path(source)
    paths = folder / "calibration.csv", folder / "antibodies.csv", folder / "readme.csv"
    paths[0].write_text("\n".join(("text", *chains[:CALIBRATING])) + "\n", encoding="utf-8")
    drawn = random.Random(SEED)
    others = [row for chain in chains[CALIBRATING:] for row in masked(chain, drawn.sample(range(len(chain)), MASKED))]
    for path, rows in ((paths[1], others), (paths[2], masked(README, range(len(README))))):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
    return paths


def main() -> int:
    """Fetch, write, build, and print a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--antibodies", type=Path, required=True)
    parser.add_argument("--target", action="append", help="by default native, ort-cpu and openvino")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bertc-residues-") as temporary:
        work = Path(temporary)
        package_in(work, *PACKAGE)
        checkpoint = write_checkpoint(work / INSIDE, work / "sapiens-heavy")
        data = write_chains(given.antibodies, work)
        print("\n".join(heading("A trained RoBERTa in INT8", run_facts("onnxruntime", "openvino", "tokenizers"))))
        for target in given.target or ("native", "ort-cpu", "openvino"):
            out = work / target
            out.mkdir()
            print(f"\nTarget `{target}`:\n")
            print("\n".join(lines_of_table(reports(checkpoint, data, out, "--target", target))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
